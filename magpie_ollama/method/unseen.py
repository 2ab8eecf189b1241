"""Characters that nobody sees: which belong to a script's writing, which go without loss, and which no text may have.

``clean`` takes away what carries nothing (a zero-width space between Latin letters, a byte-order mark) and makes one
line end of all kinds. What is left and steers a terminal, turns letters round or hides a message is ``forbidden``: to
take that out would leave a text that the model did not mean.
"""

from __future__ import annotations

import re
import unicodedata

_JOINING = (
    "\u0600-\u0dff\u0f00-\u109f\u1780-\u18af\ua840-\ua87f\ua8e0-\ua8ff\ufb50-\ufdcf\ufdf0-\ufdff\ufe70-\ufefc"
    "\U00011000-\U00011fff"
)
"""Scripts in which ZWNJ and ZWJ are spelling: Arabic and its neighbours, those of India, Khmer, Mongolian, ..."""

_SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"

_LINE_END = re.compile("\r\n?|[\x0b\x0c\u2028\u2029]")
_NOTHING = re.compile("[\u00ad\u2060\ufeff]+|(?<=[\x00-\x7f])[\u200b-\u200d]+(?=[\x00-\x7f])")
_THIN = re.compile("[\u034f\u180e\u200b-\u200f\u061c]+")
_JOINS = re.compile(f"[{_JOINING}]")
_BREAKS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u1aaf]")
"""Scripts without spaces, whose words a zero-width space may part."""
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")

_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1: ESC, backspace, NUL, CSI
    "\u202a-\u202e\u2061-\u206f\ufff9-\ufffb"  # overrides, embeddings, isolates; what is no letter and not seen
    "\u115f\u1160\u3164\uffa0\u17b4\u17b5\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # letters without a shape
    "\ufdd0-\ufdef\ufffe\uffff]"  # no characters
)
_HIDING = re.compile(f"[{_SELECTORS}\U000e0000-\U000e00ff]")
_HIDDEN = re.compile(
    "(?<![\U0001f3f4\U000e0020-\U000e007e])[\U000e0000-\U000e00ff]|[\U000e0000-\U000e007f]{8}"  # but in a flag
    # Variants of a sign that has none, or several in a row: each can carry a byte.
    f"|(?:\\A|[\\sA-Za-z\u00c0-\u052f{_SELECTORS}])[{_SELECTORS}]"
)


def clean(text: str) -> str:
    """``text`` with "\\n" as its line end, and without what is not seen and carries nothing: soft hyphens, byte-order
    marks, zero-width characters that no spelling asks for, marks of direction where all runs from left to right."""
    text = _LINE_END.sub("\n", text)
    if text.isascii():
        return text
    text = _NOTHING.sub("", text)
    if not _THIN.search(text):
        return text
    turned = _RIGHT_TO_LEFT.search(text) is not None
    return _THIN.sub(lambda found: found[0][0] if _is_spelling(found, turned) else "", text)


def forbidden(text: str, since: int = 0) -> bool:
    """Whether a cleaned text has a character that no text may have, from ``since`` on."""
    if _FORBIDDEN.search(text, since):
        return True
    hiding = _HIDING.search(text, since)
    return hiding is not None and _HIDDEN.search(text, max(0, hiding.start() - 1)) is not None


def _is_spelling(found: re.Match[str], turned: bool) -> bool:
    char, text = found[0][0], found.string
    start = found.start()
    before, after = text[max(0, start - 1) : start], text[found.end() : found.end() + 1]
    if char in "\u200c\u200d":
        if _JOINS.match(before) or (char == "\u200d" and _JOINS.match(after)):
            return True
        return char == "\u200d" and _is_sign(before) and _is_sign(after)  # a family of emoji
    if char == "\u200b":
        return bool(_BREAKS.match(before) and _BREAKS.match(after))
    if char in "\u200e\u200f\u061c":
        return turned
    if char == "\u034f":
        return "\u0590" <= before <= "\u05ff"
    return char == "\u180e" and "\u1800" <= before <= "\u18af"


def _is_sign(char: str) -> bool:
    return char == "\ufe0f" or (char != "" and unicodedata.category(char)[0] == "S")
