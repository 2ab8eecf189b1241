"""``export`` from the file to what ``datasets`` loads."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from commands.support import Runner, check_error, process, records

from magpie_ollama.errors import extra

MESSAGE = {"role": str, "content": str}

SCHEMAS: dict[str, Any] = {
    # TRL's documentation, "Dataset formats and types": conversational language modelling and prompt-completion.
    "messages": {"messages": [MESSAGE]},
    "prompt-completion": {"prompt": [MESSAGE], "completion": [MESSAGE]},
    "alpaca": {"instruction": str, "input": str, "output": str},
    "sharegpt": {"conversations": [{"from": str, "value": str}]},
    "parquet": {"messages": [MESSAGE]},
}


def write(path: Path, count: int) -> Path:
    lines = []
    for number in range(count):
        turns = [{"role": "user", "content": f"Domanda {number}?"}, {"role": "assistant", "content": f"Sì, {number}."}]
        if number % 3 == 0:
            turns.insert(0, {"role": "system", "content": "Sii breve."})
        lines.append(json.dumps({"id": f"{number}", "messages": turns, "language": "it"}))
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def has_schema(value: Any, schema: Any) -> bool:
    if isinstance(schema, dict):
        return (
            isinstance(value, dict)
            and value.keys() == schema.keys()
            and all(has_schema(value[key], schema[key]) for key in schema)
        )
    if isinstance(schema, list):
        return isinstance(value, list) and bool(value) and all(has_schema(item, schema[0]) for item in value)
    return isinstance(value, schema)


LOAD = """
import json, sys, datasets
datasets.disable_progress_bars()
for kind, path in zip(sys.argv[2::2], sys.argv[3::2]):
    found = datasets.load_dataset(kind, data_files=path, split="train", cache_dir=sys.argv[1])
    print(json.dumps({"columns": found.column_names, "rows": list(found)}))
"""


def test_datasets_loads_every_form_with_the_documented_schema(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl", 12)
    files = []
    for form in SCHEMAS:
        assert run("export", source, "--to", form).code == 0
        files += ["parquet", "it.parquet"] if form == "parquet" else ["json", f"it-{form}.jsonl"]
    # In a process of its own: what it warns of is its own affair.
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, str(own_folder / "cache"), *files], capture_output=True, text=True, check=True
    )
    for (form, schema), line in zip(SCHEMAS.items(), loaded.stdout.splitlines(), strict=True):
        found = json.loads(line)
        assert set(found["columns"]) == schema.keys(), form
        assert len(found["rows"]) == 12
        assert all(has_schema(row, schema) for row in found["rows"]), form
        if form == "prompt-completion":
            assert [turn["role"] for turn in found["rows"][0]["prompt"]] == ["system", "user"]
            assert [turn["role"] for turn in found["rows"][0]["completion"]] == ["assistant"]
        if form in ("messages", "parquet"):
            assert found["rows"][1]["messages"] == json.loads(source.read_text("utf-8").splitlines()[1])["messages"]


def test_a_split_makes_files_that_share_nothing_and_lose_nothing(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl", 200)
    done = run("export", source, "--split", "train=0.8,test=0.2", "-o", "out.jsonl", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    train, test = records("out-train.jsonl"), records("out-test.jsonl")
    assert [file["records"] for file in report["files"]] == [len(train), len(test)]
    asked = [
        {turn["content"] for row in side for turn in row["messages"] if turn["role"] == "user"}
        for side in (train, test)
    ]
    assert not asked[0] & asked[1]
    assert len(asked[0] | asked[1]) == 200
    lines = source.read_text("utf-8").splitlines()
    source.write_text("\n".join([*reversed(lines), lines[0]]) + "\n", "utf-8")
    assert run("export", source, "--split", "0.8", "-o", "again.jsonl").code == 0
    assert {json.dumps(row) for row in records("again-test.jsonl")} == {json.dumps(row) for row in test}


def test_it_tells_what_a_form_has_no_place_for(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl", 6)
    with source.open("a") as file:
        file.write('{"messages": [{"role": "user", "content": "Chi?"}]}\n')
    done = run("export", source, "--to", "alpaca", "-o", "-")
    assert [json.loads(line)["instruction"] for line in done.out.splitlines()] == [f"Domanda {n}?" for n in range(6)]
    assert "Left out 1 record without a response" in done.err
    assert "2 records lost a part" in done.err
    assert "further turns" in done.err
    assert "further turns" not in run("export", source, "-o", "-").err


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("missing.jsonl",), 2, ("cannot be read",)),
        (("it.jsonl", "-o", "it.jsonl", "--force"), 2, ("the input itself",)),
        (("it.jsonl", "-o", "there.jsonl"), 2, ("there already", "--force")),
        (("it.jsonl", "-o", "none/a.jsonl"), 2, ("does not exist", "mkdir -p none")),
        (("it.jsonl", "-o", "-", "--split", "0.5"), 2, ("several files",)),
        (("it.jsonl", "-o", ".", "--split", "0.5"), 2, ("is a folder", "-o new.jsonl")),
        ((".",), 2, ("cannot be read",)),
        (("it.jsonl", "-o", "a.jsonl", "--split", "0.999999"), 2, ("No record falls on the side 'test'",)),
        (("mute.jsonl", "-o", "a.parquet", "--to", "parquet"), 1, ("No record of mute.jsonl has a response",)),
        (("bad.jsonl", "-o", "a.jsonl"), 1, ("Line 2 of bad.jsonl", "--skip-bad")),
        (("bad.jsonl", "-o", "a.parquet", "--to", "parquet"), 1, ("Line 2 of bad.jsonl",)),
    ],
)
def test_it_refuses_and_leaves_nothing(
    run: Runner, own_folder: Path, args: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    write(own_folder / "it.jsonl", 3)
    Path("there.jsonl").write_text("old\n")
    Path("mute.jsonl").write_text('{"prompt": "x", "completion": ""}\n')
    Path("bad.jsonl").write_text(Path("it.jsonl").read_text("utf-8").split("\n")[0] + "\n{\n{}\n")
    before = {path.name: path.read_bytes() for path in own_folder.iterdir()}
    done = run("export", *args)
    check_error(done, code, *words)
    assert {path.name: path.read_bytes() for path in own_folder.iterdir()} == before


def test_bad_lines_are_passed_over_and_told(run: Runner, own_folder: Path) -> None:
    Path("bad.jsonl").write_text('{"prompt": "x", "completion": "y"}\nnot json\n{"prompt": "z", "completion": "w"}\n')
    done = run("export", "bad.jsonl", "--skip-bad", "--to", "alpaca")
    assert (done.code, len(records("bad-alpaca.jsonl"))) == (0, 2)
    assert "line 2" in done.err


def test_a_reader_that_has_enough_is_no_failure(own_folder: Path) -> None:
    write(own_folder / "it.jsonl", 12_000)
    started = process("export", "it.jsonl", "-o", "-")
    assert started.stdout is not None and started.stderr is not None
    started.stdout.readline()
    started.stdout.close()
    assert started.stderr.read() == ""
    assert started.wait() in (0, 1), "1 is what click makes of it"
    started.stderr.close()


def test_parquet_without_pyarrow_says_what_to_install(
    run: Runner, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(own_folder / "it.jsonl", 3)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    check_error(run("export", "it.jsonl", "--to", "parquet"), 2, extra("parquet"))


def test_answers_that_need_a_tool_are_told_as_such(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl", 2)
    turns = [{"role": "user", "content": "Che ore sono?"}, {"role": "assistant", "content": "", "tool_calls": [{}]}]
    with source.open("a") as file:
        file.write(json.dumps({"messages": turns}) + "\n")
    done = run("export", source, "-o", "-")
    assert len(done.out.splitlines()) == 2
    assert "note: Left out 1 record whose first answer needs a tool, which no form can hold.\n" in done.err
    assert "without a response" not in done.err
    source.write_text(json.dumps({"messages": turns}) + "\n")
    check_error(run("export", source), 1, "No record of", "has a response that needs no tool")


def test_a_conversation_cut_at_an_image_is_told_as_such(run: Runner) -> None:
    said = ["Chi sei?", "Un modello.", [{"type": "image"}]]
    turns = [
        {"role": role, "content": content} for role, content in zip(("user", "assistant", "user"), said, strict=True)
    ]
    Path("it.jsonl").write_text(json.dumps({"messages": turns}), "utf-8")
    done = run("export", "it.jsonl", "-o", "-")
    assert json.loads(done.out) == {"messages": turns[:2]}
    assert "turns from one on that is no text, or a tool's," in done.err


ASKED, ANSWERED = {"role": "user", "content": "Chi?"}, {"role": "assistant", "content": "Io."}
THOUGHT = {"messages": [ASKED, ANSWERED], "reasoning": "Mah."}
MIXED = [*({**THOUGHT, "reasoning": ""} for _ in range(3)), THOUGHT]


def lay(*rows: Any, path: str = "it.jsonl") -> Path:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return Path(path)


def test_reasoning_is_kept_in_every_form_with_one_set_of_keys(run: Runner, own_folder: Path) -> None:
    cases: list[tuple[str, str, str]] = []
    files: list[str] = []
    for where, (order, rows) in product(("auto", "key", "inline", "drop"), (("late", MIXED), ("first", MIXED[::-1]))):
        source = lay(*rows, path=f"{order}-{where}.jsonl")
        for form in [form for form in SCHEMAS if where != "key" or form not in ("alpaca", "sharegpt")]:
            done = run("export", source, "--to", form, "--reasoning", where)
            assert done.code == 0, done.err
            assert "note: The reasoning of 1 record is " in done.err
            parquet = form == "parquet"
            files += ["parquet", f"{source.stem}.parquet"] if parquet else ["json", f"{source.stem}-{form}.jsonl"]
            cases.append((order, where, form))
    command = [sys.executable, "-c", LOAD, str(own_folder / "cache"), *files]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    for (order, where, form), line in zip(cases, loaded, strict=True):
        found = json.loads(line)["rows"]
        assert len(found) == 4, (order, where, form)
        key = form not in ("alpaca", "sharegpt") and where in ("auto", "key")
        schema: Any = SCHEMAS[form]
        if key:
            schema = {name: [{**MESSAGE, "reasoning_content": str}] for name in schema}
        assert all(has_schema(row, schema) for row in found), (order, where, form)
        text = json.dumps(found)
        inline = where == "inline" or (where == "auto" and not key)
        assert text.count("Mah.") == (where != "drop"), (order, where, form)
        assert ("<think>\\nMah.\\n</think>\\n\\nIo." in text) == inline, (order, where, form)


def test_reasoning_that_comes_late_in_a_stream_is_no_silent_loss(
    run: Runner, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = lay(*MIXED)
    done = run("export", source, "-o", "-")  # what was written to stdout cannot be taken back
    assert [len(json.loads(line)["messages"][0]) for line in done.out.splitlines()] == [3] * 4
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(source.read_bytes()))))
    check_error(run("export", "-", "-o", "new.jsonl"), 2, "A record has reasoning", "--reasoning key")
    assert not Path("new.jsonl").exists()


def test_what_is_left_out_is_counted_by_reason(run: Runner, own_folder: Path) -> None:
    pair = {"prompt": "Chi?", "completion": "Io."}
    wrong: list[dict[str, Any]] = [{"label": False}, {"completion": {"a": 1}}, {"prompt": " "}, {"completion": ""}]
    bad = [pair | one for one in wrong]
    source = lay(pair, *bad, {**pair, "completion": 4, "label": True})
    for form in SCHEMAS:
        done = run("export", source, "--to", form, "-o", "new", "--force", "--json")
        told = json.loads(done.out)
        assert told["files"][0]["records"] == 2
        assert told["left_out"] == dict.fromkeys(("labelled_bad", "no_text", "no_instruction", "no_response"), 1)
    done = run("export", source, "-o", "-")
    assert "note: Left out 1 record labelled as an answer that is not wanted." in done.err
    assert "note: Left out 1 record that cannot be read: completion is no text, but an object (1)." in done.err
    done = run("filter", source, "--max-words", "9", "-o", "-", "--json")
    assert json.loads(done.err)["removed"] == {"labelled_bad": 1}
    assert len(done.out.splitlines()) == 5
    check_error(run("export", lay(bad[0]), "-o", "none"), 1, "1 record labelled as an answer that is not wanted")


def test_columns_of_other_names(run: Runner, own_folder: Path) -> None:
    source = lay({"frage": "Wer?", "antwort": "Ich.", "prompt": "no"})
    done = run("export", source, "--columns", "instruction=frage,response=antwort", "--to", "alpaca", "-o", "-")
    assert json.loads(done.out) == {"instruction": "Wer?", "input": "", "output": "Ich."}
    check_error(run("export", source, "-o", "-"), 1, "--columns instruction=frage,response=antwort")
    check_error(run("export", source, "--columns", "frage", "-o", "-"), 2, "no NAME=COLUMN")
