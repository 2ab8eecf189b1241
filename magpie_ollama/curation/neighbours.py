"""What lies near to what, by the vectors of instructions: exactly, each compared with each.

Distances are Magpie's (its repository's ``exp/gen_dis.py``): squared Euclidean, of vectors of length 1, so 2 - 2 cos:
0 for the same, 2 for what has nothing in common. Vectors are arrays of texts and numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

DISTANCE = 0.05
"""Below it Magpie takes an instruction for a repetition: a cosine above 0.975."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

CROWD = 64
"""So many texts of its batch are a text's candidates, the nearest ones: a model that tells nothing apart is to cost no
more memory than one that does."""

_CELLS = 2**24
"""Cosines in memory at once: 64 MB."""


class Neighbours(NamedTuple):
    """Of each text the ``distance`` of its ``nearest`` neighbour, how many others are nearer than ``bound``, and the
    ``first`` text that is, itself included. A text alone has the distance 2 and itself as its nearest."""

    model: str
    bound: float
    distance: NDArray[np.float32]
    nearest: NDArray[np.int64]
    repeats: NDArray[np.int64]
    first: NDArray[np.int64]

    @property
    def repeated(self) -> int:
        """Texts that another one is nearer to than the bound."""
        return int(np.count_nonzero(self.repeats))

    def quantiles(self, of: NDArray[np.float32] | NDArray[np.int64]) -> dict[str, float]:
        found = np.quantile(of, QUANTILES) if len(of) else ()
        return {
            f"p{round(100 * share)}": round(float(value), 4) for share, value in zip(QUANTILES, found, strict=False)
        }

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "distance": self.bound,
            "records": len(self.distance),
            "repeated": self.repeated,
            "min_neighbor_distance": self.quantiles(self.distance),
            "repeat_count": self.quantiles(self.repeats),
        }


def neighbours(vectors: NDArray[np.float32], bound: float = DISTANCE, model: str = "") -> Neighbours:
    texts = len(vectors)
    distance = np.full(texts, 2, np.float32)
    nearest, first = np.arange(texts), np.arange(texts)
    count = np.zeros(texts, np.int64)
    for rows, cosines in _blocks(vectors, vectors):
        own = np.arange(len(rows))
        cosines[own, rows] = -1
        best = cosines.argmax(axis=1)
        highest = cosines[own, best]
        distance[rows] = np.clip(2 - 2 * highest, 0, 2)
        nearest[rows] = np.where(highest > -1, best, rows)
        for at in np.flatnonzero(highest > _cosine(bound)).tolist():
            near = np.flatnonzero(cosines[at] > _cosine(bound))
            count[rows[at]] = len(near)
            first[rows[at]] = min(int(near[0]), int(rows[at]))
    return Neighbours(model, bound, distance, nearest, count, first)


class Meaning:
    """Looks for those of the kept texts that a text means the same as. ``marks`` keep apart what no vector tells apart:
    only texts of the same mark are compared."""

    def __init__(self, vectors: NDArray[np.float32], row_of: Mapping[str, int], bound: float = DISTANCE) -> None:
        """``row_of`` a text; one without is near to none."""
        self._vectors = vectors
        self._row_of = row_of
        self._cosine = _cosine(bound)
        self._kept = np.empty((0, vectors.shape[1]), np.float32)
        self._marks = np.empty(0, np.int64)
        self._size = 0
        self._batch: tuple[NDArray[np.float32], NDArray[np.int64]] = (self._kept, self._marks)
        self._earlier: dict[int, tuple[int, float]] = {}
        self._among: dict[int, list[tuple[int, float]]] = {}

    def look(self, texts: Sequence[str], marks: Sequence[str]) -> None:
        """Compares a batch with the kept texts, and its texts with one another."""
        rows = np.array([self._row_of.get(text, -1) for text in texts], np.int64)
        own = np.where((rows < 0)[:, np.newaxis], 0, self._vectors[rows]).astype(np.float32)
        of = np.array([hash(mark) for mark in marks], np.int64)
        self._batch = (own, of)
        self._earlier = {text: near[0] for text, near in self._near(own, of, self._kept[: self._size], self._marks)}
        self._among = {
            text: earlier
            for text, near in self._near(own, of, own, of)
            if (earlier := [pair for pair in near if pair[0] < text])
        }

    def twin(self, text: int, kept: Mapping[int, int]) -> tuple[int, float] | None:
        """The nearest kept text of one of the batch, and the cosine. ``kept`` are places by texts of the batch."""
        found = [self._earlier[text]] if text in self._earlier else []
        found += [(kept[other], cosine) for other, cosine in self._among.get(text, ()) if other in kept]
        return max(found, key=lambda pair: pair[1], default=None)

    def keep(self, texts: Sequence[int]) -> None:
        """Add these of the batch to the kept ones."""
        size = self._size + len(texts)
        if size > len(self._kept):
            more = size + size // 4 - len(self._kept)
            self._kept = np.concatenate((self._kept, np.empty((more, self._kept.shape[1]), np.float32)))
            self._marks = np.concatenate((self._marks, np.empty(more, np.int64)))
        vectors, marks = self._batch
        self._kept[self._size : size] = vectors[texts]
        self._marks[self._size : size] = marks[texts]
        self._size = size

    def _near(
        self,
        own: NDArray[np.float32],
        marks: NDArray[np.int64],
        pool: NDArray[np.float32],
        pool_marks: NDArray[np.int64],
    ) -> list[tuple[int, list[tuple[int, float]]]]:
        """Each text with those of the pool that it is near to, the nearest first."""
        found = []
        for rows, cosines in _blocks(own, pool):
            for at in np.flatnonzero((cosines > self._cosine).any(axis=1)).tolist():
                near = np.flatnonzero(cosines[at] > self._cosine)
                near = near[pool_marks[near] == marks[rows[at]]]
                near = near[np.argsort(-cosines[at][near], kind="stable")[:CROWD]]
                if len(near):
                    pairs = zip(near.tolist(), cosines[at][near].tolist(), strict=True)
                    found.append((int(rows[at]), list(pairs)))
        return found


def _blocks(
    own: NDArray[np.float32], pool: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The rows of ``own``, some at a time, with the cosines of each of them with all of ``pool``."""
    if not len(pool):
        return
    step = max(1, _CELLS // len(pool))
    for start in range(0, len(own), step):
        rows = np.arange(start, min(start + step, len(own)))
        yield rows, own[rows] @ pool.T


def _cosine(distance: float) -> float:
    return 1 - distance / 2
