"""The statistics of an experiment: intervals for shares and for a ratio of sums, and how varied texts are."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from magpie_ollama.method.duplicates import normalise

Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution, for intervals of 95 %."""

RESAMPLES = 1000
SPREAD_WORDS = 50


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927): right for small samples and at 0 and 1, unlike hits ± z·s.

    >>> [round(bound, 4) for bound in wilson(0, 10)], [round(bound, 4) for bound in wilson(81, 263)]
    ([0.0, 0.2775], [0.2553, 0.3662])
    """
    if not trials:
        return 0.0, 1.0
    share = hits / trials
    centre = share + Z * Z / (2 * trials)
    half = Z * math.sqrt(share * (1 - share) / trials + Z * Z / (4 * trials * trials))
    scale = 1 + Z * Z / trials
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def resampled_ratios(pairs: Sequence[tuple[float, float]], seed: int = 0) -> list[float]:
    """``RESAMPLES`` bootstrap values (Efron 1979) of sum of the firsts / sum of the seconds, unsorted."""
    draw = random.Random(seed)
    ratios = []
    for _ in range(RESAMPLES):
        sample = draw.choices(pairs, k=len(pairs)) if pairs else []
        below = sum(second for _, second in sample)
        ratios.append(sum(first for first, _ in sample) / below if below else 0.0)
    return ratios


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The middle ``level`` of a sample: a percentile bootstrap interval.

    >>> interval(list(range(1000)))
    (25, 974)
    """
    ordered = sorted(values)
    tail = round((1 - level) / 2 * len(ordered))
    return ordered[tail], ordered[-tail - 1]


def differs(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two bootstrapped values can be told apart: 0 lies outside the 95 % interval of their difference."""
    low, high = interval([a - b for a, b in zip(one, other, strict=True)])
    return low > 0 or high < 0


def vocabulary_spread(texts: Sequence[str], spaces: bool = True) -> float:
    """Distinct words in windows of ``SPREAD_WORDS`` words, as a share, mean over the windows; 0.0 for too few words.

    Windows make it independent of how much text there is (moving-average type-token ratio, Covington and McFall
    2010). Words are told apart as ``normalise`` does: ``\\w`` would break them at the vowel signs of Hindi and its
    like. Where a language writes no spaces, pairs of characters are counted.
    """
    words = normalise(" ".join(texts)).split()
    if not spaces:
        plain = "".join(words)
        words = [plain[start : start + 2] for start in range(0, len(plain) - 1, 2)]
    if len(words) < SPREAD_WORDS:
        return 0.0
    starts = range(0, len(words) - SPREAD_WORDS + 1, max(1, SPREAD_WORDS // 5))
    shares = [len(set(words[start : start + SPREAD_WORDS])) / SPREAD_WORDS for start in starts]
    return sum(shares) / len(shares)
