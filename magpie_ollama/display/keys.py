"""Keys as they are pressed, without Enter: the one place that knows how each system gives them."""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from magpie_ollama.errors import UsageError

ESCAPE_SECONDS = 0.05
"""So long after an escape character the rest of a key's sequence is waited for."""

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[ -~]|[^\[O])")

_BEGINNING = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?")

_NAMES = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[C": "right",
    "\x1b[D": "left",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1b[1~": "home",
    "\x1b[7~": "home",
    "\x1b[4~": "end",
    "\x1b[8~": "end",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\b": "backspace",
}

_JOINERS = "\u200c\u200d"
"""Typed in Persian and Hindi; not printable by themselves."""

_WINDOWS = {
    "H": "up", "P": "down", "M": "right", "K": "left", "G": "home", "O": "end", "I": "page up", "Q": "page down",
}  # fmt: skip
"""What follows the first half of a special key."""


class Keys(Protocol):
    def read(self, seconds: float) -> str:
        """The next key: a character, or a name such as "page down"; "" where none comes within ``seconds``.

        Raises EOFError once the terminal is gone.
        """

    def take(self) -> None:
        """Has the terminal give keys as they are pressed, without their echo."""

    def release(self) -> None:
        """Leaves the terminal as it was."""


@contextmanager
def keys() -> Iterator[Keys]:
    """The keyboard of this terminal, its echo off until the block ends. Raises UsageError where there is none."""
    if sys.platform == "win32":
        yield _Console()
        return
    try:
        fd = os.open("/dev/tty", os.O_RDONLY)  # not stdin: that may be a pipe with the data
    except OSError as error:
        raise UsageError(
            f"No keys can be read here: {error.strerror}", "print the records instead: magpie-ollama view FILE | cat"
        ) from error
    terminal = _Terminal(fd)
    try:
        terminal.take()
        yield terminal
    finally:
        terminal.release()
        os.close(fd)


class _Terminal:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting = ""
        self._before: list[Any] | None = None

    def take(self) -> None:
        import termios
        import tty

        self._before = termios.tcgetattr(self._fd)
        tty.setcbreak(self._fd)

    def release(self) -> None:
        import termios

        if self._before is not None:
            with suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(self._fd, termios.TCSAFLUSH, self._before)

    def read(self, seconds: float) -> str:
        if not self._waiting:
            self._receive(seconds)
        before = ""
        while _BEGINNING.fullmatch(self._waiting) and self._waiting != before:
            before = self._waiting
            self._receive(ESCAPE_SECONDS)
        if not self._waiting:
            return ""
        match = _SEQUENCE.match(self._waiting)
        raw = match[0] if match else self._waiting[0]
        self._waiting = self._waiting[len(raw) :]
        key = _NAMES.get(raw.replace("\x1bO", "\x1b["), raw)
        return key if key in _NAMES.values() or (len(key) == 1 and (key.isprintable() or key in _JOINERS)) else ""

    def _receive(self, seconds: float) -> None:
        import select

        if select.select([self._fd], [], [], seconds)[0]:
            try:
                data = os.read(self._fd, 4096)
            except OSError as error:  # Linux' way to say so
                raise EOFError from error
            if not data:
                raise EOFError
            self._waiting += self._decoder.decode(data)


class _Console:
    """The console of Windows, which gives keys so anyway."""

    def take(self) -> None:
        pass

    def release(self) -> None:
        pass

    def read(self, seconds: float) -> str:
        import msvcrt
        import time

        end = time.monotonic() + seconds
        while not msvcrt.kbhit():  # type: ignore[attr-defined,unused-ignore]
            if time.monotonic() >= end:
                return ""
            time.sleep(0.02)
        char: str = msvcrt.getwch()  # type: ignore[attr-defined,unused-ignore]
        if char in ("\0", "\xe0"):
            return _WINDOWS.get(msvcrt.getwch(), "")  # type: ignore[attr-defined,unused-ignore]
        if char == "\x03":
            raise KeyboardInterrupt
        key = _NAMES.get(char, char)
        return key if key.isprintable() else ""
