"""Outputs that cannot be written, texts that a terminal cannot show: an error with a remedy, and nothing half done."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands.support import TARGET, Runner, check_error, finished, process, records
from commands.test_bad_input import posix
from corpus.support import PACKAGE, without_privileges
from fake_ollama import FakeOllama
from run.support import generating

from magpie_ollama.corpus import Corpus, appender
from magpie_ollama.corpus.appender import write_all


def refused(run: Runner, output: object, code: int, *words: str) -> None:
    with FakeOllama() as fake:
        check_error(run("generate", "-n", 2, "-o", output, "--host", fake.url), code, *words)
        assert not generating(fake)


def test_output_in_a_missing_folder(run: Runner) -> None:
    refused(run, "no/such/en.jsonl", 2, "does not exist", "mkdir -p")


def test_output_is_a_folder(run: Runner) -> None:
    Path("folder").mkdir()
    refused(run, "folder", 2, "is a folder", "-o")
    assert not list(Path("folder").iterdir())


@pytest.mark.parametrize(
    "content", [b"a,b\n1,2\n", b"\x89PNG\r\n\x1a\n\0\0", b'{"prompt": "x"}\n', b"[1]\n", b"# Title\n"], ids=repr
)
def test_output_is_a_foreign_file(run: Runner, content: bytes) -> None:
    Path("mine").write_bytes(content)
    refused(run, "mine", 1, "is not a corpus", "-o")
    assert Path("mine").read_bytes() == content
    assert [path.name for path in Path().iterdir()] == ["mine"]


@posix
def test_output_is_read_only(run: Runner, own_folder: Path) -> None:
    with FakeOllama() as fake:
        run("generate", "-n", 1, "--host", fake.url)
    before = Path(TARGET).read_bytes()
    Path(TARGET).chmod(0o444)
    for path in own_folder.rglob("*"):
        if path.name != TARGET:
            path.chmod(0o777)
    with without_privileges(own_folder / TARGET):
        refused(run, TARGET, 2, "cannot be written to", "chmod")
    assert Path(TARGET).read_bytes() == before


@posix
def test_output_in_an_unwritable_folder(run: Runner, own_folder: Path) -> None:
    shut = own_folder / "shut"
    shut.mkdir(mode=0o555)
    with without_privileges(shut / TARGET):
        refused(run, shut / TARGET, 2, "cannot be written to", "-o")


def test_output_is_locked(run: Runner) -> None:
    with FakeOllama() as fake:
        run("generate", "-n", 1, "--host", fake.url)
    before = Path(TARGET).read_bytes()
    with Corpus.open(Path(TARGET)):
        refused(run, TARGET, 1, f"Process {os.getpid()}", "wait until it is done")
    assert Path(TARGET).read_bytes() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_full_device(run: Runner) -> None:
    with FakeOllama() as fake:
        done = run("generate", "-n", 2, "-o", "/dev/full", "--host", fake.url)
    check_error(done, 1, "the disk is full", "free some space")


def test_a_full_disk(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes half of the fourth record."""
    full: list[bool] = []

    def write(fd: int, data: bytes) -> None:
        if data.startswith(b'{"id"'):
            full.append(len(full) >= 3)
        if full and full[-1]:
            os.write(fd, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        write_all(fd, data)

    with FakeOllama() as fake:
        with monkeypatch.context() as patch:
            patch.setattr(appender, "write_all", write)
            done = run("generate", "-n", 9, "--seed", 1, "--host", fake.url)
        check_error(done, 1, "the disk is full", "free some space, then run the same command again")
        before = records()
        assert len(before) == 3
        rest = run("generate", "-n", 9, "--seed", 1, "--host", fake.url)
    assert rest.code == 0, rest.err
    assert "torn" not in rest.err
    assert "Continuing run" in rest.err
    assert records()[:3] == before
    assert len({record["seed"] for record in records()}) == len(records()) == 9


def test_texts_that_the_terminal_cannot_show() -> None:
    """A terminal that is not UTF-8 must not end a run of hours."""
    with FakeOllama() as fake:
        started = process(
            "generate", "-n", 2, "-l", "ja", "-s", "none", "--max-attempts", 2, "--dry-run", "--host", fake.url,
            environment={"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C", "PYTHONUTF8": "0"},
        )  # fmt: skip
        done = finished(started)
    assert done.code == 0, done.err


def test_letters_that_stdout_cannot_take_are_escaped() -> None:
    done = finished(process("languages", environment={"PYTHONIOENCODING": "ascii"}))
    assert done.code == 0, done.err
    assert r"\u65e5\u672c\u8a9e" in done.out, "Japanese"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_report_on_a_full_disk() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        check_error(finished(process("languages", stdout=full)), 1, "Cannot write to stdout", "make room")


@posix
def test_stdout_may_be_closed() -> None:
    with FakeOllama() as fake:
        command = f"{sys.executable} -m magpie_ollama generate -n 2 --json --host {fake.url} >&-"
        done = subprocess.run(command, shell=True, env={**os.environ, "PYTHONPATH": str(PACKAGE)}, check=False)
    assert done.returncode == 0
    assert len(records()) == 2
