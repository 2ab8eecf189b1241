"""Regular expressions of the user's, in texts of anybody's: Python's syntax, a typist's signs, and an end.

Signs that keyboards and word processors write in two ways are one: a straight apostrophe in the pattern or the text is
a curly one too, a space a no-break space, an accented letter its decomposed form.
"""

from __future__ import annotations

import re
import signal
import threading
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from magpie_ollama.corpus.reading import Row
from magpie_ollama.errors import UsageError

SECONDS = 5
"""Of computing, on one record: a pattern that takes longer is given up."""

_SIGNS = {"'": "‘’ʼ＇", '"': "“”„‟＂", " ": "\u00a0\u202f", "-": "‐‑"}
"""What is written for a sign of ASCII. Dashes, primes and guillemets are other signs."""

_EXACT = re.compile(r"\\[uUxN0-7]")
"""In a pattern: this very character is meant."""

_LONG = 100_000
"""Characters from which a text is looked at from one place after the other: within one call of ``search``, Python may
not ask for a long time whether it should stop."""


class Pattern:
    """One regular expression. Raises UsageError where it is none."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._signs: list[tuple[str, str]] = []
        self._folds = not _EXACT.search(text)
        if self._folds:
            text = unicodedata.normalize("NFC", text)
            for sign, others in _SIGNS.items():
                text = text.translate(dict.fromkeys(map(ord, others), sign))
            self._signs = [(other, sign) for sign, others in _SIGNS.items() if sign in text for other in others]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what later versions of Python may read otherwise
                self._pattern = re.compile(text)
        except (re.error, OverflowError, RecursionError) as error:
            raise UsageError(
                f"{self._text!r} is no regular expression: {error}",
                "see https://docs.python.org/3/library/re.html; \\ quotes a sign",
            ) from error

    def is_in(self, row: Row) -> bool:
        """Whether it is found in the instruction or the response. Within ``bounded``, raises UsageError where that does
        not come to an end."""
        global _now
        _now = (row.number, self._text)
        try:
            return self._found(row.instruction) or self._found(row.response)
        finally:
            _now = None

    def _found(self, text: str) -> bool:
        if self._folds and not text.isascii():
            for other, sign in self._signs:
                text = text.replace(other, sign)
            text = unicodedata.normalize("NFC", text)
        if len(text) < _LONG:
            return self._pattern.search(text) is not None
        return any(self._pattern.match(text, start) for start in range(len(text) + 1))


_now: tuple[int, str] | None = None
"""The line and the pattern that are looked at."""


@contextmanager
def bounded() -> Iterator[None]:
    """Within the block, a pattern that does not end on a record within ``SECONDS`` is given up; on Windows, or beside
    the main thread, which gets the signals, only Ctrl-C ends it."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    seen, ticks = _now, 0

    def tick(number: int, frame: FrameType | None) -> None:
        nonlocal seen, ticks
        seen, ticks = _now, ticks + 1 if _now is seen else 1
        if seen is not None and ticks > SECONDS:
            line, text = seen
            raise UsageError(
                f"The pattern {text!r} comes to no end on line {line}: given up after {SECONDS} s",
                f"write it without a repetition in a repetition, as in (a+)+, or take the line out: drop --line {line}",
            )

    # Of this process' computing alone: to wait for a pipe, or for a busy machine, is no fault of the pattern.
    before = signal.signal(signal.SIGVTALRM, tick)
    signal.setitimer(signal.ITIMER_VIRTUAL, 1, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
