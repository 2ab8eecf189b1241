"""Where attempts come from: each begins as a draft, and its source hears what became of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, Protocol, TypeVar

from magpie_ollama.asking.drafts import Draft, draw
from magpie_ollama.asking.settings import Settings
from magpie_ollama.corpus.runs import Run
from magpie_ollama.method.languages import Exemplar
from magpie_ollama.method.reasons import NO_ROOM
from magpie_ollama.method.screening import count_words
from magpie_ollama.records import DROPPED, KEPT, Attempt, Message, Record
from magpie_ollama.run.choosing import Steerings
from magpie_ollama.run.scheduling import HOPELESS_YIELD, Schedule

POOL = 32
"""Accepted pairs of the run that may serve as exemplars (--bootstrap): the newest."""

T = TypeVar("T")


class Source(Protocol):
    def next(self) -> Draft | None:
        """The next attempt's draft; None: there is none to make now."""

    def learn(self, attempt: Attempt) -> None:
        """What became of one."""

    def remember(self, record: Record) -> None:
        """One that was kept, once it is in the corpus."""

    def shares(self) -> dict[str, float]:
        """The share of the last attempts that each arm had, by its name; {} where there is no choice."""


class Drawing:
    """Attempts from nothing but a topic, a steering and a seed, as many as the settings allow in one go."""

    def __init__(
        self,
        settings: Mapping[str, Settings],
        run: Run,
        steerings: Mapping[str, Steerings],
        schedule: Schedule,
        bound: int,
        notices: list[str],
        fronts: Mapping[str, tuple[Message, ...] | None],
    ) -> None:
        """``settings`` and ``steerings`` are by topic, "" where there are none; so are the ``fronts`` of
        conversations."""
        self._settings = settings
        self._steerings = steerings
        self._schedule = schedule
        self._fronts = fronts
        self._first_seed = run.seed
        self._next_index = run.next_index
        self._left = bound
        self._pools: dict[str, deque[Exemplar]] = {topic: deque(maxlen=POOL) for topic in settings}
        self._notices = notices

    def next(self) -> Draft | None:
        if not self._left or (topic := self._schedule.next()) is None:
            return None
        self._left -= 1
        index, self._next_index = self._next_index, self._next_index + 1
        settings, arm = self._settings[topic], self._steerings[topic].choose()
        drawn = draw(settings, index, self._first_seed + index, *arm, self._pools[topic])
        front = self._fronts[topic]
        if front and settings.own.systems:
            front = drawn.steered.messages[:1]
        return Draft(drawn, rules=settings.screening, front=front, retries=settings.retries)

    def learn(self, attempt: Attempt) -> None:
        self._steerings[attempt.topic].learn(attempt)
        if self._schedule.learn(attempt):
            kept, tried = self._schedule.kept[attempt.topic], self._schedule.attempts[attempt.topic]
            self._notices.append(
                f"The topic {attempt.topic} is dropped: {kept} of its {tried} attempts were kept, "
                f"fewer than one in {1 / HOPELESS_YIELD:.0f}. The others share what is left."
            )

    def remember(self, record: Record) -> None:
        short = count_words(record.instruction) <= 40 and count_words(record.response) <= 80
        if self._settings[record.topic].bootstrap and short:
            self._pools[record.topic].append(Exemplar(record.instruction, record.response))

    def shares(self) -> dict[str, float]:
        """Of one topic's; several have as many answers."""
        return next(iter(self._steerings.values())).shares() if len(self._steerings) == 1 else {}


class Listed(Generic[T]):
    """An attempt at each of some items, in their order; ``begin`` takes an item, its attempt's index and its seed. One
    that fails comes again behind the others, by another seed, ``tries`` times in all."""

    def __init__(self, items: Iterable[T], run: Run, begin: Callable[[T, int, int], Draft], tries: int) -> None:
        self._waiting = deque((item, 1) for item in items)
        self._asked: dict[int, tuple[T, int]] = {}
        self._begin = begin
        self._tries = tries
        self._first_seed = run.seed
        self._next_index = run.next_index

    def next(self) -> Draft | None:
        if not self._waiting:
            return None
        index, self._next_index = self._next_index, self._next_index + 1
        item, _ = self._asked[index] = self._waiting.popleft()
        return self._begin(item, index, self._first_seed + index)

    def learn(self, attempt: Attempt) -> None:
        item, trial = self._asked.pop(attempt.index)
        hopeless = attempt.outcome in NO_ROOM  # with any seed
        if attempt.outcome not in (KEPT, DROPPED) and not hopeless and trial < self._tries:
            self._waiting.append((item, trial + 1))

    def remember(self, record: Record) -> None: ...

    def shares(self) -> dict[str, float]:
        return {}
