"""How quick a server is and how many requests it runs at once, measured by a few short streams.

What is enough is decided as in a run with ``--parallel auto`` (``run.parallel.Ladder``), so that both say the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median_high

from magpie_ollama.run.parallel import GAIN, NEAR, Ladder
from magpie_ollama.servers.base import Completion, Watch

MOST = 8
"""Streams at once, where the server's slots are not known: more than a laptop usually runs, and a larger server shows
that this is not its end."""

SURE = 3
"""So often it has to be seen that requests run one by one before somebody is told to set the server up anew."""

LONG_SECONDS = 30.0
"""No wave begins after that. A slow server is measured with one or two streams only, which says what matters."""

EDGE = 0.1
"""The share of a stream's duration that does not count at either end. A stream that starts as another ends runs after
it, though their pieces may reach this process the other way round."""

BURST, BLINK = 0.1, 0.02
"""A stream whose pieces all come within this share of its time, or so many seconds, came in one go: that says nothing
on when it was made."""

Ask = Callable[[int, Watch], Awaitable[Completion]]
"""Has the server write a short text, by a seed."""


@dataclass(frozen=True, slots=True)
class Stream:
    """When a request was sent, and when the first and the last piece of its answer came, in seconds of one clock."""

    sent: float
    first: float
    last: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Speed:
    """``rates``: tokens a second with 1, 2, 4, ... streams at once; ``enough``: the smallest number that comes near
    the quickest; ``growing`` says that still more may be quicker. ``at_once`` is how many of ``tried`` streams were
    seen to be written at the same time; 0 where they came in one go, too quickly to tell. ``seen`` has that number for
    each time that ``tried`` streams were sent: the machine's other work makes it vary.
    """

    rates: dict[int, float]
    enough: int
    growing: bool
    tried: int
    at_once: int
    seen: tuple[int, ...] = ()

    @property
    def one_by_one(self) -> bool:
        """Whether it is sure that the server runs one request at a time: it was seen each time, and more streams at
        once made no more tokens a second."""
        quicker = max(self.rates.values()) > GAIN * self.rates.get(1, 0.0)
        return self.tried > 1 and len(self.seen) >= SURE and set(self.seen) == {1} and not quicker

    @property
    def tokens_per_second(self) -> float:
        return self.rates[self.enough]


async def measure(ask: Ask, most: int = MOST) -> Speed:
    """Sends waves of 1, 2, 4, ... up to ``most`` streams, until it is clear how many are enough, or it takes long."""
    await ask(0, lambda _: False)  # fills the prompt cache, which is not to be measured
    ladder = Ladder(most)
    waves: dict[int, list[int]] = {}
    began = _now()
    seed, rate = 0, 0.0
    while not ladder.decided and (not waves or _now() - began < LONG_SECONDS):
        level = ladder.level
        started = _now()
        seen = await asyncio.gather(*(_stream(ask, seed + n) for n in range(1, level + 1)))
        seconds = max(_now() - started, 0.001)
        seed += level
        tokens = sum(stream.tokens for stream in seen)
        rate = tokens / seconds
        waves.setdefault(level, []).append(at_once(seen))
        ladder.feed(level, tokens, seconds)
    tried = max(waves)
    while 1 in waves[tried] and tried > 1 and len(waves[tried]) < SURE and _now() - began < LONG_SECONDS:
        streams = await asyncio.gather(*(_stream(ask, seed + n) for n in range(1, tried + 1)))
        seed += tried
        waves[tried].append(at_once(streams))
    rates = dict(ladder.rates) or {1: rate}
    enough = min(level for level, rate in rates.items() if rate >= NEAR * max(rates.values()))
    growing = ladder.growing and 2 * max(rates) > most
    return Speed(rates, enough, growing, tried, median_high(waves[tried]), tuple(waves[tried]))


def at_once(seen: Sequence[Stream]) -> int:
    """The largest number of streams that were being written at one time; 0 where all came in one go.

    >>> at_once([Stream(0, 1, 5, 9), Stream(0, 1, 5, 9), Stream(0, 5, 9, 9), Stream(0, 4.99, 9, 9)])
    2
    >>> at_once([Stream(0, 1, 1.001, 9), Stream(0, 1, 1.001, 9)])
    0
    """
    written = [stream for stream in seen if stream.last > stream.first]
    soonest = min(written, key=lambda stream: stream.last, default=None)
    if soonest is None or soonest.last - soonest.first < max(BLINK, BURST * (soonest.last - soonest.sent)):
        return 0
    changes = []
    for stream in written:
        edge = EDGE * (stream.last - stream.first)
        changes += [(stream.first + edge, 1), (stream.last - edge, -1)]
    running = most = 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most


async def _stream(ask: Ask, seed: int) -> Stream:
    times: list[float] = []

    def note(text: str) -> bool:
        times.append(_now())
        return False

    sent = _now()
    completion = await ask(seed, note)
    ended = _now()
    return Stream(sent, times[0] if times else ended, times[-1] if times else ended, completion.tokens)


def _now() -> float:
    return asyncio.get_running_loop().time()
