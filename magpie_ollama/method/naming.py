"""Which other languages an instruction names: "Traduci in inglese: ..." is rightly answered in English."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache

from magpie_ollama import prompts

__all__ = ["named"]

_ASKS = ("?", "？", "؟", "՞")
_SHOWS = re.compile(r"[:：՝\n\"“«„「『‘'*>]")
"""What stands before words to translate."""


@lru_cache(maxsize=256)  # a response that is being written is looked at again and again
def named(instruction: str, code: str) -> frozenset[str]:
    """The other languages, of those that are most asked for, whose names in the language ``code`` stand in
    ``instruction``. None where it only asks about one: "How can I learn English?" shows no words to translate."""
    text = instruction.strip()
    if text.endswith(_ASKS) and not _SHOWS.search(text):
        return frozenset()
    text, own = _plain(text), code.partition("-")[0]
    return frozenset(target for target, pattern in _patterns(code) if target != own and pattern.search(text))


@cache
def _patterns(code: str) -> list[tuple[str, re.Pattern[str]]]:
    data = prompts.read(prompts.folder("screening") / "names.toml")
    found = []
    for target, names in zip(data["targets"].split(), data["names"].get(code, "").split(), strict=False):
        stems = "|".join(re.escape(_plain(name.replace("_", " "))) for name in names.split(","))
        # Where letters have cases a name begins a word, a changed first sound apart ("i mBéarla").
        begins = r"(?<!\w)\w?" if names.upper() != names else ""
        found.append((target, re.compile(f"{begins}(?:{stems})")))
    return found


def _plain(text: str) -> str:
    """``text`` without capitals, accents and vowel signs."""
    return "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if unicodedata.category(c) != "Mn")
