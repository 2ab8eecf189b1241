from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
from corpus.support import python

from magpie_ollama.corpus import system


def test_processes_that_live_and_that_do_not() -> None:
    child = python("")
    child.communicate()
    assert system.process_alive(os.getpid())
    assert system.process_alive(os.getppid())
    assert not system.process_alive(child.pid)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows is asked in another way")
def test_a_process_of_another_user_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(pid: int, signal: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "kill", kill)
    assert system.process_alive(1)


@pytest.mark.parametrize("pid", [0, -1, 2**40])
def test_numbers_that_are_no_process(pid: int) -> None:
    assert not system.process_alive(pid)


@pytest.mark.parametrize(("number", "fails"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_only_a_disk_that_fails_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, fails: bool
) -> None:
    def fsync(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr("sys.platform", "linux")
    if fails:
        with pytest.raises(OSError, match="Input/output"):
            system.sync_file(0)
    else:
        system.sync_file(0)


def test_a_folder_and_a_file_can_be_forced_to_the_disk(tmp_path: Path) -> None:
    system.sync_folder(tmp_path)
    with (tmp_path / "a").open("wb") as file:
        system.sync_file(file.fileno())


def test_a_file_is_replaced(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("old")
    new.write_text("new")
    system.replace(new, old)
    assert old.read_text() == "new"
    assert not new.exists()
