"""``magpie-ollama prefer``: several responses to each instruction, and which of two is the better one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from magpie_ollama.asking.said import SETTINGS
from magpie_ollama.commands.base import Command
from magpie_ollama.commands.cleaning import STREAM, file_argument
from magpie_ollama.commands.judging import judge_options
from magpie_ollama.commands.options import (
    FloatRange,
    OutputPath,
    option,
    output_options,
    parallel_option,
    server_choice,
    server_options,
    setting_options,
)
from magpie_ollama.commands.preferring import LENGTH_RATIO, MARGIN, TEMPERATURE, prefer
from magpie_ollama.corpus.questions import read
from magpie_ollama.corpus.reading import is_stream, size_of
from magpie_ollama.corpus.rewriting import check_new, same_file
from magpie_ollama.display.progress import reading
from magpie_ollama.errors import UsageError
from magpie_ollama.run.answering import answer_language
from magpie_ollama.run.interrupts import run

_RESPONSES = [one.name for one in SETTINGS if one.path.startswith("response.") and one.path != "response.temperature"]


@click.command(cls=Command, examples=("prefer it.jsonl -k 4", "prefer it.jsonl --judge qwen3:14b -o pairs.jsonl"))
@file_argument
@option("-k", "--each", type=int, default=4, help="Responses to each instruction, 2 or more.")
@option(
    "-o",
    "--output",
    envvar="MAGPIE_OLLAMA_PREFER_OUTPUT",
    type=OutputPath(),
    help="The pairs, a new JSONL file; - for stdout. Default: FILE-preferred.jsonl.",
)
@option("--column", default="", help="The column with the questions. Default: instruction, prompt, question, text, ...")
@judge_options
@option(
    "--margin", type=FloatRange(0, 4, min_open=True), default=MARGIN, help="Least difference of two scores, 1 to 5."
)
@option(
    "--length-ratio",
    type=FloatRange(0, 1000),
    default=LENGTH_RATIO,
    help="Most characters of the longer answer of a pair, in those of the shorter; 0: whatever.",
)
@option(
    "--temperature",
    type=FloatRange(0, 5, min_open=True),
    default=TEMPERATURE,
    envvar="MAGPIE_OLLAMA_PREFER_TEMPERATURE",
    help="Of the responses.",
)
@option(
    "-l",
    "--language",
    default="",
    envvar="MAGPIE_OLLAMA_PREFER_LANGUAGE",
    help="Of the responses; any: whichever. Default: each instruction's own.",
)
@server_options("Ollama, else the embedded engine for new responses")
@setting_options("system", *_RESPONSES, "think", "keep_rejected", "seed")
@option("--skip-bad", is_flag=True, help="Pass over lines that are no records.")
@option("--force", is_flag=True, help="Replace the file of -o.")
@parallel_option
@option("--dry-run", is_flag=True, help="Show the first instruction as it is sent, and what is left; ask nothing.")
@output_options
def command(file: Path, **given: Any) -> int:
    """Make preference pairs: several responses to each instruction of FILE, each scored by a judge, the best and the
    worst.

    Responses and scores are written down beside FILE as they come: the same command again asks for what is missing
    only. What the instruction was answered before does not count.
    """
    if given["each"] < 2:
        raise UsageError(f"-k {given['each']} makes no pair: that takes two responses at least.", "give -k 2 or more")
    if is_stream(file):
        raise UsageError("Responses and scores lie beside a file, and nothing lies beside a stream", "name a file")
    output = given["output"] or file.with_name(f"{file.stem}-preferred.jsonl")
    if same_file(output, file):
        raise UsageError(f"{output} is the input itself", "choose another name with -o")
    if output != STREAM and not given["dry_run"]:
        check_new(output, given["force"])  # now, and not after hours
    language = answer_language(given["language"])
    with reading(f"Reading {file.name}", size_of(file), given["quiet"]) as on_progress:
        questions = read(file, column=given["column"], skip_bad=given["skip_bad"], on_progress=on_progress)
    return run(prefer(questions, server_choice(given), given["each"], language, output, given))
