"""Which arm the next attempt takes, a steering at a temperature: a fixed one, or the one that yields most, found while
running."""

from __future__ import annotations

import operator
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from magpie_ollama.method.reasons import Reason, Stage
from magpie_ollama.records import DROPPED, KEPT, UNWANTED, Attempt

AUTO_STEERINGS: Mapping[str, float] = {
    "exemplar+opener": 0.4,
    "exemplar": 0.35,
    "system+opener": 0.25,
    "opener": 0.25,
    "prefix+system": 0.2,
    "system": 0.25,
    "none": 0.25,
    "prefix": 0.2,
}
"""The steerings that auto tries, each with the share of useful instructions that it is expected to have before
anything is measured: the order that they had on SmolLM2-135M in five languages (docs/steering.md), with a good
chance left to those that need a better model."""

MODELS, WAYS, WARMTH, SINGLE = 1.5, 1.5, 1.0, 0.5
"""How far what an arm keeps may lie from that expectation, before anything is measured: standard deviations, in
log-odds, that all arms share, those of a steering, those of a temperature, and what an arm has of its own."""

EARLIER_ATTEMPTS = 30.0
"""At most so many attempts do earlier measurements of a model and language count for: prompts and data change."""

PRIOR_TOKENS = 60.0
"""Expected tokens of an instruction, before any is written: as of one attempt."""

KINSHIP = 0.3
"""What an attempt cost, and what it was worth, counts so much for the other temperatures of its steering."""

DRAWS = 12
"""An arm's value is the mean of so many draws. With one, which is Thompson sampling, most of the first 200 attempts go
to finding out; with very many, nothing is tried that is not expected to be the best, and early failures decide."""

MEMORY = 0.95
"""What an arm's evidence is worth after one more attempt with it: the last 20 or so decide, and an arm that dries
up is left. What is not drawn does not fade: to find out once more costs as much as the first time."""

PROMPT_TOKEN = 0.2
"""The work of reading one token of a prompt, in generated ones: a server reads many at once."""

ALIKE = 3.0
"""So many kept instructions of its own say as much of the worth of an arm's as those of all arms do."""

NEAR = 0.15
"""An arm whose value is less than this part below the best can hardly be told from it in 20 attempts. What one
steering makes looks alike, so such steerings take turns, by the last ``LATELY`` attempts."""

LATELY = 100

PLAIN = {"system": 2, "none": 2}
"""So many turns these have for one of the others: with the least of ours in front, the model writes most as itself."""

STEP, CLOSE = 2.0, 1e-6
"""Newton's steps to the most plausible log-odds go so far at most, and end below this."""


class Arm(NamedTuple):
    """What auto chooses between: a steering, and the temperature of the instruction.

    >>> str(Arm("exemplar+opener", 0.7)), Arm.parse("none@1") == Arm("none", 1.0)
    ('exemplar+opener@0.7', True)
    """

    steering: str
    temperature: float

    def __str__(self) -> str:
        return f"{self.steering}@{self.temperature:g}"

    @classmethod
    def parse(cls, name: str) -> Arm:
        """Raises ValueError."""
        steering, _, temperature = name.partition("@")
        return cls(steering, float(temperature))


@dataclass(slots=True)
class Tally:
    """What one arm has come to. ``kept`` counts records (instructions, where no responses are asked for), ``worth`` is
    the sum of theirs; ``kept_tokens`` were generated for them, ``lost_tokens`` for what was rejected;
    ``prompt_tokens`` are those that the server had to read."""

    attempts: float = 0.0
    kept: float = 0.0
    worth: float = 0.0
    kept_tokens: float = 0.0
    lost_tokens: float = 0.0
    prompt_tokens: float = 0.0

    @classmethod
    def of(cls, attempt: Attempt) -> Tally:
        kept = attempt.outcome == KEPT
        return cls(
            attempts=1.0,
            kept=float(kept),
            worth=attempt.worth * kept,
            kept_tokens=float(attempt.tokens * kept),
            lost_tokens=float(attempt.tokens * (not kept)),
            prompt_tokens=float(attempt.prompt_tokens),
        )

    def scaled(self, attempts: float) -> Tally:
        """The same shares with the weight of at most ``attempts``."""
        factor = min(1.0, attempts / self.attempts) if self.attempts else 0.0
        return Tally(*(factor * value for value in _values(self)))

    def plus(self, other: Tally) -> Tally:
        return Tally(*map(operator.add, _values(self), _values(other)))


_values = operator.attrgetter(*(field.name for field in fields(Tally)))

_ANSWERED = frozenset(str(reason) for reason in Reason if reason.stage is not Stage.INSTRUCTION)


def passed(attempt: Attempt) -> bool:
    """Whether the attempt's instruction passed the screen, whatever became of its response and of later turns, which
    may be rejected as instructions are."""
    return attempt.outcome in (KEPT, UNWANTED) or attempt.outcome in _ANSWERED or attempt.response_tokens > 0


class Steerings(Protocol):
    """Chooses an arm for each attempt, and learns from what became of it."""

    def choose(self) -> Arm: ...

    def learn(self, attempt: Attempt) -> None: ...

    def shares(self) -> dict[str, float]:
        """The share of the last attempts that each arm had, by its name; {} where there is no choice."""


class FixedSteering:
    def __init__(self, arm: Arm) -> None:
        self._arm = arm

    def choose(self) -> Arm:
        return self._arm

    def learn(self, attempt: Attempt) -> None: ...

    def shares(self) -> dict[str, float]:
        return {}


class AutoSteering:
    """The arm that keeps most per token of work, by the mean of a few draws, over arms that tell of one another; those
    that are near it take turns. One draw were Thompson sampling (Thompson 1933).

    An arm's value is worth / (record + (lost + prompt) / kept): ``kept`` is the chance that an attempt ends as a
    record, and ``worth`` the mean of those (see ``method.variety``); ``lost`` is what an attempt generates on the mean
    that is rejected, whether for its instruction or its response, and ``prompt`` what the server has to read for it.
    ``record`` is the price of a kept record, instruction and response, and is that of all arms together: an arm whose
    records are short is no cheaper for it, since what is saved of them is missing from the corpus.

    The log-odds of the arms' chances are a Gaussian process over steerings and temperatures: an attempt tells of the
    arms with the same steering, or the same temperature, too. What is drawn from is its Laplace approximation
    (Rasmussen and Williams 2006, 3.4; for clicks Chapelle and Li 2011).
    """

    def __init__(self, arms: Sequence[Arm], seed: int, earlier: Mapping[Arm, Tally] | None = None) -> None:
        """``earlier`` are measurements of the same model and language."""
        self._draw = np.random.default_rng(seed)
        self._arms = list(arms)
        known = earlier or {}
        # Here and below: one row an arm, in a tally the columns of ``Tally``.
        self._own = np.array([_values(known.get(arm, Tally()).scaled(EARLIER_ATTEMPTS)) for arm in arms])
        self._made = np.zeros_like(self._own)
        self._kinship = np.array(
            [[1.0 if one == arm else KINSHIP * (one.steering == arm.steering) for one in arms] for arm in arms]
        )
        expected = np.array([AUTO_STEERINGS.get(arm.steering, 0.3) for arm in arms])
        self._prior = np.log(expected / (1 - expected))
        self._odds = self._prior.copy()
        self._precision = np.linalg.inv([[_covariance(one, arm) for one in arms] for arm in arms])
        self._lately: deque[Arm] = deque(maxlen=LATELY)

    def choose(self) -> Arm:
        value = self._expected()
        had = Counter(arm.steering for arm in self._lately)
        turns = np.array([had[arm.steering] / LATELY / PLAIN.get(arm.steering, 1) for arm in self._arms])
        best = value.max()
        return self._arms[int(np.where(value >= (1 - NEAR) * best, value / best - turns, -np.inf).argmax())]

    def learn(self, attempt: Attempt) -> None:
        tally = self._count(attempt)
        if tally is not None:
            self._made[self._arms.index(_arm(attempt))] += _values(tally)

    def recall(self, attempts: Iterable[Attempt]) -> None:
        """Learns from the attempts that a run made in an earlier process."""
        for attempt in attempts:
            self._count(attempt)

    def shares(self) -> dict[str, float]:
        return {str(arm): n / len(self._lately) for arm, n in Counter(self._lately).items()}

    def tallies(self) -> dict[Arm, Tally]:
        """What each arm has come to in this process."""
        return {arm: Tally(*map(float, row)) for arm, row in zip(self._arms, self._made, strict=True)}

    def _count(self, attempt: Attempt) -> Tally | None:
        """What it says of its arm, None where it says nothing of any. The prompt is work where the attempt before had
        the same steering: what more the server reads after a change is the price of trying, and not the arm's."""
        arm = _arm(attempt)
        if attempt.outcome == DROPPED or arm not in self._arms:
            return None
        tally = Tally.of(attempt)
        if not self._lately or self._lately[-1].steering != arm.steering:
            tally.prompt_tokens = 0.0
        self._lately.append(arm)
        own = self._own[self._arms.index(arm)]
        own *= MEMORY
        own += _values(tally)
        return tally

    def _expected(self) -> NDArray[np.float64]:
        """What each arm keeps per token of work: the mean of ``DRAWS`` plausible values."""
        _, all_kept, all_worth, all_tokens, _, _ = self._own.sum(axis=0)
        record, typical = (all_tokens + PRIOR_TOKENS) / (all_kept + 1), (all_worth + 1) / (all_kept + 1)
        attempts, kept, worth, _, lost, prompt = (self._kinship @ self._own).T
        losses = (lost + PRIOR_TOKENS) / (np.maximum(attempts - kept, 0.0) + 1)
        read = PROMPT_TOKEN * prompt / (attempts + 1)
        worth = (worth + ALIKE * typical) / (kept + ALIKE)
        chance = self._chances()
        drawn = chance * worth / (chance * record + (1 - chance) * losses + read + 1)
        value: NDArray[np.float64] = drawn.mean(axis=0)
        return value

    def _chances(self) -> NDArray[np.float64]:
        """Plausible chances that an attempt is kept: a row a draw, a column an arm."""
        attempts, kept = self._own[:, 0], self._own[:, 1]
        step = np.full_like(kept, STEP)
        while np.abs(step).max() > CLOSE:
            chance = 1 / (1 + np.exp(-self._odds))
            precision = self._precision + np.diag(attempts * chance * (1 - chance))
            slope = kept - attempts * chance - self._precision @ (self._odds - self._prior)
            step = np.clip(np.linalg.solve(precision, slope), -STEP, STEP)
            self._odds += step
        noise = np.linalg.solve(np.linalg.cholesky(precision).T, self._draw.standard_normal((len(kept), DRAWS)))
        drawn: NDArray[np.float64] = 1 / (1 + np.exp(-(self._odds[:, None] + noise).T))
        return drawn


def _covariance(one: Arm, other: Arm) -> float:
    same_steering, same_temperature = one.steering == other.steering, one.temperature == other.temperature
    shared = MODELS**2 + WAYS**2 * same_steering + WARMTH**2 * same_temperature
    return shared + SINGLE**2 * (one == other)


def _arm(attempt: Attempt) -> Arm:
    return Arm(attempt.steering, attempt.temperature)
