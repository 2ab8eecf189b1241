"""What strikes the command from within. Python imports this as it starts, before the command is there.

FAULT_INSIDE is the name of a function here and its argument, joined by a colon. A round has to see in what came of it
that it did strike: an error here would only be printed.
"""

from __future__ import annotations

import datetime
import os
import signal
import time
from pathlib import Path
from typing import Any


def clock(path: str) -> None:
    """The clock is off by the seconds that stand in a file, which may change at any moment."""
    real = time.time

    def shift() -> float:
        return float(Path(path).read_text("utf-8"))

    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return cls.fromtimestamp(real() + shift(), tz)

    time.time = lambda: real() + shift()
    datetime.datetime = Shifted  # type: ignore[misc]


def short_writes(size: str) -> None:
    """No write takes more than so many bytes."""
    real = os.write
    os.write = lambda fd, data: real(fd, memoryview(data)[: int(size)])


def size_limit(size: str) -> None:
    """No file may get larger, from the first record on: before, the language identifier unpacks its model."""
    import resource

    real = os.write

    def write(fd: int, data: Any) -> int:
        if is_record(data):
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return real(fd, data)

    os.write = write


def torn_write(number: str) -> None:
    """Half of that record is written, and the process is gone."""
    real, left = os.write, int(number)

    def write(fd: int, data: Any) -> int:
        nonlocal left
        if is_record(data):
            left -= 1
            if not left:
                real(fd, data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
        return real(fd, data)

    os.write = write


def dies_at(number: str) -> None:
    """The process is gone before so many of the calls that a whole new file is made with, and those that it reaches
    after it has been made."""
    left = int(number)

    def dying(real: Any) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **named)

        return call

    for name in ("fsync", "link", "replace", "unlink"):
        setattr(os, name, dying(getattr(os, name)))


def power(path: str) -> None:
    """Each file that is forced to the disk, by its inode, and the size that it had is noted in a file: in a power cut,
    that much is safe."""
    real = os.fsync

    def fsync(fd: Any) -> None:
        size = os.fstat(fd).st_size
        real(fd)
        with Path(path).open("a", encoding="utf-8") as log:
            log.write(f"{os.fstat(fd).st_ino} {size}\n")

    os.fsync = fsync


def impatient(_: str) -> None:
    """Retries without the waits between them, which come to two minutes."""
    import stamina

    stamina.set_testing(True, attempts=1000, cap=True)


def stalled(seconds: str) -> None:
    """The watchdog's limit, in place of five minutes."""
    from magpie_ollama.asking import watchdog

    watchdog.STALLED_SECONDS = float(seconds)


def is_record(data: Any) -> bool:
    return bytes(data[:6]) == b'{"id":'


if wanted := os.environ.get("FAULT_INSIDE"):
    name, _, argument = wanted.partition(":")
    globals()[name](argument)
