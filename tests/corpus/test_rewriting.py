"""Files written as a whole."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path

import pytest
from corpus.support import without_privileges

from magpie_ollama.corpus import system
from magpie_ollama.corpus.lock import CorpusLock
from magpie_ollama.corpus.rewriting import in_place, new_file, new_files
from magpie_ollama.errors import CorpusError, CorpusLocked, UsageError

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes, devices and permissions")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_new_file_is_there_when_the_block_ends_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with new_file(path) as output:
        output.write(b"1")
        output.flush()
        assert not path.exists()
        output.write(b"2")
    assert path.read_bytes() == b"1\n2\n"
    assert names(tmp_path) == {"a.jsonl"}


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_file(tmp_path / "a.jsonl") as output:
        output.write(b"1")
        raise KeyboardInterrupt
    assert names(tmp_path) == set()


def test_a_file_that_is_there_needs_force(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"old\n")
    with pytest.raises(UsageError, match="there already"), new_file(path):
        pass
    with new_file(path, force=True) as output:
        output.write(b"new")
    assert path.read_bytes() == b"new\n"


def test_in_place_keeps_the_old_content_under_another_name_each_time(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"first\n")
    path.chmod(0o640)
    for text in (b"second", b"third"):
        with in_place(path) as output:
            output.write(text)
    assert path.read_bytes() == b"third\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "a.jsonl.bak").read_bytes() == b"first\n"
    assert (tmp_path / "a.jsonl.bak2").read_bytes() == b"second\n"
    assert names(tmp_path) == {"a.jsonl", "a.jsonl.bak", "a.jsonl.bak2"}


def test_in_place_can_leave_it_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"first\n")
    with in_place(path) as output:
        output.unchanged = True
    assert names(tmp_path) == {"a.jsonl"}


def test_in_place_refuses_a_corpus_in_use(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"first\n")
    folder = tmp_path / "a.jsonl.magpie"
    folder.mkdir()
    lock = CorpusLock(folder, path)
    lock.acquire()
    with pytest.raises(CorpusLocked), in_place(path):
        pass
    lock.release()


@posix
def test_a_pipe_or_a_device_is_written_to_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDWR)
    with new_file(path) as output:
        output.write(b"1")
    assert os.read(reader, 100) == b"1\n"
    os.close(reader)
    with new_file(Path("/dev/null"), force=True) as output:
        output.write(b"1")
    assert Path("/dev/null").is_char_device()
    assert names(tmp_path) == {"pipe"}


@posix
def test_in_place_where_the_folder_is_somebody_elses(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"first\n")
    (tmp_path / "a.jsonl.magpie").mkdir(mode=0o555)
    with without_privileges(path), pytest.raises(UsageError, match="magpie cannot be written to"), in_place(path):
        pass


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="makes a file of another user's")
def test_a_file_that_is_somebody_elses_is_not_replaced_where_that_is_forbidden(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    path = folder / "a.jsonl"
    path.write_bytes(b"old\n")
    with without_privileges(path), pytest.raises(UsageError, match="cannot be written to"), new_file(path, force=True):
        pass
    assert path.read_bytes() == b"old\n"
    assert names(folder) == {"a.jsonl"}


def test_in_place_loses_no_line_that_came_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"first\n")
    with pytest.raises(CorpusError, match="meanwhile"), in_place(path) as output:
        output.write(b"new")
        with path.open("ab") as other:
            other.write(b"second\n")
    assert path.read_bytes() == b"first\nsecond\n"
    assert names(tmp_path) == {"a.jsonl"}


@posix
def test_a_new_name_is_on_the_disk_before_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[tuple[Path, bool]] = []
    path = tmp_path / "a.jsonl"
    monkeypatch.setattr(system, "sync_folder", lambda folder: forced.append((folder, path.exists())))
    with new_file(path) as output:
        output.write(b"1")
    assert forced == [(tmp_path, True)]


@posix
def test_a_link_goes_on_leading_to_its_file(tmp_path: Path) -> None:
    file, link = tmp_path / "a.jsonl", tmp_path / "link.jsonl"
    file.write_bytes(b"old\n")
    link.symlink_to(file)
    with new_file(link, force=True) as output:
        output.write(b"new")
    assert link.is_symlink()
    assert file.read_bytes() == b"new\n"


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors by their paths")
@pytest.mark.parametrize("form", ["/dev/fd/{}", "/proc/self/fd/{}", "/dev/../dev/fd/{}"])
def test_an_open_descriptor_is_written_to_where_it_stands(tmp_path: Path, form: str) -> None:
    with (tmp_path / "a.jsonl").open("wb", buffering=0) as file:
        file.write(b"before\n")
        with new_file(Path(form.format(file.fileno()))) as output:
            output.write(b"1")
        file.write(b"behind\n")
    assert (tmp_path / "a.jsonl").read_bytes() == b"before\n1\nbehind\n"
    assert names(tmp_path) == {"a.jsonl"}


@pytest.mark.parametrize("force", [False, True])
def test_of_several_files_all_are_there_or_none(tmp_path: Path, force: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path in paths if force else []:
        path.write_bytes(b"old\n")
    replace = system.replace

    def denied(source: Path, target: Path) -> None:
        if target == paths[1]:
            raise PermissionError(errno.EACCES, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(system, "replace", denied)
    with pytest.raises(UsageError, match="cannot be written to"), new_files(paths, force=force) as outputs:
        for output in outputs:
            output.write(b"new")
    assert names(tmp_path) == ({"a.jsonl", "b.jsonl"} if force else set())
    assert all(path.read_bytes() == b"old\n" for path in paths if force)


def test_a_full_disk_leaves_none_of_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[int] = []

    def full(fd: int) -> None:
        forced.append(fd)
        if len(forced) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(system, "sync_file", full)
    with pytest.raises(CorpusError, match="the disk is full"), new_files([tmp_path / "a", tmp_path / "b"]) as outputs:
        for output in outputs:
            output.write(b"new")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("full", [False, True])
def test_without_hard_links_the_old_one_is_kept_whole_or_nothing_is_changed(
    tmp_path: Path, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"old\n")

    def refused(*_: object) -> None:
        raise OSError(errno.ENOSPC if full else errno.EPERM, "No")

    monkeypatch.setattr(os, "link", refused)
    if full:
        monkeypatch.setattr(shutil, "copyfileobj", refused)
        with pytest.raises(CorpusError, match="the disk is full"), in_place(path) as output:
            output.write(b"new")
        assert names(tmp_path) == {"a.jsonl"}
        assert path.read_bytes() == b"old\n"
    else:
        with in_place(path) as output:
            output.write(b"new")
        assert (tmp_path / "a.jsonl.bak").read_bytes() == b"old\n"
        assert path.read_bytes() == b"new\n"
        assert names(tmp_path) == {"a.jsonl", "a.jsonl.bak"}
