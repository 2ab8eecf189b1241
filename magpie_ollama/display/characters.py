"""Text of unknown origin on a terminal: nothing in it may move the cursor, and each line has to fit.

Terminals arrange right-to-left text themselves: it is passed on in its logical order.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from rich.cells import get_character_cell_size
from rich.text import Text

TAB = " " * 4

_CHARACTERS = "\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
"""Control characters but newline and tab, Unicode's line ends, what sets the direction of text that follows, and
halves of surrogate pairs, which no terminal can be sent."""

_UNSAFE = re.compile(f"[{_CHARACTERS}]")

_ISOLATED = re.compile(f"\u2068[^{_CHARACTERS}\n]*\u2069|[{_CHARACTERS}]")
"""The same, but for what ``inline`` isolated: a pair that moves nothing outside it."""

_NOT_FIRST = frozenset("、。，．！？：；）」』】〕》〉・ーァィゥェォッャュョぁぃぅぇぉっゃゅょ々…")
_NOT_LAST = frozenset("（「『【〔《〈")
"""Characters that no row of Chinese or Japanese begins with, or ends with."""

_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")


def printable(text: str) -> str:
    r"""``text`` with control characters as escapes, and tabs as spaces. Newlines stay.

    >>> printable("a\x1b[2Jb\tc")
    'a\\x1b[2Jb    c'
    """
    return _UNSAFE.sub(_escape, text).replace("\t", TAB)


def harmless(text: Text) -> Text:
    """``text`` with control characters as escapes, and its styles. What ``inline`` made stays as it is."""
    if not _UNSAFE.search(plain := text.plain):
        return text
    safe = text.blank_copy()
    at = 0
    for match in _ISOLATED.finditer(plain):
        if len(match[0]) == 1:
            if at < match.start():
                safe.append_text(text[at : match.start()])
            safe.append(_escape(match))
            at = match.end()
    return safe.append_text(text[at:]) if at < len(plain) else safe


def stripped(text: str) -> str:
    """What is drawn already, and may have been cut amid what ``inline`` made: the last look before the terminal."""
    return _UNSAFE.sub(lambda match: match[0] if match[0] in "\u2068\u2069" else _escape(match), text)


def as_json(text: str) -> str:
    r"""JSON with the same characters escaped in JSON's own way: it means the same, and harms no terminal.

    >>> as_json('["a\x9b31m"]')
    '["a\\u009b31m"]'
    """
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def inline(text: str) -> str:
    """``text`` as a part of a line of ours: printable, without line ends, and where it is written from right to left
    isolated, so that it moves nothing but itself."""
    if text.isascii() and text.isprintable():
        return text
    shown = printable(" ".join(text.split()))
    return f"\u2068{shown}\u2069" if _RIGHT_TO_LEFT.search(shown) else shown


def wrap(text: str, width: int) -> list[tuple[int, int]]:
    """The rows of printable ``text`` that fit into ``width`` cells, as (start, end) of each.

    Folded at spaces and between Chinese or Japanese characters; within a word only where it fills a row. A mark stays
    with its letter.
    """
    rows: list[tuple[int, int]] = []
    start = 0
    for line in text.split("\n"):
        end = start + len(line)
        if cells(line) <= width:
            rows.append((start, end))
        else:
            _fold(text, start, end, width, rows)
        start = end + 1
    return rows


def cells(text: str) -> int:
    """Columns that ``text`` takes on a terminal; where terminals differ, the most of them."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _fold(text: str, start: int, end: int, width: int, rows: list[tuple[int, int]]) -> None:
    row = fold = start
    used = 0
    for at in range(start, end):
        char = text[at]
        size = _cells(char)
        if at > row and _may_begin(char, text[at - 1]):
            fold = at
        if used + size > width and at > row and char != " ":
            if not text[row:fold].strip():  # nothing but an indentation stands before the fold
                fold = at
            rows.append((row, row + len(text[row:fold].rstrip(" "))))
            row = fold
            used = cells(text[row:at])
        used += size
    rows.append((row, row + len(text[row:end].rstrip(" "))))


def _may_begin(char: str, before: str) -> bool:
    """Whether a row may begin with ``char`` where ``before`` ends the one above."""
    if before == " ":
        return char != " "
    ideographic = _ideographic(char) or (_ideographic(before) and _cells(char) > 0)
    return ideographic and char not in _NOT_FIRST and before not in _NOT_LAST and char != " "


def _ideographic(char: str) -> bool:
    """Chinese or Japanese, not Korean, which writes spaces between words."""
    return "\u2e80" <= char < "\uac00" or "\uff00" <= char <= "\uffef" or "\U00020000" <= char <= "\U0003ffff"


@cache
def _cells(char: str) -> int:
    size = get_character_cell_size(char)
    # The vowel signs of Hindi and its like that stand beside their letter take a column in some terminals.
    return max(size, 1) if unicodedata.category(char) == "Mc" else size


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
