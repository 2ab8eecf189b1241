"""Duplicates in bulk: the same answers as the index that ``generate`` asks, the first kept."""

from __future__ import annotations

import random

import pytest

from magpie_ollama.curation import deduplication
from magpie_ollama.curation.deduplication import Deduplicator, Twin, deduplicated
from magpie_ollama.method import languages
from magpie_ollama.method.duplicates import DuplicateIndex, similarity

A = "I am organising a small exhibition of old bicycles in the village hall next spring. Write a letter to our members."


def changed(text: str, draw: random.Random, words: list[str]) -> str:
    parts = text.split()
    parts[draw.randrange(len(parts))] = draw.choice(words)
    return " ".join(parts)


def texts(count: int) -> list[str]:
    """Of plain words, no numbers, code or quotation marks; a third repeat an earlier one exactly or but for a word."""
    draw = random.Random(5)
    words = sorted({word for exemplar in languages.load("en").exemplars for word in exemplar.response.split()})
    words = [word for word in words if word.strip(".,:;?").isalpha()]
    found: list[str] = []
    for _ in range(count):
        text = " ".join(draw.choices(words, k=draw.randint(8, 30)))
        if found and draw.random() < 0.35:
            text = draw.choice(found)
            text = text.upper() if draw.random() < 0.3 else changed(text, draw, words)
        found.append(text)
    return found


@pytest.mark.parametrize("together", [1, 7, 500, 4096])
def test_it_says_what_the_index_says(together: int) -> None:
    given = texts(1500)
    index, expected, kept = DuplicateIndex(), [], []
    for text in given:
        reason = index.find(text)
        expected.append(reason)
        if not reason:
            index.add(text)
            kept.append(text)
    bulk = Deduplicator()
    twins = [twin for start in range(0, len(given), together) for twin in bulk.look(given[start : start + together])]
    assert [twin.reason if twin else "" for twin in twins] == expected
    assert {"duplicate", "near_duplicate", ""} == set(expected)
    for text, twin in zip(given, twins, strict=True):
        if twin:
            assert similarity(text, kept[twin.first]) == pytest.approx(twin.similarity, abs=0.2)


def test_texts_with_other_numbers_are_others() -> None:
    sums = [f"What is {n} times {n + 31}? Show your work step by step, then check it." for n in range(12, 28)]
    assert Deduplicator().look(sums) == [None] * 16
    assert DuplicateIndex().find(sums[0]) == ""
    assert similarity(sums[0], sums[1]) > 0.7
    again = Deduplicator().look([sums[0], sums[0].replace("your", "the"), sums[0].upper()])
    assert [twin and twin.reason for twin in again] == [None, "near_duplicate", "duplicate"]


def test_one_instruction_with_other_inputs_is_another() -> None:
    asked = "Classify the sentiment of this sentence as positive or negative, in one word and without a reason."
    inputs = [f"The {what} was cold." for what in ("soup", "tea", "room")]
    texts = [f"{asked}\n\n{one}" for one in inputs]
    assert Deduplicator().look(texts)[1:] != [None, None], "without their inputs they are near"
    assert Deduplicator().look(texts, inputs) == [None] * 3
    nearly = f"{asked.replace('one', 'a')}\n\n{inputs[0]}"
    twins = Deduplicator().look([texts[0], nearly, texts[0]], [inputs[0], inputs[0].upper(), inputs[0]])
    assert [twin and twin.reason for twin in twins] == [None, "near_duplicate", "duplicate"]


def test_what_repeats_a_removed_text_is_judged_by_the_kept_one() -> None:
    near = A.replace("small", "little")
    first, second, third = Deduplicator().look([A, near, near.upper()])
    assert first is None
    assert second is not None
    assert second == third  # near the first; the second is not there
    assert second.reason == "near_duplicate"


def test_exact_leaves_near_ones() -> None:
    bulk = Deduplicator(exact=True)
    assert bulk.look([A, A.replace("small", "little"), A.upper()]) == [None, None, Twin(0, 1.0)]
    assert bulk.look([A.replace("small", "little") + "!"]) == [Twin(1, 1.0)]


def test_the_threshold_decides() -> None:
    other = A.replace("small exhibition of old", "large display of new")
    assert 0.5 < similarity(A, other) < 0.8
    assert Deduplicator(threshold=0.5).look([A, other])[1] is not None
    assert Deduplicator(threshold=0.9).look([A, other])[1] is None
    assert Deduplicator(threshold=1.0).look([A, A.replace("small", "little"), A + "!"])[1:] == [None, Twin(0, 1.0)]


def test_a_phrase_that_all_share_does_not_make_it_quadratic(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    matches = Deduplicator._matches

    def counting(self: Deduplicator, rows: object, one: object, other: object, pool: object) -> object:
        nonlocal compared
        compared += len(one)  # type: ignore[arg-type]
        return matches(self, rows, one, other, pool)  # type: ignore[arg-type]

    monkeypatch.setattr(Deduplicator, "_matches", counting)
    draw = random.Random(2)
    shared = "Write a friendly letter to the members of our club about "
    given = [shared + "".join(draw.choices("abcdefghijklmnopqrstuvwxyz ", k=30)) for _ in range(3000)]
    bulk = Deduplicator()
    for start in range(0, len(given), 1000):
        bulk.look(given[start : start + 1000])
    assert compared < 3000 * deduplication.BANDS * deduplication.CROWD * 3 < 3000 * 3000 / 2 * 3


def test_items_keep_their_order_and_some_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deduplication, "TOGETHER", 3)
    items = [(A, 1), (None, 2), (A, 3), ("Something else altogether.", 4), (None, 5), ("something else altogether", 6)]
    found = [(item, twin and twin.first) for item, twin in deduplicated(items, Deduplicator())]
    assert found == [(1, None), (2, None), (3, 0), (4, None), (5, None), (6, 1)]


def test_texts_that_quote_something_else_are_others() -> None:
    quoted = ["'buenos días'", "‘buenos días, señora’", '"buenos días, señorita"', "«buenos días, señorita»"]
    twins = Deduplicator().look([f"Translate {one} to English, please." for one in quoted])
    assert [twin is None for twin in twins] == [True, True, True, False]
