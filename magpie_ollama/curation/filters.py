"""Which records of a file pass, and the first rule that the others break.

The Magpie paper's rules (Xu et al. 2024, arXiv 2406.08464, "Dataset Filtering", and the notebook ``data_filter`` of its
repository) are those that need no reward model: quality, a complete instruction, no repetition of an earlier one, and
the longest responses. Where a record brings a reward of Magpie's own, that rule applies too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from magpie_ollama.corpus.reading import Row
from magpie_ollama.corpus.shapes import REASONS
from magpie_ollama.curation.patterns import Pattern
from magpie_ollama.errors import UnknownLanguage
from magpie_ollama.method.reasons import EXPLANATIONS as SCREENED

Rule = Callable[[Row], str | None]
"""Gives the name of the reason to remove a row, None for one that passes."""

EXPLANATIONS = {
    **SCREENED,
    **REASONS,
    "no_language": "names no language (-l with --redetect or --rescreen reads the text)",
    "unknown_language": "names a language that this tool has no data for (-l names another)",
    "other_language": "names another language than -l",
    "other_steering": "of another steering than --steering",
    "other_topic": "of another topic than --topic",
    "other_model": "of another model than --model",
    "low_confidence": "below --min-confidence",
    "too_few_turns": "fewer turns of the user than --min-turns",
    "too_short": "an instruction of fewer words than --min-words",
    "too_long": "an instruction of more words than --max-words",
    "response_too_short": "a response of fewer words than --min-response-words",
    "response_too_long": "a response of more words than --max-response-words",
    "no_match": "a --match is nowhere in it",
    "match": "a --not-match is in it",
    "untagged": "lacks a tag that --tag asks for (`magpie-ollama tag` judges it)",
    "other_tag": "tagged other than --tag",
    "magpie_quality": "Magpie: quality below good",
    "magpie_incomplete": "Magpie: the instruction ends in a colon",
    "magpie_reward": "Magpie: a reward of -10 or less",
    "magpie_repetition": "Magpie: repeats an earlier instruction, or nearly",
    "not_longest": "not among the --longest responses",
    "bad_line": "no record (--skip-bad), or torn",
}
"""Each reason in words."""

MAGPIE_QUALITY = ("good", "excellent")
MAGPIE_REWARD = -10.0
"""``instruct_reward`` has to be above."""

_MAGPIE_COLUMNS = {
    "quality": "input_quality",
    "category": "task_category",
    "safety": "llama_guard_2",
    "language": "",
}
"""Our tags by the names of the columns in Magpie's own datasets; "difficulty" has the same name there. The column
"language" tells which it is, and not how good."""

_MAGPIE_TWINS = (("min_similar_conversation_id", "conversation_id"), ("min_similar_uuid", "uuid"))
"""The first of a record's near neighbours, itself included, and its own id, in older and newer datasets of Magpie."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """What a record has to be; what is empty, None or 0 is not asked for.

    One of ``languages`` (codes), ``steerings``, ``topics``, ``models``; all of ``match``, none of ``not_match``; of
    each tag in ``tags`` one of its values. Words are counted as ``generate`` counts them.
    """

    languages: tuple[str, ...] = ()
    redetect: bool = False
    rescreen: bool = False
    steerings: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    min_confidence: float = 0.0
    min_turns: int = 0
    min_words: int = 0
    max_words: int | None = None
    min_response_words: int = 0
    max_response_words: int | None = None
    match: tuple[str, ...] = ()
    not_match: tuple[str, ...] = ()
    tags: tuple[tuple[str, tuple[str, ...]], ...] = ()
    magpie: bool = False


def rules(criteria: Criteria) -> list[Rule]:
    """The rules that ``criteria`` ask for, the cheap ones first. Raises UsageError for a wrong regular expression."""
    found: list[Rule] = [_wanted]
    if criteria.languages and not (criteria.redetect or criteria.rescreen):
        found.append(_language(frozenset(criteria.languages)))
    if criteria.steerings:
        found.append(lambda row: None if row.text("steering") in criteria.steerings else "other_steering")
    if criteria.topics:
        found.append(lambda row: None if row.text("topic") in criteria.topics else "other_topic")
    if criteria.models:
        found.append(lambda row: None if _is_model(row.model, criteria.models) else "other_model")
    if criteria.min_confidence:
        # 0.0 is "not measured", which is no reason to remove anything.
        found.append(lambda row: "low_confidence" if 0.0 < row.confidence < criteria.min_confidence else None)
    found += [_tagged(name, frozenset(values)) for name, values in criteria.tags]
    if criteria.magpie:
        found += [_magpie_quality, _magpie_incomplete, _magpie_reward, _magpie_repetition]
    if criteria.min_turns:
        found.append(lambda row: "too_few_turns" if row.said.asks < criteria.min_turns else None)
    if criteria.min_words or criteria.max_words is not None:
        found.append(_words(criteria.min_words, criteria.max_words))
    if criteria.min_response_words or criteria.max_response_words is not None:
        found.append(_response_words(criteria.min_response_words, criteria.max_response_words))
    found += [_matches(Pattern(text)) for text in criteria.match]
    found += [_matches_not(Pattern(text)) for text in criteria.not_match]
    if criteria.redetect:
        found.append(_detected(criteria.languages))
    return found


def first_reason(row: Row, rules: Sequence[Rule]) -> str | None:
    """The reason of the first rule that ``row`` breaks, None if it passes all of them."""
    for rule in rules:
        reason = rule(row)
        if reason is not None:
            return reason
    return None


@cache
def language_code(name: str) -> str:
    """The code of a language as other tools write it ("EN", "Italian"); one that is not known here stays as it is."""
    from magpie_ollama.method import languages

    try:
        return languages.find(name).code if name.strip() else ""
    except UnknownLanguage:
        return name.strip().lower()


def tag(row: Row, name: str) -> str:
    """A record's tag, of ``magpie-ollama tag`` or in the columns of Magpie's own datasets; "" where it has none."""
    value: Any = row.tags.get(name) or row.data.get(_MAGPIE_COLUMNS.get(name, name))
    return value.strip().lower() if isinstance(value, str) else ""


def _wanted(row: Row) -> str | None:
    return "labelled_bad" if row.unwanted else None


def _language(wanted: frozenset[str]) -> Rule:
    def rule(row: Row) -> str | None:
        code = language_code(row.text("language"))
        if code in wanted:
            return None
        return "other_language" if code else "no_language"

    return rule


def _detected(wanted: tuple[str, ...]) -> Rule:
    """Both texts are in a wanted language, or too short to tell; where none is, in the one that the record names."""
    from magpie_ollama.method.detection import Verdict, check

    def rule(row: Row) -> str | None:
        codes = wanted or (language_code(row.text("language")),)
        if codes == ("",):
            return "no_language"
        for text, reason in ((row.instruction, "wrong_language"), (row.response, "response_wrong_language")):
            # Unknown is no reason; with several languages, one that says yes or cannot tell is enough.
            if all(check(text, code) is Verdict.NO for code in codes):
                return reason
        return None

    return rule


def _is_model(model: str, wanted: Sequence[str]) -> bool:
    """A name without a tag is that of any tag: llama3.2 of llama3.2:latest."""
    return model in wanted or model.partition(":")[0] in wanted


def _tagged(name: str, values: frozenset[str]) -> Rule:
    def rule(row: Row) -> str | None:
        value = tag(row, name)
        if value in values:
            return None
        return "other_tag" if value else "untagged"

    return rule


def _words(least: int, most: int | None) -> Rule:
    def rule(row: Row) -> str | None:
        spaces = _spaces(row.text("language"))
        if least and not _has_words(row.instruction, least, spaces):
            return "too_short"
        return "too_long" if most is not None and _has_words(row.instruction, most + 1, spaces) else None

    return rule


def _response_words(least: int, most: int | None) -> Rule:
    def rule(row: Row) -> str | None:
        spaces = _spaces(row.text("language"))
        if least and not _has_words(row.response, least, spaces):
            return "response_too_short"
        return "response_too_long" if most is not None and _has_words(row.response, most + 1, spaces) else None

    return rule


def _has_words(text: str, count: int, spaces: bool) -> bool:
    """Whether ``checks.count_words`` finds ``count`` or more. It looks at each letter: mostly the first will do."""
    if count > len(text):
        return False
    if spaces:
        words = text.split(None, count + 8)
        if len(words) < count:
            return False
        if sum([word[0].isalnum() for word in words]) >= count:
            return True
    from magpie_ollama.method.checks import count_words

    return count_words(text, spaces) >= count


@cache
def _spaces(name: str) -> bool:
    """Whether a language separates its words by spaces; one that is not known here does."""
    from magpie_ollama.method import languages

    try:
        return languages.find(name).spaces if name.strip() else True
    except UnknownLanguage:
        return True


def _matches(pattern: Pattern) -> Rule:
    return lambda row: None if pattern.is_in(row) else "no_match"


def _matches_not(pattern: Pattern) -> Rule:
    return lambda row: "match" if pattern.is_in(row) else None


def _magpie_quality(row: Row) -> str | None:
    quality = tag(row, "quality")
    return "magpie_quality" if quality and quality not in MAGPIE_QUALITY else None


def _magpie_incomplete(row: Row) -> str | None:
    return "magpie_incomplete" if row.instruction.rstrip().endswith((":", "：")) else None


def _magpie_reward(row: Row) -> str | None:
    reward = row.data.get("instruct_reward")
    return "magpie_reward" if isinstance(reward, (int, float)) and reward <= MAGPIE_REWARD else None


def _magpie_repetition(row: Row) -> str | None:
    for twin, own in _MAGPIE_TWINS:
        first = row.data.get(twin)
        if first is not None and first != row.data.get(own):
            return "magpie_repetition"
    return None
