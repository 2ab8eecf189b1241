"""``export --for`` and ``check``: each file as its trainer reads it, and as ``datasets`` loads it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands.support import Runner, check_error, records
from commands.test_export import LOAD

TRAINERS = ("trl", "axolotl", "llama-factory", "unsloth")
KINDS = ("sft", "dpo", "kto", "prompt")
EVERY = [(trainer, kind) for trainer in TRAINERS for kind in KINDS]


def u(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def a(text: str, **more: str) -> dict[str, str]:
    return {"role": "assistant", "content": text, **more}


def write(path: str, *rows: Any) -> Path:
    Path(path).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return Path(path)


ANSWERS = [f"È la risposta numero {n}, {'e basta' if n % 3 else 'che va un poco per le lunghe'}." for n in range(24)]
WRONG = [
    f"This is reply number {n}, {'no more' if (n + 1) % 3 else 'and it goes on and on so far'}." for n in range(24)
]
DPO = [{"prompt": [u(f"Come {n}?")], "chosen": [a(ANSWERS[n])], "rejected": [a(WRONG[n])]} for n in range(24)]
KTO = [
    {"prompt": row["prompt"], "completion": row["chosen" if n % 3 else "rejected"], "label": bool(n % 3)}
    for n, row in enumerate(DPO)
]


def conversational(row: dict[str, Any]) -> bool:
    """TRL's ``is_conversational``, told by its rules: a supported key holds a list whose first has role and content."""
    value = next(row[key] for key in ("messages", "prompt", "chosen", "completion") if key in row)
    return isinstance(value, list) and {"role", "content"} <= value[0].keys()


TRL_KEYS = (
    {"messages"},
    {"prompt"},
    {"prompt", "completion"},
    {"prompt", "chosen", "rejected"},
    {"prompt", "completion", "label"},
)
"""What TRL's ``apply_chat_template`` takes; it raises for anything else."""


def factory(row: dict[str, Any], info: dict[str, Any]) -> tuple[int, list[str]]:
    """LLaMA-Factory's converters, told by their rules: turns before the answer, and the answers; nothing where the row
    is skipped."""
    columns = info["columns"]
    if info["formatting"] == "alpaca":
        assert isinstance(row[columns["prompt"]], str)
        return 1 + 2 * len(row[columns["history"]]), []
    turns = row[columns["messages"]]
    turns = turns[1:] if turns[0]["from"] == "system" else turns
    in_order = all(turn["from"] == ("human", "gpt")[at % 2] for at, turn in enumerate(turns))
    if not in_order or len(turns) % 2 != bool(info.get("ranking")):
        return 0, []
    if "kto_tag" in columns:
        assert isinstance(row[columns["kto_tag"]], bool)
    if info.get("ranking"):
        both = [row[columns["chosen"]], row[columns["rejected"]]]
        return (len(turns), [one["value"] for one in both]) if all(isinstance(one, dict) for one in both) else (0, [])
    return len(turns) - 1, [turns[-1]["value"]]


def reads(trainer: str, kind: str, row: dict[str, Any], folder: Path) -> bool:
    if trainer == "llama-factory":
        (info,) = json.loads((folder / "dataset_info.json").read_text("utf-8")).values()
        assert info["file_name"] == "out.jsonl"
        asked, answers = factory(row, info)
        return bool(asked) and len(answers) == {"sft": 1, "kto": 1, "dpo": 2, "prompt": 0}[kind]
    if (trainer, kind) == ("axolotl", "kto"):
        return all(isinstance(row[key], str) for key in ("prompt", "completion", "system"))
    if (trainer, kind) == ("axolotl", "dpo"):
        return row["prompt"][-1]["role"] == "user" and {row[one]["role"] for one in ("chosen", "rejected")} == {
            "assistant"
        }
    return conversational(row) and set(row) in TRL_KEYS


def test_every_file_is_read_by_its_trainer_and_by_datasets(run: Runner, own_folder: Path) -> None:
    write("dpo.jsonl", *DPO)
    write("kto.jsonl", *KTO)
    files = []
    for trainer, kind in EVERY:
        folder = own_folder / f"{trainer}-{kind}"
        folder.mkdir()
        path = folder / "out.jsonl"
        source = "kto.jsonl" if kind == "kto" else "dpo.jsonl"
        assert run("export", source, "--for", trainer, "--kind", kind, "-o", path).code == 0
        checked = run("check", path, "--for", trainer, "--json")
        told = json.loads(checked.out)
        assert (checked.code, told["kind"], told["rows"], told["errors"], told["warnings"]) == (0, kind, 24, {}, {})
        files += ["json", str(path)]
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, str(own_folder / "cache"), *files], capture_output=True, text=True, check=True
    )
    for (trainer, kind), line in zip(EVERY, loaded.stdout.splitlines(), strict=True):
        rows = json.loads(line)["rows"]
        assert len(rows) == 24
        assert all(reads(trainer, kind, row, own_folder / f"{trainer}-{kind}") for row in rows), (trainer, kind)
        if kind == "kto":
            labels = [row["kto_tag" if trainer == "llama-factory" else "label"] for row in rows]
            assert labels == [row["label"] for row in KTO]
        if kind == "prompt":
            assert not any(answer in line for answer in (*ANSWERS, *WRONG))


@pytest.mark.parametrize(("trainer", "kind"), EVERY)
def test_what_lies_beside_it(run: Runner, own_folder: Path, trainer: str, kind: str) -> None:
    source = write("in.jsonl", *(KTO if kind == "kto" else DPO))
    done = run("export", source, "--for", trainer, "--kind", kind, "--split", "0.7", "-o", "it è.jsonl", "--json")
    assert done.code == 0, done.err
    beside = [Path(path) for path in json.loads(done.out)["beside"]]
    texts = {path.name: path.read_text("utf-8") for path in beside}
    for name, text in texts.items():
        assert "$" not in text, "nothing is left to be filled in"
        if name.endswith(".py"):
            ast.parse(text)
            assert "\n\n\n\n" not in text
        if name.endswith(".yaml"):
            keys = [line.partition(":")[0] for line in text.splitlines() if line[0] not in " #-"]
            assert len(keys) == len({*keys})
    together = "\n".join(texts.values())
    assert "it è-train.jsonl" in together and "it è-test.jsonl" in together
    if kind == "kto":
        true, false = (sum(row["label"] is label for row in KTO) for label in (True, False))
        assert f"{true / false}" in together, "the weights make up for the difference"


def test_the_script_is_short(run: Runner, own_folder: Path) -> None:
    write("in.jsonl", *DPO)
    assert run("export", "in.jsonl", "--for", "trl", "--kind", "dpo", "-o", "o.jsonl").code == 0
    assert len(Path("o.py").read_text("utf-8").splitlines()) <= 15


def test_what_other_files_stand_in_dataset_info_stays(run: Runner, own_folder: Path) -> None:
    write("in.jsonl", *DPO)
    Path("dataset_info.json").write_text('{"mine": {"file_name": "mine.json"}}')
    for kind in ("sft", "dpo"):
        assert run("export", "in.jsonl", "--for", "llama-factory", "--kind", kind).code == 0
    assert [*json.loads(Path("dataset_info.json").read_text())] == [
        "mine",
        "in-llama-factory-sft",
        "in-llama-factory-dpo",
    ]
    Path("dataset_info.json").write_text("[]")
    done = run("export", "in.jsonl", "--for", "llama-factory", "-o", "again.jsonl")
    check_error(done, 2, "dataset_info.json cannot be added to", "another folder")
    assert not Path("again.jsonl").exists()


def test_several_turns_and_system_messages_where_there_is_a_place(run: Runner, own_folder: Path) -> None:
    system = {"role": "system", "content": "Sii breve."}
    long = [system, u("Chi?"), a("Io."), u("E poi?")]
    row = {"prompt": long, "completion": [a("Basta.")], "label": True}
    write("in.jsonl", row, {**row, "prompt": [system, u("Chi?")], "label": False})
    assert run("export", "in.jsonl", "--for", "trl", "--kind", "kto", "-o", "t.jsonl").code == 0
    assert records("t.jsonl")[0]["prompt"] == long
    done = run("export", "in.jsonl", "--for", "axolotl", "--kind", "kto", "-o", "x.jsonl")
    assert "Left out 1 record of several turns" in done.err
    assert records("x.jsonl") == [{"prompt": "Chi?", "system": "Sii breve.", "completion": "Basta.", "label": False}]
    assert run("export", "in.jsonl", "--for", "llama-factory", "--kind", "prompt", "-o", "l.jsonl").code == 0
    asked = {"instruction": "E poi?", "system": "Sii breve.", "history": [["Chi?", "Io."]]}
    assert records("l.jsonl")[0] == asked


def test_reasoning_goes_where_each_trainer_reads_it(run: Runner, own_folder: Path) -> None:
    thought = {**DPO[0], "chosen": [a("Così.", reasoning_content="Allora.")]}
    write("in.jsonl", *DPO[1:9], thought)
    for trainer, kind in EVERY:
        if kind in ("kto", "prompt"):
            continue
        done = run("export", "in.jsonl", "--for", trainer, "--kind", kind, "-o", f"{trainer}-{kind}.jsonl")
        text = Path(f"{trainer}-{kind}.jsonl").read_text("utf-8")
        in_text = trainer == "llama-factory" or (trainer, kind) == ("axolotl", "dpo")
        assert ("<think>" in text, "reasoning_content" in text) == (in_text, not in_text)
        assert "The reasoning of 1 record is in" in done.err
        assert run("check", f"{trainer}-{kind}.jsonl", "--for", trainer).code == 0
    assert run("export", "in.jsonl", "--for", "trl", "--reasoning", "field", "-o", "f.jsonl").code == 0
    done = run("export", "in.jsonl", "--for", "trl", "--reasoning", "drop", "-o", "d.jsonl")
    assert "The reasoning of 1 record is left out" in done.err
    check_error(
        run("export", "in.jsonl", "--for", "axolotl", "--kind", "dpo", "--reasoning", "key"), 2, "has no key", "inline"
    )


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--for", "trl", "--to", "alpaca"), 2, ("both say which form",)),
        (("--kind", "dpo"), 2, ("--for trl",)),
        (
            ("--for", "trl", "--kind", "kto", "--columns", "instruction=a,response=b"),
            2,
            ("one answer", "completion and label"),
        ),
        (("--for", "trl", "--kind", "dpo"), 1, ("a rejected answer", "derive in.jsonl --to dpo")),
        (("--for", "trl", "--kind", "kto"), 1, ("a label", "derive in.jsonl --to kto")),
    ],
)
def test_what_is_no_export(
    run: Runner, own_folder: Path, args: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    write("in.jsonl", {"messages": [u("Come?"), a("Così.")]})
    check_error(run("export", "in.jsonl", *args), code, *words)
    assert [path.name for path in own_folder.glob("in*")] == ["in.jsonl"]


def test_pairs_that_are_none_are_left_out_and_told(run: Runner, own_folder: Path) -> None:
    write("in.jsonl", *DPO[:2], {**DPO[2], "rejected": DPO[2]["chosen"]}, {**DPO[3], "rejected": [a("")]})
    done = run("export", "in.jsonl", "--for", "trl", "--kind", "dpo", "-o", "o.jsonl")
    assert "Left out 1 record whose chosen and rejected answers are the same" in done.err
    assert "Left out 1 record without a response" in done.err
    assert records("o.jsonl") == DPO[:2]
    done = run("export", "in.jsonl", "--for", "trl", "--kind", "kto", "-o", "k.jsonl")
    assert [(row["completion"], row["label"]) for row in records("k.jsonl")][:2] == [
        (DPO[0]["chosen"], True),
        (DPO[0]["rejected"], False),
    ]


def test_a_false_label_is_no_example(run: Runner, own_folder: Path) -> None:
    write("in.jsonl", *KTO)
    assert run("export", "in.jsonl", "--for", "trl", "-o", "o.jsonl").code == 0
    assert [row["completion"] for row in records("o.jsonl")] == [row["completion"] for row in KTO if row["label"]]


def test_check_says_what_is_wrong_and_where(run: Runner, own_folder: Path) -> None:
    write("train.jsonl", *DPO[:9], {**DPO[9], "rejected": DPO[9]["chosen"]})
    write("test.jsonl", DPO[3])
    done = run("check", "train.jsonl", "test.jsonl", "--for", "trl")
    assert done.code == 1
    assert "11 rows as TRL reads them (dpo): it would not train as it stands." in done.out
    assert "  same  " in done.out and "chosen and rejected are the same (train.jsonl:10)" in done.out
    assert "(test.jsonl:1)" in done.out
    assert "effect size" in done.out
    assert run("check", "train.jsonl", "--for", "llama-factory", "-q").code == 1
    Path("test.jsonl").write_text('{"x": 1}\n')
    assert json.loads(run("check", "test.jsonl", "--for", "trl", "--json").out)["errors"] == {"unreadable": 1}


def test_warnings_end_well_unless_strict(run: Runner, own_folder: Path) -> None:
    write("in.jsonl", *DPO)
    args = ("check", "in.jsonl", "--for", "trl", "--max-tokens", 5)
    assert run(*args).code == 0
    assert "it trains" in run(*args).out
    assert run(*args, "--strict").code == 1


def test_against_a_benchmark(run: Runner, own_folder: Path) -> None:
    write("in.jsonl", *DPO, {**DPO[0], "prompt": [u("Q: a train leaves Rome at noon and goes very fast. When?")]})
    write("gsm.jsonl", {"question": "A train leaves Rome at noon and goes very slowly.", "answer": "#### 3"})
    Path("plain.txt").write_text("A train leaves Rome at noon and goes very slowly.\n")
    for benchmark in ("gsm.jsonl", "plain.txt"):
        done = run("check", "in.jsonl", "--for", "trl", "--against", benchmark, "--json")
        assert done.code == 1
        assert json.loads(done.out)["where"]["benchmark"] == ["in.jsonl:25"]
    write("short.jsonl", {"question": "Why?", "answer": "So."})
    check_error(run("check", "in.jsonl", "--for", "trl", "--against", "short.jsonl"), 2, "no text of 8 words")
    check_error(run("check", "in.jsonl", "--for", "trl", "--against", "none.jsonl"), 2, "cannot be read")
    check_error(run("check", "none.jsonl", "--for", "trl"), 2, "cannot be read")
    check_error(run("check", "in.jsonl", "in.jsonl", "--for", "trl"), 2, "named twice")
