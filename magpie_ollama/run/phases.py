"""Two models of which the memory holds one: instructions by the one for a while, then their responses by the other."""

from __future__ import annotations

from collections import deque

from magpie_ollama.asking.drafts import Draft
from magpie_ollama.run.sources import Source

PHASE = 32
"""Instructions that are written before any is answered: to load a model takes seconds, an instruction about one."""


class Phases:
    """Which draft is next: a new one while a phase lacks instructions, then each of those once more."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._parked: deque[Draft] = deque()
        self._out = 0
        self._answering = False
        self._dry = False

    def ready(self, missing: int) -> bool:
        """Whether ``take`` knows what is next, where ``missing`` records are wanted yet: not while the last of a phase
        are under way."""
        if self._answering and (self._parked or self._out):
            return bool(self._parked)
        self._answering = False
        lacks = not self._dry and len(self._parked) + self._out < min(PHASE, missing)
        if lacks or self._out:
            return lacks
        self._answering = bool(self._parked)
        return True

    def take(self) -> Draft | None:
        """The next draft; None where there is none; ``is_done`` says whether one will come."""
        if self._answering:
            draft: Draft | None = self._parked.popleft() if self._parked else None
        else:
            draft = self._source.next()
            self._dry = draft is None
        self._out += draft is not None
        return draft

    def give_back(self, draft: Draft, *, answer: bool) -> None:
        """One that was taken; ``answer`` it when it is time."""
        self._out -= 1
        if answer:
            self._parked.append(draft)

    @property
    def is_done(self) -> bool:
        return self._dry and not self._parked and not self._out

    @property
    def left(self) -> list[Draft]:
        """Instructions that nobody has answered."""
        return list(self._parked)
