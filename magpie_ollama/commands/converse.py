"""``magpie-ollama converse``: the records of a corpus go on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from magpie_ollama.asking.said import SETTINGS, Turns
from magpie_ollama.asking.settings import settings_of
from magpie_ollama.commands.base import Command
from magpie_ollama.commands.cleaning import STREAM, file_argument
from magpie_ollama.commands.making import make
from magpie_ollama.commands.options import (
    option,
    output_options,
    parallel_option,
    server_choice,
    server_options,
    setting_options,
)
from magpie_ollama.corpus.corpus import Corpus, StdoutCorpus
from magpie_ollama.corpus.questions import stem
from magpie_ollama.corpus.reading import is_stream, size_of
from magpie_ollama.corpus.rewriting import same_file
from magpie_ollama.display import consoles, summary
from magpie_ollama.display.plan import show_plan
from magpie_ollama.display.progress import reading
from magpie_ollama.errors import UsageError
from magpie_ollama.method import languages
from magpie_ollama.method.steering import NONE
from magpie_ollama.run import report
from magpie_ollama.run.extending import Extending, open_extending, read
from magpie_ollama.run.interrupts import run
from magpie_ollama.run.progress import Progress

_OTHERS = ("topics", "exemplars", "bootstrap", "turns", "min_words", "max_attempts")
"""Settings that say nothing of a conversation that is there already, or have an option of their own here."""


@click.command(cls=Command, examples=("converse it.jsonl", "converse it.jsonl --turns 3 -o talks.jsonl"))
@file_argument
@option(
    "-o",
    "--output",
    default="",
    envvar="MAGPIE_OLLAMA_CONVERSE_OUTPUT",
    help="The corpus, a JSONL file; - for stdout. Default: NAME.conversations.jsonl.",
)
@option(
    "--turns",
    default="2-3",
    metavar="N|A-B",
    envvar="MAGPIE_OLLAMA_CONVERSE_TURNS",
    help="Of the user, with those that are there. Of A to B each record draws one, and is kept from A on.",
)
@option(
    "-l",
    "--language",
    default="",
    envvar="MAGPIE_OLLAMA_CONVERSE_LANGUAGE",
    help="Of records that name none. Default: that of their text.",
)
@server_options("Ollama, else the embedded engine for a new corpus")
@option("--openers", is_flag=True, help="Begin the user's turns by the language's words for going on.")
@setting_options(*(setting.name for setting in SETTINGS if setting.name not in _OTHERS))
@option("--skip-bad", is_flag=True, help="Pass over lines that are no records.")
@parallel_option
@option(
    "--sync",
    type=click.Choice(["always", "second", "never"]),
    default="second",
    help="How often records are forced to the disk.",
)
@option("--dry-run", is_flag=True, help="Show the first prompt and what is left to do; generate nothing.")
@output_options
def command(file: Path, **given: Any) -> int:
    """Go on with the conversations of FILE: the model asks on as their user, and answers.

    A record's turns, language and system message are kept; `source` is its id. The same command again goes on with
    those that are not in the output yet.
    """
    turns = Turns.read(given["turns"])
    language = languages.find(given["language"]) if given["language"] else None
    if not given["output"] and is_stream(file):
        raise UsageError("What comes from a pipe gives no name for the output.", "name it with -o, or -o - for stdout")
    output = Path(given["output"] or file.with_name(f"{stem(file)}.conversations.jsonl"))
    if output == STREAM and given["as_json"]:
        raise UsageError("--json and -o - both want stdout.", "leave out one of the two")
    if same_file(output, file):
        raise UsageError(f"{file} is the corpus itself", "name another one with -o")
    with reading(f"Reading {file.name}", size_of(file), given["quiet"]) as on_progress:
        found = read(file, turns, language, skip_bad=given["skip_bad"], on_progress=on_progress)

    async def planned(session: Extending) -> Callable[[], None]:
        return partial(show_plan, await session.plan(), session, consoles.stdout(), given["as_json"])

    with StdoutCorpus() if output == STREAM else Corpus.open(output, sync=given["sync"]) as corpus:
        found.leave_out_those_of(corpus)
        if not found.found:
            return _nothing_left(output, given)
        steering = "opener" if given["openers"] else NONE
        settings = settings_of(
            server_choice(given), found.languages[0], steering, len(found.found), given, given["parallel"]
        )
        progress = Progress(target=settings.target)
        session = open_extending(settings, corpus, progress, found)
        title = f"{file.name} · {output}"
        return run(make(session, corpus, progress, title, given, planned, summary.show, report.as_dict))


def _nothing_left(output: Path, given: dict[str, Any]) -> int:
    if given["as_json"]:
        consoles.show_json({"output": str(output), "kept": 0, "target": 0})
    elif not given["quiet"]:
        consoles.show_notice(consoles.stderr(), f"{output} has all of them already.")
    return 0
