"""How many streams run at once, seen from the times of their pieces; and a server that only so many of them reach."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from magpie_ollama.doctor.speed import Speed, Stream, at_once, measure
from magpie_ollama.servers.base import Completion, Watch

PIECES = 24


class Clock(asyncio.SelectorEventLoop):
    """A loop in which waiting takes no time, and so is exact: what it would wait is added to its clock."""

    def __init__(self) -> None:
        super().__init__()
        self._seconds = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def skip(timeout: float | None = None) -> Any:
            self._seconds += timeout or 0.0
            return select(0)

        self._selector.select = skip  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._seconds


def speed_of(slots: int, pause: float = 0.01) -> Speed:
    """Measured on a server that writes a piece every ``pause`` seconds in each of its slots."""

    async def go() -> Speed:
        free = asyncio.Semaphore(slots)

        async def ask(seed: int, watch: Watch) -> Completion:
            async with free:
                await asyncio.sleep(pause)
                for number in range(PIECES):
                    await asyncio.sleep(pause)
                    watch("word " * (number + 1))
            return Completion("word " * PIECES, tokens=PIECES, finish_reason="stop")

        return await measure(ask)

    with asyncio.Runner(loop_factory=Clock) as runner:
        return runner.run(go())


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_slots_are_seen_and_enough(slots: int) -> None:
    speed = speed_of(slots)
    assert (speed.at_once, speed.enough) == (slots, slots)
    assert speed.tried > slots
    assert not speed.growing
    assert speed.tokens_per_second == speed.rates[slots]


@pytest.mark.parametrize(
    ("rates", "seen", "sure"),
    [
        ({1: 80, 2: 79, 4: 81}, (1, 1, 1), True),
        ({1: 80, 2: 79, 4: 81}, (1, 1), False),
        ({1: 80, 2: 79, 4: 81}, (1, 4, 1), False),
        ({1: 80, 2: 79, 4: 81}, (1, 0, 1), False),
        ({1: 80, 2: 120, 4: 150}, (1, 1, 1), False),
    ],
    ids=["sure", "twice", "once all", "once unseen", "but more is quicker"],
)
def test_one_by_one_is_said_where_it_is_sure(rates: dict[int, float], seen: tuple[int, ...], sure: bool) -> None:
    assert Speed(rates, 1, False, 4, 1, seen).one_by_one == sure


def test_one_slot_is_seen_often_enough_to_be_sure() -> None:
    speed = speed_of(1)
    assert speed.seen == (1,) * len(speed.seen)
    assert len(speed.seen) >= 3
    assert speed.one_by_one
    assert not speed_of(2).one_by_one
    assert not speed_of(1, pause=2.0).one_by_one, "too slow to be asked so often"


def test_more_slots_than_are_tried() -> None:
    speed = speed_of(64)
    assert (speed.tried, speed.at_once, speed.enough, speed.growing) == (8, 8, 8, True)
    assert speed.rates[8] == pytest.approx(8 * speed.rates[1])


def test_a_slow_server_is_not_asked_for_long() -> None:
    speed = speed_of(1, pause=0.25)  # four tokens a second
    assert (speed.tried, list(speed.rates), speed.at_once) == (2, [1, 2], 1)
    assert speed.tokens_per_second == pytest.approx(24 / 6.25)
    crawling = speed_of(1, pause=2.0)
    assert (crawling.tried, crawling.enough, list(crawling.rates)) == (1, 1, [1])


def test_pieces_that_come_in_one_go_tell_nothing() -> None:
    burst = [Stream(sent=0.0, first=2.0 + n, last=2.001 + n, tokens=24) for n in range(4)]
    assert at_once(burst) == 0
    assert at_once([]) == 0
    silent = Stream(sent=0.0, first=3.0, last=3.0, tokens=0)
    assert at_once([silent, Stream(0.0, 0.5, 3.0, 24), Stream(0.0, 0.5, 3.0, 24)]) == 2


def test_a_stream_that_starts_as_another_ends_runs_after_it() -> None:
    assert at_once([Stream(0.0, 0.1, 1.0, 24), Stream(0.0, 0.99, 2.0, 24), Stream(0.0, 1.98, 3.0, 24)]) == 1
