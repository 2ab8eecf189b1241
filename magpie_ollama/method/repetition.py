"""Degenerate repetition: text that has fallen into a loop, as greedy decoding of weak models does.

Three signs, each of the end of a text, where a loop stands once it has begun: a unit repeated word for word, the same
with a counter that goes on ("7. x 8. x 9. x"), and a passage that keeps saying the same with small changes. People
repeat too (refrains, tables, lists, code), so each wants more than they do.
"""

from __future__ import annotations

import itertools
import re

TAIL = 3600
"""Characters at the end in which repeated units are looked for: three units of ``LONGEST``."""

LONGEST = 1200

REPEATS = 5
"""So often a unit must stand in a row: a chorus sings a line four times ..."""

LONG_REPEATS = 3
"""... but a unit of ``LONG`` characters only so often: no one writes a paragraph three times in a row."""

LONG = 150

BABBLE = 4
"""So often a unit stands in a text that is nothing else."""

NUMBER = 12
"""Digits from which a text of one repeated is no number: 1111 is one."""

RULING = frozenset("-_=*~.#|+:<>^/\\·•…─━═│║█▓▒░▀▄■□▪▫○●◆◇★☆")
"""Signs that people draw lines, boxes and bars with."""

SPAN = 120
"""Characters that the repeats must cover, so that "ha ha ha ha" is none; in lines and table cells, which repeat by
nature, ``WIDE``."""

WIDE = 320

RULED = 600
"""Characters that repeats without a letter must cover: rules, empty table rows, and grids of numbers."""

BLANK = 160
"""Characters of white space at the end: the model has nothing more to say, but does not stop."""

WORDS = 100
"""Words of the passage that is looked at for loops with small changes: the last so many."""

DISTINCT = 0.4
"""Share of distinct word 4-grams under which a passage is such a loop. Prose, lists and code stay above 0.6."""

SPOKEN, ANEW = 16, 4
"""From so many words on, a line in which one in so many is another is babble: "el de la que el de la en ..."."""

AGAIN, FEWEST = 0.3, 12
"""Share of the three words in a row that stand there before, in a text of so many words and no more than ``WORDS``,
from which it harps on a phrase: 3 of 14,020 real texts do, headings that a web page has twice, and 11 of 201 of
SmolLM2's that nothing else rejects."""

VOCABULARY = 8
"""Different words from which a passage counts as speech: tables of truth values have two."""

_ANCHOR = 12
_CANDIDATES = 64
_WORD = re.compile(r"[^\W_\u0900-\u0dff]{2,}|[\u0900-\u0963\u0966-\u0dff]{2,}")
"""Letters and digits; in the scripts of India also the vowel signs, which ``\\w`` would break words at."""
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def loops(text: str, caution: int = 1) -> bool:
    """Whether the end of ``text`` repeats itself.

    ``caution`` multiplies what a word-for-word repetition must cover: 2 for a text that is still being written, since
    it may still find its way out. Costs about 0.5 ms for 4,000 characters and no more for longer texts.
    """
    tail = text[-TAIL:]
    if len(tail) - len(tail.rstrip()) >= BLANK * caution:
        return True
    tail = tail.rstrip()
    return _periodic(tail, caution) or _counting(tail, caution) or _monotonous(tail)


def babbles(text: str) -> bool:
    """Whether a text is one short unit over and over from its first character on, however short it is: "GGGG", "@@@",
    "no no no no". So writes a model on a processor that computes wrong. Or a line of a few words in ever new order."""
    signs = "".join(text[:TAIL].casefold().split())
    number = any(map(str.isdigit, signs)) and not any(map(str.isalpha, signs))
    if len(signs) >= (NUMBER if number else BABBLE) and any(
        signs.startswith(signs[period:]) for period in range(1, min(len(signs) // BABBLE, LONG) + 1)
    ):
        return True
    words = [] if "\n" in text else [word for word in _WORD.findall(text[:TAIL].casefold()) if word.isalpha()]
    return len(words) >= SPOKEN and len(set(words)) * ANEW <= len(words)


def harps(text: str) -> bool:
    """Whether a short text says one phrase again and again, as no request does: songs, which an answer may hold, do."""
    words = [word for word in _WORD.findall(text[:TAIL].casefold()) if word.isalpha()]
    threes = list(zip(words, words[1:], words[2:], strict=False))
    return FEWEST <= len(words) <= WORDS and len(set(threes)) <= (1 - AGAIN) * len(threes)


def _periodic(tail: str, caution: int) -> bool:
    for period in _periods(tail):
        unit = tail[-period:]
        covered = _covered(tail, period)
        if not any(map(str.isalpha, unit)):
            signs = set(unit)
            plain = signs.isdisjoint(RULING) and len(signs) <= 2 and not any(map(str.isdigit, unit))
            enough = SPAN if plain else RULED
        elif period >= LONG:
            enough = LONG_REPEATS * period - 2  # the last space or line end may be missing
        else:
            enough = max(REPEATS * period, WIDE if "\n" in unit or "|" in unit else SPAN)
        if covered >= enough * (caution if period < LONG else 1):
            return True
    return False


def _counting(tail: str, caution: int) -> bool:
    """Whether a unit repeats in which one number alone changes. Where two change it may be a table."""
    plain = re.sub(r"\d+", "0", tail)
    if plain == tail:
        return False
    numbers = re.findall(r"\d+", tail)
    for period in _periods(plain):
        repeats = _covered(plain, period) // period
        unit = plain[-period:]
        if repeats < REPEATS or repeats * period < WIDE * caution or sum(map(str.isalpha, unit)) < 6:
            continue
        places = unit.count("0")
        last = numbers[len(numbers) - places * repeats :]
        changing = sum(len(set(last[place::places])) > 1 for place in range(places))
        if changing <= 1:
            return True
    return False


def _monotonous(tail: str) -> bool:
    if len(_UNSPACED.findall(tail[-400:])) > 100:
        # Scripts without spaces: one sign in a row of eight stands for what a word in a row of four is elsewhere.
        words, length, window = [char for char in tail[-4 * WORDS :] if char.isalnum()], 8, 3 * WORDS
    else:
        words, length, window = _WORD.findall(tail[-12 * WORDS :].casefold()), 4, WORDS
    words = words[-window:]
    if len(words) < window or len(set(words)) < VOCABULARY:
        return False
    grams = [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]
    return len(set(grams)) < DISTINCT * len(grams)


def _periods(tail: str) -> list[int]:
    """Periods that the end of ``tail`` may have, the shortest first: the distances back to where it stands before."""
    anchor = tail[-_ANCHOR:]
    found: list[int] = []
    start = len(tail) - _ANCHOR
    while start > 0 and len(found) < _CANDIDATES:
        start = tail.rfind(anchor, 0, start + _ANCHOR - 1)
        if start < 0 or len(tail) - _ANCHOR - start > LONGEST:
            break
        found.append(len(tail) - _ANCHOR - start)
    return found


def _covered(tail: str, period: int) -> int:
    """How many characters at the end of ``tail`` repeat its last ``period`` characters, those included."""
    unit = tail[-period:]
    covered = period
    while tail[-covered - period : -covered] == unit:
        covered += period
    rest = zip(reversed(tail[-covered - period : -covered]), reversed(unit), strict=False)
    return covered + sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], rest))
