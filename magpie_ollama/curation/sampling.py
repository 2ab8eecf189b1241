"""Some records of many, each as likely as any other."""

from __future__ import annotations

import random
from collections.abc import Iterable

from magpie_ollama.corpus.reading import Row


def draw(rows: Iterable[Row], count: int, seed: int) -> list[tuple[int, bytes]]:
    """``count`` of the rows, or all where there are fewer, as (number, line) in their order; one pass, in the memory of
    the lines drawn. The same seed draws the same (reservoir sampling, Vitter's algorithm R)."""
    chance = random.Random(seed)
    drawn: list[tuple[int, bytes]] = []
    for seen, row in enumerate(rows):
        if seen < count:
            drawn.append((row.number, row.line))
        elif (place := chance.randrange(seen + 1)) < count:
            drawn[place] = (row.number, row.line)
    return sorted(drawn)
