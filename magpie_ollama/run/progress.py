"""What of a run can be seen while it goes on."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from magpie_ollama.method.ability import Ability
from magpie_ollama.method.variety import Variety
from magpie_ollama.records import Funnel

RATE_SECONDS = 30.0
"""The window over which rates are shown."""


@dataclass(slots=True)
class Progress:
    """The state of a run, for whoever displays it. ``funnel`` is that of the whole run, ``kept`` and ``target`` too;
    the rates and ``variety`` are those of this process. ``step`` says what goes on before the first attempt; where
    its size is known, ``step_done`` of ``step_total`` bytes of it are done. At the end of a run ``level`` is how many
    attempts it had in flight, and ``rates`` are the tokens a second with as many, where --parallel auto found that out.
    ``ability`` is the word on how well the model writes the language, once enough is known.
    """

    target: int = 0
    kept: int = 0
    step: str = ""
    step_detail: str = ""
    step_done: int = 0
    step_total: int = 0
    newest: str = ""
    in_flight: int = 0
    responding: int = 0
    level: int = 0
    rates: dict[int, float] = field(default_factory=dict)
    funnel: Funnel = field(default_factory=Funnel)
    shares: dict[str, float] = field(default_factory=dict)
    ability: Ability | None = None
    variety: Variety = field(default_factory=Variety)
    tokens: int = 0
    kept_here: int = 0
    attempts_here: int = 0
    started: float = 0.0
    notices: list[str] = field(default_factory=list)
    _entered: float = field(default_factory=time.monotonic)
    _marks: deque[tuple[float, int]] = field(default_factory=deque)

    def enter(self, step: str, detail: str = "", done: int = 0, total: int = 0) -> None:
        if step != self.step:
            self._entered = time.monotonic()
        self.step, self.step_detail, self.step_done, self.step_total = step, detail, done, total

    @property
    def step_seconds(self) -> float:
        return time.monotonic() - self._entered

    def begin(self) -> None:
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started if self.started else 0.0

    def records_per_minute(self) -> float:
        return 60 * self.kept_here / self.seconds if self.seconds else 0.0

    def seconds_left(self) -> float | None:
        """By this process' rate so far; None before the first record."""
        if not self.kept_here:
            return None
        return (self.target - self.kept) * self.seconds / self.kept_here

    def tokens_per_second(self) -> float:
        """Over the last ``RATE_SECONDS``."""
        now = time.monotonic()
        self._marks.append((now, self.tokens))
        while len(self._marks) > 2 and now - self._marks[0][0] > RATE_SECONDS:
            self._marks.popleft()
        since, before = self._marks[0]
        if now - since < 0.5:
            return self.tokens / self.seconds if self.seconds > 0.5 else 0.0
        return (self.tokens - before) / (now - since)
