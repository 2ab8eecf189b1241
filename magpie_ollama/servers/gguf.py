"""Whether a GGUF file is whole: its header says how far its tensors reach. The engine takes one that is cut short for
one that it does not know. And whether its model is one for embeddings.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path

from magpie_ollama.errors import NoServer

_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value's type; 8 is a text, 9 an array."""

_TEXT, _ARRAY = 8, 9

LONGEST_KEY, MOST_DIMENSIONS = 64, 4

_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""Elements and bytes of a block of each tensor type. Of one that is not here, only the beginning is looked for."""


def check(path: Path) -> int:
    """The size of the file in bytes. Raises NoServer for one that is no GGUF, or not all of one. What is in a header
    that this does not understand is left to the engine."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if not size:
                raise NoServer(f"{path} is empty.", "fetch it again")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                if data[:4] != b"GGUF":
                    raise NoServer(f"{path} is no GGUF file.", "give --model-path the path of a GGUF file")
                needed = _end(data)
    except OSError as error:
        raise NoServer(f"{path} cannot be read: {error.strerror}.", "check the disk, or fetch it again") from error
    except struct.error:
        raise NoServer(f"{path} is cut short: {size:,} bytes are not even its header.", "fetch it again") from None
    except (KeyError, RecursionError, ZeroDivisionError):
        return size
    if needed > size:
        raise NoServer(f"{path} is cut short: {size:,} bytes are there, of {needed:,}.", "fetch it again")
    return size


def embeds(path: Path) -> bool | None:
    """Whether the model of a whole file makes vectors of texts: its header says how those of the tokens are pooled.
    None where this does not understand it."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            pooled = (at for key, _, at, _ in _values(data) if key.endswith(b".pooling_type"))
            return any(struct.unpack_from("<I", data, at)[0] for at in pooled)
    except (OSError, KeyError, ValueError, RecursionError, struct.error):
        return None


def _end(data: mmap.mmap) -> int:
    """Where the last tensor ends. Raises struct.error where the file ends before, KeyError for what is not known."""
    version, tensors = struct.unpack_from("<IQ", data, 4)
    if version not in (2, 3):
        raise KeyError(version)
    place, alignment = 24, 32
    for key, _, at, place in _values(data):  # noqa: B007  # where the tensors begin
        if key == b"general.alignment":
            (alignment,) = struct.unpack_from("<I", data, at)
    end = 0
    for _ in range(tensors):
        _, place = _text(data, place)
        (dimensions,) = struct.unpack_from("<I", data, place)
        if dimensions > MOST_DIMENSIONS:
            raise KeyError(dimensions)
        *shape, kind, offset = struct.unpack_from(f"<{dimensions}QIQ", data, place + 4)
        place += 4 + 8 * dimensions + 12
        block, length = _BLOCKS.get(kind, (1, 0))
        end = max(end, offset + prod(shape) // block * length)
    return -(-place // alignment) * alignment + end


def _values(data: mmap.mmap) -> Iterator[tuple[bytes, int, int, int]]:
    """Of each value its key, its type, where it stands, and the place behind it."""
    (count,) = struct.unpack_from("<Q", data, 16)
    place = 24
    for _ in range(count):
        key, place = _text(data, place)
        (kind,) = struct.unpack_from("<I", data, place)
        at, place = place + 4, _behind(data, place + 4, kind)
        yield key, kind, at, place


def _behind(data: mmap.mmap, place: int, kind: int) -> int:
    """The place behind a value of a type."""
    if kind == _TEXT:
        return _text(data, place)[1]
    if kind != _ARRAY:
        return place + _SCALARS[kind]
    inner, count = map(int, struct.unpack_from("<IQ", data, place))
    place += 12
    if inner in _SCALARS:
        return place + count * _SCALARS[inner]
    for _ in range(count):
        place = _behind(data, place, inner)
    return place


def _text(data: mmap.mmap, place: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from("<Q", data, place)
    return data[place + 8 : place + 8 + min(length, LONGEST_KEY)], place + 8 + length
