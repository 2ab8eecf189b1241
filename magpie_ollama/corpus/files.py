"""Files that are the tool's own: beside a corpus, or on their way to a name of the user's.

A link, a pipe or a device in their place is not followed: a corpus may come from anybody. What is written as a whole
grows under a name that nobody can guess, and takes its own at the end. Where a process was killed before, the next one
that writes to the same folder clears the rest away.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from magpie_ollama.corpus import system
from magpie_ollama.corpus.appender import write_all

DAY = 24 * 3600.0
"""Seconds after which a temporary file is left over, whoever made it and wherever."""

_HOST = blake2b(platform.node().encode("utf-8", "replace"), digest_size=4).hexdigest()
"""This machine, without its name."""

_NAME = re.compile(r"\.magpie-ollama-([0-9a-f]{8})-([0-9]{1,10})-[0-9a-f]{16}\.tmp")
"""Of temporary files: the machine and the process that made it."""

_ours: set[Path] = set()
"""Those that this process is writing."""


def folder_beside(corpus: Path) -> Path:
    """``it.jsonl.magpie``, with all that the tool keeps for the corpus at a resolved path."""
    return corpus.with_name(f"{corpus.name}.magpie")


def make_folder(folder: Path) -> None:
    """Make it where it is not there. Raises OSError, for a link to a folder as well."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    system.check_kind(folder, stat.S_IFDIR)


def read(path: Path) -> bytes:
    """The content of a file of the tool's own. Raises OSError."""
    with os.fdopen(system.open_plain(path, os.O_RDONLY), "rb") as file:
        return file.read()


def write(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Replace a file in one step: a reader, and a crash, find the old one or the new one, and both whole. Raises
    OSError. Without ``sync`` a power cut may leave an empty one."""
    with temporary(path.parent) as (fd, new):
        try:
            write_all(fd, data)
            if sync:
                system.sync_file(fd)
        finally:
            os.close(fd)
        system.replace(new, path)
        if sync:
            system.sync_folder(path.parent)


@contextmanager
def temporary(folder: Path) -> Iterator[tuple[int, Path]]:
    """A new file in ``folder``, as a descriptor to append to, which the block closes, and its path. At the block's end
    it is gone, unless it was renamed. Raises OSError."""
    sweep(folder)
    fd, guard, path = _make(folder)
    try:
        yield fd, path
    finally:
        with contextlib.suppress(OSError):  # what cannot be removed now is swept later
            path.unlink(missing_ok=True)
        _ours.discard(path)
        if guard >= 0:
            os.close(guard)


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed processes left in ``folder``.

    A file that is being written is locked, which ends with its process: the number of a process may be another's by
    now. Where files cannot be locked the number has to do; on another machine's, a day.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        found = [(folder / entry.name, match) for entry in entries if (match := _NAME.fullmatch(entry.name))]
        for path, match in found:
            if path not in _ours:
                with contextlib.suppress(OSError):
                    _clear(path, here=match[1] == _HOST, pid=int(match[2]))


def _make(folder: Path) -> tuple[int, int, Path]:
    """A new file: its descriptor, a second one that keeps it locked until its name is taken (-1 where files cannot be
    locked), and its path."""
    while True:
        path = folder / f".magpie-ollama-{_HOST}-{os.getpid()}-{secrets.randbits(64):016x}.tmp"
        fd = system.open_plain(path, system.APPEND | os.O_CREAT | os.O_EXCL)
        _ours.add(path)
        held = system.hold(fd)
        if held is not False and system.is_still(os.fstat(fd), path):
            return fd, os.dup(fd) if held else -1, path
        _ours.discard(path)
        os.close(fd)  # another process' sweep came in between


def _clear(path: Path, *, here: bool, pid: int) -> None:
    fd = system.open_plain(path, os.O_RDWR)
    try:
        file = os.fstat(fd)
        held = system.hold(fd)
        dead = here and (held or not system.process_alive(pid))
        if held is False or not (dead or time.time() - file.st_mtime > DAY) or not system.is_own(file):
            return
        if held:
            path.unlink()  # before it is unlocked: whoever made it just now makes another
    finally:
        os.close(fd)
    path.unlink(missing_ok=True)  # Windows removes no open file
