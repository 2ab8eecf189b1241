from __future__ import annotations

import random
import statistics
from collections.abc import Mapping

import pytest

from magpie_ollama.method.reasons import Reason, Stage
from magpie_ollama.records import Attempt
from magpie_ollama.run.choosing import AUTO_STEERINGS, AutoSteering, FixedSteering, Tally

Rates = Mapping[str, tuple[float, float]]
"""Chance of a useful instruction, and tokens an attempt, of each way."""


def rates(**steerings: tuple[int, float]) -> Rates:
    """From useful of 36 and tokens per useful instruction, as the measurements were told."""
    return {
        name.replace("_", "+"): (useful / 36, max(useful, 1) * tokens / 36)
        for name, (useful, tokens) in steerings.items()
    }


MEASURED = {
    # SmolLM2-135M on Ollama 0.33.0, 36 draws a steering (docs/steering.md).
    "it": rates(
        prefix=(0, 2508), system=(0, 2014), prefix_system=(1, 2172), opener=(2, 1380), system_opener=(7, 399),
        exemplar=(9, 238), exemplar_opener=(24, 79),
    ),
    "es": rates(
        prefix=(2, 1488), system=(0, 2060), prefix_system=(0, 2623), opener=(10, 254), system_opener=(19, 114),
        exemplar=(20, 79), exemplar_opener=(31, 37),
    ),
    "nl": rates(
        prefix=(0, 3171), system=(3, 731), prefix_system=(1, 2950), opener=(2, 1340), system_opener=(12, 225),
        exemplar=(19, 103), exemplar_opener=(26, 55),
    ),
    "de": rates(
        prefix=(0, 2926), system=(1, 2651), prefix_system=(0, 3137), opener=(3, 1023), system_opener=(7, 432),
        exemplar=(9, 233), exemplar_opener=(22, 91),
    ),
    "fr": rates(
        prefix=(1, 3219), system=(2, 1196), prefix_system=(0, 2917), opener=(5, 601), system_opener=(6, 513),
        exemplar=(10, 197), exemplar_opener=(29, 50),
    ),
}  # fmt: skip
REVERSED = {
    code: dict(zip(steerings, reversed(steerings.values()), strict=True)) for code, steerings in MEASURED.items()
}
TIED = dict.fromkeys(AUTO_STEERINGS, (0.8, 45.0)) | {"prefix": (0.0, 80.0)}


def good_draws(steerings: Rates, attempts: int, seed: int, in_flight: int = 4) -> tuple[float, float]:
    """The share of draws that went to steerings within 10 % of the best: of all, and of the last hundred."""
    auto, chance = AutoSteering(list(steerings), seed), random.Random(seed + 1)
    best = max(useful / tokens for useful, tokens in steerings.values())
    waiting: list[Attempt] = []
    good = []
    for index in range(attempts):
        steering = auto.choose()
        useful, tokens = steerings[steering]
        outcome = "kept" if chance.random() < useful else "wrong_language"
        waiting.append(Attempt(index, outcome, steering, 1 + int(chance.gammavariate(2, tokens / 2))))
        good.append(useful / tokens >= 0.9 * best)
        if len(waiting) == in_flight:
            auto.learn(waiting.pop(0))
    return statistics.fmean(good), statistics.fmean(good[-100:])


@pytest.mark.parametrize("language", MEASURED)
def test_most_draws_go_to_the_best_steerings(language: str) -> None:
    found = [good_draws(MEASURED[language], 300, seed) for seed in range(20)]
    assert statistics.fmean(share for share, _ in found) >= 0.8
    assert statistics.fmean(last for _, last in found) >= 0.9


def test_a_prior_that_is_wrong_about_everything_is_overruled() -> None:
    found = [good_draws(steerings, 300, seed) for steerings in REVERSED.values() for seed in range(20)]
    assert statistics.fmean(share for share, _ in found) >= 0.75
    assert statistics.fmean(last for _, last in found) >= 0.9


def test_ties_are_no_trouble_and_a_steering_that_always_fails_is_left() -> None:
    found = [good_draws(TIED, 300, seed) for seed in range(20)]
    assert statistics.fmean(share for share, _ in found) >= 0.95


def test_no_steering_is_shut_out_for_ever() -> None:
    """A steering that failed fifty times still comes up, and wins when it has become the only one that yields."""
    auto = AutoSteering(["system", "prefix"], 1)
    for index in range(50):
        auto.learn(Attempt(index, "wrong_language", "prefix", 90))
        auto.learn(Attempt(index, "kept", "system", 40))
    assert 5 <= [auto.choose() for _ in range(2000)].count("prefix") <= 100
    for index in range(600):
        auto.learn(Attempt(index, "wrong_language", "system", 90))
        auto.learn(Attempt(index, "kept", "prefix", 40))
    assert [auto.choose() for _ in range(100)].count("prefix") >= 90


def test_responses_weigh_in() -> None:
    """Where a kept record costs 500 tokens anyway, a steering whose responses fail loses to one whose hold."""
    auto = AutoSteering(["system", "exemplar"], 1)
    for index in range(60):
        auto.learn(Attempt(index, "kept", "exemplar", 60, 400))
        auto.learn(Attempt(index, "kept" if index % 3 == 0 else "response_wrong_language", "system", 40, 400))
    assert auto.shares()["exemplar"] > 0.9


def test_each_reason_knows_its_stage() -> None:
    """A steering is judged by its instructions: what became of the response is no fault of theirs."""
    for reason in Reason:
        tally = Tally()
        tally.count(Attempt(0, reason, "system", 40, 100))
        assert tally.passed == (reason.stage is Stage.RESPONSE)
    auto = AutoSteering(["system", "prefix"], 1)
    for index in range(40):
        auto.learn(Attempt(index, "response_no_answer", "system", 40))
        auto.learn(Attempt(index, "no_answer", "prefix", 40))
    assert auto.shares()["system"] > 0.9


def test_looking_at_the_shares_does_not_change_the_draws() -> None:
    watched, unwatched = AutoSteering(list(AUTO_STEERINGS), 7), AutoSteering(list(AUTO_STEERINGS), 7)
    drawn = []
    for index in range(40):
        drawn.append((watched.choose(), unwatched.choose()))
        watched.learn(Attempt(index, "kept", "system", 40))
        unwatched.learn(Attempt(index, "kept", "system", 40))
        assert sum(watched.shares().values()) == pytest.approx(1.0)
    assert all(one == other for one, other in drawn)


def test_earlier_measurements_take_the_place_of_the_prior() -> None:
    earlier = {"system": Tally(200, 190, 190, 8000), "exemplar+opener": Tally(200, 2, 2, 16000)}
    auto = AutoSteering(["system", "exemplar+opener"], 1, earlier)
    assert [auto.choose() for _ in range(100)].count("system") >= 90


def test_what_was_recalled_is_not_told_again() -> None:
    auto = AutoSteering(["system", "prefix"], 1)
    auto.recall([Attempt(0, "kept", "system", 40, 100), Attempt(1, "dropped", "system", 10)])
    auto.learn(Attempt(2, "response_echo", "system", 30, 50))
    assert auto.tallies()["system"] == Tally(attempts=1, passed=1, kept=0, tokens=30, response_tokens=50)


def test_a_fixed_steering_stays() -> None:
    fixed = FixedSteering("prefix")
    fixed.learn(Attempt(0, "wrong_language", "prefix", 40))
    assert {fixed.choose() for _ in range(9)} == {"prefix"}
    assert fixed.shares() == {}
