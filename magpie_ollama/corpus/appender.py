"""Appends whole lines to a file: a line is there whole or not at all as soon as ``append`` is back.

It writes to an unbuffered descriptor. A buffered file would keep what it could not write and write it
later, in the middle of another line. Nothing here knows what a line says.
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Literal

from magpie_ollama.corpus import system
from magpie_ollama.errors import CorpusError

Sync = Literal["always", "second", "never"]
"""When lines are forced to the disk: before ``append`` returns, at most a second later, or when the
system likes. It matters in a power cut only: what ``append`` wrote survives the end of the process."""

SECOND = 1.0


_AGAIN = "stop that program, then run the same command again: it goes on with the file as it then is"


class Appender:
    """The one writer of ``path``. Safe to call from several threads.

    ``notices`` tells, once, that another program appended lines while the file was open.
    """

    def __init__(self, path: Path, *, create: bool, sync: Sync) -> None:
        """Open ``path`` at its end; a link is not followed. With ``create``, the file must not be there yet. Raises
        OSError."""
        self.path = path
        self.notices: list[str] = []
        flags = os.O_CREAT | os.O_EXCL if create else 0
        self._fd = system.open_plain(path, system.APPEND | flags)
        self._lock = threading.Lock()
        self._end = os.fstat(self._fd).st_size
        self._sync = sync
        self._syncer = _Syncer(self._fd, path.parent if create else None) if sync == "second" else None
        if create and sync == "always":
            system.sync_folder(path.parent)

    def append(self, line: bytes) -> None:
        """Write ``line``, which ends in a newline.

        Raises CorpusError. Then nothing of the line is in the file, except where only forcing it to the
        disk has failed: then it is there, whole.
        """
        with self._lock:
            if self._syncer and self._syncer.error:
                raise failure(self._syncer.error, self.path)
            self._look_around()
            start = self._end
            self._end = start + len(line)
            try:
                write_all(self._fd, line)
            except BaseException as error:  # Ctrl-C too
                self._take_back(start, line)
                if isinstance(error, OSError):
                    raise failure(error, self.path) from error
                raise
            if self._syncer:
                self._syncer.wake()
            elif self._sync == "always":
                self._force()

    def end_line(self) -> bool:
        """Add the newline that the last line lacks. False if it lacked none. Raises CorpusError."""
        if not self._end or self._read(self._end - 1, 1) == b"\n":
            return False
        self.append(b"\n")
        return True

    def cut(self, count: int) -> None:
        """Remove the last ``count`` bytes. Raises OSError; CorpusError if others have added to them."""
        if os.fstat(self._fd).st_size != self._end:
            raise CorpusError(f"Another program is writing to {self.path}", _AGAIN)
        self._end -= count
        os.ftruncate(self._fd, self._end)
        system.sync_file(self._fd)

    def close(self) -> None:
        """Force what is written to the disk, as ``sync`` has it, and close. Raises CorpusError."""
        with self._lock:
            if self._fd < 0:
                return
            fd, self._fd = self._fd, -1
            try:
                if self._syncer:
                    self._syncer.close()
            except OSError as error:
                raise failure(error, self.path) from error
            finally:
                os.close(fd)

    def _force(self) -> None:
        try:
            system.sync_file(self._fd)
        except OSError as error:
            raise failure(error, self.path) from error

    def _look_around(self) -> None:
        """Notice what other programs did to the file since the last line."""
        file = os.fstat(self._fd)
        if not system.is_still(file, self.path):
            raise CorpusError(f"{self.path} was moved, replaced or deleted while records were written to it", _AGAIN)
        size = file.st_size
        if size == self._end:
            return
        if size < self._end:
            raise CorpusError(f"Another program cut {self.path} short while records were written to it", _AGAIN)
        if self._read(size - 1, 1) != b"\n":
            raise CorpusError(f"Another program is in the middle of writing a line to {self.path}", _AGAIN)
        self._end = size
        if not self.notices:
            self.notices.append(f"Another program appended to {self.path.name} meanwhile; its lines were left alone")

    def _take_back(self, start: int, line: bytes) -> None:
        """Remove the beginning of ``line`` that did get written, if it is the only thing after ``start``.

        Another program's bytes may stand there instead, or as well; then nothing is removed. A torn
        line that has to stay is set aside when the corpus is next opened.
        """
        self._end = start
        try:
            written = self._read(start, len(line) + 1)
            if written and line.startswith(written):
                os.ftruncate(self._fd, start)
        except OSError:
            pass  # the disk's first failure is the one to tell

    def _read(self, offset: int, count: int) -> bytes:
        os.lseek(self._fd, offset, os.SEEK_SET)  # O_APPEND: the next write goes to the end all the same
        return os.read(self._fd, count)


class _Syncer:
    """A thread that forces a file to the disk at most once a second, and only after ``wake``. Before the first time it
    forces the name of a new file, in ``folder``.

    The first failure ends it and stays in ``error``: the system reports a lost page once.
    """

    def __init__(self, fd: int, folder: Path | None) -> None:
        self.error: OSError | None = None
        self._fd = fd
        self._folder = folder
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        self._dirty.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="corpus-sync", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Force what is left, and end the thread. Raises the OSError that was met, now or before."""
        self._closing.set()
        self._dirty.set()
        if self._thread:
            self._thread.join()
        if self.error:
            raise self.error

    def _run(self) -> None:
        while True:
            self._dirty.wait()
            self._dirty.clear()
            closing = self._closing.is_set()  # read after the clear, or a close between the two is missed
            try:
                if self._folder is not None:
                    system.sync_folder(self._folder)
                    self._folder = None
                system.sync_file(self._fd)
            except OSError as error:
                self.error = error
                return
            if closing:
                return
            self._closing.wait(SECOND)


def write_all(fd: int, data: bytes) -> None:
    """Write ``data`` to a descriptor, whatever portions it takes. Raises OSError with part of it written."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            system.wait_writable(fd)


_CAUSES = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the disk quota is used up", "free some space"),
    errno.EFBIG: ("the file has reached the size limit", "raise the limit (ulimit -f) or choose another -o"),
    errno.EROFS: ("the disk is read-only", "make it writable or choose another -o"),
    errno.EACCES: ("permission denied", "make it writable or choose another -o"),
    errno.EIO: ("Input/output error", "check the disk, its cable or its network"),
    errno.EMFILE: ("this process has too many open files", "allow more: ulimit -n 1024"),
    errno.ENFILE: ("the system has too many open files", "end some programs"),
    errno.ELOOP: ("it is a link, which is not followed", "remove the link, or put the file itself in its place"),
}


def cause_and_remedy(error: OSError) -> tuple[str, str]:
    """What a failed call of the system means, and what to do about it, in words."""
    return _CAUSES.get(error.errno or 0, (error.strerror or str(error), "check the disk"))


def failure(error: OSError, path: Path) -> CorpusError:
    """The CorpusError for a failed write to ``path`` or beside it."""
    cause, remedy = cause_and_remedy(error)
    return CorpusError(
        f"Cannot write to {path}: {cause}",
        f"{remedy}, then run the same command again: every record counted so far is kept",
    )
