"""import: other tools' data as records of a corpus."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from commands.support import Runner, check_error, records
from corpus.support import first, record

from magpie_ollama.commands import import_
from magpie_ollama.corpus import Corpus, lines
from magpie_ollama.curation import deduplication
from magpie_ollama.method import languages
from magpie_ollama.records import KEYS, SCHEMA, tags

SOURCE = Path("other.jsonl")
TARGET = Path("it.jsonl")
PAIR = {"instruction": "Chi sei?", "output": "Un modello."}
CHAT = [("system", "S"), ("human", "Chi sei?"), ("gpt", "Un modello."), ("human", "E poi?"), ("gpt", "Basta.")]


def write(*data: dict[str, Any] | bytes, path: Path = SOURCE) -> Path:
    path.write_bytes(b"".join(one if isinstance(one, bytes) else lines.encode(one) for one in data))
    return path


@pytest.mark.parametrize(
    ("row", "model", "left_out"),
    [
        (PAIR | {"language": "italiano"}, "", {}),
        (PAIR | {"language": "IT", "model": "phi3", "score": 3, "none": None}, "phi3", {"score": 1}),
        (
            {"conversations": [{"from": who, "value": text} for who, text in CHAT], "language": "it"},
            "",
            {},
        ),
        ({"prompt": "Chi sei?", "completion": "Un modello.", "language": "it", "model_name": "m"}, "m", {}),
    ],
)
def test_every_shape_becomes_a_record(run: Runner, row: dict[str, Any], model: str, left_out: dict[str, int]) -> None:
    done = run("import", write(row), "-o", TARGET, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["imported"], told["records"], told["left_out"]) == (1, 1, left_out)
    (made,) = records(TARGET)
    assert made.keys() == KEYS
    said = [text for _, text in CHAT] if "conversations" in row else ["Chi sei?", "Un modello."]
    assert [message["content"] for message in made["messages"]] == said, "all turns, with the system message"
    assert (made["language"], made["model"], made["server"], made["steering"]) == ("it", model, "import", "")
    with Corpus.open(TARGET) as corpus:
        assert corpus.records == 1


def test_records_of_our_own_keep_what_they_say_but_for_their_run(run: Runner) -> None:
    ours = record("20260101-000000-abcd", 7, "Chi sei?", opener="Chi", topic="io", reward=-1.5).to_dict()
    assert run("import", write(ours), "-o", TARGET).code == 0
    assert records(TARGET) == [ours | {"run": ""}]


def test_a_record_of_schema_1_becomes_one_of_the_newest(run: Runner) -> None:
    (old,) = first(SOURCE, {"tags": {"quality": "good", "judge": "m"}})
    assert "Left out" not in run("import", SOURCE, "-o", TARGET).err
    expected = lines.values(record()) | old | {"schema": SCHEMA, "tags": tags(old["tags"])}
    assert records(TARGET) == [expected]


def test_columns_of_others_by_the_names_of_ours_are_not_taken_for_them(run: Runner) -> None:
    source = write(PAIR | {"source": "web", "topic": 3, "reward": 1.5, "tags": {"quality": "good"}, "id": "x"})
    told = json.loads(run("import", source, "-o", TARGET, "-l", "it", "--json").out)
    assert told["left_out"] == {"source": 1, "topic": 1, "reward": 1, "tags": 1}
    assert (records(TARGET)[0]["source"], records(TARGET)[0]["tags"]) == ("", tags())


def test_what_the_corpus_has_is_passed_over(run: Runner) -> None:
    long = "Scrivi una lettera al padrone di casa per dirgli che il rubinetto della cucina perde da due settimane."
    with Corpus.open(TARGET) as corpus:
        corpus.append(record(text=long))
    texts = ["chi sei", long.replace("due", "tre"), "Come si fa il pane?", "Chi sei?"]
    source = write(*({"instruction": text, "output": "Boh."} for text in texts))
    done = run("import", source, "-o", TARGET, "-l", "it", "-m", "gpt")
    assert done.out.splitlines() == [
        "Imported 2 of 4 records, passed over 2 (50 %).",
        "1  near_duplicate  nearly an instruction that the corpus has",
        "1  duplicate       an instruction that the corpus has, but for case, punctuation and spaces",
        "it.jsonl has 3 records.",
    ]
    assert [one["model"] for one in records(TARGET)] == ["m:1b", "gpt", "gpt"]
    told = json.loads(run("import", source, "-o", TARGET, "-l", "it", "--keep-duplicates", "--json").out)
    assert (told["imported"], told["records"]) == (4, 7)
    ids = [one["id"] for one in records(TARGET)]
    assert len(set(ids)) == len(ids)


def test_reasons(run: Runner) -> None:
    italian, english = (languages.load(code).exemplars[0] for code in ("it", "en"))
    rows = [
        {"instruction": " ", "output": "x"},
        {"instruction": "Chi?", "output": ""},
        {"instruction": "Chi?", "output": "Io."},
        {"instruction": italian.instruction, "output": italian.response},
        {"instruction": english.instruction, "output": english.response},
    ]
    source = write(*rows, b"no\n", rows[3])
    told = json.loads(run("import", source, "-o", "a.jsonl", "--skip-bad", "--json").out)
    assert told["passed_over"] == {"no_language": 4, "no_instruction": 1, "no_response": 1, "bad_line": 1}
    told = json.loads(run("import", source, "-o", "b.jsonl", "--skip-bad", "--redetect", "--json").out)
    assert told["passed_over"]["unknown_language"] == told["passed_over"]["duplicate"] == 1
    assert [one["language"] for one in records("b.jsonl")] == ["it", "en"]
    told = json.loads(run("import", source, "-o", "c.jsonl", "--skip-bad", "--redetect", "-l", "it", "--json").out)
    assert told["passed_over"]["wrong_language"] == 1
    assert told["imported"] == 2  # what is too short to tell is believed to be what -l says


def test_what_is_no_turn_behind_the_answer_is_left_out(run: Runner) -> None:
    turns = [{"role": "user", "content": "Chi sei?"}, {"role": "assistant", "content": "Un modello."}, None]
    told = json.loads(run("import", write({"messages": turns}), "-o", TARGET, "-l", "it", "--json").out)
    assert (told["imported"], told["left_out"]) == (1, {"(further turns)": 1})


def test_bad_input_leaves_the_corpus_as_it_was(run: Runner) -> None:
    with Corpus.open(TARGET) as corpus:
        corpus.append(record())
    before = TARGET.read_bytes()
    check_error(run("import", "none.jsonl", "-o", TARGET), 2, "none.jsonl cannot be read")
    check_error(run("import", write(b""), "-o", TARGET), 1, "is empty")
    check_error(run("import", write(b"a,b\n"), "-o", TARGET), 1, "CSV")
    check_error(run("import", TARGET, "-o", TARGET), 2, "the corpus itself")
    check_error(run("import", write(PAIR), "-o", "-"), 2, "-o it.jsonl")
    check_error(run("import", SOURCE, "-o", TARGET, "-l", "itt"), 2, "no language 'itt'")
    assert TARGET.read_bytes() == before
    write(path=Path("notes.jsonl")).write_text("dear diary\n")
    check_error(run("import", SOURCE, "-o", "notes.jsonl", "-l", "it"), 1, "not a corpus")
    with Corpus.open(TARGET):
        check_error(run("import", SOURCE, "-o", TARGET, "-l", "it"), 1, "writes to")


def test_a_bad_line_in_the_middle_keeps_what_came_before(run: Runner) -> None:
    write(PAIR, b"no\n", {"instruction": "Come si fa il pane?", "output": "Boh."})
    check_error(run("import", SOURCE, "-o", TARGET, "-l", "it"), 1, "Line 2", "--skip-bad")
    done = run("import", SOURCE, "-o", TARGET, "-l", "it", "--skip-bad")
    assert "it.jsonl has 2 records." in done.out


BREAD = {"instruction": "Come si fa il pane?", "output": "Boh."}


def test_a_bad_line_behind_kept_duplicates_leaves_the_corpus_as_it_was(run: Runner) -> None:
    write(PAIR, b"no\n", BREAD)
    command = ("import", SOURCE, "-o", TARGET, "-l", "it", "--keep-duplicates")
    check_error(run(*command), 1, "Line 2", "--skip-bad")
    assert not TARGET.exists()
    assert "it.jsonl has 2 records." in run(*command, "--skip-bad").out


@pytest.mark.parametrize(
    ("more", "next_"),
    [((), "The same command goes on"), (("--keep-duplicates",), "without --keep-duplicates it passes over them")],
)
def test_what_was_imported_before_ctrl_c_is_told(
    run: Runner, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], next_: str
) -> None:
    write(PAIR, BREAD)
    append = Corpus.append

    def interrupted(corpus: Corpus, one: Any) -> None:
        if corpus.records:
            raise KeyboardInterrupt
        append(corpus, one)

    monkeypatch.setattr(Corpus, "append", interrupted)
    done = run("import", SOURCE, "-o", TARGET, "-l", "it", *more)
    assert (done.code, len(records(TARGET))) == (130, 1)
    assert "note: Stopped after 1 record, kept in it.jsonl." in done.err
    assert next_ in done.err


def test_what_was_imported_before_a_bad_line_is_told_when_the_bar_is_gone(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def bar(*given: object) -> Iterator[Callable[[int], None]]:
        try:
            yield lambda done: None
        finally:
            click.echo("The bar is gone.", err=True)

    monkeypatch.setattr(import_, "reading", bar)
    monkeypatch.setattr(deduplication, "TOGETHER", 1)
    told = run("import", write(PAIR, b"no\n"), "-o", TARGET, "-l", "it").err.splitlines()
    assert told[:2] == [
        "The bar is gone.",
        "note: Stopped after 1 record, kept in it.jsonl. What is there is passed over once that is mended.",
    ]


def test_an_answer_that_needs_a_tool_is_no_record(run: Runner) -> None:
    asked = {"role": "user", "content": "Che tempo fa?"}
    call = {"role": "assistant", "content": "Guardo.", "tool_calls": [{"id": "c1"}]}
    seen = {"role": "tool", "tool_call_id": "c1", "content": "Sole."}
    answer = {"role": "assistant", "content": "C'è il sole."}
    source = write({"messages": [asked, call, seen, answer]}, {"messages": [asked, answer, asked, call, seen, answer]})
    told = json.loads(run("import", source, "-o", TARGET, "-l", "it", "--json").out)
    assert (told["imported"], told["passed_over"]) == (1, {"tool_call": 1})
    assert told["left_out"] == {"(further turns)": 1}


def test_a_confidence_of_1_is_kept_however_it_is_written(run: Runner) -> None:
    line = lines.encode(record(text="Chi sei?").to_dict() | {"confidence": 1, "fluency": 1, "reward": "x"})
    source = write(line.replace(b'"x"', b"1e400"))
    assert run("import", source, "-o", TARGET).code == 0
    (made,) = records(TARGET)
    assert [(type(made[key]), made[key]) for key in ("confidence", "fluency", "reward")] == [
        (float, 1.0), (float, 1.0), (float, 0.0),
    ]  # fmt: skip


def test_reasoning_is_kept_and_a_bad_answer_is_not(run: Runner) -> None:
    answers: list[dict[str, Any]] = [
        {"output": "Un modello.", "reasoning_content": "Mah."},
        {"output": "Boh.", "label": False},
        {"output": ["a"]},
    ]
    source = write(*({"instruction": f"Chi sei {n}?", **answer} for n, answer in enumerate(answers)))
    done = run("import", source, "-o", TARGET, "-l", "it", "--json")
    told = json.loads(done.out)
    assert (told["imported"], told["left_out"]) == (1, {})
    assert told["passed_over"] == {"labelled_bad": 1, "no_text": 1}
    assert told["no_text"] == {"output is no text, but a list": 1}
    assert [one["reasoning"] for one in records(TARGET)] == ["Mah."]
    assert "Passed over what is no text: output is no text, but a list (1)." in done.err


def test_one_instruction_with_many_inputs_is_many_records(run: Runner) -> None:
    asked = "Classify the sentiment of this sentence as positive or negative, in one word and without a reason."
    inputs = [f"The {what} was cold." for what in ("soup", "tea", "room", "soup")]
    source = write(*({"instruction": asked, "input": one, "output": "negative"} for one in inputs))
    told = json.loads(run("import", source, "-o", TARGET, "-l", "en", "--json").out)
    assert (told["imported"], told["passed_over"]) == (3, {"duplicate": 1})
    assert json.loads(run("import", source, "-o", TARGET, "-l", "en", "--json").out)["passed_over"] == {"duplicate": 4}
    for file, removed in ((source, {"duplicate": 1}), (TARGET, {})):  # a corpus has them as one text
        told = json.loads(run("dedup", file, "--json").out)
        assert (told["kept"], told["removed"]) == (3, removed)
        assert json.loads(run("filter", file, "--magpie", "--json").out)["kept"] == 3


def test_columns_of_other_names(run: Runner) -> None:
    source = write({"frage": "Wer bist du?", "antwort": "Ich.", "prompt": "no"})
    done = run("import", source, "-o", TARGET, "-l", "de", "--columns", "instruction=frage,response=antwort")
    assert done.code == 0, done.err
    assert [one["messages"][0]["content"] for one in records(TARGET)] == ["Wer bist du?"]
    assert "Left out what a record has no place for: prompt (1)." in done.err
