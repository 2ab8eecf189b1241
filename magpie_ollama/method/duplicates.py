"""Duplicates and near-duplicates of instructions, of this run and of the corpus already there.

Near-duplicates by MinHash over character n-grams (signatures by package ``rensa``): word n-grams fail for languages
that do not write spaces. Signatures are kept in NumPy arrays, 0.3 KB a text: a table of Python or Rust objects for the
bands would take five times that.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

NGRAM = 5
"""Letters of an alphabet a shingle. A sign that says as much as several letters counts as many: see ``_framed``."""

PERMUTATIONS = 64
"""The estimate of a similarity s has a standard deviation of sqrt(s (1 - s) / 64): 0.057 at 0.7."""

BANDS = 16
"""16 bands of 4 rows: pairs of similarity 0.7 or more become candidates in 98.8 % of cases (1 - (1 - s^4)^16)."""

THRESHOLD = 0.7
"""Estimated Jaccard similarity from which two instructions are near-duplicates. "What is the capital of France?"
and "... of Spain?" have 0.55 and are not."""

COPY = 0.75
"""Similarity of character n-grams, exact, from which a text is a copy of an exemplar or a system message."""

RECENT = 1024
"""So many texts at most are compared one by one (0.1 ms) before they are sorted in with the others of their block."""

BLOCK = 65536
"""Texts from which on a block is full. It bounds what one more text may cost, however large the corpus: sorting in
``RECENT`` texts, or making room in the set."""

BATCH = 256
"""Texts whose shingles are hashed at once: a megabyte, and 5 ms in which no other thread can run."""


PLACES = np.uint64(0xFFFFFFFF)
"""The bits of a band's key that are free for the place of a text."""


class DuplicateIndex:
    """All instructions seen so far, in blocks of which only the last one grows."""

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self._needed = threshold * PERMUTATIONS
        self.blocks = [Block()]

    def __len__(self) -> int:
        return sum(map(len, self.blocks))

    def find(self, text: str) -> str:
        """ "duplicate", "near_duplicate" or "" for an instruction not seen before."""
        key, rows = fingerprint(text)
        if any(key in block.exact for block in self.blocks):
            return "duplicate"
        bands = band_keys(rows)[0]
        near = any(block.nearest(rows[0], bands) >= self._needed for block in self.blocks)
        return "near_duplicate" if near else ""

    def add(self, text: str) -> None:
        key, rows = fingerprint(text)
        self._take((key,), rows)
        self.blocks[-1].settle()

    def add_many(self, texts: Iterable[str]) -> None:
        """Adds a whole corpus: about 25 microseconds a text, 100 in Chinese and Korean."""
        plains = map(normalise, texts)
        while batch := tuple(itertools.islice(plains, BATCH)):
            self._take(map(exact_key, batch), signatures(batch))
        self.blocks[-1].settle()

    def _take(self, keys: Iterable[bytes], rows: NDArray[np.uint16]) -> None:
        if len(self.blocks[-1]) >= BLOCK:
            self.blocks[-1].sort()
            self.blocks.append(Block())
        self.blocks[-1].add(keys, rows)


class Block:
    """Up to ``BLOCK`` texts, and the rest of a batch.

    ``_rows`` holds their signatures, shortened to 16 bits a permutation (two differing values agree by chance in 1 of
    65,536). The first ``_sorted`` of them are found through ``_keys``: the keys of their bands in ascending order, each
    with the place of its row in the lower 32 bits.
    """

    def __init__(self) -> None:
        self.exact: set[bytes] = set()
        self._rows = np.empty((BLOCK + BATCH, PERMUTATIONS), np.uint16)  # memory is taken as it is written to
        self._size = 0
        self._sorted = 0
        self._keys = np.empty(0, np.uint64)

    def __len__(self) -> int:
        return self._size

    @property
    def rows(self) -> NDArray[np.uint16]:
        """The signatures of its texts, ``PERMUTATIONS`` values each."""
        return self._rows[: self._size]

    def add(self, keys: Iterable[bytes], rows: NDArray[np.uint16]) -> None:
        self.exact.update(keys)
        self._rows[self._size : self._size + len(rows)] = rows
        self._size += len(rows)

    def settle(self) -> None:
        """Sort what was added, where it is more than can be compared one by one."""
        if self._size - self._sorted > RECENT:
            self.sort()

    def sort(self) -> None:
        places = np.arange(self._sorted, self._size, dtype=np.uint64)
        new = (band_keys(self._rows[self._sorted : self._size]) | places[:, np.newaxis]).ravel()
        new.sort()
        self._keys = np.concatenate((self._keys, new))
        self._keys.sort(kind="stable")  # which merges two sorted parts in a tenth of the time of sorting them
        self._sorted = self._size

    def nearest(self, row: NDArray[np.uint16], bands: NDArray[np.uint64]) -> int:
        """How many values the most similar text shares with ``row``, whose bands have these keys."""
        first, end = self._keys.searchsorted((bands, bands + PLACES))
        found = [self._keys[start:stop] & PLACES for start, stop in zip(first, end, strict=True) if start < stop]
        recent = self._shared(row, slice(self._sorted, self._size))
        return max([recent, *(self._shared(row, places) for places in found)])

    def _shared(self, row: NDArray[np.uint16], which: NDArray[np.uint64] | slice) -> int:
        equal = np.count_nonzero(self._rows[which] == row, axis=1)
        return int(equal.max(initial=0))


def normalise(text: str) -> str:
    """Lower case, with every run of what is no letter, mark, digit or sign of a formula, price or program as one
    space. What a script may leave out is left out: vowel signs and lengthened letters in Arabic and Hebrew, stress
    marks in Cyrillic, characters that are not seen."""
    if not text.isascii():
        text = _OPTIONAL.sub("", unicodedata.normalize("NFKC", _MARK_FORMS.sub("", text)))
        text = _JOINED.sub(" ", text).translate(_SAME)
    plain = text.casefold().replace("!=", "≠")  # elsewhere "!" is punctuation
    others = []
    for char in set(plain).difference(_KEPT):
        if _is_kept(char):
            _KEPT.add(char)
        else:
            others.append(char)
    if len(others) > FEW:
        plain = plain.translate({ord(char): _stands_for(char) for char in others})
        others = []
    for char in others:  # a text has few signs: half the time of str.translate in Italian
        plain = plain.replace(char, _stands_for(char))
    return " ".join(plain.split())


def similarity(first: str, second: str) -> float:
    """Jaccard similarity of the character n-grams of two texts, 0 to 1, exact."""
    one, two = shingles(normalise(first)), shingles(normalise(second))
    return len(one & two) / len(one | two)


def copies(text: str, others: Iterable[str]) -> bool:
    # A text of another length is none, and a very long one takes long to compare.
    return any(len(text) <= 4 * len(other) and similarity(text, other) >= COPY for other in others)


def echoes(text: str, asked: str) -> bool:
    """Whether a response is the instruction again, with next to nothing added."""
    if len(text) > 4 * len(asked) + 200:
        return False
    said, asked = normalise(text), normalise(asked)
    added = len(said) - len(asked)
    return bool(asked) and (said == asked or (said.startswith(asked) and added < max(12, len(asked) // 4)))


def _is_kept(char: str) -> bool:
    """By category and not by ``\\w``, which would drop the vowel signs of Hindi, Thai and their like."""
    category = unicodedata.category(char)
    # "~" is a sign of mathematics to Unicode, but ends sentences in Chinese and Japanese.
    return category[0] in "LMN" or (category in {"Sm", "Sc"} and char != "~") or char in "-*/%^_#&"


def _stands_for(char: str) -> str:
    return "" if unicodedata.category(char) == "Cf" else " "


FEW = 64
"""Different signs up to which a text's are replaced one by one."""

_MARK_FORMS = re.compile("[\ufe70-\ufe7f]")
"""Arabic vowel signs that stand by themselves: a space and the sign, to Unicode."""

_OPTIONAL = re.compile(
    "[\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u08ca-\u08e1\u08e3-\u08ff]"
    "|[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]"
    "|(?<=[\u0400-\u04ff])[\u0300\u0301]"
)
_JOINED = re.compile("(?<=[\u0600-\u06ff])\u200c+")
"""Persian writes a ZWNJ where others write a space, or nothing."""

_SAME = str.maketrans("يىكۀە", "ییکهه")
"""Arabic letters that keyboards have in two forms."""

_DENSE = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\uac00-\ud7a3]")
_SYLLABLES = re.compile("[\u3041-\u30ff\u3105-\u312f\u1200-\u139f\u13a0-\u167f\ua000-\ua4cf\ua500-\ua63f]")
"""Kana, and the signs of Ethiopia, of the Cherokee, the Cree, the Yi and the Vai."""

_KEPT = {" "}
"""The characters met so far that stay as they are."""
_MARGIN = "\0" * (NGRAM - 1)


def shingles(plain: str) -> set[str]:
    """The n-grams of a normalised text."""
    framed = _framed(plain)
    return {framed[start : start + NGRAM] for start in range(len(framed) - NGRAM + 1)}


def _framed(plain: str) -> str:
    """With a margin, so that the first and the last word stand in as many shingles as the others; and with a sign that
    says more than a letter several times, so that a shingle holds about as much in every script: five letters, three
    signs of a syllabary, two Chinese characters or Korean syllables."""
    if not plain.isascii():
        plain = _SYLLABLES.sub(r"\g<0>\g<0>", _DENSE.sub(r"\g<0>\g<0>\g<0>\g<0>", plain))
    return _MARGIN + plain + _MARGIN


def signatures(plains: Sequence[str]) -> NDArray[np.uint16]:
    """One row a text. Shingles are hashed where they stand in the joined texts: no strings are made of them."""
    framed = [_framed(plain) for plain in plains]
    sizes = np.fromiter(map(len, framed), np.int64, len(framed))
    codes = np.frombuffer("".join(framed).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    count = len(codes) - NGRAM + 1
    hashes = np.zeros(count, np.uint64)
    for offset in range(NGRAM):
        hashes = (hashes ^ codes[offset : offset + count]) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    inside = np.ones(len(codes), np.bool_)
    ends = np.cumsum(sizes)
    for offset in range(1, NGRAM):
        inside[ends - offset] = False  # shingles that would reach into the next text
    offsets = np.concatenate(([0], np.cumsum(sizes - NGRAM + 1))).astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes[inside[:count]], offsets, PERMUTATIONS, 1)
    values = b"".join(array("I", row).tobytes() for row in matrix.to_rows())  # half the time of np.array(rows)
    return np.frombuffer(values, np.uint32).astype(np.uint16).reshape(-1, PERMUTATIONS)


def band_keys(rows: NDArray[np.uint16]) -> NDArray[np.uint64]:
    """The keys of each row's bands, with the lower 32 bits free: the band's number and a hash of its four values."""
    hashes = rows.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    numbers = np.arange(BANDS, dtype=np.uint64) << np.uint64(60)
    keys: NDArray[np.uint64] = numbers | (hashes >> np.uint64(36) << np.uint64(32))
    return keys


@lru_cache(maxsize=16)  # one that is looked for is added next, and its variety told
def fingerprint(text: str) -> tuple[bytes, NDArray[np.uint16]]:
    """The key that only texts with the same words have, and the row of its signature."""
    plain = normalise(text)
    return exact_key(plain), signatures([plain])


def exact_key(plain: str) -> bytes:
    return hashlib.blake2b(plain.encode("utf-8", "replace"), digest_size=12).digest()
