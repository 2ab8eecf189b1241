"""A tokenizer that is simple, reversible and counts roughly as real ones do: a control token is one token."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

# A word with the space in front of it, one CJK character, one sign, or one white space.
_PLAIN = r"[\u3040-\u30ff\u3400-\u9fff]| ?[^\W\u3040-\u30ff\u3400-\u9fff]+| ?[^\w\s]|\s"
_plain = re.compile(_PLAIN)


class Tokenizer:
    def __init__(self, control: Sequence[str]) -> None:
        self.control = frozenset(control)
        # Longest first, so that no control token hides behind a shorter one.
        escaped = [re.escape(token) for token in sorted(control, key=len, reverse=True)]
        self._pattern = re.compile("|".join([*escaped, _PLAIN]))
        self._texts = list(control)
        self._ids = {text: number for number, text in enumerate(self._texts)}
        self.count = lru_cache(maxsize=4096)(self._count)  # prompts come again and again

    def split(self, text: str, parse_special: bool = True) -> list[str]:
        return (self._pattern if parse_special else _plain).findall(text)

    def _count(self, text: str) -> int:
        return len(self.split(text))

    def encode(self, text: str, parse_special: bool = True) -> list[int]:
        """Numbers are given out as texts come; a server gives the same text the same number all its life."""
        ids = []
        for piece in self.split(text, parse_special):
            number = self._ids.get(piece)
            if number is None:
                number = self._ids[piece] = len(self._texts)
                self._texts.append(piece)
            ids.append(number)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self._texts[number] for number in ids)
