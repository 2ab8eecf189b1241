"""``magpie-ollama stats``: what is in a corpus, and what its runs cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
from rich.text import Text

from magpie_ollama.commands.base import Command
from magpie_ollama.commands.cleaning import data_argument
from magpie_ollama.commands.options import (
    debug_option,
    distance_option,
    html_option,
    model_options,
    option,
    quiet_option,
)
from magpie_ollama.corpus.history import history
from magpie_ollama.curation import provenance, statistics
from magpie_ollama.display import consoles
from magpie_ollama.display import statistics as shown
from magpie_ollama.display.characters import inline
from magpie_ollama.display.progress import reading_rows
from magpie_ollama.display.removals import show_pair
from magpie_ollama.display.words import counted, size
from magpie_ollama.errors import UsageError


@click.command(cls=Command, examples=("stats it.jsonl", "stats it.jsonl --neighbours --show"))
@data_argument
@option("--near", is_flag=True, help="Count near-duplicates too, as `dedup` finds them; slower.")
@option(
    "--neighbours",
    is_flag=True,
    help="Tell how far instructions are from one another, by an embedding model; each one's distance goes to "
    "FILE.magpie/neighbours.jsonl.",
)
@distance_option
@option("--show", is_flag=True, help="With --neighbours, print each instruction that another one repeats, with it.")
@model_options("Ollama")
@option("--skip-bad", is_flag=True, help="Pass over lines that are no records.")
@option("--json", "as_json", is_flag=True, help="As JSON.")
@html_option("the charts")
@quiet_option
@debug_option
def command(file: Path, near: bool, as_json: bool, html: Path | None, quiet: bool, **given: Any) -> None:
    """Tell what is in a corpus: languages, steerings, models, lengths, duplicates; and what its runs cost.

    FILE is any JSONL file of instruction data; - is stdin. Lengths are in words, or in characters for languages
    without spaces. A duplicate has the instruction of a record before it, but for case and spaces. With --neighbours,
    -m and the options after it name an embedding model.
    """
    if given["show"] and not given["neighbours"]:
        raise UsageError("--show shows neighbours", "add --neighbours")
    with reading_rows(file, skip_bad=given["skip_bad"], quiet=quiet) as rows:
        found = statistics.of(rows, near=near)
    if given["neighbours"]:
        from magpie_ollama.commands.embedding import beside

        found.neighbours, pairs = beside(file, {**given, "quiet": quiet})
    runs, notices = history(file, found.kinds["runs"]) if file != Path("-") else ([], [])
    if not quiet:
        for notice in notices:
            consoles.show_notice(consoles.stderr(), inline(notice))
    done = provenance.operations(file) if file != Path("-") else []
    if html is not None:
        from magpie_ollama.web import charts, pages

        shown_as = {
            "title": file.name,
            "note": f"{counted(found.records, 'record')}.",
            "charts": charts.of(found, runs),
        }
        pages.write(html, pages.alone("static_charts.html", **shown_as))
        return
    if as_json:
        report = {
            "file": str(file),
            "bytes": rows.size,
            "bad_lines": len(rows.bad),
            **found.to_dict(),
            **({"pairs": [pair.to_dict() for pair in pairs]} if given["show"] else {}),
            "runs": [run.to_dict() for run in runs],
            "operations": [msgspec.to_builtins(one) for one in done],
        }
        consoles.show_json(report)
        return
    name = "stdin" if file == Path("-") else inline(str(file))
    facts = {"file": f"{name} ({size(rows.size)})" if rows.size else name}
    console = consoles.stdout()
    shown.show(found, runs, facts, console)
    for pair in pairs if given["show"] else ():
        show_pair(pair.first, pair.second, pair.distance, "away", console, ("one", "other"))
    if done:
        console.print()
    for one in done:
        consoles.say(console, Text(inline(f"{one.at[:10]}  {one.told()}")))
