"""Screening: accepts or rejects an instruction, then its response, each with a named reason.

The cheap checks come first. ``InstructionWatch`` and ``ResponseWatch`` do the same for a text that is still being
written, so that no tokens are paid for what is already lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from magpie_ollama.method.detection import Verdict, check, drifted
from magpie_ollama.method.duplicates import DuplicateIndex, normalise, similarity
from magpie_ollama.method.extraction import Reason, ended, runs_on, speaks_as_assistant
from magpie_ollama.method.languages import Language
from magpie_ollama.method.repetition import loops
from magpie_ollama.method.steering import Steered
from magpie_ollama.method.template import Template

EVERY = 24
"""Characters between two looks at a text that is being written: about six tokens."""

DEEP = 72
"""Characters from which the language of a text shows while it is written (py3langid: .979 right at 60)."""

WAITING = 24
"""Characters behind what an assistant says that are waited for: "As an AI" may go on with "researcher, I"."""

CAUTION = 2
"""See ``loops``: a text that is being written may still find its way out."""

RECENT = 800
"""Characters at the end of a text being written in which a change of language is looked for; where there seems to be
one, the whole is looked at."""

QUOTE = 200
"""Characters that a longer response may spend in another language, as on an example, before it is lost."""

LONGEST_WORD = 100
LONGEST_RESPONSE = 1_000_000
"""Characters that no text of a model has: a server that sends more, in one piece perhaps, heeds no limit. The looks at
it would take minutes."""

COPY = 0.75
"""Similarity of character n-grams from which a text is a copy of an exemplar."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What an instruction and a response must be. Words are counted by ``count_words``."""

    language: Language
    min_words: int = 3
    max_words: int = 300
    keep_truncated: bool = False
    min_confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The screen's word: ``reason`` is None for what passes; ``language`` is the detector's verdict, if asked."""

    reason: Reason | None
    language: str = ""


def prepare(language: Language) -> None:
    """Loads the voices' patterns and the language model: for a thread, or the first text that is being written keeps
    all others waiting for a second."""
    speaks_as_assistant("")
    check(language.system, language.code, scripts=language.scripts)


def count_words(text: str, spaces: bool = True) -> int:
    """Words of a text; where a language writes no spaces, two letters count as a word."""
    if spaces:
        return sum(any(map(str.isalnum, word)) for word in text.split())
    return sum(map(str.isalnum, text)) // 2


def screen_instruction(text: str, rules: Rules, steered: Steered, seen: DuplicateIndex) -> Verdicts:
    words = count_words(text, rules.language.spaces)
    if steered.opener and normalise(text) == normalise(steered.opener):
        return Verdicts(Reason.DUPLICATE)
    if words < rules.min_words:
        return Verdicts(Reason.TOO_SHORT)
    if words > rules.max_words:
        return Verdicts(Reason.TOO_LONG)
    if loops(text):
        return Verdicts(Reason.REPETITION)
    verdict = check(text, rules.language.code, scripts=rules.language.scripts)
    if verdict is Verdict.NO:
        return Verdicts(Reason.WRONG_LANGUAGE, verdict)
    if _copies(text, (message["content"] for message in steered.messages if message["role"] == "system")):
        return Verdicts(Reason.NOT_A_USER, verdict)
    if _copies(text, (exemplar.instruction for exemplar in steered.exemplars)):
        return Verdicts(Reason.DUPLICATE, verdict)
    found = seen.find(text)
    return Verdicts(Reason(found) if found else None, verdict)


def screen_response(text: str, finish_reason: str, instruction: str, rules: Rules, steered: Steered) -> Reason | None:
    if not text.strip():
        # Reasoning may use up the limit before the response begins.
        return Reason.RESPONSE_TRUNCATED if finish_reason == "length" else Reason.RESPONSE_EMPTY
    if loops(text):
        return Reason.RESPONSE_REPETITION
    if finish_reason == "length" and not rules.keep_truncated:
        return Reason.RESPONSE_TRUNCATED
    if _echoes(text, instruction):
        return Reason.RESPONSE_ECHO
    if _copies(text, (exemplar.response for exemplar in steered.exemplars)):
        return Reason.RESPONSE_COPY
    if check(text, rules.language.code, scripts=rules.language.scripts) is Verdict.NO:
        return Reason.RESPONSE_WRONG_LANGUAGE
    return None


class InstructionWatch:
    """Looks at an instruction while it is written; ``reason`` says why it was cut off.

    Costs 0.05 ms a token on average; the dearest look, of 1,000 characters, 2 ms.
    """

    def __init__(self, rules: Rules, template: Template, opener: str) -> None:
        self.reason: Reason | None = None
        self._language = rules.language
        self._longest = LONGEST_WORD * rules.max_words
        self._template = template
        self._opener = opener
        self._looked = 0
        self._next_deep = DEEP

    def __call__(self, raw: str) -> bool:
        if len(raw) - self._looked < EVERY:
            return False
        if len(raw) > self._longest:
            self.reason = Reason.TOO_LONG
            return True
        text = self._opener + ended(raw, self._template)
        if speaks_as_assistant(text, WAITING, self._looked):
            self.reason = Reason.NOT_A_USER
        elif runs_on(text, self._template, WAITING, self._looked):
            self.reason = Reason.RUN_ON
        elif len(text) >= self._next_deep:
            # The costly looks grow rarer with the text: what a longer one adds shows later too.
            self._next_deep = len(text) + max(EVERY, len(text) // 2)
            if loops(text, CAUTION):
                self.reason = Reason.REPETITION
            elif _lost(text, self._language):
                self.reason = Reason.WRONG_LANGUAGE
        self._looked = len(raw)
        return self.reason is not None


class ResponseWatch:
    """Looks at a response while it is written; ``reason`` says why it was cut off.

    Costs 0.01 ms a token on average; the dearest look, of 4,000 characters, 2 ms.
    """

    def __init__(self, rules: Rules) -> None:
        self.reason: Reason | None = None
        self._language = rules.language
        self._next = 8 * EVERY
        self._next_language = DEEP
        self._doubted = False

    def __call__(self, text: str) -> bool:
        if len(text) > LONGEST_RESPONSE:
            self.reason = Reason.RESPONSE_TRUNCATED
            return True
        if len(text) >= self._next_language:
            self._next_language = 2 * len(text)
            lost = _lost(text, self._language)
            if lost and (self._doubted or len(text) < QUOTE):
                self.reason = Reason.RESPONSE_WRONG_LANGUAGE
            elif lost:
                self._next_language = len(text) + QUOTE
            self._doubted = lost
        if len(text) >= self._next:
            # A response is longer than an instruction and loops late: the looks grow rarer with its length.
            self._next = len(text) + max(8 * EVERY, len(text) // 8)
            if loops(text, CAUTION):
                self.reason = Reason.RESPONSE_REPETITION
        return self.reason is not None


def _lost(text: str, language: Language) -> bool:
    """Whether a text that is being written has left the language, so far that its whole is not in it either."""
    return drifted(text[-RECENT:], language.code, scripts=language.scripts) and (
        check(text, language.code, scripts=language.scripts) is Verdict.NO
    )


def _echoes(response: str, instruction: str) -> bool:
    """Whether a response is the instruction again, with next to nothing added."""
    said, asked = normalise(response), normalise(instruction)
    added = len(said) - len(asked)
    return bool(asked) and (said == asked or (said.startswith(asked) and added < max(12, len(asked) // 4)))


def _copies(text: str, others: Iterable[str]) -> bool:
    return any(similarity(text, other) >= COPY for other in others)
