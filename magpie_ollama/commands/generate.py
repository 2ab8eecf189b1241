"""``magpie-ollama generate``: the main job. What it does is in ``generating``, which the help need not load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from magpie_ollama.asking.said import SETTINGS
from magpie_ollama.commands.base import Command
from magpie_ollama.commands.judging import judge_options
from magpie_ollama.commands.options import (
    PAIRS,
    language_file_option,
    making_options,
    option,
    parallel_option,
    responder_options,
    server_options,
    setting_options,
)
from magpie_ollama.loading import loading


@click.command(cls=Command, examples=("generate -l it -n 100", "generate -l de --topics maths:2,code:1 -o de.jsonl"))
@option("-l", "--language", default="en", help="Code or name; of it,es one after the other, -n of each.")
@option("-n", "--count", type=click.IntRange(min=1), default=20, help="Records to make.")
@option("--total", type=click.IntRange(min=1), help="Make what the corpus lacks of so many, in place of -n.")
@option(
    "--where",
    multiple=True,
    type=PAIRS,
    metavar="NAME=VALUES",
    help="Count only what a judge tags so: quality=good,excellent. Repeatable. The others are kept beside the corpus.",
)
@option(
    "--prefer",
    type=click.IntRange(min=2),
    metavar="K",
    help="Then K responses to each instruction of the corpus, scored, and pairs of them; see `magpie-ollama prefer`.",
)
@judge_options
@option("-o", "--output", default="", help="The corpus, a JSONL file; - for stdout. Default: <language>.jsonl.")
@server_options("Ollama, else the embedded engine for a new corpus")
@responder_options
@option(
    "-s",
    "--steering",
    default="",
    help="none, auto, or parts joined by +: prefix, prefix_line, system, exemplar, opener. Default: auto; in English "
    "none, but for --topics.",
)
@setting_options(*(setting.name for setting in SETTINGS[:4]))
@option("--only-instructions", is_flag=True, help="No responses: one turn, and --end-with user.")
@language_file_option
@setting_options(*(setting.name for setting in SETTINGS[4:-1]))
@option("--examples", type=click.Path(path_type=Path), help="Sentences or pairs of your own to show, in any form.")
@option("--systems", type=click.Path(path_type=Path), help="System messages of your own, a row each, in turn.")
@option("--document", type=click.Path(path_type=Path), help="A .txt, .md or .pdf file, or a folder, to ask about.")
@option("--no-passage", is_flag=True, help="Records of --document hold the question without its passage.")
@parallel_option
@setting_options("max_attempts")
@option("--preview", is_flag=True, help="Show three pairs, and how long -n would take; write no record.")
@making_options("Show the prompt and what is left to do; generate nothing.")
def command(**given: Any) -> int:
    """Make instruction data: the model writes users' instructions, then answers them.

    Records are appended to a JSONL corpus. The same command again continues an unfinished run, or adds
    as many records once more.
    """
    with loading():
        from magpie_ollama.commands.generating import generate
    return generate(given)
