"""A ``DuplicateIndex`` as bytes, and back: to be kept between two runs instead of hashing all texts again."""

from __future__ import annotations

import numpy as np

from magpie_ollama.method import duplicates
from magpie_ollama.method.duplicates import BLOCK, PERMUTATIONS, Block, DuplicateIndex, normalise

_KEY = 12
"""Bytes of an exact key."""

_ROW = 2 * PERMUTATIONS
"""Bytes of a signature."""

_PROBE = (
    "What is 2 + 3?\nPerché ΣΊΣΥΦΟΣ 为什么 ナゼ 왜 ለምን ทำไม क्या Straße e\u0301 × € C# a && b || c != d~"
    " مَرْحَبًا مـا ﻻ كي می\u200cخواهم שָׁלוֹם за\u0301мок so\u00adft क्\u200dष"
)


def to_bytes(index: DuplicateIndex) -> bytes:
    """140 bytes a text, behind the key and signature of a probe."""
    keys = b"".join(key for block in index.blocks for key in block.exact)
    rows = b"".join(block.rows.tobytes() for block in index.blocks)
    return b"".join((_probe(), len(keys).to_bytes(8, "little"), keys, rows))


def from_bytes(state: bytes) -> DuplicateIndex | None:
    """The index that ``to_bytes`` was given; None where that is not to be had from ``state``, or where this version of
    the tool, of Python's Unicode tables or of ``rensa`` makes other keys and signatures of the same texts."""
    probe = _probe()
    if not state.startswith(probe):
        return None
    start = len(probe) + 8
    end = start + int.from_bytes(state[len(probe) : start], "little")
    keys, rows = state[start:end], state[end:]
    if len(keys) != end - start or len(keys) % _KEY or len(rows) % _ROW or len(keys) // _KEY > len(rows) // _ROW:
        return None
    index = DuplicateIndex()
    exact = [keys[at : at + _KEY] for at in range(0, len(keys), _KEY)]
    matrix = np.frombuffer(rows, np.uint16).reshape(-1, PERMUTATIONS)
    for start in range(0, len(matrix), BLOCK):
        if start:
            index.blocks.append(Block())
        index.blocks[-1].add(exact[start : start + BLOCK], matrix[start : start + BLOCK])
        index.blocks[-1].settle()
    return index


def _probe() -> bytes:
    plain = normalise(_PROBE)
    return duplicates.exact_key(plain) + duplicates.signatures([plain]).tobytes()
