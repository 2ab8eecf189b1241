"""Vectors of texts as the fake servers make them: texts of the same words have the same one, in whatever order."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from zlib import crc32

NUMBERS = 24

Embed = Callable[[str], "list[float] | None"]
"""None where the server is to fail."""


def vector(text: str) -> list[float]:
    """The sum of a vector of each word, of no particular length."""
    words = [random.Random(crc32(word.encode())) for word in re.findall(r"\w+", text.lower())]
    return [sum(word.gauss() for word in words) for _ in range(NUMBERS)]
