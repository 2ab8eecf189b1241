"""``-o -`` and its kin: records as lines on a stream, which keeps nothing and locks nothing."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpus.support import python, record

from magpie_ollama.corpus import Corpus, StdoutCorpus
from magpie_ollama.errors import CorpusError, UsageError

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs or devices among its files")


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[StdoutCorpus, int]]:
    """A corpus on a pipe, and the end to read from."""
    out, into = os.pipe()
    corpus = StdoutCorpus()
    monkeypatch.setattr(corpus, "_fd", into)
    yield corpus, out
    os.close(into)


PRINT = """
import sys
from corpus.support import record
from magpie_ollama.corpus import StdoutCorpus
with StdoutCorpus() as corpus:
    run = corpus.start_run({}, {}, 3)
    try:
        for seed in range(int(sys.argv[1])):
            corpus.append(record(run.id, seed))
    except BrokenPipeError:
        print("closed", file=sys.stderr)
    print(corpus.records == run.kept, corpus.path, list(corpus.instructions()), file=sys.stderr)
"""


def test_records_go_to_stdout() -> None:
    out, err = python(PRINT, 3).communicate()
    assert [json.loads(line)["seed"] for line in out.splitlines()] == [0, 1, 2]
    assert err == "True None []\n"


def test_a_closed_pipe_is_left_to_the_caller() -> None:
    child = python(PRINT, 10**9)
    assert child.stdout
    assert child.stderr
    assert child.stdout.readline()
    child.stdout.close()
    assert child.stderr.read() == "closed\nTrue None []\n"
    child.stderr.close()
    assert child.stdin
    child.stdin.close()
    assert child.wait() == 0


@posix
def test_a_pipe_that_does_not_block_is_waited_for(pipe: tuple[StdoutCorpus, int]) -> None:
    corpus, out = pipe
    os.set_blocking(corpus._fd, False)
    received = bytearray()

    def read() -> None:
        while received.count(b"\n") < 3 and (chunk := os.read(out, 4096)):
            received.extend(chunk)
        os.close(out)

    reader = threading.Thread(target=read)
    reader.start()
    long = "x" * 300_000  # longer than any pipe
    for seed in range(3):
        corpus.append(record(seed=seed, text=long))
    reader.join()
    assert [json.loads(line)["seed"] for line in received.splitlines()] == [0, 1, 2]


@posix
def test_a_fifo_is_a_stream(fifo: Path) -> None:
    with Corpus.open(fifo) as corpus:  # does not wait for a reader yet
        assert isinstance(corpus, StdoutCorpus)
        received: list[str] = []
        reader = threading.Thread(target=lambda: received.extend(fifo.read_text("utf-8").splitlines()))
        reader.start()
        corpus.append(record(seed=5))
        corpus.append(record(seed=6))
    reader.join()
    assert [json.loads(line)["seed"] for line in received] == [5, 6]
    assert list(fifo.parent.iterdir()) == [fifo]


@posix
def test_dev_null_takes_it_all() -> None:
    with Corpus.open(Path("/dev/null")) as corpus:
        corpus.append(record())
        assert corpus.records == 1
    corpus.close()


@posix
def test_dev_stdout_on_a_pipe() -> None:
    out, err = python(
        """
from pathlib import Path
from corpus.support import record
from magpie_ollama.corpus import Corpus
with Corpus.open(Path("/dev/stdout")) as corpus:
    corpus.append(record(seed=7))
"""
    ).communicate()
    assert err == ""
    assert json.loads(out)["seed"] == 7


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a device that is always full")
def test_a_stream_into_a_full_disk() -> None:
    with (
        Corpus.open(Path("/dev/full")) as corpus,
        pytest.raises(CorpusError, match="/dev/full: the disk is full"),
    ):
        corpus.append(record())
    assert corpus.records == 0


@posix
def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.chdir(tmp_path)  # a socket's own path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(UsageError, match="neither a file nor a stream"):
            Corpus.open(Path("s"))


def test_nothing_is_written_behind_half_a_line(pipe: tuple[StdoutCorpus, int], monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, out = pipe

    def half(fd: int, line: bytes) -> None:
        os.write(fd, line[:9])
        raise asyncio.CancelledError  # as a second Ctrl-C does

    monkeypatch.setattr("magpie_ollama.corpus.corpus.write_all", half)
    run = corpus.start_run({"seed": 0}, {}, 2)
    for number in range(2):
        with pytest.raises(asyncio.CancelledError):
            corpus.append(record(run.id, number))
    assert len(os.read(out, 100)) == 9
    assert corpus.notices == ["What went to stdout may end in half a line."]
