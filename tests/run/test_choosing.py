from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import pytest

from magpie_ollama.asking.settings import AUTO_TEMPERATURES
from magpie_ollama.method.reasons import Reason
from magpie_ollama.records import Attempt
from magpie_ollama.run.choosing import (
    AUTO_STEERINGS,
    PROMPT_TOKEN,
    Arm,
    AutoSteering,
    FixedSteering,
    Tally,
)

ARMS = [Arm(steering, temperature) for steering in AUTO_STEERINGS for temperature in AUTO_TEMPERATURES]
RESPONSE = 100
"""Tokens of a response, in the simulations that have them."""


class Rate(NamedTuple):
    """What an arm is in truth: the chance that an attempt is kept, tokens of an instruction, prompt tokens that no
    cache holds, and the worth of what is kept."""

    kept: float
    tokens: float
    prompt: int = 0
    worth: float = 1.0


Rates = dict[Arm, Rate]

SEED = {
    # Useful of 36, and tokens per useful one: SmolLM2-135M on Ollama 0.33.0 at temperature 1.0 (docs/steering.md).
    "it": {
        "exemplar+opener": (24, 79), "exemplar": (9, 238), "system+opener": (7, 399), "opener": (2, 1380),
        "prefix+system": (1, 2172), "system": (0, 2014), "prefix": (0, 2508), "none": (0, 2500),
    },
    "es": {
        "exemplar+opener": (31, 37), "exemplar": (20, 79), "system+opener": (19, 114), "opener": (10, 254),
        "prefix+system": (0, 2623), "system": (0, 2060), "prefix": (2, 1488), "none": (0, 2500),
    },
    "nl": {
        "exemplar+opener": (26, 55), "exemplar": (19, 103), "system+opener": (12, 225), "opener": (2, 1340),
        "prefix+system": (1, 2950), "system": (3, 731), "prefix": (0, 3171), "none": (0, 2500),
    },
}  # fmt: skip
REAL = {
    # Texts of real words, of 30 attempts with exemplar+opener, and their tokens, at 0.5, 0.7 and 1.0.
    "it": {0.5: (21, 2854), 0.7: (15, 2536), 1.0: (3, 3374)},
    "es": {0.5: (27, 1294), 0.7: (20, 1313), 1.0: (8, 2121)},
    "nl": {0.5: (22, 1145), 0.7: (20, 1046), 1.0: (5, 1258)},
}


def true_rates(language: str) -> Rates:
    """The seed table with true rates by temperature: those of exemplar+opener as measured, the others in proportion."""
    best, _ = SEED[language]["exemplar+opener"]
    _, hot = REAL[language][1.0]
    return {
        Arm(steering, temperature): Rate(real / 30 * useful / best, max(useful, 1) * tokens / 36 * spent / hot)
        for steering, (useful, tokens) in SEED[language].items()
        for temperature, (real, spent) in REAL[language].items()
    }


MEASURED = {language: true_rates(language) for language in SEED}
REVERSED = {language: dict(zip(rates, reversed(rates.values()), strict=True)) for language, rates in MEASURED.items()}


def strong(seed: int) -> Rates:
    """A model with which every arm works. An exemplar that is drawn for each attempt is 60 tokens that no cache has."""
    draw = random.Random(seed)
    passes = {steering: draw.uniform(0.9, 0.95) for steering in AUTO_STEERINGS}
    return {arm: Rate(passes[arm.steering], 40, 60 if "exemplar" in arm.steering else 0) for arm in ARMS}


class Step(NamedTuple):
    arm: Arm
    worth: float
    work: float


def simulate(
    rates: Rates, attempts: int, seed: int, response: int, later: tuple[int, Rates] | None = None
) -> list[Step]:
    """What each attempt of auto came to, four in flight; from attempt ``later[0]`` on other rates hold."""
    auto, chance = AutoSteering(list(rates), seed), random.Random(seed + 1)
    waiting: list[Attempt] = []
    steps = []
    for index in range(attempts):
        rates = later[1] if later and index == later[0] else rates
        arm = auto.choose()
        rate = rates[arm]
        kept = chance.random() < rate.kept
        tokens = 1 + int(chance.gammavariate(2, rate.tokens / 2))
        answer = response if kept else 0
        waiting.append(
            Attempt(
                index, "kept" if kept else "wrong_language", arm.steering, tokens, answer,
                temperature=arm.temperature, prompt_tokens=rate.prompt, worth=rate.worth,
            )
        )  # fmt: skip
        steps.append(Step(arm, rate.worth * kept, tokens + answer + PROMPT_TOKEN * rate.prompt))
        if len(waiting) == 4:
            auto.learn(waiting.pop(0))
    return steps


def part_of_best(steps: list[Step], rates: Rates, response: int) -> float:
    """Worth per token of work, as a part of what the best fixed arm has on the mean."""
    best = max(
        rate.kept * rate.worth / (rate.tokens + rate.kept * response + PROMPT_TOKEN * rate.prompt)
        for rate in rates.values()
    )
    return sum(step.worth for step in steps) / sum(step.work for step in steps) / best


def after(rates: Mapping[str, Rates], response: int, seeds: int = 3) -> list[float]:
    """``part_of_best`` after 50, 100, 200 and 400 attempts, the mean of languages and seeds."""
    runs = [(simulate(one, 400, seed, response), one) for one in rates.values() for seed in range(seeds)]
    return [
        statistics.fmean(part_of_best(steps[:attempts], one, response) for steps, one in runs)
        for attempts in (50, 100, 200, 400)
    ]


def told(
    arm: Arm, outcome: str, tokens: int, response_tokens: int = 0, index: int = 0, prompt_tokens: int = 0
) -> Attempt:
    return Attempt(
        index, outcome, arm.steering, tokens, response_tokens, temperature=arm.temperature, prompt_tokens=prompt_tokens
    )


def test_true_rates_by_temperature_are_found() -> None:
    found = after(MEASURED, RESPONSE)
    assert found[0] >= 0.55 and found[1] >= 0.7 and found[2] >= 0.85 and found[3] >= 0.9, found


def test_a_prior_that_is_wrong_about_everything_is_overruled() -> None:
    found = after(REVERSED, RESPONSE)
    assert found[0] >= 0.5 and found[1] >= 0.65 and found[2] >= 0.8 and found[3] >= 0.88, found


@pytest.mark.parametrize("table", [MEASURED, REVERSED])
def test_without_responses_finding_out_costs_more(table: Mapping[str, Rates]) -> None:
    """Then an attempt in vain costs up to four useful ones, and 24 arms want to be tried."""
    found = after(table, 0)
    assert found[2] >= 0.68 and found[3] >= 0.78, found


def test_a_strong_model_is_steered_by_turns() -> None:
    for seed in range(8):
        rates = strong(seed)
        steps = simulate(rates, 400, seed, RESPONSE)
        drawn = Counter(step.arm.steering for step in steps)
        assert max(drawn.values()) <= 0.6 * 400
        assert drawn["system"] + drawn["none"] >= 0.25 * 400, drawn
        assert part_of_best(steps[:200], rates, RESPONSE) >= 0.93


def test_a_steering_that_dries_up_is_left() -> None:
    for rates in MEASURED.values():
        dry = {
            arm: rate._replace(kept=0.0) if arm.steering == "exemplar+opener" else rate for arm, rate in rates.items()
        }
        shares = []
        for seed in range(2):
            drawn = [step.arm.steering for step in simulate(rates, 750, seed, RESPONSE, (500, dry))]
            assert drawn[400:500].count("exemplar+opener") >= 50
            shares.append(drawn[650:].count("exemplar+opener") / 100)
        assert statistics.fmean(shares) <= 0.1 and max(shares) <= 0.25, shares


def test_what_is_worth_more_is_drawn_more() -> None:
    """All arms pass alike, and what is made at the lowest temperature has been seen before."""
    rates = {arm: Rate(0.9, 40, worth=0.6 if arm.temperature == 0.5 else 1.0) for arm in ARMS}
    drawn = [step.arm.temperature for seed in range(2) for step in simulate(rates, 300, seed, RESPONSE)[100:]]
    assert drawn.count(0.5) <= 0.15 * len(drawn)


def test_short_records_are_no_cheaper() -> None:
    """An arm whose instructions and answers are one sentence each wins nothing by that."""
    short, long = Arm("exemplar", 1.0), Arm("opener", 1.0)
    auto = AutoSteering([short, long], 1)
    for index in range(100):
        arm = auto.choose()
        auto.learn(told(arm, "kept", *((10, 20) if arm == short else (60, 400)), index))
    assert 0.3 <= auto.shares()[str(long)] <= 0.7


def reads_much(turns: int) -> float:
    """How often an arm is chosen whose prompts were read, beside one that is as good otherwise. They had forty attempts
    each, so many in turn."""
    read, cached = Arm("exemplar", 1.0), Arm("opener", 1.0)
    auto = AutoSteering([read, cached], 1)
    for index in range(80):
        arm = (read, cached)[index // turns % 2]
        auto.learn(told(arm, "kept", 30, 0, index, prompt_tokens=300 if arm == read else 0))
    return [auto.choose() for _ in range(100)].count(read) / 100


def test_the_prompt_is_work() -> None:
    assert reads_much(turns=40) <= 0.1


def test_what_is_read_after_a_change_of_steering_is_not_the_arms() -> None:
    assert 0.2 <= reads_much(turns=1) <= 0.8


def test_no_arm_is_shut_out_for_ever() -> None:
    """One that failed fifty times is found again where it has become the only one that yields."""
    good, bad = Arm("system", 1.0), Arm("prefix", 1.0)
    auto = AutoSteering([good, bad], 1)
    for index in range(50):
        auto.learn(told(bad, "wrong_language", 90, index=index))
        auto.learn(told(good, "kept", 40, index=index))
    assert [auto.choose() for _ in range(100)].count(good) == 100
    for index in range(200):
        arm = auto.choose()
        auto.learn(told(arm, "kept" if arm == bad else "wrong_language", 90, index=index))
    assert auto.shares()[str(bad)] >= 0.9


def test_responses_weigh_in() -> None:
    """Where a kept record costs 500 tokens anyway, a steering whose responses fail loses to one whose hold."""
    holds, fails = Arm("exemplar", 0.7), Arm("system", 0.7)
    auto = AutoSteering([holds, fails], 1)
    for index in range(60):
        auto.learn(told(holds, "kept", 60, 400, index))
        auto.learn(told(fails, "kept" if index % 3 == 0 else "response_wrong_language", 40, 400, index))
    assert [auto.choose() for _ in range(100)].count(holds) >= 90


def test_each_reason_is_a_loss() -> None:
    for reason in Reason:
        tally = Tally.of(told(Arm("system", 1.0), reason, 40, 100))
        assert tally == Tally(attempts=1, lost_tokens=140)


def test_shares_are_those_of_the_last_attempts() -> None:
    auto = AutoSteering(ARMS, 7)
    assert auto.shares() == {}
    for index in range(200):
        auto.learn(told(Arm("none" if index < 100 else "system", 0.5 if index % 4 else 0.7), "kept", 40, index=index))
    assert auto.shares() == {"system@0.5": 0.75, "system@0.7": 0.25}


def test_earlier_measurements_overrule_the_prior() -> None:
    good, bad = Arm("system", 1.0), Arm("exemplar+opener", 1.0)
    earlier = {good: Tally(200, 190, 190, 8000), bad: Tally(200, 2, 2, 80, 16000)}
    auto = AutoSteering([good, bad], 1, earlier)
    assert [auto.choose() for _ in range(100)].count(good) >= 90


def test_what_was_recalled_is_not_told_again() -> None:
    arm = Arm("system", 0.5)
    auto = AutoSteering([arm, Arm("prefix", 0.5)], 1)
    auto.recall([told(arm, "kept", 40, 100), told(arm, "dropped", 10, 0, 1)])
    auto.learn(told(arm, "response_echo", 30, 50, 2, prompt_tokens=7))
    auto.learn(told(Arm("system", 1.0), "kept", 30, 50, 3))  # at a temperature that is none of its own
    assert auto.tallies()[arm] == Tally(attempts=1, lost_tokens=80, prompt_tokens=7)


def test_a_fixed_arm_stays() -> None:
    arm = Arm("prefix", 1.0)
    fixed = FixedSteering(arm)
    fixed.learn(told(arm, "wrong_language", 40))
    assert {fixed.choose() for _ in range(9)} == {arm}
    assert fixed.shares() == {}
