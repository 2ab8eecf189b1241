"""Records drawn at random."""

from __future__ import annotations

from collections import Counter

from magpie_ollama.corpus.reading import Row
from magpie_ollama.corpus.shapes import Said
from magpie_ollama.curation.sampling import draw


def rows(count: int) -> list[Row]:
    return [Row(number, b"%d" % number, {}, Said("instruction", "", "", ())) for number in range(1, count + 1)]


def test_a_seed_draws_the_same_in_the_file_s_order() -> None:
    first = draw(iter(rows(1000)), 10, 7)
    assert first == draw(iter(rows(1000)), 10, 7) == sorted(first)
    assert first != draw(iter(rows(1000)), 10, 8)
    assert len({number for number, _ in first}) == 10
    assert all(line == b"%d" % number for number, line in first)


def test_fewer_than_wanted_are_all() -> None:
    assert [number for number, _ in draw(rows(3), 5, 0)] == [1, 2, 3]
    assert draw([], 5, 0) == []


def test_each_is_as_likely() -> None:
    drawn = Counter(number for seed in range(2000) for number, _ in draw(rows(20), 5, seed))
    # 500 of each are expected, with a standard deviation of 19.
    assert all(abs(drawn[number] - 500) < 100 for number in range(1, 21))
