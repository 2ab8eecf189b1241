"""The topics' shares of the kept records, whatever fails."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magpie_ollama.method import topics
from magpie_ollama.records import DROPPED, KEPT, Attempt
from magpie_ollama.run.scheduling import HOPELESS_ATTEMPTS, Schedule

WEIGHTS = st.lists(st.integers(1, 1000), min_size=2, max_size=18)


def shares_of(weights: list[int]) -> dict[str, float]:
    return {f"t{number}": weight / sum(weights) for number, weight in enumerate(weights)}


def apart(schedule: Schedule, shares: dict[str, float]) -> float:
    """How far the topic that is furthest from its share is from it, in records."""
    return max(abs(schedule.kept[topic] - share * sum(schedule.kept.values())) for topic, share in shares.items())


def run(shares: dict[str, float], target: int, fails: dict[str, float], in_flight: int, seed: int) -> Schedule:
    """``fails`` are chances of an attempt. One at a time, the shares are looked at after each."""
    chance, schedule, waiting = random.Random(seed), Schedule(shares, target), list[str]()
    while sum(schedule.kept.values()) < target:
        while len(waiting) < in_flight and (topic := schedule.next()) is not None:
            waiting.append(topic)
        ended = waiting.pop(chance.randrange(len(waiting)))
        schedule.learn(Attempt(0, "empty" if chance.random() < fails[ended] else KEPT, "system", topic=ended))
        assert in_flight > 1 or schedule.dropped or apart(schedule, shares) <= 1 + 1e-9
    assert not waiting, "none is made for nothing"
    return schedule


@given(WEIGHTS, st.integers(1, 120), st.integers(0, 9999))
def test_each_topic_is_within_one_of_its_share_after_each_record(weights: list[int], target: int, seed: int) -> None:
    shares = shares_of(weights)
    fails = {topic: random.Random(f"{seed}{topic}").uniform(0, 0.7) for topic in shares}
    run(shares, target, fails, 1, seed)


@given(WEIGHTS, st.integers(1, 120), st.integers(2, 64), st.integers(0, 9999))
def test_with_many_in_flight_it_is_so_at_the_end(weights: list[int], target: int, in_flight: int, seed: int) -> None:
    shares = shares_of(weights)
    fails = {topic: random.Random(f"{seed}{topic}").uniform(0, 0.7) for topic in shares}
    schedule = run(shares, target, fails, in_flight, seed)
    assert schedule.dropped or apart(schedule, shares) <= 1 + 1e-9


def test_magpie_ultra_in_200() -> None:
    shares = dict(topics.mix("magpie-ultra").shares)
    schedule = run(shares, 200, dict.fromkeys(shares, 0.4), 8, 1)
    assert schedule.kept == {topic: 200 * share for topic, share in shares.items()}


@pytest.mark.parametrize("in_flight", [1, 16])
def test_a_hopeless_topic_is_dropped_and_the_others_share_what_is_left(in_flight: int) -> None:
    shares = {"maths": 0.5, "code": 0.3, "safety": 0.2}
    schedule = run(shares, 100, {"maths": 1.0, "code": 0.2, "safety": 0.2}, in_flight, 3)
    assert schedule.dropped == ["maths"]
    assert HOPELESS_ATTEMPTS <= schedule.attempts["maths"] < HOPELESS_ATTEMPTS + in_flight
    assert [schedule.kept[topic] for topic in shares] == [0, 60, 40]


def test_the_last_topic_is_never_dropped() -> None:
    schedule = Schedule({"maths": 0.5, "code": 0.5}, 10)
    for _ in range(400):
        topic = schedule.next()
        assert topic is not None
        schedule.learn(Attempt(0, "empty", "system", topic=topic))
    assert len(schedule.dropped) == 1
    only = Schedule({"": 1.0}, 1)
    assert [only.next() for _ in range(9)] == [""] * 9, "with nothing to share, more may be tried than are wanted"


def test_what_an_earlier_process_did_counts() -> None:
    attempts = [Attempt(n, KEPT, "system", topic="maths") for n in range(5)]
    attempts += [Attempt(5, "empty", "system", topic="code"), Attempt(6, DROPPED, "system", topic="code")]
    schedule = Schedule({"maths": 0.5, "code": 0.5}, 20)
    schedule.recall([*attempts, Attempt(7, KEPT, "system", topic="gone")])
    assert [schedule.next() for _ in range(5)] == ["code"] * 5
    assert schedule.attempts["code"] == 1, "what was dropped in flight says nothing"
