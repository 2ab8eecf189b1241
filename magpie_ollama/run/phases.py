"""Two models of which the memory holds one: instructions by the one for a while, then their responses by the other."""

from __future__ import annotations

from collections import deque

from magpie_ollama.asking.drafts import Draft
from magpie_ollama.method.reasons import Stage
from magpie_ollama.run.sources import Source

PHASE = 32
"""Instructions that are written before any is answered: to load a model takes seconds, an instruction about one."""


class Phases:
    """Which draft is next: a new one while a phase lacks instructions, then each of those once more."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._parked: deque[Draft] = deque()
        self._asking_on: deque[Draft] = deque()
        self._out = 0
        self._answering = False
        self._dry = False

    def ready(self, missing: int) -> bool:
        """Whether ``take`` knows what is next, where ``missing`` records are wanted yet: not while the last of a phase
        are under way."""
        if self._answering and (self._parked or self._out):
            return bool(self._parked)
        self._answering = False
        lacks = (not self._dry or bool(self._asking_on)) and len(self._parked) + self._out < min(PHASE, missing)
        if lacks or self._out:
            return lacks
        self._answering = bool(self._parked)
        return True

    def take(self) -> Draft | None:
        """The next draft; None where there is none; ``is_done`` says whether one will come."""
        if self._answering:
            draft: Draft | None = self._parked.popleft() if self._parked else None
        elif self._asking_on:
            draft = self._asking_on.popleft()
        else:
            draft = self._source.next()
            self._dry = draft is None
        self._out += draft is not None
        return draft

    def give_back(self, draft: Draft, *, again: bool) -> None:
        """One that was taken; ``again``: it is to go on when it is time."""
        self._out -= 1
        self._dry = self._dry and again  # of one that failed the source may make another
        if again:
            (self._parked if draft.lacks is Stage.RESPONSE else self._asking_on).append(draft)

    @property
    def is_done(self) -> bool:
        return self._dry and not self.left and not self._out

    @property
    def left(self) -> list[Draft]:
        """Those that nobody went on with."""
        return [*self._parked, *self._asking_on]
