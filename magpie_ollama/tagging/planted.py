"""Faults planted in good records: what a judge has to tell from these before its word counts. Pure, without chance.

Three faults of language stand in the instruction and in the response, three of the answer in the response alone.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

from magpie_ollama.method import languages
from magpie_ollama.method.languages import Exemplar
from magpie_ollama.records import Message

LANGUAGE = ("shuffled words", "invented endings", "foreign clause")
ANSWER = ("another answer", "truncated answer", "false sum")
COUNTS = dict(zip((*LANGUAGE, *ANSWER), (7, 7, 7, 7, 6, 6), strict=True))
"""40 in all."""

GOOD, TRUE_SUM = "", "true sum"
"""The kinds of what has no fault. False sums are held against true ones, and all others against good records."""

MOST_GOOD = 24
FEWEST = 10
"""Good records: fewer tell nothing."""

SHORTEST = 60
"""Characters of a response that is spoiled; a third of that where words are not separated by spaces."""


class Shown(NamedTuple):
    """What a judge is shown, and what is wrong with it."""

    kind: str
    instruction: str
    response: str

    @property
    def turns(self) -> list[Message]:
        return [{"role": "user", "content": self.instruction}, {"role": "assistant", "content": self.response}]


def planted(language: str, own: Sequence[tuple[str, str]] = ()) -> list[Shown]:
    """Good records of a language and 40 with a fault, the same each time: of its exemplars, or of ``own`` pairs where
    it has none. [] where there are fewer than ``FEWEST``."""
    known = languages.load(language) if language in languages.codes() else languages.ANY
    good = [Exemplar(*pair) for pair in (known.exemplars or own)][:MOST_GOOD]
    if len(good) < FEWEST:
        return []
    others = languages.load("es" if language == "en" else "en").exemplars
    clauses = [re.split(r"(?<=[.!?:;])\s", one.response, maxsplit=1)[0] for one in others]
    clauses = [clause for clause in clauses if SHORTEST < len(clause) < 3 * SHORTEST and "`" not in clause]
    spaces, shortest = known.spaces, SHORTEST if known.spaces else SHORTEST // 3
    prose = [one for one in good if "```" not in one.response and len(one.response) >= shortest] or good
    longest = sorted(prose, key=lambda one: -len(one.response))
    shown = [Shown(GOOD, *one) for one in good]

    def spoil(kind: str, spoiled: Callable[[str, int], str]) -> None:
        for n in range(COUNTS[kind]):
            one = prose[(n * 2 + len(shown)) % len(prose)]
            shown.append(Shown(kind, spoiled(one.instruction, n), spoiled(one.response, n)))

    spoil("shuffled words", lambda text, n: _shuffled(text, spaces, n))
    spoil("invented endings", lambda text, n: _invented(text, spaces))
    spoil("foreign clause", lambda text, n: _interrupted(text, spaces, clauses[n % len(clauses)]))
    for n in range(COUNTS["another answer"]):
        one, far = good[n], good[(n + len(good) // 2) % len(good)]
        shown.append(Shown("another answer", one.instruction, far.response))
    for n in range(COUNTS["truncated answer"]):
        one = longest[n % len(longest)]
        half = one.response[: len(one.response) * 2 // 5]
        shown.append(Shown("truncated answer", one.instruction, half.rpartition(" ")[0] if spaces else half))
    for n in range(COUNTS["false sum"]):
        a, b = 17 + 13 * n, 26 + 9 * n
        for kind, total in ((TRUE_SUM, a + b), ("false sum", a + b + (10 if n % 2 else -7))):
            shown.append(Shown(kind, f"{a} + {b} = ?", f"{a} + {b} = {total}"))
    return shown


def _pieces(text: str, spaces: bool) -> list[str]:
    """Words with what stands between them; pairs of letters where no spaces separate words."""
    return re.findall(r"\S+|\s+" if spaces else r"[^\s\W]{1,2}|.", text, re.DOTALL)


def _shuffled(text: str, spaces: bool, seed: int) -> str:
    pieces = _pieces(text, spaces)
    places = [n for n, piece in enumerate(pieces) if not piece.isspace()]
    order = places.copy()
    random.Random(seed).shuffle(order)
    if order == places:
        order.reverse()
    moved = dict(zip(places, order, strict=True))
    return "".join(pieces[moved.get(n, n)] for n in range(len(pieces)))


def _invented(text: str, spaces: bool) -> str:
    """The last three letters of each longer word turned round once: "habitación" becomes "habitanció"."""
    return "".join(map(_ended_anew, re.findall(r"\S+|\s+" if spaces else r"\S{1,6}|\s+", text)))


def _ended_anew(word: str) -> str:
    letters: list[str] = []  # with the marks above and below them
    end = len(word)
    while end and not unicodedata.category(word[end - 1]).startswith(("L", "M")):
        end -= 1
    for sign in word[:end]:
        if letters and unicodedata.category(sign).startswith("M"):
            letters[-1] += sign
        else:
            letters.append(sign)
    turned = min(3, len(letters) - 1)
    if turned < 2:
        return word
    return "".join((*letters[:-turned], letters[-1], *letters[-turned:-1], word[end:]))


def _interrupted(text: str, spaces: bool, clause: str) -> str:
    pieces = _pieces(text, spaces)
    middle = len(pieces) // 2
    return f"{''.join(pieces[:middle]).rstrip()} {clause} {''.join(pieces[middle:]).lstrip()}"
