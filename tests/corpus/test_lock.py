"""One process at a time, whatever name it has for the file, and only for as long as it lives."""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
from pathlib import Path

import pytest
from corpus.support import ids, python, record

from magpie_ollama.corpus import Corpus
from magpie_ollama.errors import CorpusLocked

HOLD = """
import sys
import threading
from pathlib import Path
from magpie_ollama.corpus import Corpus
corpus = Corpus.open(Path(sys.argv[1]))
corpus.start_run({}, {}, 1)
print("open", flush=True)
sys.stdin.read()
"""


def owner_file(path: Path) -> Path:
    return path.with_name(path.name + ".magpie") / "lock.json"


def test_another_process_is_named_and_its_end_is_enough(path: Path) -> None:
    child = python(HOLD, path)
    try:
        assert child.stdout
        assert child.stdout.readline() == "open\n"
        with pytest.raises(CorpusLocked) as caught:
            Corpus.open(path)
        assert f"Process {child.pid} on this machine, since " in caught.value.cause
        assert str(path) in caught.value.cause
        assert "-o" in caught.value.remedy
    finally:
        child.kill()  # it has no time to tidy up
        child.communicate()
    assert json.loads(owner_file(path).read_text("utf-8"))["pid"] == child.pid
    with Corpus.open(path) as corpus:
        corpus.append(record())
    assert len(ids(path)) == 1
    assert not owner_file(path).exists()


def test_closing_gives_it_free(path: Path) -> None:
    with Corpus.open(path) as corpus:
        corpus.append(record())
        with pytest.raises(CorpusLocked, match=f"Process {os.getpid()} on this machine"):
            Corpus.open(path)
    Corpus.open(path).close()


def test_it_may_be_closed_in_another_thread(path: Path) -> None:
    corpus = Corpus.open(path)
    corpus.append(record())
    thread = threading.Thread(target=corpus.close)
    thread.start()
    thread.join()
    Corpus.open(path).close()


def test_every_name_of_a_file_is_one_corpus(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path.parent / "folder").mkdir()
    monkeypatch.chdir(path.parent)
    with Corpus.open(path) as corpus:
        corpus.append(record())
        for name in (Path("it.jsonl"), Path("folder/../it.jsonl")):
            with pytest.raises(CorpusLocked):
                Corpus.open(name)


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need privileges on Windows")
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_the_file_that_it_leads_to(path: Path, exists: bool) -> None:
    (path.parent / "folder").mkdir()
    link = path.parent / "folder" / "link.jsonl"
    link.symlink_to(path)
    if exists:
        path.touch()
    with Corpus.open(link) as corpus:
        corpus.append(record())
        assert corpus.path == path
        with pytest.raises(CorpusLocked):
            Corpus.open(path)
    assert link.is_symlink()
    assert len(ids(path)) == 1
    assert not link.with_name("link.jsonl.magpie").exists()


@pytest.mark.parametrize(
    ("owner", "said"),
    [
        ("", "Another process writes"),
        ("{", "Another process writes"),
        ('{"pid": "x"}', "Another process writes"),
        (
            {"pid": 2**22 + 1, "host": platform.node(), "started": "2026-11-22T10:15:00+00:00"},
            "Another process",
        ),
        (
            {"pid": 7, "host": "far", "started": "2020-06-15T12:15:00+00:00"},
            "Process 7 on far, since 2020-06-15 ",
        ),
    ],
)
def test_whoever_holds_it_is_named_as_well_as_can_be(path: Path, owner: object, said: str) -> None:
    with Corpus.open(path) as corpus:
        corpus.append(record())
        owner_file(path).write_text(owner if isinstance(owner, str) else json.dumps(owner), "utf-8")
        with pytest.raises(CorpusLocked, match=said):
            Corpus.open(path)


def test_two_processes_on_a_corpus_that_is_not_there_yet(path: Path) -> None:
    first = Corpus.open(path)
    child = python(HOLD, path)
    try:
        assert child.stdout
        assert child.stdout.readline() == "open\n"
        with pytest.raises(CorpusLocked, match=f"Process {child.pid} "):
            first.append(record())
    finally:
        child.kill()
        child.communicate()
        first.close()
    assert not path.exists()
