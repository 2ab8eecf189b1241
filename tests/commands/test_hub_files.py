"""OWNER/DATASET[:SPLIT] in place of a file: from a Hub on a socket."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands.support import Runner, check_error, records
from commands.test_push import hub as pushed_to
from fake_hub import Dataset, FakeHub

hub = pushed_to


@pytest.fixture(autouse=True)
def cache(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    hub.datasets["maria/x"] = Dataset(
        False, {"README.md": b"# x", "data/train.jsonl": rows(3), "data/test.jsonl.gz": gzip.compress(rows(2))}
    )
    yield


def rows(count: int, **more: object) -> bytes:
    return b"".join(
        json.dumps({"instruction": f"Quanto fa {n} + 2?", "output": f"Fa {n + 2}.", **more}).encode() + b"\n"
        for n in range(count)
    )


@pytest.mark.parametrize(("name", "count"), [("maria/x", 3), ("maria/x:test", 2), ("maria/x:data/train.jsonl", 3)])
def test_a_split_is_read_as_a_file_is(run: Runner, name: str, count: int) -> None:
    assert json.loads(run("stats", name, "--json", "-q").out)["records"] == count
    assert run("import", name, "-o", "it.jsonl", "-l", "it", "-q").code == 0
    assert [record["server"] for record in records("it.jsonl")] == ["import"] * count
    assert run("export", name, "-o", "out.jsonl", "-q").code == 0
    assert len(records("out.jsonl")) == count
    assert run("filter", name, "--min-words", 1, "-o", "kept.jsonl", "-q").code == 0
    assert len(records("kept.jsonl")) == count


def test_a_file_that_is_there_goes_first_and_a_path_is_never_asked_for(run: Runner, hub: FakeHub) -> None:
    Path("maria").mkdir()
    Path("maria/x").write_bytes(rows(5))
    assert json.loads(run("stats", "maria/x", "--json").out)["records"] == 5
    for path in ("maria/y", "other/it.jsonl", "other/it.csv.gz", "a/b/c"):
        check_error(run("stats", path), 2, "No such file")
    assert not hub.requests


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("maria/none", 3, ("There is no file maria/none", "HF_TOKEN")),
        ("maria/x:validation", 2, ("no file of the split validation", "name one: maria/x:data/test.jsonl.gz")),
        ("maria/shards", 2, ("2 files of the split train", "name one: maria/shards:train-00.jsonl")),
        ("maria/empty", 2, ("no data file at all", "name another dataset")),
    ],
)
def test_what_cannot_be_read_is_told(run: Runner, hub: FakeHub, name: str, code: int, words: tuple[str, ...]) -> None:
    hub.datasets["maria/shards"] = Dataset(False, {"train-00.jsonl": rows(1), "train-01.jsonl": rows(1)})
    hub.datasets["maria/empty"] = Dataset(False, {"README.md": b"# none"})
    check_error(run("stats", name), code, *words)


def test_it_is_not_changed_in_place(run: Runner) -> None:
    check_error(run("filter", "maria/x", "--min-words", 9, "--in-place"), 2, "name an output with -o")
