"""``magpie-ollama check``: a file held to a trainer's own rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from magpie_ollama.commands.base import Command
from magpie_ollama.commands.options import debug_option, option, quiet_option
from magpie_ollama.corpus.forms import Wanted
from magpie_ollama.corpus.reading import Rows, is_stream, size_of
from magpie_ollama.curation.checking import ERRORS, FINDINGS, GRAM, Check, Lengths, grams
from magpie_ollama.curation.trainers import KINDS, TRAINERS, Trainer
from magpie_ollama.display import consoles
from magpie_ollama.display.progress import reading
from magpie_ollama.display.removals import show_reasons
from magpie_ollama.display.words import counted, share
from magpie_ollama.errors import NotACorpus, UsageError


@click.command(cls=Command, examples=("check it-trl-sft.jsonl --for trl", "check dpo.jsonl --for axolotl --kind dpo"))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@option("--for", "trainer", type=click.Choice([*TRAINERS]), required=True, help="By whose rules.")
@option(
    "--kind",
    type=click.Choice(KINDS),
    envvar="MAGPIE_OLLAMA_CHECK_KIND",
    help="Of training. Default: what the keys of the first row say.",
)
@option(
    "--max-tokens",
    type=click.IntRange(min=1),
    default=None,
    envvar="MAGPIE_OLLAMA_CHECK_MAX_TOKENS",
    help="Rows longer than this are found, at four characters a token.",
)
@option(
    "--against",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A benchmark's file: rows with eight words in a row of it are found. Repeatable.",
)
@option("--strict", is_flag=True, help="Exit code 1 for warnings, too.")
@option("--json", "as_json", is_flag=True, help="The report as JSON on stdout.")
@quiet_option
@debug_option
def command(files: tuple[Path, ...], trainer: Trainer, against: tuple[Path, ...], **given: Any) -> int:
    """Hold FILES, which are the splits of one data set, to the rules of a trainer.

    Exit code 0: it trains as it stands. 1: something is refused, dropped or taken for something else. What no trainer
    tells is a warning: lengths that give the wanted answers away, rows that are too long.
    """
    if doubled := next((file for at, file in enumerate(files) if file in files[:at]), None):
        raise UsageError(f"{doubled} is named twice", "name each split once")
    check = Check(trainer, given["kind"], given["max_tokens"] or 0, _grams(against, given["quiet"]))
    for file in files:
        with reading(f"Reading {file.name}", size_of(file), given["quiet"]) as on_progress:
            rows = Rows(file, skip_bad=True, on_progress=on_progress, wanted=Wanted(), asked="")
            check.file(file.name, rows)
            for number, _ in rows.bad:
                check.found.add("unreadable", f"{file.name}:{number}")
            if not rows.count and not rows.bad:
                raise NotACorpus(f"{file} holds no rows", "export some: magpie-ollama export FILE --for " + trainer)
    lengths, found = check.end(), check.found
    wrong = found.errors or (given["strict"] and found.counts)
    if given["as_json"]:
        errors = {name: count for name, count in found.counts.items() if name in ERRORS}
        warnings = {name: count for name, count in found.counts.items() if name not in ERRORS}
        facts: dict[str, Any] = {
            "files": [*map(str, files)],
            "for": trainer,
            "kind": found.kind or "",
            "rows": found.rows,
        }
        facts |= {"errors": errors, "warnings": warnings, "where": found.where}
        facts["lengths"] = lengths._asdict() if lengths else None
        consoles.show_json(facts)
    elif not given["quiet"]:
        _show(check, lengths, trainer)
    return 1 if wrong else 0


def _grams(files: tuple[Path, ...], quiet: bool) -> frozenset[int]:
    """Raises UsageError for a file with no text that is long enough, and as ``Rows`` does."""
    all_: set[int] = set()
    for file in files:
        if is_stream(file):
            raise UsageError(f"--against {file} is a stream", "give a file")
        found: set[int] = set()
        with reading(f"Reading {file.name}", size_of(file), quiet) as on_progress:
            for row in Rows(file, skip_bad=True, on_progress=on_progress, wanted=Wanted(text=True), asked=""):
                found.update(grams(row.instruction), grams(row.response))
        if not found:
            raise UsageError(
                f"--against {file} has no text of {GRAM} words", "give a benchmark's file: its questions, a row each"
            )
        all_ |= found
    return frozenset(all_)


def _show(check: Check, lengths: Lengths | None, trainer: Trainer) -> None:
    found, console = check.found, consoles.stdout()
    verdict = (
        "nothing wrong" if not found.counts else "it would not train as it stands" if found.errors else "it trains"
    )
    kind = f" ({found.kind})" if found.kind else ""
    head = f"{counted(found.rows, 'row')} as {TRAINERS[trainer]} reads them{kind}: {verdict}."
    consoles.say(console, Text(head, "bold"))
    words = {name: f"{FINDINGS[name]} ({', '.join(found.where[name])})" for name in found.counts}
    show_reasons(dict(found.counts.most_common()), words, console)
    show_lengths(lengths, console)


def show_lengths(lengths: Lengths | None, console: Console) -> None:
    """Whether the lengths of the answers tell the wanted ones from the others."""
    if lengths:
        paired = ""
        if lengths.longer is not None:
            paired = f"; the wanted one is the longer in {share(int(lengths.longer * 1000), 1000)}"
        told = f"Answers: {lengths.wanted:,.0f} characters where wanted, {lengths.other:,.0f} where not "
        consoles.say(console, Text(f"{told}(effect size {lengths.effect:+.2f}){paired}."))
