"""The tool's own files: no link is followed, nothing is left behind, and nothing of the user's is touched."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from corpus.support import python, record

from magpie_ollama.corpus import Corpus, files, system
from magpie_ollama.errors import MagpieError
from magpie_ollama.records import Attempt

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX links, pipes and locks")

WRITE = """
import sys
from pathlib import Path
from magpie_ollama.corpus import files
with files.temporary(Path(sys.argv[1])) as (fd, path):
    print(path.name, flush=True)
    sys.stdin.read()
"""


def temporary_of(folder: Path, host: str = "00000000", pid: int = 4711, age: float = 0.0) -> Path:
    path = folder / f".magpie-ollama-{host}-{pid}-{0:016x}.tmp"
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age,) * 2)
    return path


class TestSweep:
    @posix
    def test_what_a_kill_left_goes_and_what_is_being_written_stays(self, tmp_path: Path) -> None:
        with python(WRITE, tmp_path) as living, python(WRITE, tmp_path) as killed:
            assert living.stdout
            assert killed.stdout
            first, second = living.stdout.readline().strip(), killed.stdout.readline().strip()
            killed.kill()
            killed.wait()
            assert {path.name for path in tmp_path.iterdir()} == {first, second}
            files.sweep(tmp_path)
            assert [path.name for path in tmp_path.iterdir()] == [first]
            os.utime(tmp_path / first, (0, 0))
            files.sweep(tmp_path)
            assert [path.name for path in tmp_path.iterdir()] == [first], "however old it is"
            living.communicate("")
        assert not list(tmp_path.iterdir())

    @posix
    def test_the_number_of_its_process_may_be_anothers_by_now(self, tmp_path: Path) -> None:
        temporary_of(tmp_path, files._HOST, os.getpid())
        files.sweep(tmp_path)
        assert not list(tmp_path.iterdir())

    def test_another_machines_is_left_for_a_day(self, tmp_path: Path) -> None:
        path = temporary_of(tmp_path, age=files.DAY - 60)
        files.sweep(tmp_path)
        assert path.exists()
        temporary_of(tmp_path, age=files.DAY + 60)
        files.sweep(tmp_path)
        assert not path.exists()

    @pytest.mark.parametrize(("own", "age", "left"), [(False, 0, False), (True, 60, True), (True, 1e6, False)])
    def test_where_files_cannot_be_locked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool, age: float, left: bool
    ) -> None:
        monkeypatch.setattr(system, "hold", lambda fd: None)
        path = temporary_of(tmp_path, files._HOST, os.getpid() if own else 0, age)
        files.sweep(tmp_path)
        assert path.exists() == left
        files.write(tmp_path / "whole", b"data")
        assert (tmp_path / "whole").read_bytes() == b"data"

    @posix
    def test_nothing_of_the_users(self, tmp_path: Path) -> None:
        old = (0, 0)
        for name in (".it.jsonl.4711.new", "a.tmp", ".magpie-ollama.tmp", ".magpie-ollama-00000000-1-x.tmp"):
            (tmp_path / name).write_bytes(b"mine")
            os.utime(tmp_path / name, old)
        victim = tmp_path / "mine"
        victim.write_bytes(b"mine")
        os.utime(victim, old)
        link = tmp_path / f".magpie-ollama-{files._HOST}-1-{1:016x}.tmp"
        link.symlink_to(victim)
        before = set(tmp_path.iterdir())
        files.sweep(tmp_path)
        assert set(tmp_path.iterdir()) == before
        assert victim.read_bytes() == b"mine"

    def test_two_of_one_process(self, tmp_path: Path) -> None:
        with files.temporary(tmp_path) as (one, first), files.temporary(tmp_path) as (other, second):
            assert first.exists() and second.exists() and first != second
            os.close(one)
            os.close(other)
            files.sweep(tmp_path)
            assert first.exists(), "it waits for its name"
        assert not list(tmp_path.iterdir())


def made(folder: Path) -> tuple[Path, Path]:
    """A corpus of one unfinished run, and the folder beside it."""
    path = folder / "it.jsonl"
    with Corpus.open(path) as corpus:
        run = corpus.start_run({}, {}, 9)
        corpus.append(record(run.id, run.seed))
        run.journal(Attempt(0, "kept", "system"))
    with Corpus.open(path) as corpus:
        corpus.remember(b"state")
    return path, files.folder_beside(path)


def go_on(path: Path) -> None:
    """One record more, as the pipeline makes it."""
    with Corpus.open(path) as corpus:
        run = corpus.unfinished({}) or corpus.start_run({}, {}, 9)
        run.resume(9)
        index = run.next_index
        corpus.append(record(run.id, run.seed + index, text=f"Nuova {index}?"))
        run.journal(Attempt(index, "kept", "system"))
        corpus.remember(b"other")
        run.finish("interrupted")


def link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, victim: Path) -> None:
    path.mkdir()


@posix
@pytest.mark.timeout(60)
@pytest.mark.parametrize("put", [link, pipe, folder])
@pytest.mark.parametrize(
    "name", ["lock", "lock.json", "runs/*.json", "runs/*.attempts.jsonl", "cache/opening", "runs", "cache", "."]
)
def test_what_stands_in_a_files_place_is_neither_followed_nor_waited_for(
    tmp_path: Path, name: str, put: Callable[[Path, Path], None]
) -> None:
    path, beside = made(tmp_path)
    victim = tmp_path / "precious"
    is_folder = name in ("runs", "cache", ".")
    if is_folder:
        victim.mkdir()
    else:
        victim.write_bytes(b"precious")
    found = beside if name == "." else next(iter(beside.glob(name)), beside / name)
    found.rename(tmp_path / "away") if found.exists() else None
    put(found, victim)
    before = path.read_bytes()
    try:
        go_on(path)
    except MagpieError as error:
        assert str(found if name != "runs/*.json" else beside) in error.cause
        assert error.remedy
        assert path.read_bytes() == before
    else:
        assert len(path.read_bytes().splitlines()) == 2
    assert path.read_bytes().startswith(before)
    assert (not list(victim.iterdir())) if is_folder else victim.read_bytes() == b"precious"
