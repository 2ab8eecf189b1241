"""Where attempts come from: each begins as a draft, and its source hears what became of it."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from magpie_ollama.asking.drafts import Draft, draw
from magpie_ollama.asking.settings import Settings
from magpie_ollama.corpus.runs import Run
from magpie_ollama.method.languages import Exemplar
from magpie_ollama.method.screening import count_words
from magpie_ollama.records import Attempt, Message, Record
from magpie_ollama.run.choosing import Steerings

POOL = 32
"""Accepted pairs of the run that may serve as exemplars (--bootstrap): the newest."""


class Source(Protocol):
    def next(self) -> Draft | None:
        """The next attempt's draft; None: there is none to make now."""

    def learn(self, attempt: Attempt) -> None:
        """What became of one."""

    def remember(self, record: Record) -> None:
        """One that was kept, once it is in the corpus."""

    def shares(self) -> dict[str, float]:
        """The share of the coming draws that each arm would get now, by its name; {} where there is no choice."""


class Drawing:
    """Attempts from nothing but a steering and a seed, as many as the settings allow in one go. ``front`` is that of
    conversations."""

    def __init__(
        self, settings: Settings, run: Run, steerings: Steerings, front: tuple[Message, ...] | None = None
    ) -> None:
        self._settings = settings
        self._steerings = steerings
        self._front = front
        self._first_seed = run.seed
        self._next_index = run.next_index
        self._left = settings.attempt_bound
        self._pool: deque[Exemplar] = deque(maxlen=POOL)

    def next(self) -> Draft | None:
        if not self._left:
            return None
        self._left -= 1
        index, self._next_index = self._next_index, self._next_index + 1
        drawn = draw(self._settings, index, self._first_seed + index, *self._steerings.choose(), self._pool)
        return Draft(drawn, front=self._front)

    def learn(self, attempt: Attempt) -> None:
        self._steerings.learn(attempt)

    def remember(self, record: Record) -> None:
        short = count_words(record.instruction) <= 40 and count_words(record.response) <= 80
        if self._settings.bootstrap and short:
            self._pool.append(Exemplar(record.instruction, record.response))

    def shares(self) -> dict[str, float]:
        return self._steerings.shares()
