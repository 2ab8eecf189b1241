"""Which steering the next attempt takes: a fixed one, or the one that yields most, found while running."""

from __future__ import annotations

import operator
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Protocol

from magpie_ollama.method.reasons import Reason, Stage
from magpie_ollama.records import DROPPED, KEPT, Attempt

AUTO_STEERINGS: Mapping[str, float] = {
    "exemplar+opener": 0.7,
    "exemplar": 0.5,
    "system+opener": 0.25,
    "opener": 0.15,
    "prefix+system": 0.1,
    "system": 0.1,
    "prefix": 0.1,
}
"""The steerings that auto tries, each with the share of useful instructions that it is expected to have before
anything is measured: the order that they had on SmolLM2-135M in five languages (docs/steering.md), with a good
chance left to those that need a better model."""

PRIOR_ATTEMPTS = 2.0
"""How many attempts the shipped expectation counts for: a handful of real ones overrules it."""

EARLIER_ATTEMPTS = 30.0
"""At most so many attempts do earlier measurements of a model and language count for: prompts and data change."""

PRIOR_TOKENS = 100.0
"""Expected tokens of an instruction, before any is written."""

HASTE = 3.0
"""Each attempt counts for so many, in the draws only. Plain Thompson sampling (1.0) is made for the long run: in the
first 200 attempts it spends a quarter of the tokens on finding out. With 3.0, auto has .90 of the best one's yield by
then, and where the prior is wrong about everything .82 of 300 draws still go to the best (simulated on measured
outcomes)."""

FLOOR = 0.02
"""Share of the draws that goes to a steering at random, so that none that yields is shut out for ever."""

SHARE_DRAWS = 200


@dataclass(slots=True)
class Tally:
    """What one steering has come to. ``passed`` counts instructions that passed the screen, ``kept`` whole records;
    ``tokens`` are those of instructions, ``response_tokens`` those of responses."""

    attempts: float = 0.0
    passed: float = 0.0
    kept: float = 0.0
    tokens: float = 0.0
    response_tokens: float = 0.0

    def count(self, attempt: Attempt) -> None:
        self.attempts += 1
        self.tokens += attempt.instruction_tokens
        self.passed += passed(attempt)
        self.kept += attempt.outcome == KEPT
        self.response_tokens += attempt.response_tokens

    def scaled(self, attempts: float) -> Tally:
        """The same shares with the weight of at most ``attempts``."""
        factor = min(1.0, attempts / self.attempts) if self.attempts else 0.0
        return Tally(*(factor * value for value in astuple(self)))

    def plus(self, other: Tally) -> Tally:
        return Tally(*map(operator.add, astuple(self), astuple(other)))

    def less(self, other: Tally) -> Tally:
        return Tally(*map(operator.sub, astuple(self), astuple(other)))


_ANSWERED = frozenset(str(reason) for reason in Reason if reason.stage is Stage.RESPONSE)


def passed(attempt: Attempt) -> bool:
    """Whether the attempt's instruction passed the screen, whatever became of its response."""
    return attempt.outcome == KEPT or attempt.outcome in _ANSWERED


class Steerings(Protocol):
    """Chooses a steering for each attempt, and learns from what became of it."""

    def choose(self) -> str: ...

    def learn(self, attempt: Attempt) -> None: ...

    def shares(self) -> dict[str, float]:
        """The share of the coming draws that each steering would get now; {} where there is no choice."""


class FixedSteering:
    def __init__(self, steering: str) -> None:
        self._steering = steering

    def choose(self) -> str:
        return self._steering

    def learn(self, attempt: Attempt) -> None: ...

    def shares(self) -> dict[str, float]:
        return {}


class AutoSteering:
    """Thompson sampling (Thompson 1933) on useful records per generated token.

    Of each steering, the chance that its instruction passes is Beta distributed, and its tokens an attempt are known up
    to the noise of so many draws. A response costs about the same whatever the steering, so its tokens are pooled.
    The value of a steering is (chance of a kept record) / (tokens of an attempt, response included).
    """

    def __init__(self, steerings: Sequence[str], seed: int, earlier: Mapping[str, Tally] | None = None) -> None:
        """``earlier`` are measurements of the same model and language; they take the place of the shipped prior."""
        self._draw = random.Random(seed)
        self._own = {steering: Tally() for steering in steerings}
        self._prior = {steering: self._expect(steering, (earlier or {}).get(steering)) for steering in steerings}
        self._recalled: dict[str, Tally] = {}
        self._since_shares = 0
        self._shares: dict[str, float] = {}

    def choose(self) -> str:
        if self._draw.random() < FLOOR:
            return self._draw.choice(list(self._own))
        return self._best()

    def learn(self, attempt: Attempt) -> None:
        if attempt.outcome != DROPPED and attempt.steering in self._own:
            self._own[attempt.steering].count(attempt)
            self._since_shares += 1

    def recall(self, attempts: Iterable[Attempt]) -> None:
        """Learns from the attempts that a run made in an earlier process."""
        for attempt in attempts:
            self.learn(attempt)
        self._recalled = {steering: replace(tally) for steering, tally in self._own.items()}

    def shares(self) -> dict[str, float]:
        if self._since_shares >= 8 or not self._shares:
            self._since_shares = 0
            # Its own generator: looking at the shares must not change the draws.
            draws = [self._best(random.Random(number)) for number in range(SHARE_DRAWS)]
            self._shares = {steering: draws.count(steering) / SHARE_DRAWS for steering in self._own}
        return self._shares

    def tallies(self) -> dict[str, Tally]:
        """What each steering has come to in this process."""
        return {steering: tally.less(self._recalled.get(steering, Tally())) for steering, tally in self._own.items()}

    def _best(self, draw: random.Random | None = None) -> str:
        draw = draw or self._draw
        every = list(self._own.values())
        answered = sum(tally.passed for tally in every)
        response = sum(tally.response_tokens for tally in every) / answered if answered else 0.0
        return max(self._own, key=lambda steering: self._value(steering, response, draw))

    def _value(self, steering: str, response: float, draw: random.Random) -> float:
        own, prior = self._own[steering], self._prior[steering]
        attempts = own.attempts + prior.attempts
        successes = own.passed + prior.passed
        passes = draw.betavariate(HASTE * successes + 0.01, HASTE * (attempts - successes) + 0.01)
        # The mean of so many draws of a quantity about as wide as its mean (lengths are): a gamma variate.
        shape = HASTE * attempts + 1
        tokens = (own.tokens + prior.tokens) / attempts * draw.gammavariate(shape, 1 / shape)
        kept = (own.kept + prior.kept + 1) / (own.passed + prior.passed + 1)
        return passes * kept / (tokens + passes * response + 1)

    @staticmethod
    def _expect(steering: str, earlier: Tally | None) -> Tally:
        if earlier is not None and earlier.attempts:
            return earlier.scaled(EARLIER_ATTEMPTS)
        expected = AUTO_STEERINGS.get(steering, 0.3) * PRIOR_ATTEMPTS
        return Tally(PRIOR_ATTEMPTS, expected, expected, PRIOR_TOKENS * PRIOR_ATTEMPTS)
