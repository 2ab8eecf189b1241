"""One process at a time writes to a corpus."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
from filelock import FileLock, Timeout

from magpie_ollama.corpus import files, system
from magpie_ollama.decoding import Misshapen, decode
from magpie_ollama.errors import CorpusLocked


class _Owner(msgspec.Struct):
    pid: Annotated[int, msgspec.Meta(gt=0, lt=2**31)]
    host: Annotated[str, msgspec.Meta(max_length=255)]
    started: str


class CorpusLock:
    """The system's lock on ``folder/lock``, which ends with the process, however that ends.

    ``folder/lock.json`` says who holds it, for the other's error message only.
    """

    def __init__(self, folder: Path, corpus: Path) -> None:
        self._corpus = corpus
        self._folder = folder
        self._owner = folder / "lock.json"
        # Not per thread: a corpus may be opened in one thread and closed in another.
        self._lock = FileLock(folder / "lock", timeout=0, thread_local=False)

    @property
    def held(self) -> bool:
        return self._lock.is_locked

    def acquire(self) -> None:
        """Take the lock. Raises CorpusLocked, which names the holder, and OSError."""
        system.check_kind(self._folder, stat.S_IFDIR)
        system.check_kind(Path(self._lock.lock_file), stat.S_IFREG)
        try:
            self._lock.acquire()
        except Timeout:
            raise CorpusLocked(self._holder(), "wait until it is done, or write to another file with -o") from None
        owner = {"pid": os.getpid(), "host": platform.node(), "started": datetime.now(UTC).isoformat()}
        with contextlib.suppress(OSError):  # a full disk must not keep anyone from reading what is there
            files.write(self._owner, json.dumps(owner).encode(), sync=False)

    def release(self) -> None:
        if self.held:
            with contextlib.suppress(OSError):
                self._owner.unlink(missing_ok=True)
            self._lock.release()

    def _holder(self) -> str:
        unnamed = f"Another process writes to {self._corpus}"
        try:
            owner = decode(files.read(self._owner), _Owner)
            since = datetime.fromisoformat(owner.started).astimezone()
        except (OSError, Misshapen, ValueError, OverflowError):
            return unnamed  # it has the lock and is about to write its name
        here = owner.host == platform.node()
        if here and not system.process_alive(owner.pid):
            return unnamed  # the name is of one that was killed
        today = since.date() == datetime.now().astimezone().date()
        return (
            f"Process {owner.pid} on {'this machine' if here else owner.host},"
            f" since {since:{'%H:%M' if today else '%Y-%m-%d %H:%M'}}, writes to {self._corpus}"
        )
