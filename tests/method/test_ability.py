"""Whether a model can write a language: the verdict, by attempts of models that do, do with losses, and do not."""

from __future__ import annotations

from itertools import chain, repeat

import pytest

from magpie_ollama.method.ability import ENOUGH, Ability, Writes, ability
from magpie_ollama.records import DROPPED, KEPT, Attempt


def attempts(steering: str = "system", fluency: float = 0.0, **outcomes: int) -> list[Attempt]:
    each = chain.from_iterable(repeat(name, count) for name, count in outcomes.items())
    return [
        Attempt(number, outcome, steering, 20, 0, "no" if outcome == "wrong_language" else "yes", 0.97, fluency)
        for number, outcome in enumerate(each)
    ]


@pytest.mark.parametrize(
    ("made", "writes"),
    [
        (attempts(kept=28, wrong_language=2, fluency=0.95), Writes.YES),
        (attempts(kept=28, near_duplicate=6, truncated=3), Writes.YES),
        (attempts(kept=28, wrong_language=2, fluency=0.8), Writes.WITH_LOSSES),
        (attempts(kept=20, invented_words=8, response_wrong_language=4, fluency=0.9), Writes.WITH_LOSSES),
        (attempts(kept=28, invented_words=2, fluency=0.45), Writes.NO),
        (attempts(kept=10, invented_words=15, response_invented_words=5), Writes.NO),
        (attempts(kept=2, wrong_language=40), Writes.NO),
    ],
)
def test_the_verdict(made: list[Attempt], writes: Writes) -> None:
    found = ability(made)
    assert found is not None
    assert found.writes is writes


def test_a_loop_says_nothing_of_fluency() -> None:
    found = ability(attempts(kept=20, fluency=0.6) + attempts(repetition=12, fluency=1.0))
    assert found is not None
    assert (found.writes, found.fluency) == (Writes.NO, 0.6)


def test_few_attempts_and_such_that_tell_nothing_give_none() -> None:
    assert ability(attempts(kept=ENOUGH - 1)) is None
    assert ability(attempts(**{DROPPED: 50, "no_answer": 50, KEPT: 3})) is None


def test_what_comes_without_steering_says_nothing_of_another_language() -> None:
    unsteered = attempts("none", wrong_language=50)
    assert ability(unsteered) is None
    assert ability(attempts("none", kept=50), unsteered=True) is not None
    told = ability(unsteered + attempts(kept=40))
    assert told is not None
    assert (told.steered, told.writes) == (40, Writes.YES)


def test_its_sentence_has_the_numbers_behind_it() -> None:
    told = Ability(Writes.NO, 30, 24, 9, 0.81, 0.44).told("smollm2", "Spanish")
    assert told == (
        "smollm2 does not write Spanish: 24 of 30 instructions were in it, 9 of them sound; known words 0.81; "
        "fluency 0.44 of its own English."
    )
