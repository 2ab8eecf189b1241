"""Planted faults: each is one, the same each time, in every language."""

from __future__ import annotations

from collections import Counter

import pytest

from magpie_ollama.method import languages
from magpie_ollama.tagging.planted import ANSWER, COUNTS, FEWEST, GOOD, LANGUAGE, TRUE_SUM, planted


@pytest.mark.parametrize("code", languages.codes())
def test_each_language_has_forty_faults_and_each_is_one(code: str) -> None:
    shown = planted(code)
    counts = Counter(one.kind for one in shown)
    assert {kind: counts[kind] for kind in COUNTS} == COUNTS
    assert sum(COUNTS.values()) == 40
    assert counts[GOOD] >= FEWEST
    good = {(one.instruction, one.response) for one in shown if one.kind in (GOOD, TRUE_SUM)}
    asked, said = zip(*good, strict=True)
    for one in shown:
        if one.kind in COUNTS:
            assert (one.instruction, one.response) not in good
        if one.kind in LANGUAGE:
            assert one.instruction not in asked and one.response not in said
        elif one.kind in ANSWER:
            assert one.instruction in asked, "its question is whole"
    assert shown == planted(code), "without chance"


def test_what_is_planted() -> None:
    by_kind = {kind: [one for one in planted("es") if one.kind == kind] for kind in COUNTS}
    good = [one for one in planted("es") if one.kind == GOOD]
    for one in by_kind["shuffled words"]:
        assert any(Counter(one.response.split()) == Counter(other.response.split()) for other in good)
    for one in by_kind["invented endings"]:
        words = one.response.split()
        assert any(
            len(words) == len(other.response.split())
            and sum(a != b for a, b in zip(words, other.response.split(), strict=True)) > len(words) / 3
            for other in good
        )
    english = {one.response for one in languages.load("en").exemplars}
    assert all(any(text[:40] in one.response for text in english) for one in by_kind["foreign clause"])
    assert all(any(other.response == one.response for other in good) for one in by_kind["another answer"])
    for one in by_kind["truncated answer"]:
        whole = next(other for other in good if other.instruction == one.instruction)
        assert whole.response.startswith(one.response) and len(one.response) < len(whole.response) / 2
    for one in by_kind["false sum"]:
        left, right = one.response.split(" = ")
        assert sum(map(int, left.split(" + "))) != int(right)
    spanish = {one.response for one in languages.load("es").exemplars}
    broken = [one.response for one in planted("en") if one.kind == "foreign clause"]
    assert all(any(text[:40] in response for text in spanish) for response in broken), "English by another language"


def test_a_language_without_exemplars_takes_the_files_own_records() -> None:
    own = [
        (f"Wat is {n}?", f"Dat is een heel lang antwoord over het getal {n}, met alles wat men weten wil.")
        for n in range(12)
    ]
    assert Counter(one.kind for one in planted("xx", own))[GOOD] == 12
    assert planted("xx", own[: FEWEST - 1]) == []
    assert planted("xx") == []
    assert planted("../../etc/passwd", own)[0].instruction == "Wat is 0?"
    assert planted("es", own) == planted("es"), "what a file holds is not known to be good"
