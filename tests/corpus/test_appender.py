from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from corpus.support import python

from magpie_ollama.corpus import appender as module
from magpie_ollama.corpus import system
from magpie_ollama.corpus.appender import Appender
from magpie_ollama.errors import CorpusError

Write = Callable[[int, bytes], int]


@pytest.fixture
def file(path: Path) -> Iterator[Appender]:
    appender = Appender(path, create=True, sync="never")
    yield appender
    appender.close()


def failing_write(monkeypatch: pytest.MonkeyPatch, *steps: int | BaseException) -> None:
    """Have ``os.write`` take so many bytes, or fail, one step a call; then work as ever."""
    real, left = os.write, list(steps)

    def write(fd: int, data: bytes) -> int:
        if not left:
            return real(fd, data)
        step = left.pop(0)
        if isinstance(step, BaseException):
            raise step
        return real(fd, data[:step])

    monkeypatch.setattr(os, "write", write)


def test_a_line_is_in_the_file_when_append_is_back(file: Appender, path: Path) -> None:
    file.append(b"one\n")
    assert path.read_bytes() == b"one\n"
    file.append(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"


def test_creating_never_takes_over_a_file(file: Appender, path: Path) -> None:
    with pytest.raises(FileExistsError):
        Appender(path, create=True, sync="never")


def test_short_writes_are_completed(file: Appender, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_write(monkeypatch, 1, 2)
    file.append(b"one two\n")
    assert path.read_bytes() == b"one two\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
@pytest.mark.parametrize("written", [0, 1, 7])
def test_a_failed_write_leaves_nothing(
    file: Appender, path: Path, monkeypatch: pytest.MonkeyPatch, number: int, written: int
) -> None:
    file.append(b"one\n")
    failing_write(monkeypatch, *([written] if written else []), OSError(number, os.strerror(number)))

    with pytest.raises(CorpusError) as caught:
        file.append(b"two two\n")

    assert path.read_bytes() == b"one\n"
    assert str(path) in caught.value.cause
    assert "run the same command again" in caught.value.remedy
    file.append(b"three\n")
    assert path.read_bytes() == b"one\nthree\n", "and goes on, once there is room"
    assert not file.notices, "its own leftovers are not another program's"


def test_a_full_disk_is_named(file: Appender, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_write(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(CorpusError, match="the disk is full") as caught:
        file.append(b"one\n")
    assert caught.value.remedy.startswith("free some space")


def test_ctrl_c_within_a_line_takes_it_back(file: Appender, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_write(monkeypatch, 2, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        file.append(b"one\n")
    assert path.read_bytes() == b""


def test_the_bytes_of_another_program_are_never_cut_away(
    file: Appender, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def write(fd: int, data: bytes) -> int:
        if len(data) == 4:
            return real(fd, data[:2])
        with path.open("ab") as other:
            other.write(b"theirs\n")
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(CorpusError, match="full"):
        file.append(b"one\n")
    assert path.read_bytes() == b"ontheirs\n"


def test_whole_lines_of_another_program_are_left_and_told_once(file: Appender, path: Path) -> None:
    file.append(b"one\n")
    for _ in range(2):
        with path.open("ab") as other:
            other.write(b"theirs\n")
        file.append(b"two\n")
    assert path.read_bytes() == b"one\ntheirs\ntwo\ntheirs\ntwo\n"
    assert file.notices == ["Another program appended to it.jsonl meanwhile; its lines were left alone"]


def test_no_line_is_glued_to_half_a_line_of_another_program(file: Appender, path: Path) -> None:
    with path.open("ab") as other:
        other.write(b"the")
    with pytest.raises(CorpusError, match="in the middle of writing"):
        file.append(b"one\n")
    assert path.read_bytes() == b"the"


def test_a_file_cut_short_is_noticed(file: Appender, path: Path) -> None:
    file.append(b"one\n")
    os.truncate(path, 2)
    with pytest.raises(CorpusError, match="short while records"):
        file.append(b"two\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows refuses to delete or replace an open file")
@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_deleted_or_replaced_is_noticed(file: Appender, path: Path, replaced: bool) -> None:
    file.append(b"one\n")
    if replaced:
        new = path.with_name("new")
        new.write_bytes(b"one\n")
        new.replace(path)
    else:
        path.unlink()
    with pytest.raises(CorpusError, match="moved, replaced or deleted"):
        file.append(b"two\n")


def test_cut_spares_what_another_program_added(file: Appender, path: Path) -> None:
    file.append(b"one\n")
    with path.open("ab") as other:
        other.write(b"theirs\n")
    with pytest.raises(CorpusError, match="Another program"):
        file.cut(2)
    assert path.read_bytes() == b"one\ntheirs\n"


def test_lines_from_several_threads_stay_whole(file: Appender, path: Path) -> None:
    def many(name: bytes) -> None:
        for _ in range(200):
            file.append(name * 3000 + b"\n")

    threads = [threading.Thread(target=many, args=(name,)) for name in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.read_bytes().splitlines()) == [name * 3000 for name in (b"a", b"b", b"c") for _ in range(200)]


class TestSync:
    @pytest.fixture
    def synced(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str]]:
        """When each forcing of a file took place, and in which thread."""
        calls: list[tuple[float, str]] = []

        def sync_file(fd: int) -> None:
            os.fsync(fd)
            calls.append((time.monotonic(), threading.current_thread().name))

        monkeypatch.setattr(system, "sync_file", sync_file)
        monkeypatch.setattr(system, "sync_folder", lambda folder: None)
        return calls

    def test_always_forces_each_line_before_it_is_back(self, path: Path, synced: list[object]) -> None:
        appender = Appender(path, create=True, sync="always")
        for count in range(1, 4):
            appender.append(b"one\n")
            assert len(synced) == count
        appender.close()

    def test_never_leaves_it_to_the_system(self, path: Path, synced: list[object]) -> None:
        appender = Appender(path, create=True, sync="never")
        appender.append(b"one\n")
        appender.close()
        assert synced == []

    def test_second_forces_at_most_once_in_that_time_and_never_in_the_callers_thread(
        self, path: Path, synced: list[tuple[float, str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "SECOND", 0.1)
        appender = Appender(path, create=True, sync="second")
        while len(synced) < 3:
            appender.append(b"one\n")
            time.sleep(0.002)
        last = time.monotonic()
        appender.append(b"last\n")
        while synced[-1][0] < last:  # the last line, too, without any further append
            time.sleep(0.01)
        times = [when for when, _ in synced]
        assert min(after - before for before, after in pairwise(times)) >= 0.09
        assert {name for _, name in synced} == {"corpus-sync"}
        appender.close()

    @pytest.mark.parametrize(
        ("policy", "threads"), [("always", ["MainThread"]), ("second", ["corpus-sync"]), ("never", [])]
    )
    def test_a_new_name_is_forced_once_where_its_lines_are(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, policy: module.Sync, threads: list[str]
    ) -> None:
        names: list[str] = []
        monkeypatch.setattr(system, "sync_folder", lambda folder: names.append(threading.current_thread().name))
        for create in (True, False):
            appender = Appender(path, create=create, sync=policy)
            appender.append(b"one\n")
            appender.close()
        assert names == threads

    def test_second_forces_on_close_without_waiting(
        self, path: Path, synced: list[object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "SECOND", threading.TIMEOUT_MAX)  # who waited for it would never be back
        appender = Appender(path, create=True, sync="second")
        appender.append(b"one\n")
        while not synced:
            time.sleep(0.002)
        appender.append(b"two\n")
        assert len(synced) == 1
        appender.close()
        assert len(synced) == 2

    @pytest.mark.parametrize("policy", ["always", "second"])
    def test_a_disk_that_fails_later_is_told(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, policy: module.Sync
    ) -> None:
        appender = Appender(path, create=True, sync=policy)

        def broken(fd: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(system, "sync_file", broken)

        def append_until_told() -> None:
            while True:
                appender.append(b"one\n")
                time.sleep(0.01)

        with pytest.raises(CorpusError, match="Input/output error"):
            append_until_told()
        if policy == "second":  # and again by what ends the program, should that be all it ever calls
            with pytest.raises(CorpusError, match="Input/output error"):
                appender.close()
        else:
            appender.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of a file")
def test_a_size_limit_of_the_system(path: Path) -> None:
    child = python(
        """
import resource, sys
from itertools import pairwise
from pathlib import Path
from magpie_ollama.corpus.appender import Appender
from magpie_ollama.errors import CorpusError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
appender = Appender(Path(sys.argv[1]), create=True, sync="second")
written = 0
try:
    while True:
        appender.append(b"x" * 299 + b"\\n")
        written += 1
except CorpusError as error:
    print(written, error.cause, error.remedy, sep="|")
appender.append(b"y" * 49 + b"\\n")
appender.close()
""",
        path,
    )
    out, err = child.communicate()
    assert err == ""
    written, cause, remedy = out.split("|")
    assert written == "3"
    assert "the file has reached the size limit" in cause
    assert "ulimit -f" in remedy
    assert path.read_bytes() == (b"x" * 299 + b"\n") * 3 + b"y" * 49 + b"\n"
