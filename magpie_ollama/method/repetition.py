"""Degenerate repetition: text that has fallen into a loop, as greedy decoding of weak models does."""

from __future__ import annotations

import re

TAIL = 600
"""Characters at the end that are looked at while a text is still being written."""

REPEATS = 4
"""So often a unit must stand in a row; verse and lists repeat something twice or thrice."""

SPAN = 60
"""Characters that the repeats must cover, so that "ha ha ha ha" is none. Rules of tables and lines want ``TAIL``."""

DISTINCT = 0.4
"""Share of distinct word 4-grams under which a passage of at least ``WORDS`` words is a loop with small changes. Prose,
lists and code stay above 0.7."""

WORDS = 80


def loops(text: str) -> bool:
    """Whether the end of ``text`` repeats itself. Numbers count as equal, so "7. x 8. x 9. x" is a loop too.

    Costs some 200 microseconds; to be called now and then while a text grows.
    """
    tail = re.sub(r"\d+", "0", text[-TAIL:])
    return _periodic(tail) or _monotonous(text[-4 * TAIL :])


def _periodic(tail: str) -> bool:
    for period in range(1, len(tail) // REPEATS + 1):
        unit = tail[-period:]
        # One comparison rules out almost every period before the repeats are counted.
        if tail[-2 * period : -period] != unit:
            continue
        repeats = REPEATS if any(map(str.isalpha, unit)) else TAIL // period
        span = max(repeats * period, SPAN if any(map(str.isalpha, unit)) else TAIL)
        if len(tail) >= span and tail[-span:-period] == tail[-span + period :]:
            return True
    return False


def _monotonous(passage: str) -> bool:
    words = re.findall(r"\w+", passage.casefold())
    if len(words) < WORDS:
        return False
    grams = [tuple(words[start : start + 4]) for start in range(len(words) - 3)]
    return len(set(grams)) < DISTINCT * len(grams)
