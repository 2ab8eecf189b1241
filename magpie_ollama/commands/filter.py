"""``magpie-ollama filter``: the records that pass."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from magpie_ollama.commands.base import Command
from magpie_ollama.commands.cleaning import cleaning, data_argument, writing_options
from magpie_ollama.commands.options import PAIRS, WHOLE, FloatRange, option
from magpie_ollama.corpus.reading import Row, is_stream
from magpie_ollama.curation.filters import EXPLANATIONS, Criteria, Rule, first_reason, language_code, rules, tag
from magpie_ollama.curation.patterns import bounded
from magpie_ollama.display import consoles
from magpie_ollama.display.words import counted
from magpie_ollama.errors import UsageError

if TYPE_CHECKING:
    from magpie_ollama.curation.rescreening import Rescreen


@click.command(
    cls=Command,
    examples=("filter it.jsonl --min-words 5", "filter it.jsonl --tag quality=good,excellent -o good.jsonl"),
)
@data_argument
@option(
    "-l",
    "--language",
    "spoken",
    multiple=True,
    envvar="MAGPIE_OLLAMA_FILTER_LANGUAGE",
    help="Of these languages, by what the record names: it,nl. Repeatable, as are those below.",
)
@option("--redetect", is_flag=True, help="Read both texts to find whether they are in -l, or else in what it names.")
@option("--rescreen", is_flag=True, help="Judge both texts as generate does, in -l, or else in what each names.")
@option(
    "-s",
    "--steering",
    envvar="MAGPIE_OLLAMA_FILTER_STEERING",
    multiple=True,
    help="Of these steerings: system,exemplar.",
)
@option("--topic", multiple=True, help="Of these topics: maths,code.")
@option(
    "-m",
    "--model",
    multiple=True,
    envvar="MAGPIE_OLLAMA_FILTER_MODEL",
    help="Of these models; llama3.2 stands for all its tags.",
)
@option(
    "--min-confidence",
    type=FloatRange(0, 1),
    default=0.0,
    envvar="MAGPIE_OLLAMA_FILTER_MIN_CONFIDENCE",
    help="Where it was measured.",
)
@option("--min-turns", type=click.IntRange(min=0), default=0, help="Of the user.")
@option(
    "--min-words",
    type=click.IntRange(min=0),
    default=0,
    envvar="MAGPIE_OLLAMA_FILTER_MIN_WORDS",
    help="Of the instruction.",
)
@option("--max-words", type=click.IntRange(min=0), envvar="MAGPIE_OLLAMA_FILTER_MAX_WORDS", help="Of the instruction.")
@option("--min-response-words", type=click.IntRange(min=0), default=0, help="Of the response.")
@option("--max-response-words", type=click.IntRange(min=0), help="Of the response.")
@option(
    "--match",
    multiple=True,
    type=WHOLE,
    metavar="REGEX",
    help="Found in the instruction or the response; (?i) in front ignores case.",
)
@option("--not-match", multiple=True, type=WHOLE, metavar="REGEX", help="Found in neither.")
@option(
    "--tag",
    "tags",
    multiple=True,
    type=PAIRS,
    metavar="NAME=VALUES",
    help="Tagged so: quality=good,excellent. Names: quality, difficulty, category, safety, language.",
)
@option("--magpie", is_flag=True, help="By the Magpie paper's rules that need no reward model; see docs/corpus.md.")
@option("--longest", type=click.IntRange(min=1), metavar="N", help="Of what passes, the N longest responses.")
@writing_options("filter")
def command(file: Path, **given: Any) -> None:
    """Keep the records that pass all that is asked, and tell how many did not, and why.

    FILE is a corpus, or any other tool's JSONL of instruction data; - is stdin. Lines that stay are written as they
    stand, in their order.
    """
    criteria = _criteria(given)
    wanted = rules(criteria)
    screen = _screen(criteria)
    wanted += [screen] if screen else []
    longest = given["longest"]
    if criteria == Criteria() and longest is None:
        raise UsageError("Nothing says which records to keep", "add for example -l it, --min-words 5 or --magpie")
    if longest is not None and is_stream(file):
        raise UsageError("--longest reads the records twice, and stdin or a pipe can be read once", "give it a file")
    strange = _off_scale(criteria)
    lengths: list[tuple[int, int]] = []
    with bounded(), cleaning(file, EXPLANATIONS, given) as job:
        rows = _cross_off(strange, job.rows) if strange else job.rows
        for row, reason in _decide(rows, wanted, criteria):
            if reason is None and longest is not None:
                lengths.append((len(row.response), -row.number))
            else:
                job.settle(row, reason)
        _check_found(strange)
        if longest is not None:
            chosen = {-number for _, number in heapq.nlargest(longest, lengths)}  # of equal ones the first
            job.removals.count("not_longest", len(lengths) - len(chosen))
            with job.again() as again:
                for row in again:
                    if row.number in chosen:
                        job.settle(row, None)
        if screen:
            job.facts["unknown"] = screen.unknown
    if screen and any(screen.unknown.values()) and not given["quiet"]:
        told = ", ".join(f"the {what} of {counted(number, 'record')}" for what, number in (+screen.unknown).items())
        consoles.show_notice(consoles.stderr(), f"What could not be judged, and passed: {told}.")


def _screen(criteria: Criteria) -> Rescreen | None:
    if not criteria.rescreen:
        return None
    from magpie_ollama.curation.rescreening import Rescreen

    return Rescreen(criteria.languages)


def _decide(rows: Iterable[Row], wanted: list[Rule], criteria: Criteria) -> Iterator[tuple[Row, str | None]]:
    """Each row with the reason to remove it, or None; with --magpie or --rescreen, an instruction like an earlier one
    has one too."""
    if not criteria.magpie and not criteria.rescreen:
        for row in rows:
            yield row, first_reason(row, wanted)
        return
    from magpie_ollama.curation.deduplication import Deduplicator, deduplicated

    judged = ((row, first_reason(row, wanted)) for row in rows)
    items = ((row.instruction if reason is None else None, (row, reason)) for row, reason in judged)
    for (row, reason), twin in deduplicated(items, Deduplicator(), lambda item: item[0].input):
        yield row, reason if twin is None else "magpie_repetition" if criteria.magpie else twin.reason


def _off_scale(criteria: Criteria) -> set[tuple[str, str]]:
    """Names and values of --tag that are not on our scales: another tool's words, or slips."""
    if not criteria.tags:
        return set()
    from magpie_ollama.tagging.scales import values as all_of

    known = {name: {value.lower() for value in all_of(name)} for name, _ in criteria.tags}
    return {(name, value) for name, values in criteria.tags for value in values if value not in known[name]}


def _cross_off(strange: set[tuple[str, str]], rows: Iterable[Row]) -> Iterator[Row]:
    """The rows; the tags that they have leave ``strange``."""
    names = {name for name, _ in strange}
    for row in rows:
        strange.difference_update([(name, tag(row, name)) for name in names])
        yield row


def _check_found(strange: set[tuple[str, str]]) -> None:
    """Raises UsageError, and so nothing is written."""
    if strange:
        from magpie_ollama.tagging.scales import values

        name, value = min(strange)
        raise UsageError(
            f"No record has the tag {name}={value}, and it is not on the scale",
            f"give one of {', '.join(values(name))}; nothing was written",
        )


def _criteria(given: dict[str, Any]) -> Criteria:
    from magpie_ollama.method import languages
    from magpie_ollama.method.steering import parse_steering

    def code(name: str) -> str:
        # The detector has no verdict on a language that it does not know: everything would pass.
        return languages.find(name).code if given["redetect"] or given["rescreen"] else language_code(name)

    return Criteria(
        languages=tuple(code(name) for name in _values(given["spoken"])),
        redetect=given["redetect"],
        rescreen=given["rescreen"],
        steerings=tuple(parse_steering(steering) for steering in _values(given["steering"])),
        topics=tuple(_values(given["topic"])),
        models=tuple(_values(given["model"])),
        min_confidence=given["min_confidence"],
        min_turns=given["min_turns"],
        min_words=given["min_words"],
        max_words=given["max_words"],
        min_response_words=given["min_response_words"],
        max_response_words=given["max_response_words"],
        match=given["match"],
        not_match=given["not_match"],
        tags=_tags(given["tags"]),
        magpie=given["magpie"],
    )


def _tags(given: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not given:
        return ()
    from magpie_ollama.tagging.scales import KEYS
    from magpie_ollama.tagging.wanted import condition

    return tuple(condition(text, "--tag", (*KEYS, "language")) for text in given)


def _values(given: tuple[str, ...]) -> list[str]:
    """Repeated options and lists separated by commas, all together."""
    return [part.strip() for text in given for part in text.split(",") if part.strip()]
