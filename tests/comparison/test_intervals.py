from __future__ import annotations

import math
import random

import pytest

from magpie_ollama.comparison.intervals import differs, interval, resampled_ratios, vocabulary_spread, wilson
from magpie_ollama.method import languages


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [
        # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(hits: int, trials: int, low: float, high: float) -> None:
    found = wilson(hits, trials)
    assert found == pytest.approx((low, high), abs=0.00006)


def test_wilson_of_nothing_is_everything() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_bootstrap_covers_the_true_ratio_about_as_often_as_it_says() -> None:
    """Attempts that are useful with probability .5 and take 40 tokens on the mean: 12.5 per 1,000 tokens."""
    draw = random.Random(1)
    covered = 0
    for experiment in range(100):
        pairs = [(1000.0 * (draw.random() < 0.5), draw.uniform(20, 60)) for _ in range(60)]
        low, high = interval(resampled_ratios(pairs, experiment))
        covered += low <= 12.5 <= high
    assert covered >= 88


def test_the_bootstrap_of_nothing_is_zero() -> None:
    assert set(resampled_ratios([])) == {0.0}
    assert set(resampled_ratios([(1.0, 0.0)])) == {0.0}


def test_what_is_far_apart_differs_and_what_is_alike_does_not() -> None:
    draw = random.Random(2)
    one = resampled_ratios([(1000.0 * (draw.random() < 0.9), 40) for _ in range(60)], 1)
    like = resampled_ratios([(1000.0 * (draw.random() < 0.9), 40) for _ in range(60)], 2)
    other = resampled_ratios([(1000.0 * (draw.random() < 0.4), 40) for _ in range(60)], 3)
    assert differs(one, other)
    assert not differs(one, like)
    assert not differs(one, one)


def test_vocabulary_spread_does_not_depend_on_the_amount_of_text() -> None:
    words = [f"word{number}" for number in range(40)]
    draw = random.Random(3)
    short = [" ".join(draw.choices(words, k=20)) for _ in range(20)]
    long = [" ".join(draw.choices(words, k=20)) for _ in range(400)]
    assert vocabulary_spread(short) == pytest.approx(vocabulary_spread(long), abs=0.03)
    assert vocabulary_spread(["the same words again"] * 30) < 0.1
    assert vocabulary_spread(["too few"]) == 0.0


def test_vocabulary_spread_without_spaces_counts_pairs_of_characters() -> None:
    assert vocabulary_spread(["東京都"] * 60, spaces=False) < 0.1
    varied = ["".join(chr(0x4E00 + (17 * number + place) % 2000) for place in range(12)) for number in range(40)]
    assert vocabulary_spread(varied, spaces=False) > 0.8
    assert math.isclose(vocabulary_spread(["東京"], spaces=False), 0.0)


@pytest.mark.parametrize("code", ["hi", "mr", "bn", "ta", "te"])
def test_vocabulary_spread_does_not_break_words_at_vowel_signs(code: str) -> None:
    texts = [text for exemplar in languages.load(code).exemplars for text in exemplar]
    assert vocabulary_spread(texts) > 0.8
