"""filter, dedup and drop: what stays, what is told, and that nothing is lost or half there."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands.support import Runner, check_error, process, records
from corpus.support import record

from magpie_ollama.corpus import Corpus, lines
from magpie_ollama.method import languages

FILE = Path("it.jsonl")
LONG = "Scrivi una lettera al padrone di casa per dirgli che il rubinetto della cucina perde acqua da due settimane."
TEXTS = [LONG, "Come si fa il pane?", LONG.replace("cucina", "camera"), "COME SI FA IL PANE", "Elenca:"]

OF_OTHERS = {
    "magpie-ollama-datagen": {"instruction": "Chi sei?", "output": "Un modello."},
    "magpie": {
        "conversations": [{"from": "human", "value": "Chi sei?"}, {"from": "gpt", "value": "Un modello."}],
        "language": "IT",
        "input_quality": "good",
    },
    "distilabel": {
        "conversation": [{"role": "user", "content": "Chi sei?"}, {"role": "assistant", "content": "Un modello."}],
        "model_name": "llama3",
    },
}


def write(*data: dict[str, Any] | bytes, path: Path = FILE) -> Path:
    path.write_bytes(b"".join(one if isinstance(one, bytes) else lines.encode(one) for one in data))
    return path


@pytest.fixture
def corpus() -> Path:
    return write(*(record(seed=n, text=text).to_dict() for n, text in enumerate(TEXTS)))


def seeds(path: Path | str = FILE) -> list[int]:
    return [one["seed"] for one in records(path)]


def test_filter_writes_what_passes_as_it_stands(run: Runner, corpus: Path) -> None:
    done = run("filter", corpus, "--min-words", 4, "--not-match", "padrone.*camera", "-o", "new.jsonl")
    assert done.code == 0, done.err
    assert seeds("new.jsonl") == [0, 1, 3]
    assert set(Path("new.jsonl").read_bytes().splitlines()) <= set(corpus.read_bytes().splitlines())
    assert done.out.splitlines() == [
        "Kept 3 of 5 records, removed 2 (40 %).",
        "1  match      a --not-match is in it",
        "1  too_short  an instruction of fewer words than --min-words",
        "Written to new.jsonl.",
    ]
    assert seeds() == [0, 1, 2, 3, 4]


def test_filter_in_place_keeps_the_old_one(run: Runner, corpus: Path) -> None:
    before = corpus.read_bytes()
    done = run("filter", corpus, "--magpie", "--in-place", "--json")
    told = json.loads(done.out)
    assert told["removed"] == {"magpie_repetition": 2, "magpie_incomplete": 1}
    assert (told["read"], told["kept"]) == (5, 2)
    assert seeds() == [0, 1]
    assert Path(told["backup"]).read_bytes() == before
    with Corpus.open(corpus) as opened:  # with whatever it knew of the file before
        assert opened.records == 2


def test_in_place_with_nothing_to_remove_changes_nothing(run: Runner, corpus: Path) -> None:
    done = run("filter", corpus, "-l", "it", "--in-place")
    assert done.out.splitlines() == ["Kept 5 of 5 records.", "it.jsonl is as it was."]
    assert [path.name for path in Path().iterdir()] == ["it.jsonl"]


def test_without_an_output_it_only_tells(run: Runner, corpus: Path) -> None:
    done = run("filter", corpus, "-l", "en")
    assert "Would keep 0 of 5 records, and remove 5 (100 %)." in done.out
    assert "Nothing was written" in done.err
    assert [path.name for path in Path().iterdir()] == ["it.jsonl"]


def test_the_longest_responses(run: Runner) -> None:
    answers = ["kurz", "noch etwas länger als kurz", "kurz", "lang genug"]
    rows = [{"instruction": f"Frage {n}?", "output": answer, "seed": n} for n, answer in enumerate(answers)]
    done = run("filter", write(*rows), "--longest", 3, "-o", "new.jsonl", "--json")
    assert seeds("new.jsonl") == [0, 1, 3]  # of two equal ones the first
    assert json.loads(done.out)["removed"] == {"not_longest": 1}


def test_redetect_reads_the_texts(run: Runner) -> None:
    found = languages.load("it").exemplars[0], languages.load("en").exemplars[0]
    rows = [
        {"instruction": one.instruction, "output": two.response, "language": "it", "seed": 2 * n + m}
        for n, one in enumerate(found)
        for m, two in enumerate(found)
    ]
    done = run("filter", write(*rows), "-l", "it", "--redetect", "-o", "new.jsonl", "--json")
    assert seeds("new.jsonl") == [0]
    assert json.loads(done.out)["removed"] == {"wrong_language": 2, "response_wrong_language": 1}
    assert json.loads(run("filter", FILE, "-l", "en", "--json").out)["removed"] == {"other_language": 4}
    assert json.loads(run("filter", FILE, "--redetect", "--json").out)["kept"] == 1  # held to what each one names


SPOILED = {
    "wrong_language": (languages.load("en").exemplars[0].instruction, "Con farina e acqua."),
    "not_a_user": ("Certo! Ecco alcuni consigli per dormire meglio.", "Va bene."),
    "run_on": ("Come si fa il pane in casa?\nassistant\nCon farina e acqua.", "Va bene."),
    "invented_words": ("Il comprensalità della strunta e un arginozzo che trillaveva il forbinesto?", "Va bene."),
    "response_echo": ("Come si fa il pane in casa senza forno?", "Come si fa il pane in casa senza forno?"),
    "response_run_on": ("Come si pulisce il forno?", "Con aceto.\n\n### Human: E il frigorifero?"),
    "response_repetition": ("Quanto dura la notte?", "Non lo so davvero. " * 30),
    "response_control_characters": ("Come si saluta in montagna?", "Con \x1b[2J la mano."),
    "response_wrong_language": ("Come si impara a nuotare?", languages.load("en").exemplars[1].response),
    "no_response": ("Che cosa c'è stasera?", ""),
}


@pytest.mark.parametrize("of_others", [False, True])
def test_rescreen_judges_as_generate_does(run: Runner, of_others: bool) -> None:
    """Records of this tool and another's: each reason that a file can show, and what is right stays as it stands."""
    pairs = [*SPOILED.values(), *languages.load("it").exemplars, languages.load("it").exemplars[0]]
    if of_others:
        turns = [[{"from": "human", "value": asked}, {"from": "gpt", "value": said}] for asked, said in pairs]
        write(*({"conversations": turn, "language": "Italian", "n": n} for n, turn in enumerate(turns)))
    else:
        rows = [record(seed=n, text=asked, language="it").to_dict() for n, (asked, _) in enumerate(pairs)]
        for row, (_, said) in zip(rows, pairs, strict=True):
            row["messages"][1]["content"] = said
        write(*rows)
    done = run("filter", FILE, "--rescreen", "-o", "new.jsonl", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["removed"] == {**dict.fromkeys(SPOILED, 1), "duplicate": 1}
    assert told["kept"] == len(languages.load("it").exemplars)
    assert FILE.read_bytes().splitlines()[len(SPOILED) : -1] == Path("new.jsonl").read_bytes().splitlines()
    told = json.loads(run("filter", FILE, "--rescreen", "-l", "de", "--json").out)
    assert told["removed"]["wrong_language"] > len(pairs) / 2


def test_topics_are_chosen_and_rescreened_by_their_own_rules(run: Runner) -> None:
    rows = [
        record(seed=n, text="Traduci in inglese: il gatto dorme sul tetto.", language="it").to_dict() for n in (1, 2)
    ]
    for row, topic in zip(rows, ("translation", "everyday"), strict=True):
        row["topic"], row["messages"][1]["content"] = (
            topic,
            "The cat sleeps on the roof of the house, as it always does.",
        )
        row["messages"][0]["content"] = f"Traduci {topic}: il gatto dorme sul tetto della casa vicina."
    write(*rows)
    told = json.loads(run("filter", FILE, "--rescreen", "--json").out)
    assert (told["kept"], told["removed"]) == (1, {"response_wrong_language": 1})
    told = json.loads(run("filter", FILE, "--topic", "maths,everyday", "--json").out)
    assert (told["kept"], told["removed"]) == (1, {"other_topic": 1})


def test_rescreen_tells_what_it_cannot_judge(run: Runner) -> None:
    basque = languages.load("eu").exemplars[0]
    asked = [("eu", basque), ("xx", basque), ("", basque), ("it", ("Che ore sono?", "12:30"))]
    write(*({"instruction": one[0], "output": one[1], "language": code} for code, one in asked))
    done = run("filter", FILE, "--rescreen")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "Would keep 2 of 4 records, and remove 2 (50 %).",
        "1  unknown_language  names a language that this tool has no data for (-l names another)",
        "1  no_language       names no language (-l with --redetect or --rescreen reads the text)",
    ]
    assert "What could not be judged, and passed: the language of 1 record, the words of 2 records." in done.err
    told = json.loads(run("filter", FILE, "--rescreen", "-l", "eu,it", "--json").out)
    assert (told["kept"], told["removed"]) == (2, {"duplicate": 2})
    assert told["unknown"] == {"language": 1, "words": 4}
    check_error(run("filter", FILE, "--rescreen", "-l", "xx"), 2, "'xx'")


def test_dedup_keeps_the_first_and_shows_pairs(run: Runner, corpus: Path) -> None:
    done = run("dedup", corpus, "--show", "-o", "new.jsonl")
    assert seeds("new.jsonl") == [0, 1, 4]
    assert f"  kept     line 1  {TEXTS[0]}" in done.out
    assert f"  removed  line 3  {TEXTS[2]}" in done.out
    assert "1.00 duplicate\n  kept     line 2  Come si fa il pane?\n  removed  line 4  COME SI FA IL PANE" in done.out
    assert "Kept 3 of 5 records, removed 2 (40 %)." in done.out
    told = json.loads(run("dedup", corpus, "--exact", "--show", "--json").out)
    assert told["removed"] == {"duplicate": 1}
    assert told["pairs"] == [
        {
            "similarity": 1.0,
            "kept_line": 2,
            "removed_line": 4,
            "reason": "duplicate",
            "kept": TEXTS[1],
            "removed": TEXTS[3],
        }
    ]


@pytest.mark.parametrize("tool", OF_OTHERS)
def test_records_of_other_tools(run: Runner, tool: str) -> None:
    row = OF_OTHERS[tool]
    write(row, row, {**row, "difficulty": "hard"})
    assert run("dedup", FILE, "-o", "new.jsonl").code == 0
    assert records("new.jsonl") == [row]
    told = json.loads(run("filter", FILE, "--max-words", 2, "--tag", "difficulty=easy,hard", "--json").out)
    assert told["removed"] == {"untagged": 2}


def test_a_bad_answer_takes_the_place_of_no_good_one_and_is_told(run: Runner) -> None:
    bad, good = ({"prompt": "Chi sei?", "completion": f"{label}.", "label": label} for label in (False, True))
    done = run("dedup", write(bad, good, good, bad), "-o", "new.jsonl")
    assert records("new.jsonl") == [bad, good, bad]
    assert "note: Compared with none and kept: 2 records labelled as an answer that is not wanted." in done.err
    assert "not wanted  2 (50 %), by their label" in run("stats", FILE).out
    assert "Labelled as answers that are not wanted: 2 records." in run("push", FILE, "maria/x", "--dry-run").out
    assert json.loads(run("filter", FILE, "--min-words", 1, "--json").out)["removed"] == {"labelled_bad": 2}


def test_drop_takes_a_list_of_ids_with_a_byte_order_mark(run: Runner, corpus: Path) -> None:
    Path("ids.txt").write_text(f"{records(corpus)[0]['id']}\n", "utf-8-sig")
    assert run("drop", corpus, "--ids-from", "ids.txt", "-o", "new.jsonl").code == 0
    assert seeds("new.jsonl") == [1, 2, 3, 4]


def test_drop_by_ids_and_lines(run: Runner, corpus: Path) -> None:
    first, *_, last = records(corpus)
    Path("ids.txt").write_text(f"{last['id']}\n\n")
    done = run("drop", corpus, first["id"], "--ids-from", "ids.txt", "--line", "2-3,3", "-o", "new.jsonl")
    assert seeds("new.jsonl") == [3]
    assert "Kept 1 of 5 records, removed 4 (80 %)." in done.out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nosuch", "-o", "new.jsonl"], ["no record with the id 'nosuch'"]),
        (["nosuch", "other", "--in-place"], ["'nosuch', nor with 1 more of those given"]),
        (["--line", "4-7", "--in-place"], ["no record on line 6"]),
        (["--line", "999999999999", "--in-place"], ["no record on line 999999999999"]),
        (["--line", "0"], ["--line '0' is no list"]),
        (["--line", "3-2"], ["--line '3-2' is no list"]),
        (["--line", "x"], ["--line 3,7-9"]),
        ([], ["Nothing says which records"]),
        (["--ids-from", "none.txt"], ["none.txt cannot be read"]),
    ],
)
def test_drop_of_what_is_not_there_writes_nothing(run: Runner, corpus: Path, args: list[str], words: list[str]) -> None:
    before = corpus.read_bytes()
    check_error(run("drop", corpus, *args), 2, *words)
    assert [path.name for path in Path().iterdir()] == ["it.jsonl"]
    assert corpus.read_bytes() == before


COMMANDS = {"filter": ["--min-words", "1"], "dedup": [], "drop": ["--line", "1"]}


def test_a_packed_file_gives_lines_and_is_not_replaced(run: Runner) -> None:
    FILE.write_bytes(gzip.compress(b'[{"instruction": "Chi sei?", "output": "Io."}]'))
    check_error(run("filter", FILE, "--min-words", 1, "--in-place"), 1, "gzip", "gunzip")
    assert run("filter", FILE, "--min-words", 1, "-o", "new.jsonl", "-q").code == 0
    assert Path("new.jsonl").read_bytes() == b'{"instruction": "Chi sei?", "output": "Io."}\n'


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, 2, ["it.jsonl cannot be read", "check its name"]),
        (b"", 1, ["is empty"]),
        (b"a,b\n1,2\n", 1, ["CSV"]),
        (b'{"a": 1}\n', 1, ["line 1 has no instruction"]),
        (b'{"instruction": "Chi sei?"}\n{"instruction": "\xff"}\n', 1, ["Line 2", "UTF-8", "--skip-bad"]),
        (b'{"instruction": "Chi sei?"}\nno\n{"instruction": "Chi sei?"}\n', 1, ["Line 2", "--skip-bad"]),
    ],
)
def test_bad_files(run: Runner, command: str, content: bytes | None, code: int, words: list[str]) -> None:
    if content is not None:
        FILE.write_bytes(content)
    for where in (["-o", "new.jsonl"], ["--in-place"]):
        check_error(run(command, FILE, *COMMANDS[command], *where), code, *words)
    assert [path.name for path in Path().iterdir()] == ([] if content is None else ["it.jsonl"])
    if content is not None:
        assert FILE.read_bytes() == content


@pytest.mark.parametrize("command", COMMANDS)
def test_bad_lines_are_removed_on_demand_and_told(run: Runner, command: str) -> None:
    good = [{"instruction": f"Quale numero è {n}?", "output": "Boh."} for n in range(3)]
    write(good[0], b"no\n", good[1], good[2], b'{"instruction": "torn')
    done = run(command, FILE, *COMMANDS[command], "-o", "new.jsonl", "--skip-bad", "--json")
    assert json.loads(done.out)["removed"]["bad_line"] == 2
    assert "Passed over line 2 of it.jsonl, which is not valid JSON" in done.err
    assert records("new.jsonl") == good[command == "drop" :]


@pytest.mark.parametrize("command", COMMANDS)
def test_outputs_that_cannot_be(run: Runner, corpus: Path, command: str) -> None:
    args = [command, corpus, *COMMANDS[command]]
    Path("there.jsonl").write_bytes(b"mine\n")
    check_error(run(*args, "-o", "there.jsonl"), 2, "there already", "--force")
    assert Path("there.jsonl").read_bytes() == b"mine\n"
    assert run(*args, "-o", "there.jsonl", "--force", "-q").out == ""
    assert records("there.jsonl")
    check_error(run(*args, "-o", corpus), 2, "the input itself", "--in-place")
    check_error(run(*args, "-o", "no/new.jsonl"), 2, "mkdir -p no")
    check_error(run(*args, "-o", "no dir/new.jsonl"), 2, "mkdir -p 'no dir'")
    check_error(run(*args, "-o", "x.jsonl", "--in-place"), 2, "leave out one")
    check_error(run(command, "-", *COMMANDS[command], "--in-place"), 2, "Stdin or a pipe cannot be changed")


def test_a_corpus_that_is_written_to_is_not_changed(run: Runner, corpus: Path) -> None:
    with Corpus.open(corpus):
        check_error(run("dedup", corpus, "--in-place"), 1, "writes to", "wait")
    assert seeds() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], ["Nothing says which records to keep"]),
        (["--match", "("], ["no regular expression"]),
        (["--tag", "quality"], ["--tag quality=good,excellent"]),
        (["--tag", "qualty=good", "--in-place"], ["no tag 'qualty'", "quality, difficulty, category, safety"]),
        (["--tag", "Quality=goood", "--in-place"], ["record has the tag quality=goood", "good, excellent"]),
        (["--steering", "sideways"], ["sideways"]),
        (["--longest", "3", "-"], ["stdin or a pipe can be read once"]),
        (["-l", "itallian", "--redetect"], ["'itallian'", "it (Italian)"]),
    ],
)
def test_wrong_options_of_filter(run: Runner, corpus: Path, args: list[str], words: list[str]) -> None:
    before = corpus.read_bytes()
    check_error(run("filter", *(args if "-" in args else [corpus, *args])), 2, *words)
    assert corpus.read_bytes() == before


def test_a_variable_is_one_pattern_and_a_tag_may_have_spaces(run: Runner) -> None:
    rows = [{"instruction": f"Chi {n}?", "output": text} for n, text in enumerate(["I’m sorry", "a sorry state"])]
    write(*({**row, "tags": {"category": "Role playing", "safety": "safe"}} for row in rows))
    done = run("filter", FILE, "--json", MAGPIE_OLLAMA_NOT_MATCH="I'm sorry")
    assert json.loads(done.out)["removed"] == {"match": 1}
    done = run("filter", FILE, "--json", MAGPIE_OLLAMA_TAG="category=role playing  safety=safe")
    assert json.loads(done.out)["kept"] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX timers")
def test_a_pattern_without_end_writes_nothing(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magpie_ollama.curation.patterns.SECONDS", 1)
    write({"instruction": "Chi sei?", "output": "Boh."}, {"instruction": "Chi sei?", "output": "a" * 50})
    check_error(run("filter", FILE, "--match", "(a+)+b|Boh", "--in-place"), 2, "'(a+)+b|Boh'", "line 2", "--line 2")
    assert [path.name for path in Path().iterdir()] == ["it.jsonl"]


def test_filter_takes_another_tools_words_where_a_record_has_them(run: Runner) -> None:
    row = OF_OTHERS["magpie-ollama-datagen"]
    write({**row, "llama_guard_2": "S5"}, {**row, "llama_guard_2": "safe"})
    assert json.loads(run("filter", FILE, "--tag", "SAFETY=s5", "--json").out)["kept"] == 1


posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes and permissions")


@posix
@pytest.mark.parametrize("args", [["--longest", "3", "-o", "new.jsonl"], ["-l", "it", "--in-place"]])
def test_a_pipe_is_refused_where_stdin_is(run: Runner, args: list[str]) -> None:
    os.mkfifo("pipe")
    check_error(run("filter", "pipe", *args), 2, "a pipe")
    assert [path.name for path in Path().iterdir()] == ["pipe"]


def test_from_stdin_to_stdout(corpus: Path) -> None:
    command = [sys.executable, "-m", "magpie_ollama", "filter", "-", "--min-words", "4", "-o", "-", "--json"]
    done = subprocess.run(command, input=corpus.read_bytes(), capture_output=True, check=True)
    assert done.stdout == b"".join(corpus.read_bytes().splitlines(keepends=True)[:4])
    assert json.loads(done.stderr)["removed"] == {"too_short": 1}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_reader_that_has_had_enough() -> None:
    row = {"instruction": "Chi sei?", "output": "x" * 200}
    write(*[row] * 20_000)
    reading, writing = os.pipe()
    started = process("filter", FILE, "--min-words", "1", "-o", "-", stdout=writing)
    os.close(writing)
    os.read(reading, 10)
    os.close(reading)
    assert started.communicate()[1] == ""
    assert started.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors by their paths")
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_stdout_by_any_name_is_stdout(name: str) -> None:
    source = write({"instruction": "Come si fa il pane?", "output": "Così."})
    before = Path("/dev/stdout").is_symlink()
    with Path("out").open("wb") as out:
        out.write(b"before\n")
        out.flush()
        done = process("filter", FILE, "--min-words", 2, "-o", name, "--force", stdout=out)
        err = done.communicate()[1]
    assert done.returncode == 0, err
    assert Path("out").read_bytes() == b"before\n" + source.read_bytes()
    assert Path("/dev/stdout").is_symlink() == before
