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
from magpie_ollama.commands.making import corpus_at, make, output_of
from magpie_ollama.commands.options import (
    file_options,
    making_options,
    option,
    parallel_option,
    responder_options,
    server_choice,
    server_options,
    setting_options,
)
from magpie_ollama.corpus.reading import size_of
from magpie_ollama.display import consoles, summary
from magpie_ollama.display.plan import show_plan
from magpie_ollama.display.progress import reading
from magpie_ollama.method import languages
from magpie_ollama.method.steering import NONE
from magpie_ollama.run import report
from magpie_ollama.run.extending import Extending, open_extending, read
from magpie_ollama.run.interrupts import run
from magpie_ollama.run.progress import Progress

_OTHERS = ("topics", "exemplars", "bootstrap", "turns", "min_words", "max_attempts")
"""Settings that say nothing of a conversation that is there already, or have an option of their own here."""


@click.command(cls=Command, examples=("converse it.jsonl", "converse it.jsonl --turns 3 -o talks.jsonl"))
@option(
    "--turns",
    default="2-3",
    metavar="N|A-B",
    envvar="MAGPIE_OLLAMA_CONVERSE_TURNS",
    help="Of the user, with those that are there. Of A to B each record draws one, and is kept from A on.",
)
@file_options("converse", ".conversations.jsonl", "Of records that name none. Default: that of their text.")
@server_options("Ollama, else the embedded engine for a new corpus")
@responder_options
@option("--openers", is_flag=True, help="Begin the user's turns by the language's words for going on.")
@setting_options(*(setting.name for setting in SETTINGS if setting.name not in _OTHERS))
@parallel_option
@making_options("Show the first prompt and what is left to do; generate nothing.")
def command(file: Path, **given: Any) -> int:
    """Go on with the conversations of FILE: the model asks on as their user, and answers.

    A record's turns, language, topic and system message are kept; `source` is its id. The same command again goes on
    with those that are not in the output yet.
    """
    turns = Turns.read(given["turns"])
    language = languages.find(given["language"]) if given["language"] else None
    output = output_of(file, given, ".conversations.jsonl")
    with reading(f"Reading {file.name}", size_of(file), given["quiet"]) as on_progress:
        found = read(file, turns, language, skip_bad=given["skip_bad"], on_progress=on_progress)

    async def planned(session: Extending) -> Callable[[], None]:
        return partial(show_plan, await session.plan(), session, consoles.stdout(), given["as_json"])

    with corpus_at(output, given) as corpus:
        found.leave_out_those_of(corpus)
        if not found.found:
            return _nothing_left(output, given)
        steering, first = "opener" if given["openers"] else NONE, found.languages[0]
        choice = server_choice(given)
        settings = settings_of(choice, first, steering, len(found.found), given, given["parallel"])
        progress = Progress(target=settings.target)
        session = open_extending(settings, corpus, progress, found, given["tries"])
        title = f"{file.name} · {output}"
        return run(make(session, corpus, progress, title, given, planned, summary.show, report.as_dict))


def _nothing_left(output: Path, given: dict[str, Any]) -> int:
    if given["as_json"]:
        consoles.show_json({"output": str(output), "kept": 0, "target": 0})
    elif not given["quiet"]:
        consoles.show_notice(consoles.stderr(), f"{output} has all of them already.")
    return 0
