"""What is known of a corpus' records goes with them to a new file: manifests, judgements, and what was done since."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from commands.support import Runner, check_error, records
from corpus.support import first
from fake_ollama import FakeOllama, Reply

from magpie_ollama.corpus import rewriting
from magpie_ollama.records import tags

TAGS = {"quality": "good", "difficulty": "easy", "category": "Math", "safety": "safe"}
NEW = Path("new.jsonl")


@pytest.fixture
def corpus(run: Runner) -> Path:
    with FakeOllama() as fake:
        assert run("generate", "-n", 6, "-l", "en", "--seed", 1, "-q", "--host", fake.url).code == 0
        fake.script = lambda ask: Reply(json.dumps(TAGS))
        assert run("tag", "en.jsonl", "--in-place", "-q", "--unproven", "--host", fake.url).code == 0
    return Path("en.jsonl")


def folder(file: Path = NEW) -> dict[str, bytes]:
    beside = Path(f"{file}.magpie")
    names = (path.relative_to(beside).as_posix() for path in beside.rglob("*") if path.is_file())
    return {name: (beside / name).read_bytes() for name in names if name.startswith(("runs/", "tags", "operations"))}


def stats(run: Runner, file: Path = NEW) -> dict[str, Any]:
    told = json.loads(run("stats", file, "--json").out)
    assert isinstance(told, dict)
    return told


COMMANDS = {
    "filter": ["--min-words", "1", "--not-match", "no such thing"],
    "dedup": ["--exact"],
    "drop": ["--line", "2"],
    "sample": ["-n", "4", "--seed", "3"],
}
RULES = {
    "filter": "--min-words 1 --not-match 'no such thing'",
    "dedup": "--exact",
    "drop": "--line 2",
    "sample": "--count 4 --seed 3",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_manifests_judgements_and_operations_travel(run: Runner, corpus: Path, command: str) -> None:
    done = run(command, corpus, *COMMANDS[command], "-o", NEW, "-q")
    assert (done.code, done.out, done.err) == (0, "", "")
    before, after = folder(corpus), folder()
    assert after.keys() == before.keys() >= {"tags.jsonl", "operations.jsonl"}
    assert all(after[name] == before[name] for name in before if name != "operations.jsonl")
    told = stats(run)
    assert told["runs"][0]["kept"] == 6 and told["runs"][0]["there"] == told["records"]
    assert [one["command"] for one in told["operations"]] == ["tag", command]
    assert told["operations"][0]["rules"] == "--model smollm2:135m (unproven)"
    assert (told["operations"][1]["read"], told["operations"][1]["kept"]) == (6, told["records"])
    assert told["operations"][1]["rules"] == RULES[command]
    assert f"{command} {RULES[command]}: {told['records']} of 6" in " ".join(run("stats", NEW).out.split())
    assert all(record["tags"] == tags({**TAGS, "judge": "smollm2:135m"}) for record in records(NEW))
    card = run("push", NEW, "maria/x", "--dry-run").out
    assert "What was done with it since" in card and f"`{command} " in card
    assert "gave 6 records" in card


def test_a_copys_judgements_hold(run: Runner, corpus: Path) -> None:
    assert run("filter", corpus, "--min-words", "1", "-o", NEW).code == 0
    with FakeOllama() as fake:
        assert run("tag", NEW, "-o", "tagged.jsonl", "--unproven", "--host", fake.url).code == 0
        assert not fake.requests_to("/api/chat")
    assert "tags.jsonl" in folder(Path("tagged.jsonl"))


def test_in_place_it_is_noted(run: Runner, corpus: Path) -> None:
    assert run("drop", corpus, "--line", "1,2", "--in-place").code == 0
    assert run("drop", corpus, "--line", "1", "--in-place").code == 0
    assert [(one["read"], one["kept"]) for one in stats(run, corpus)["operations"]] == [(6, 6), (6, 4), (4, 3)]


def test_another_corpus_keeps_its_manifests(run: Runner, corpus: Path) -> None:
    beside = Path("new.jsonl.magpie/runs")
    beside.mkdir(parents=True)
    name = next(name for name in folder(corpus) if name.endswith(".json"))
    (beside.parent / name).write_bytes(b"mine")
    (beside / "other.json").write_bytes(b"mine too")
    assert run("filter", corpus, "--min-words", "1", "-o", NEW).code == 0
    assert (folder()[name], folder()["runs/other.json"]) == (b"mine", b"mine too")


@pytest.mark.skipif(os.name == "nt", reason="POSIX links")
def test_a_foreign_run_leads_nowhere_and_links_are_not_followed(run: Runner, corpus: Path, own_folder: Path) -> None:
    row = records(corpus)[0]
    (own_folder.parent / "x.json").write_bytes(b"secret")
    Path("en.jsonl.magpie/runs/link.json").symlink_to(own_folder.parent / "x.json")
    lines = [json.dumps({**row, "run": run}) for run in ("../../../x", "link", "/etc/passwd", "a" * 200, "", 3)]
    corpus.write_text("\n".join(lines) + "\n", "utf-8")
    assert run("filter", corpus, "--min-words", "1", "-o", NEW).code == 0
    assert len(records(NEW)) == 6
    assert not [name for name in folder() if name.startswith("runs/")]


def test_a_command_that_fails_leaves_no_folder(run: Runner, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(rewriting.system, "sync_file", full)
    check_error(run("filter", corpus, "--min-words", "1", "-o", NEW), 1, "the disk is full")
    assert {path.name for path in Path().iterdir()} == {"en.jsonl", "en.jsonl.bak", "en.jsonl.magpie"}


def test_damaged_operations_are_passed_over(run: Runner, corpus: Path) -> None:
    path = Path("en.jsonl.magpie/operations.jsonl")
    strange = [b"{", b"\xff", b"[" * 9999, b'{"command": 3}', b"null", b'{"read": -1}', b'{"command": "x"}']
    path.write_bytes(b"\n".join([*strange, path.read_bytes()]))
    assert [one["command"] for one in stats(run, corpus)["operations"]] == ["tag"]
    assert run("filter", corpus, "--min-words", "1", "-o", NEW).code == 0


def test_another_tools_file_gets_no_folder(run: Runner) -> None:
    Path("a.jsonl").write_text('{"instruction": "Chi sei?", "output": "Boh."}\n')
    assert run("filter", "a.jsonl", "--min-words", "1", "-o", NEW).code == 0
    assert not Path("new.jsonl.magpie").exists()


def test_import_keeps_this_tools_tags(run: Runner, corpus: Path) -> None:
    done = run("import", corpus, "-o", NEW)
    assert done.code == 0 and "tags" not in done.err
    assert [record["tags"] for record in records(NEW)] == [tags({**TAGS, "judge": "smollm2:135m"})] * 6
    assert [one["command"] for one in stats(run)["operations"]] == ["import"]
    Path("plain.jsonl").write_text('{"instruction": "Chi sei?", "output": "Boh.", "language": "en", "tags": ["a"]}\n')
    assert "tags (1)" in run("import", "plain.jsonl", "-o", "other.jsonl").err
    assert "tags" not in run("import", corpus, "-o", "other.jsonl").err
    assert [record["tags"]["judge"] for record in records("other.jsonl")] == ["", *["smollm2:135m"] * 6]


def test_import_into_a_corpus_of_schema_1_adds_no_column_amid_it(run: Runner, corpus: Path) -> None:
    for tagged in (False, True):
        target = Path(f"old-{tagged}.jsonl")
        first(target, {"tags": {**TAGS, "judge": "m"}} if tagged else {})
        done = run("import", corpus, "-o", target)
        assert ("tags (6)" in done.err) != tagged, (
            "`datasets` would refuse a file with a column that begins in its midst"
        )
        assert "temperature (6)" in done.err and "reward (" not in done.err, (
            "what has no place is told, what is empty not"
        )
        old, *new = records(target)
        assert len(new) == 6 and all(record.keys() == old.keys() and record["schema"] == 1 for record in new)
        assert not tagged or new[0]["tags"] == {**TAGS, "judge": "smollm2:135m"}
