"""``magpie-ollama respond``: a user's own questions, answered."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from magpie_ollama.asking.said import SETTINGS
from magpie_ollama.asking.settings import settings_of
from magpie_ollama.commands.base import Command
from magpie_ollama.commands.making import corpus_at, make, output_of
from magpie_ollama.commands.options import (
    file_options,
    making_options,
    option,
    parallel_option,
    server_choice,
    server_options,
    setting_options,
)
from magpie_ollama.corpus.questions import read
from magpie_ollama.corpus.reading import size_of
from magpie_ollama.display import answers, consoles
from magpie_ollama.display.progress import reading
from magpie_ollama.method.steering import NONE
from magpie_ollama.run import report
from magpie_ollama.run.answering import Answering, Job, answer_language, answer_steering, open_answering
from magpie_ollama.run.interrupts import run
from magpie_ollama.run.progress import Progress

_RESPONSES = [one.name for one in SETTINGS if one.path.startswith("response.")]


@click.command(cls=Command, examples=("respond questions.csv", "respond prompts.txt -l it --retry"))
@option("--column", default="", help="The column with the questions. Default: instruction, prompt, question, text, ...")
@option(
    "--blocks/--lines",
    default=None,
    envvar="MAGPIE_OLLAMA_BLOCKS",
    help="Of a plain text: questions parted by blank lines, or one a line. Default: as it looks, and told.",
)
@file_options("respond", ".answered.jsonl", "Of the answers; any: whichever. Default: each question's own.")
@server_options("Ollama, else the embedded engine for a new corpus")
@option(
    "-s",
    "--steering",
    default="",
    envvar="MAGPIE_OLLAMA_RESPOND_STEERING",
    help="Messages in front: none, system, exemplar. Default: none for English, else system.",
)
@setting_options("system", "exemplars", *_RESPONSES, "think", "keep_truncated", "keep_rejected", "seed")
@option("--retry", is_flag=True, help="Ask again what could not be answered before.")
@parallel_option
@making_options("Show the first question as it is sent, and what is left; ask nothing.")
def command(file: Path, **given: Any) -> int:
    """Answer the questions of FILE: plain text, CSV, TSV, a JSON array, JSONL, Parquet (.gz, .zst), or a corpus.

    A row's id, other columns, system message and earlier turns are kept. The same command again asks what is not
    answered yet; what failed in all tries is listed, and asked again with --retry.
    """
    output = output_of(file, given, ".answered.jsonl")
    language, steering = answer_language(given["language"]), answer_steering(given["steering"])
    with reading(f"Reading {file.name}", size_of(file), given["quiet"]) as on_progress:
        questions = read(
            file,
            column=given["column"],
            blocks=given["blocks"],
            skip_bad=given["skip_bad"],
            on_progress=on_progress,
        )
    with corpus_at(output, given) as corpus:
        job = Job(questions, corpus, language, steering, given["tries"], given["retry"])
        if not job.left:
            return _nothing_left(job, given)
        spoken = job.languages()[0]
        settings = settings_of(server_choice(given), spoken, steering or NONE, len(job.left), given, given["parallel"])
        progress = Progress(target=settings.target)
        session, title = open_answering(settings, job, progress), f"{file.name} · {output}"
        return run(
            make(session, corpus, progress, title, given, partial(_planned, given), answers.show, report.answers)
        )


async def _planned(given: dict[str, Any], session: Answering) -> Callable[[], None]:
    first = await session.check()
    return partial(answers.show_plan, first, session, consoles.stdout(), given["as_json"])


def _nothing_left(job: Job, given: dict[str, Any]) -> int:
    if given["as_json"]:
        consoles.show_json(report.facts(job))
    if not given["quiet"]:
        for notice in job.notices:
            consoles.show_notice(consoles.stderr(), notice)
        answers.show_questions(job, consoles.stderr())
    if short := job.short():
        raise short
    return 0
