"""Neighbours by vectors: held to each pair's distance, computed one by one."""

from __future__ import annotations

import numpy as np
import pytest

from magpie_ollama.curation import neighbours as module
from magpie_ollama.curation.deduplication import Deduplicator, Twin
from magpie_ollama.curation.neighbours import Meaning, neighbours

A = "Tell me how bread is baked at home."
B = "How would one make a loaf in an ordinary kitchen?"
C = "Explain what a compiler does with a loop."
D = "Explain what a compiler does with a loop now."


def unit(rows: object) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    array = np.array(rows, np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


@pytest.mark.parametrize("cells", [1, 700, 2**24])
def test_each_is_compared_with_each(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CELLS", cells)
    drawn = np.random.default_rng(3)
    centres = drawn.normal(size=(25, 16))
    vectors = unit(centres[drawn.integers(0, 25, 120)] + 0.1 * drawn.normal(size=(120, 16)))
    found = neighbours(vectors, 0.05)
    squared = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squared, 4)
    assert found.distance == pytest.approx(squared.min(axis=1), abs=1e-5)
    assert found.nearest.tolist() == squared.argmin(axis=1).tolist()
    assert found.repeats.tolist() == (squared < 0.05).sum(axis=1).tolist()
    np.fill_diagonal(squared, 0)
    assert found.first.tolist() == (squared < 0.05).argmax(axis=1).tolist()
    assert 0 < found.repeated < 120


def test_a_text_alone_has_no_neighbour() -> None:
    found = neighbours(unit([[1, 0]]))
    assert (found.distance.tolist(), found.nearest.tolist(), found.repeated) == ([2], [0], 0)
    assert neighbours(np.empty((0, 4), np.float32)).to_dict()["min_neighbor_distance"] == {}


def meant(**vectors: list[float]) -> Deduplicator:
    """A deduplicator for the texts A to D that these are the vectors of."""
    texts = {"a": A, "b": B, "c": C, "d": D}
    rows = {texts[name]: row for row, name in enumerate(vectors)}
    return Deduplicator(meaning=Meaning(unit(list(vectors.values())), rows))


@pytest.mark.parametrize("together", [1, 2, 3])
def test_the_first_of_those_that_mean_the_same_is_kept(together: int) -> None:
    index = meant(a=[1, 0.0], b=[1, 0.05], c=[0, 1.0])
    given = [A, B, C]
    twins = [twin for at in range(0, 3, together) for twin in index.look(given[at : at + together])]
    assert [twin and twin.reason for twin in twins] == [None, "semantic_duplicate", None]
    assert twins[1] is not None
    assert (twins[1].first, twins[1].similarity) == (0, pytest.approx(0.99, abs=0.01))


def test_what_is_like_one_that_was_removed_is_kept() -> None:
    """B is removed for A; C lies near to B, and not to A."""
    index = meant(a=[1, 0.0], b=[1, 0.2], c=[1, 0.4])
    assert [twin and twin.first for twin in index.look([A, B, C])] == [None, 0, None]
    index = meant(a=[1, 0.0], b=[1, 0.2], c=[1, 0.4])
    assert [index.look([text])[0] is None for text in (A, B, C)] == [True, False, True]


def test_words_go_before_vectors_and_texts_without_one_are_near_to_none() -> None:
    index = meant(c=[1, 0.0], d=[0, 1.0])
    assert [twin and twin.reason for twin in index.look([C, D + "!", C.upper()])] == [
        None,
        "near_duplicate",
        "duplicate",
    ]


def test_numbers_quotations_and_inputs_keep_apart_what_a_vector_does_not() -> None:
    sums = ["What is 23 times 7?", "How much is 41 times 9?", "So how much would 23 times 7 be?"]
    index = Deduplicator(meaning=Meaning(unit([[1, 0.0]] * 3), {text: row for row, text in enumerate(sums)}))
    assert index.look(sums) == [None, None, Twin(0, 0.99, meant=True)]
    asked = [A, B]
    index = meant(a=[1, 0.0], b=[1, 0.0])
    assert index.look(asked, ["a first text", "a second one"]) == [None, None]
