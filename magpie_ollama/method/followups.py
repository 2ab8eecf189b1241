"""Later turns of the user: what one may be that an instruction may not, and the other way round.

One word may be enough ("Why?"), and what other conversations have may come again; but it goes on with *this* one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import replace
from functools import lru_cache

from magpie_ollama.method.checks import INSTRUCTIONS, Check, Look, Rules, Verdicts, screened
from magpie_ollama.method.duplicates import normalise, shingles
from magpie_ollama.method.languages import Exemplar, Language
from magpie_ollama.method.reasons import Reason
from magpie_ollama.method.steering import Steered

FEW = 50
"""So few rare shingles are about ten words that say something. Such a turn leans on what was said, and mostly shares no
word with it ("Can I do the same with mint?"): nothing can be told of it."""

RELATED = 0.08
"""Share of a longer turn's rare shingles that stand in the conversation, from which it is about the same: it parted the
10 of 13 second turns of SmolLM2-135M that go on from those that do not, and 112 of 156 that were put behind another
conversation (docs/conversations.md)."""

ECHO = 0.8
"""Share of a text's shingles that stand in one answer, from which it only repeats it ..."""

LONG = 60
"""... and letters that it must have: a shorter one may name a thing."""

CLOSING = 0.6
"""Share of a text's shingles that stand in the language's closings, from which it closes ..."""

WORDY = 1.5
"""... unless it is so much longer than the longest of them."""

SHARE, LEAST = 0.01, 3
"""Of all later turns of a corpus, the share that one and the same text may have, and how often it may come anyway."""

SHORT = 80
"""Letters up to which a text is counted: longer ones do not come again."""


class Phrases:
    """How often each short later turn was there."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._counts: Counter[str] = Counter()
        self._all = 0
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        self._all += 1
        if len(text) <= SHORT:
            self._counts[normalise(text)] += 1

    def is_common(self, text: str) -> bool:
        return len(text) <= SHORT and self._counts[normalise(text)] >= max(LEAST, SHARE * self._all)


def screen_follow_up(
    text: str, rules: Rules, steered: Steered, phrases: Phrases, confidence: float = 0.0, own_confidence: float = 0.0
) -> Verdicts:
    """As ``screen_instruction``; ``steered`` has the conversation so far as its exemplars."""
    look = Look(text, rules=rules, steered=steered, confidence=confidence, own_confidence=own_confidence)
    verdict = screened(FOLLOW_UPS, look)
    if verdict.reason is None and phrases.is_common(text):
        return replace(verdict, reason=Reason.FOLLOW_UP_COMMON)
    return verdict


def _closes(look: Look) -> bool:
    """Whether all that it says is of the kind of the language's closings. What asks goes on."""
    closings = look.rules.language.closings
    if not closings or any(mark in look.text for mark in "?？؟;՞") or len(look.text) > WORDY * max(map(len, closings)):
        return False
    known = set[str]().union(*(shingles(normalise(closing)) for closing in closings))
    return _share(shingles(normalise(look.text)), known) >= CLOSING


def _echoes(look: Look) -> bool:
    plain = normalise(look.text)
    if len(plain) < LONG:
        return False
    own = shingles(plain)
    return any(_share(own, shingles(normalise(shown.response))) >= ECHO for shown in look.steered.exemplars)


def is_about_something_else(look: Look) -> bool:
    """Whether of a text that says enough for it too little was said before."""
    own = rare(look.text, look.rules.language)
    if len(own) < FEW:
        return False
    said = normalise(" ".join(text for exchange in look.steered.exemplars for text in exchange))
    return _share(own, shingles(said)) < RELATED


def rare(text: str, language: Language) -> Set[str]:
    """The shingles of a text that the language's exemplars do not have."""
    return shingles(normalise(text)) - _common(language.exemplars)


def _share(part: Set[str], whole: Set[str]) -> float:
    return len(part & whole) / len(part)


@lru_cache(maxsize=128)
def _common(exemplars: tuple[Exemplar, ...]) -> Set[str]:
    return shingles(normalise(" ".join(text for exemplar in exemplars for text in exemplar)))


FOLLOW_UPS = (
    Check(Reason.FOLLOW_UP_CLOSING, _closes),
    *(check for check in INSTRUCTIONS if check.reason is not Reason.TOO_SHORT),
    Check(Reason.FOLLOW_UP_ECHO, _echoes),
    Check(Reason.FOLLOW_UP_UNRELATED, is_about_something_else),
)
