"""How many attempts to have in flight: found by doubling, measured on the run's own work.

No request is made for the sake of measuring, so a level costs no more than its own slowness. A server that runs one
request at a time lets the others wait, without harm; one that runs many is idle with few.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import fmean, median, quantiles, stdev

from magpie_ollama.servers.base import Server

MOST = 256
"""Where the doubling ends. Half of the 512 that Ollama lets wait (OLLAMA_MAX_QUEUE), and far above what a laptop
runs; who has a cluster says --parallel."""

USUAL = 4
SHORT = 16
"""A run that lacks fewer records has ``USUAL`` in flight from the beginning, and measures nothing: the windows at 1 and
2 would be a good part of it. Four gave a third more than one on two cores (150/149/202/198 tokens a second with
1/2/4/8), and where only one runs at a time the others just wait."""

GAIN = 1.10
"""A doubling has to beat the last one that did so by so much ..."""

PATIENCE = 2
"""... or the next one, together with it: the first often gives nothing (150/149/202/198), and small gains add up
(72/78/84/97/105)."""

NEAR = 0.95
"""What comes so near to the best is as good: the smallest such level is taken."""

FALLEN = 0.75
"""Of the best: a level above ``USUAL`` as slow as this is worse than no gain (memory runs out), and the next is not
tried. Up to it, something else kept the machine busy: 75 tokens a second with 1 and 13 with 2 were seen; 4 has 94."""

WINDOWS = (2, 5)
"""At least and at most so many windows a level ..."""

ERROR = 0.04
"""... until the standard error of their mean is at most this share of it."""

FORGET = 60
"""Windows without a refusal, about two minutes, after which one more is tried than the server refused."""


AGAIN = 150
"""Windows, five minutes at least, after which it is measured anew, from half the level on: what else ran on this
machine may have spoilt the first look. Then after twice as many, and so on."""


class Ladder:
    """The levels 1, 2, 4, ... up to ``most``, and the one that is taken in the end. ``level`` is how many attempts to
    have in flight now. ``rates`` are the tokens a second of the levels measured so far, ``settled`` those that the
    last decision was made by.

    A server that refuses (503) halves the level and sets a ceiling, from below which it is raised one by one again
    (additive increase, multiplicative decrease; Chiu and Jain 1989).
    """

    def __init__(self, most: int = MOST, start: int = 1) -> None:
        self.level = start
        self.decided = False
        self.growing = True
        """Whether the last level measured beat those before it."""
        self.rates: dict[int, float] = {}
        self.settled: dict[int, float] = {}
        self.refused_at = 0
        self._most = most
        self._windows: list[float] = []
        self._in_vain = 0
        self._grown = 0.0
        self._goal = self._ceiling = most
        self._quiet = 0
        self._again = AGAIN if start < most else 0
        self._since = 0

    def feed(self, in_flight: int, tokens: int, seconds: float) -> int:
        """A window in which ``in_flight`` requests, all the time, made ``tokens``. The level from now on."""
        if in_flight != self.level:
            return self.level
        if self.decided:
            self._since += 1
            if self.refused_at:
                self._recover()
            elif self._since == self._again:
                self._look_again()
            return self.level
        self._windows.append(tokens / seconds)
        if not self._enough():
            return self.level
        rate, best = median(self._windows), max(self.rates.values(), default=0.0)
        self._windows.clear()
        self.rates[self.level] = rate
        self.growing = rate >= GAIN * self._grown
        self._in_vain = 0 if self.growing else self._in_vain + 1
        self._grown = rate if self.growing else self._grown
        fallen = self.level > USUAL and rate < FALLEN * best
        if self._in_vain >= PATIENCE or fallen or 2 * self.level > self._most:
            self.level = self._decide()
        else:
            self.level *= 2
        return self.level

    def refuse(self) -> int:
        """The server had no room for one of ``level`` requests. The level from now on."""
        self.refused_at = self.level
        if not self.decided:
            goal = self._decide()
            self._goal = self.level if self.growing else goal
        self._ceiling = max(1, self.level - 1)
        self.level = max(1, min(self._goal, self.level // 2))
        self._quiet = 0
        return self.level

    def _decide(self) -> int:
        best = max(self.rates.values(), default=0.0)
        self._goal = min((level for level, rate in self.rates.items() if rate >= NEAR * best), default=self.level)
        self.decided = True
        self.settled = dict(self.rates)
        return self._goal

    def _look_again(self) -> None:
        self._since, self._again = 0, 2 * self._again
        self.decided = False
        self.rates.clear()
        self._in_vain, self._grown = 0, 0.0
        self.level = max(1, self.level // 2)

    def _enough(self) -> bool:
        least, most = WINDOWS
        count = len(self._windows)
        if count < least:
            return False
        return count >= most or stdev(self._windows) <= ERROR * count**0.5 * fmean(self._windows)

    def _recover(self) -> None:
        self._quiet += 1
        if self.level < min(self._goal, self._ceiling):
            self.level += 1
        elif self.level < self._goal and self._quiet >= FORGET:
            self.level = self._ceiling = self.level + 1
            self._quiet = 0


TICK = 0.1
"""Seconds between two looks at the run."""

WINDOW_SECONDS = (2.0, 10.0)
WINDOW_TOKENS = 64
"""A window takes at least the first, and ends with so many tokens, or after the second: on a slow server too."""

FILL_SECONDS = (0.5, 5.0)
"""A window begins when the level is full: when at least nine in ten of its requests write, not before the first; and
after the second anyway, since a server that runs fewer at once lets the others wait."""

UNSEEN_ATTEMPTS = 2
"""Reasoning is counted when a response ends, all at once. So with --think a window lasts until so many attempts have
ended for each one in flight."""


class Throttle:
    """Feeds a ladder with what can be seen of a run, and says what it found."""

    def __init__(self, ladder: Ladder, unseen: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        """``unseen``: tokens are counted when a request ends, not while they come."""
        self._ladder = ladder
        self._unseen = unseen
        self._clock = clock
        self._asked = 0
        self._full_since: float | None = None
        self._window: tuple[float, int, int] | None = None
        self._writing: list[int] = []
        self.slots = 0
        """How many requests were seen to write at once at the highest level measured, where that was less than it."""

    @property
    def level(self) -> int:
        return self._ladder.level

    def look(self, asked: int, writing: int, tokens: int, ended: int) -> int:
        """To be called every ``TICK``: ``asked`` requests are in flight and ``writing`` of them have given text;
        ``tokens`` were made and ``ended`` attempts ended so far. The level from now on."""
        now, level = self._clock(), self._ladder.level
        self._asked = asked
        if asked != level:  # it fills, or empties, or the run is near its end and attempts wait for room
            self._restart()
            return level
        if self._full_since is None:
            self._full_since = now
        if self._window is None:
            waited = now - self._full_since
            least, most = FILL_SECONDS
            if waited >= most or (waited >= least and (self._unseen or writing >= 0.9 * level)):
                self._window = (now, tokens, ended)
            return level
        self._writing.append(writing)
        began, before, ended_before = self._window
        seconds, more = now - began, tokens - before
        if not self._is_whole(seconds, more, ended - ended_before):
            return level
        self._window = (now, tokens, ended)
        measuring = not self._ladder.decided
        new = self._ladder.feed(level, more, seconds)
        if measuring and level in self._ladder.rates:
            self._see_slots(level)
        if new != level:
            self._restart()
            self._writing.clear()
        return new

    def refuse(self) -> int:
        """The server refused a request for want of room. The level from now on."""
        if self._asked <= self._ladder.level:  # else it is falling already: one step a crowd, not one a refusal
            self._ladder.refuse()
            self._restart()
            self._writing.clear()
            self._asked = self._ladder.level + 1
        return self._ladder.level

    def found(self) -> dict[int, float]:
        """The tokens a second of the levels among which one was chosen; {} where the run ended before, or was short."""
        return self._ladder.settled if len(self._ladder.settled) > 1 else {}

    def advice(self, server: Server) -> str:
        """What would let the server do more, as far as the run showed it; "" for nothing."""
        ladder = self._ladder
        if ladder.refused_at:
            return (
                f"{server.address} refused requests with {ladder.refused_at} in flight; "
                f"there were {ladder.level} at the end, and nothing was lost"
            )
        if not self.found():
            return ""
        if server.slots:
            wants = ladder.growing and max(ladder.settled) >= server.slots
        else:
            wants = 0 < self.slots <= ladder.level
        return server.advice(server.slots or self.slots) if wants else ""

    def _is_whole(self, seconds: float, tokens: int, ended: int) -> bool:
        least, most = WINDOW_SECONDS
        if self._unseen and not self._ladder.decided:
            return seconds >= least and ended >= UNSEEN_ATTEMPTS * self._ladder.level
        return seconds >= least and (tokens >= WINDOW_TOKENS or seconds >= most)

    def _see_slots(self, level: int) -> None:
        # Not the most: a stream's last piece and the next one's first can come in one look.
        usual = round(quantiles(self._writing, n=10)[-1])
        # Between a half and the whole, those that do not write may be reading their prompt.
        self.slots = usual if not self._unseen and usual <= level / 2 else 0

    def _restart(self) -> None:
        self._full_since = self._window = None


def throttle_for(server: Server, missing: int, unseen: bool) -> Throttle:
    """For a run that lacks ``missing`` records. Half of them is the most that is tried: what is in flight when the
    last is kept was made for nothing. A server's own slots are known."""
    most = server.slots or MOST
    if missing < SHORT:
        few = max(1, min(USUAL, most, missing))
        return Throttle(Ladder(few, few), unseen)
    return Throttle(Ladder(min(most, missing // 2)), unseen)
