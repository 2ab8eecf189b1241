"""Is this text in that language?

Script first, then a statistical identifier among the languages of that script, sentence by sentence.
Code, addresses, formulae and quoted names are set aside before (see ``segments``). The question is
always about one target language: it is accepted when its score is near enough to the best other one,
how near depending on the length of the text and on the pair (see ``docs/detection.md``).
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

from magpie_ollama.method import segments

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

__all__ = ["Verdict", "check", "drifted", "identify"]


class Verdict(StrEnum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    """Too short, or all code, to tell: no reason to reject a text."""


SCRIPTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ["hr", "cs", "da", "nl", "en", "et", "fi", "fr", "de", "hu", "ga", "it", "lv", "lt", "mt", "pl", "pt", "ro", "sk", "sl", "es", "sv", "vi", "id", "ms", "tl", "tr", "az", "sw", "af", "ca", "eu", "gl", "is", "no", "nb", "nn", "bs"],
        ("Latn",),
    ),
    **dict.fromkeys(["bg", "ru", "uk", "kk"], ("Cyrl",)),
    "sr": ("Cyrl", "Latn"),
    **dict.fromkeys(["ur", "fa", "ar"], ("Arab",)),
    **dict.fromkeys(["hi", "mr"], ("Deva",)),
    "zh": ("Hani", "Hans", "Hant"),
    "ja": ("Hira", "Kana", "Hani"),
    "ko": ("Hang",),
    "el": ("Grek",),
    "he": ("Hebr",),
    "th": ("Thai",),
    "bn": ("Beng",),
    "ta": ("Taml",),
    "te": ("Telu",),
    "ka": ("Geor",),
    "hy": ("Armn",),
}
"""ISO 15924 codes each language is written in; ``Hani`` stands for every kind of Han characters."""

ACCEPTED: dict[str, frozenset[str]] = {
    "no": frozenset({"no", "nn"}),
    "nb": frozenset({"no"}),
    "nn": frozenset({"nn"}),
    "hr": frozenset({"hr", "bs"}),
    "bs": frozenset({"bs", "hr"}),
    "sr": frozenset({"sr", "bs"}),
}
"""Which identified languages count as the target: standards of one language that one text may fit."""

_NAMES = {
    "LATIN": "Latn", "CYRILLIC": "Cyrl", "GREEK": "Grek", "ARABIC": "Arab", "HEBREW": "Hebr",
    "DEVANAGARI": "Deva", "BENGALI": "Beng", "TAMIL": "Taml", "TELUGU": "Telu", "THAI": "Thai",
    "GEORGIAN": "Geor", "ARMENIAN": "Armn", "HANGUL": "Hang", "HIRAGANA": "Hira", "KATAKANA": "Kana",
    "KATAKANA-HIRAGANA": "Kana", "CJK": "Hani",
}  # fmt: skip
_DENSE = frozenset({"Hani", "Hira", "Kana", "Hang"})
"""One sign of these carries as much text as two letters of the others."""


@cache
def _script(char: str) -> str:
    """ISO 15924 code of a letter, the first word of its Unicode name for other scripts, or ``""``."""
    if not char.isalpha():
        return ""
    words = unicodedata.name(char, "").split()
    if words[:1] in (["FULLWIDTH"], ["HALFWIDTH"]):
        del words[0]
    if not words or words[0] in {"MATHEMATICAL", "MODIFIER", "MICRO", "FEMININE", "MASCULINE", "DOUBLE-STRUCK"}:
        return ""
    return _NAMES.get(words[0], words[0])


def _writing(text: str) -> dict[str, int]:
    """Letters of ``text`` by script, weighted."""
    found: Counter[str] = Counter()
    for char, count in Counter(text).items():
        if script := _script(char):
            found[script] += count * (2 if script in _DENSE else 1)
    return found


def _wanted(code: str, scripts: Sequence[str] | None) -> frozenset[str]:
    own = set(scripts or SCRIPTS.get(code, ()))
    if own & {"Hans", "Hant", "Jpan", "Kore"}:
        own.add("Hani")
    if own & {"Jpan", "Hrkt"}:
        own |= {"Hira", "Kana"}
    if "Kore" in own:
        own.add("Hang")
    return frozenset(own)


@cache
def _identifier() -> LanguageIdentifier:
    # 0.5 s and 100 MB: only where a language is really asked for.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages((SCRIPTS.keys() - {"nb"}) & set(identifier.labels))
    return identifier


def _scores(sentence: str, script: str) -> dict[str, float]:
    """Log-likelihoods of the languages written in ``script``, in units of the text's uncertainty."""
    temperature = math.sqrt(len(sentence.encode()) or 1)
    return {
        code: score / temperature
        for code, score in _identifier().rank(sentence)
        if script in SCRIPTS[code]
    }


def _lead(scores: dict[str, float], code: str) -> float:
    """How far ``code`` is ahead of the best language outside its accepted set; below 0: behind."""
    accepted = ACCEPTED.get(code, frozenset({code}))
    own = max((s for c, s in scores.items() if c in accepted), default=-math.inf)
    other = max((s for c, s in scores.items() if c not in accepted), default=-math.inf)
    return own - other if own > -math.inf else -math.inf


_SLACK = 1.0
"""A target this little behind the best language is still accepted."""
_CLEAR = 3.0
"""A target this far behind is clearly lost: enough to cancel, or to reject for one sentence."""


def _sentence(sentence: str, code: str, wanted: frozenset[str]) -> tuple[float, int]:
    """Lead of the target in one sentence, and its letters."""
    writing = _writing(sentence)
    letters = sum(writing.values())
    fitting = sum(n for script, n in writing.items() if script in wanted)
    if fitting * 2 < letters:
        return -math.inf, letters
    if code not in SCRIPTS:
        return math.inf, letters
    kana = writing.get("Hira", 0) + writing.get("Kana", 0)
    if code == "zh":
        return (-math.inf if kana * 5 > letters else math.inf), letters
    if code == "ja":
        return (-math.inf if kana * 20 < letters and letters >= 24 else math.inf), letters
    script = max((s for s in writing if s in wanted), key=lambda s: writing[s])
    if sum(script in own for own in SCRIPTS.values()) == 1:
        return math.inf, letters
    return _lead(_scores(sentence, script), "no" if code == "nb" else code), letters


def check(text: str, code: str, *, scripts: Sequence[str] | None = None) -> Verdict:
    """Whether ``text`` is in the language ``code`` (ISO 639-1).

    ``scripts`` are ISO 15924 codes and replace this module's own; for a language that it does not
    know they alone decide. ``UNKNOWN`` is returned for a text with too few letters of its own.
    """
    wanted = _wanted(code, scripts)
    if not wanted:
        return Verdict.UNKNOWN
    text = segments.prose(text)
    writing = _writing(text)
    letters = sum(writing.values())
    fitting = sum(n for script, n in writing.items() if script in wanted)
    if letters < 4:
        return Verdict.UNKNOWN
    if fitting * 5 < letters * 2:
        return Verdict.NO
    total, lost, weight = 0.0, 0, 0
    for sentence in segments.sentences(text):
        lead, size = _sentence(sentence, code, wanted)
        if lead < -_CLEAR and size >= 12:
            lost += size
        total += max(-10.0, min(10.0, lead)) * size
        weight += size
    if lost * 4 > weight:
        return Verdict.NO
    mean = total / (weight or 1)
    if letters < 12 and abs(mean) < _CLEAR:
        return Verdict.UNKNOWN
    return Verdict.YES if mean > -_SLACK else Verdict.NO


def drifted(text: str, code: str, *, scripts: Sequence[str] | None = None) -> bool:
    """Whether ``text``, still being written, is already clearly lost for the language ``code``.

    After 20 letters the script alone can say so; else 60 letters and a clear margin are wanted, of
    the whole or of its last sentences (English after the first clause).
    """
    wanted = _wanted(code, scripts)
    text = segments.prose(text)
    writing = _writing(text)
    letters = sum(writing.values())
    if not wanted or letters < 20:
        return False
    if sum(n for script, n in writing.items() if script in wanted) * 5 < letters:
        return True
    if letters < 60:
        return False
    tail = 0
    for sentence in reversed(segments.sentences(text)):
        lead, size = _sentence(sentence, code, wanted)
        if lead > -_CLEAR:
            break
        tail += size
    return tail >= 40


def identify(text: str) -> str:
    """The likeliest language of ``text`` (ISO 639-1), or ``""`` where it is too short to tell."""
    text = segments.prose(text)
    writing = _writing(text)
    if sum(writing.values()) < 12:
        return ""
    if writing.get("Hira", 0) + writing.get("Kana", 0) > 0.1 * sum(writing.values()):
        return "ja"
    script = max(writing, key=lambda s: writing[s])
    sole = [code for code, own in SCRIPTS.items() if script in own and code not in {"nb", "ja"}]
    if len(sole) < 2:
        return sole[0] if sole else ""
    scores = _scores(text, script)
    return max(scores, key=lambda c: scores[c])
