"""Whether a model can write a language: a verdict in words, by what became of its texts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from magpie_ollama.method.reasons import Reason, Stage
from magpie_ollama.method.steering import NONE
from magpie_ollama.records import DROPPED, KEPT, UNWANTED, Attempt

ENOUGH = 30
"""Attempts after which a verdict is given: at .5, an interval of 95 % is .34 wide."""

STEERED = 2 / 3
"""Share of them that must have been steered: auto tries what steers to nothing, too."""


class Writes(StrEnum):
    YES = "writes"
    WITH_LOSSES = "writes, with losses,"
    NO = "does not write"


@dataclass(frozen=True, slots=True)
class Ability:
    """``steered`` attempts came to an end, not counting those without steering; ``in_language`` are texts in the
    language or in what passes for it; of these, ``real`` had words that exist and went well until the response's own
    language. ``known_words`` and ``fluency`` are medians over those that passed
    and those of invented words, 0.0 where they are not measured."""

    writes: Writes
    steered: int
    in_language: int
    real: int
    known_words: float
    fluency: float

    def told(self, model: str, language: str) -> str:
        """In a sentence, the numbers behind it."""
        words = f"{model} {self.writes} {language}: "
        words += f"{self.in_language} of {self.steered} instructions were in it"
        words += f", {self.real} of them sound" if self.in_language else ""
        words += f"; known words {self.known_words:.2f}" if self.known_words else ""
        words += f"; fluency {self.fluency:.2f} of its own English" if self.fluency else ""
        return words + "."


_FOREIGN = {Reason.WRONG_LANGUAGE}
_UNSOUND = {
    Reason.INVENTED_WORDS,
    Reason.REPETITION,
    Reason.RESPONSE_WRONG_LANGUAGE,
    Reason.RESPONSE_INVENTED_WORDS,
    Reason.RESPONSE_REPETITION,
}


def ability(attempts: Iterable[Attempt], unsteered: bool = False, enough: int = ENOUGH) -> Ability | None:
    """None for fewer than ``enough`` attempts that came to an end, or fewer than ``STEERED`` of them that say something
    of the language: steered ones, or ``unsteered`` too.

    "Writes": .8 of the texts in the language are sound, with a fluency of .85 where that is measured; "does not": fewer
    than half are, or it is below .72, or fewer texts than a quarter of ``enough`` came out in it. SmolLM2-135M's
    Italian, real words without sense, has a median of .62 at temperature 0.5, its Spanish .74; at 1.0 they are
    invented, .41 and .51. No other model has been measured.
    """
    ended = steered = in_language = real = 0
    known, fluent = [], []
    for attempt in attempts:
        reason = next((one for one in Reason if one == attempt.outcome), None)
        told_nothing = attempt.outcome == DROPPED or reason in (Reason.NO_ANSWER, Reason.BROKEN_OFF)
        ended += not told_nothing
        if told_nothing or (attempt.steering == NONE and not unsteered):
            continue
        steered += 1
        passed = attempt.outcome in (KEPT, UNWANTED) or (reason is not None and reason.stage is Stage.RESPONSE)
        if reason in _FOREIGN or not (passed or reason in _UNSOUND or attempt.language in ("yes", "unknown")):
            continue
        in_language += 1
        real += reason not in _UNSOUND
        if passed or reason is Reason.INVENTED_WORDS:  # a model is sure of a loop
            known += [attempt.known_words] if attempt.known_words else []
            fluent += [attempt.fluency] if attempt.fluency else []
    if ended < enough or steered < STEERED * enough:
        return None
    words, ease = median(known or [0.0]), median(fluent or [0.0])
    sound = real / in_language if in_language else 0.0
    if in_language < enough / 4 or sound < 0.5 or 0.0 < ease < 0.72:
        writes = Writes.NO
    elif sound >= 0.8 and (ease >= 0.85 or not ease):
        writes = Writes.YES
    else:
        writes = Writes.WITH_LOSSES
    return Ability(writes, steered, in_language, real, round(words, 3), round(ease, 3))
