"""Screening: accepts or rejects an instruction, then its response, each with a named reason.

The cheap checks come first. ``InstructionWatch`` and ``ResponseWatch`` do the same for a text that is still being
written, so that no tokens are paid for what is already lost.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from magpie_ollama.method import checks, unseen, vocabulary
from magpie_ollama.method.detection import Verdict, check, drifted
from magpie_ollama.method.duplicates import DuplicateIndex, normalise, similarity
from magpie_ollama.method.extraction import ended
from magpie_ollama.method.languages import Language
from magpie_ollama.method.reasons import Reason, Stage
from magpie_ollama.method.repetition import babbles, loops
from magpie_ollama.method.steering import Steered
from magpie_ollama.method.template import Template
from magpie_ollama.method.turns import speaks_as_assistant

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

SAMPLED = 3000
"""Characters of each of four places that a longer text's language is judged by."""

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


def prepare(language: Language) -> str:
    """Loads the voices' patterns, the language model and the list of words: for a thread, or the first text that is
    being written keeps all others waiting for two seconds. What cannot be checked for want of its data, or ``""``."""
    speaks_as_assistant("")
    check(language.system, language.code, scripts=language.scripts)
    if trouble := vocabulary.trouble(language.code):
        return (
            f"Invented words are not looked for: the list of {language.english} cannot be read ({trouble}). "
            "`pip install --force-reinstall wordfreq` brings it back."
        )
    return ""


def count_words(text: str, spaces: bool = True) -> int:
    """Words of a text; where a language writes no spaces, two letters count as a word."""
    if spaces:
        return sum(any(map(str.isalnum, word)) for word in text.split())
    return sum(map(str.isalnum, text)) // 2


def screen_instruction(text: str, rules: Rules, steered: Steered, seen: DuplicateIndex) -> Verdicts:
    if len(text) > LONGEST_WORD * rules.max_words:
        return Verdicts(Reason.TOO_LONG)
    words = count_words(text, rules.language.spaces)
    if steered.opener and normalise(text) == normalise(steered.opener):
        return Verdicts(Reason.DUPLICATE)
    if words < rules.min_words:
        return Verdicts(Reason.TOO_SHORT)
    if words > rules.max_words:
        return Verdicts(Reason.TOO_LONG)
    if babbles(text) or loops(text):
        return Verdicts(Reason.REPETITION)
    verdict = _language(text, rules.language)
    if verdict is Verdict.NO:
        return Verdicts(Reason.WRONG_LANGUAGE, verdict)
    if vocabulary.invented(_sampled(text), rules.language.code):
        return Verdicts(Reason.INVENTED_WORDS, verdict)
    if _copies(text, (message["content"] for message in steered.messages if message["role"] == "system")):
        return Verdicts(Reason.NOT_A_USER, verdict)
    if _copies(text, (exemplar.instruction for exemplar in steered.exemplars)):
        return Verdicts(Reason.DUPLICATE, verdict)
    found = seen.find(text)
    return Verdicts(Reason(found) if found else None, verdict)


def screen_response(
    text: str,
    finish_reason: str,
    instruction: str,
    rules: Rules,
    steered: Steered,
    template: Template,
    reasoning: str = "",
) -> Reason | None:
    """Why a response is rejected, or None. ``reasoning`` is what the server told beside it."""
    if finish_reason not in ("stop", "length"):
        return Reason.RESPONSE_BROKEN_OFF
    if not any(map(_says_something, text[:SAMPLED])) and not babbles(text):
        # Reasoning may use up the limit before the response begins.
        if finish_reason == "length":
            return Reason.RESPONSE_TRUNCATED
        return Reason.RESPONSE_ALL_REASONING if reasoning and not text.strip() else Reason.RESPONSE_EMPTY
    reason = checks.found(Stage.RESPONSE, checks.Look(text, template, instruction))
    if reason is not None:
        return reason
    if babbles(text) or loops(text):
        return Reason.RESPONSE_REPETITION
    if finish_reason == "length" and not rules.keep_truncated:
        return Reason.RESPONSE_TRUNCATED
    if _echoes(text, instruction):
        return Reason.RESPONSE_ECHO
    if _copies(text, (exemplar.response for exemplar in steered.exemplars)):
        return Reason.RESPONSE_COPY
    if _language(text, rules.language) is Verdict.NO:
        return Reason.RESPONSE_WRONG_LANGUAGE
    if vocabulary.invented(_sampled(text), rules.language.code):
        return Reason.RESPONSE_INVENTED_WORDS
    return None


class InstructionWatch:
    """Looks at an instruction while it is written; ``reason`` says why it was cut off.

    The looks grow rarer with the text, so that all of them together take time in proportion to it: 0.05 ms a token on
    average; the dearest look, of 1,000 characters, 2 ms.
    """

    def __init__(self, rules: Rules, template: Template, opener: str) -> None:
        self.reason: Reason | None = None
        self._language = rules.language
        self._longest = min(LONGEST_WORD * rules.max_words, LONGEST_RESPONSE)
        self._template = template
        self._opener = opener
        self._looked = 0
        self._next = EVERY
        self._next_deep = DEEP

    def __call__(self, raw: str) -> bool:
        if len(raw) < self._next:
            return False
        if len(raw) > self._longest:
            self.reason = Reason.TOO_LONG
            return True
        text = unseen.clean(self._opener + ended(raw, self._template))
        look = checks.Look(text, self._template, known=self._looked, waiting=WAITING)
        self.reason = checks.found(Stage.INSTRUCTION, look)
        if self.reason is None and len(text) >= self._next_deep:
            # The costly looks grow rarer faster: what a longer one adds shows later too.
            self._next_deep = len(text) + max(EVERY, len(text) // 2)
            if loops(text, CAUTION):
                self.reason = Reason.REPETITION
            elif _lost(text, self._language):
                self.reason = Reason.WRONG_LANGUAGE
            elif vocabulary.invented(text, self._language.code, unfinished=True):
                self.reason = Reason.INVENTED_WORDS
        self._looked = len(raw)
        self._next = len(raw) + max(EVERY, len(raw) // 8)
        return self.reason is not None


class ResponseWatch:
    """Looks at a response while it is written; ``reason`` says why it was cut off.

    Costs 0.01 ms a token on average; the dearest look, of 4,000 characters, 2 ms.
    """

    def __init__(self, rules: Rules, template: Template) -> None:
        self.reason: Reason | None = None
        self._language = rules.language
        self._template = template
        self._looked = 0
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
            elif vocabulary.invented(_sampled(text), self._language.code, unfinished=True):
                self.reason = Reason.RESPONSE_INVENTED_WORDS
            self._doubted = lost
        if self.reason is None and len(text) >= self._next:
            # A response is longer than an instruction and loops late: the looks grow rarer with its length.
            self._next = len(text) + max(8 * EVERY, len(text) // 8)
            look = checks.Look(unseen.clean(text), self._template, known=self._looked, waiting=WAITING)
            self.reason = checks.found(Stage.RESPONSE, look)
            self._looked = len(text)
            if self.reason is None and loops(text, CAUTION):
                self.reason = Reason.RESPONSE_REPETITION
        return self.reason is not None


def _lost(text: str, language: Language) -> bool:
    """Whether a text that is being written has left the language, so far that its whole is not in it either."""
    return drifted(text[-RECENT:], language.code, scripts=language.scripts) and (
        _language(text, language) is Verdict.NO
    )


def _language(text: str, language: Language) -> Verdict:
    """The detector's verdict on a text."""
    return check(_sampled(text), language.code, scripts=language.scripts)


def _sampled(text: str) -> str:
    """A text, or four places of a long one."""
    if len(text) <= 4 * SAMPLED:
        return text
    step = (len(text) - SAMPLED) // 3
    return "\n".join(text[start : start + SAMPLED] for start in (0, step, 2 * step, len(text) - SAMPLED))


def _says_something(char: str) -> bool:
    """Whether a character can be an answer: a letter, a digit, a sign of mathematics, a symbol."""
    return unicodedata.category(char)[0] in "LNS"


def _echoes(response: str, instruction: str) -> bool:
    """Whether a response is the instruction again, with next to nothing added."""
    if len(response) > 4 * len(instruction) + QUOTE:
        return False
    said, asked = normalise(response), normalise(instruction)
    added = len(said) - len(asked)
    return bool(asked) and (said == asked or (said.startswith(asked) and added < max(12, len(asked) // 4)))


def _copies(text: str, others: Iterable[str]) -> bool:
    # A text of another length is none, and a very long one takes long to compare.
    return any(len(text) <= 4 * len(other) and similarity(text, other) >= COPY for other in others)
