"""Duplicates and near-duplicates of instructions in a file of a million: the first of them is kept.

What is a duplicate, and how similar two texts are, is what ``method.duplicates`` says of them. Its index answers for
one text at a time, as ``generate`` asks; here thousands are looked up at once, in a quarter of the time each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from magpie_ollama.curation.neighbours import Meaning
from magpie_ollama.method import duplicates, segments
from magpie_ollama.method.duplicates import BANDS, PERMUTATIONS, THRESHOLD, normalise

T = TypeVar("T")

TOGETHER = 4096
"""Texts that are looked up at once; their records wait in memory meanwhile."""

CROWD = 64
"""Texts that a text is compared with for each band they share: the bands of a phrase that stands in thousands of
instructions would make the time quadratic, and a near-duplicate shares others too."""

_COMPARED = 2**16
"""Pairs of signatures compared at once: 8 MB."""


class Twin(NamedTuple):
    """What a text repeats: the ``first``-th of the kept texts, counted from 0. ``similarity`` is 1.0 for a duplicate,
    but for case, punctuation and spaces; else the estimated Jaccard similarity, below 1. Of a text that is ``meant`` so
    it is the cosine."""

    first: int
    similarity: float
    meant: bool = False

    @property
    def reason(self) -> str:
        if self.meant:
            return "semantic_duplicate"
        return "duplicate" if self.similarity == 1.0 else "near_duplicate"


class Deduplicator:
    """The kept texts: 0.5 KB each, 0.2 KB with ``exact``, which finds no near-duplicates; and their vectors with a
    ``meaning``, which is asked of those that repeat nothing else.

    ``_rows`` are their signatures. ``_runs`` are sorted keys of their bands, each with the place of its row in the
    lower 32 bits; few and large ones, for they are merged as they come.
    """

    def __init__(self, *, threshold: float = THRESHOLD, exact: bool = False, meaning: Meaning | None = None) -> None:
        self._meaning = meaning
        self._needed = threshold * PERMUTATIONS
        self._only_exact = exact
        self._exact: dict[bytes, int] = {}
        self._rows = np.empty((0, PERMUTATIONS), np.uint16)
        self._runs: list[NDArray[np.uint64]] = []

    def look(self, texts: Sequence[str], inputs: Sequence[str] = ()) -> list[Twin | None]:
        """The twin of each text among those kept before it, in this call or earlier; None for a text that is kept.
        Texts whose numbers, quotations or ``inputs`` differ are not near one another: one instruction with sixteen of
        them is sixteen, and sums of other numbers are other sums."""
        plains = [normalise(text) for text in texts]
        keys = [duplicates.exact_key(plain) for plain in plains]
        apart = [_particulars(text, plain) for text, plain in zip(texts, plains, strict=True)]
        if inputs:
            apart = ["\n".join(filter(None, both)) for both in zip(apart, map(normalise, inputs), strict=True)]
        given = zip(keys, plains, apart, texts, strict=True)
        fresh = {key: rest for key, *rest in given if key not in self._exact}
        near = [None] * len(fresh) if self._only_exact else self._near(*zip(*fresh.values(), strict=True))
        outcome = dict(zip(fresh, near, strict=True))
        twins: list[Twin | None] = []
        for key in keys:
            twin = outcome.get(key)
            if twin is None:
                place = self._exact.setdefault(key, len(self._exact))
                twin = Twin(place, 1.0) if key not in outcome else None
                outcome[key] = Twin(place, 1.0)  # for its repetitions
            twins.append(twin)
        return twins

    def keep(self, texts: Sequence[str]) -> None:
        """Add texts that are there already, whatever they repeat."""
        for text, twin in zip(texts, self.look(texts), strict=True):
            if twin is not None:
                self._exact.setdefault(duplicates.exact_key(normalise(text)), twin.first)

    def _near(
        self, plains: Sequence[str] = (), apart: Sequence[str] = (), texts: Sequence[str] = ()
    ) -> list[Twin | None]:
        """The twins of new texts, no two of them equal; the rows of those without one are added."""
        if not plains:
            return []
        batches = (plains[start : start + duplicates.BATCH] for start in range(0, len(plains), duplicates.BATCH))
        rows = np.concatenate([duplicates.signatures(batch) for batch in batches]) ^ _apart(apart)
        keys = duplicates.band_keys(rows)
        base = len(self._exact)
        twins: list[Twin | None] = [None] * len(plains)
        for text, place, equal in self._matches(rows, *self._earlier(keys), self._rows):
            twins[text] = _better(twins[text], place, equal)
        if self._meaning is not None:
            self._meaning.look(texts, apart)
        kept: dict[int, int] = {}  # place by text, of those of this batch
        together: dict[int, list[tuple[int, int]]] = {}
        for text, other, equal in self._matches(rows, *_among(keys), rows):
            together.setdefault(text, []).append((other, equal))
        for text in range(len(plains)):
            for other, equal in together.get(text, ()):
                if other in kept:
                    twins[text] = _better(twins[text], kept[other], equal)
            if twins[text] is None and self._meaning is not None and (found := self._meaning.twin(text, kept)):
                twins[text] = Twin(found[0], min(found[1], 0.99), meant=True)
            if twins[text] is None:
                kept[text] = base + len(kept)
        self._add(rows, keys, list(kept))
        if self._meaning is not None:
            self._meaning.keep(list(kept))
        return twins

    def _earlier(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs of a text and the place of a kept one that share a band."""
        wanted = keys.ravel()
        order = np.argsort(wanted)  # in order, the searches stay within the processor's caches
        wanted, texts = wanted[order], order // BANDS
        pairs = []
        for run in self._runs:
            first = run.searchsorted(wanted)
            counts = np.minimum(run.searchsorted(wanted + duplicates.PLACES) - first, CROWD)
            found, at = _spread(first, counts)
            pairs.append((texts[found], (run[at] & duplicates.PLACES).astype(np.int64)))
        if not pairs:
            return _NONE, _NONE
        return np.concatenate([one for one, _ in pairs]), np.concatenate([other for _, other in pairs])

    def _matches(
        self,
        rows: NDArray[np.uint16],
        texts: NDArray[np.int64],
        others: NDArray[np.int64],
        pool: NDArray[np.uint16],
    ) -> Iterator[tuple[int, int, int]]:
        """(text, row of ``pool``, values they share) of the pairs that are similar enough."""
        pairs = np.unique(texts << 32 | others)
        for start in range(0, len(pairs), _COMPARED):
            texts, others = np.divmod(pairs[start : start + _COMPARED], 1 << 32)
            equal = np.count_nonzero(rows[texts] == pool[others], axis=1)
            near = np.flatnonzero(equal >= self._needed)
            yield from zip(texts[near].tolist(), others[near].tolist(), equal[near].tolist(), strict=True)

    def _add(self, rows: NDArray[np.uint16], keys: NDArray[np.uint64], kept: list[int]) -> None:
        base = len(self._exact)
        needed = base + len(kept)
        if needed > len(self._rows):
            grown = np.empty((needed + needed // 8 + TOGETHER, PERMUTATIONS), np.uint16)
            grown[:base] = self._rows[:base]
            self._rows = grown
        self._rows[base:needed] = rows[kept]
        places = np.arange(base, needed, dtype=np.uint64)[:, np.newaxis]
        run = np.sort((keys[kept] | places).ravel())
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.concatenate((self._runs.pop(), run))
            run.sort()
        self._runs.append(run)


def deduplicated(
    items: Iterable[tuple[str | None, T]], deduplicator: Deduplicator, input_of: Callable[[T], str] = lambda item: ""
) -> Iterator[tuple[T, Twin | None]]:
    """Each item with the twin of its instruction, in the same order. One that comes with None instead of an instruction
    is not looked at: it repeats nothing, and nothing repeats it."""
    items = iter(items)
    while batch := list(islice(items, TOGETHER)):
        asked = [(text, input_of(item)) for text, item in batch if text is not None]
        twins = iter(deduplicator.look([text for text, _ in asked], [given for _, given in asked]))
        for text, item in batch:
            yield item, None if text is None else next(twins)


_NUMBERS = re.compile(r"\d+")

_NONE = np.empty(0, np.int64)


def _particulars(text: str, plain: str) -> str:
    """What of a text may be all that it is about, "" for nothing. ``plain`` is its normal form."""
    quoted = [normalise(quotation) for quotation in segments.quotations(text)]
    return " ".join((*_NUMBERS.findall(plain), *quoted))


def _apart(texts: Sequence[str]) -> NDArray[np.uint16]:
    """What keeps signatures apart that belong to different ones of these texts: by it, they agree in no value. That of
    "" changes nothing."""
    digests = (blake2b(text.encode("utf-8", "replace")).digest() * 2 if text else b"\0" * 128 for text in texts)
    return np.frombuffer(b"".join(digests), np.uint16).reshape(-1, PERMUTATIONS)


def _better(twin: Twin | None, place: int, equal: int) -> Twin:
    """The more similar of two twins; of equally similar ones, the first."""
    # Two texts that are not the same may have the same signature.
    similarity = min(equal / PERMUTATIONS, 0.99)
    return twin if twin is not None and twin.similarity >= similarity else Twin(place, similarity)


def _among(keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of a text and an earlier one of the same batch that share a band."""
    run = np.sort((keys | np.arange(len(keys), dtype=np.uint64)[:, np.newaxis]).ravel())
    texts = (run & duplicates.PLACES).astype(np.int64)
    bands = run & ~duplicates.PLACES
    first = bands.searchsorted(bands)
    found, at = _spread(first, np.minimum(np.arange(len(run)) - first, CROWD))
    return texts[found], texts[at]


def _spread(first: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each i, ``counts[i]`` times: i itself, and ``first[i]``, ``first[i] + 1``, ..."""
    found = np.repeat(np.arange(len(counts)), counts)
    offsets = np.arange(len(found)) - np.repeat(np.cumsum(counts) - counts, counts)
    return found, first[found] + offsets
