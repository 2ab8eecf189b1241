"""Duplicates and near-duplicates of instructions, of this run and of the corpus already there.

Near-duplicates by MinHash over character n-grams (package ``rensa``): word n-grams fail for languages that do not
write spaces.
"""

from __future__ import annotations

import hashlib
import re

from rensa import RMinHash, RMinHashLSH

NGRAM = 5
"""Characters a shingle."""

PERMUTATIONS = 64
"""The estimate of a similarity s has a standard deviation of sqrt(s (1 - s) / 64): 0.057 at 0.7."""

BANDS = 16
"""16 bands of 4 rows: pairs of similarity 0.7 or more become candidates in 98.8 % of cases (1 - (1 - s^4)^16)."""

THRESHOLD = 0.7
"""Estimated Jaccard similarity from which two instructions are near-duplicates. "What is the capital of France?"
and "... of Spain?" have 0.6 and are not."""


class DuplicateIndex:
    """All instructions seen so far; about 0.5 KB each."""

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self._threshold = threshold
        self._exact: set[bytes] = set()
        self._signatures: list[RMinHash] = []
        self._bands = RMinHashLSH(threshold, PERMUTATIONS, BANDS)

    def __len__(self) -> int:
        return len(self._signatures)

    def find(self, text: str) -> str:
        """"duplicate", "near_duplicate" or "" for an instruction not seen before."""
        plain = normalise(text)
        if _key(plain) in self._exact:
            return "duplicate"
        signature = _signature(plain)
        for candidate in self._bands.query(signature):
            if signature.jaccard(self._signatures[candidate]) >= self._threshold:
                return "near_duplicate"
        return ""

    def add(self, text: str) -> None:
        plain = normalise(text)
        signature = _signature(plain)
        self._exact.add(_key(plain))
        self._bands.insert(len(self._signatures), signature)
        self._signatures.append(signature)


def normalise(text: str) -> str:
    """Lower case, with every run of what is no letter, digit or sign of a formula as one space."""
    return re.sub(r"[^\w+\-*/=<>%^]+", " ", text.casefold()).strip()


def similarity(first: str, second: str) -> float:
    """Jaccard similarity of the character n-grams of two texts, 0 to 1, exact."""
    one, two = _shingles(normalise(first)), _shingles(normalise(second))
    return len(one & two) / len(one | two)


def _shingles(plain: str) -> set[str]:
    return {plain[start : start + NGRAM] for start in range(max(1, len(plain) - NGRAM + 1))}


def _signature(plain: str) -> RMinHash:
    signature = RMinHash(num_perm=PERMUTATIONS, seed=1)
    signature.update(sorted(_shingles(plain)))
    return signature


def _key(plain: str) -> bytes:
    return hashlib.blake2b(plain.encode("utf-8", "replace"), digest_size=12).digest()
