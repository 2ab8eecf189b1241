"""The screen of ``generate`` over any file: old corpora, and those of other tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from magpie_ollama.corpus.reading import Row
from magpie_ollama.curation.filters import language_code
from magpie_ollama.method import languages, topics
from magpie_ollama.method.checks import ANY, EXTRACTING, INSTRUCTIONS, RESPONSES, Look, Verdicts, screened
from magpie_ollama.method.reasons import Reason
from magpie_ollama.method.unseen import clean


class Rescreen:
    """A rule: what the checks of ``CHECKS`` say of both texts, cleaned as ``generate`` cleans them. Lengths and the
    template's own words are apart, as are copies of what stood in the prompt: a file does not tell of them. A record of
    a topic of the package's has its rules.

    Judged by ``codes``, or by the language that a record names; what passes in one of several passes. ``unknown``
    counts the records that passed though something could not be judged: their "language", which a text too short or
    all code does not show, or their "words": there is no list, or they are too few.
    """

    def __init__(self, codes: Sequence[str]) -> None:
        self._codes = codes
        self._known = frozenset(languages.codes())
        self.unknown = Counter(language=0, words=0)

    def __call__(self, row: Row) -> str | None:
        if row.said.reason:
            return row.said.reason
        codes = self._codes or [language_code(row.text("language"))]
        if not codes[0]:
            return "no_language"
        if codes[0] not in self._known:
            return "unknown_language"
        reasons: list[Reason] = []
        for code in codes:
            verdicts = _screened(row, code)
            reason = next((one.reason for one in verdicts if one.reason), None)
            if reason is None:
                self.unknown["language"] += any(one.language == "unknown" for one in verdicts)
                self.unknown["words"] += any(one.unjudged for one in verdicts)
                return None
            reasons.append(reason)
        wrong = (Reason.WRONG_LANGUAGE, Reason.RESPONSE_WRONG_LANGUAGE)
        return next((reason for reason in reasons if reason not in wrong), reasons[0])


def _screened(row: Row, code: str) -> list[Verdicts]:
    """The verdicts on the instruction, and on the response where that passed."""
    rules = replace(ANY, language=languages.load(code))
    if (topic := topics.shipped(row.text("topic"))) is not None:
        rules = replace(rules, **{rule: getattr(topic, rule) for rule in topics.RULES})
    asked = clean(row.instruction)
    found = [screened((*EXTRACTING, *INSTRUCTIONS), Look(asked, rules=rules))]
    if found[0].reason is None:
        said = Look(clean(row.response), rules=rules, asked=asked, reasoning=row.said.reasoning)
        found.append(screened(RESPONSES, said))
    return found
