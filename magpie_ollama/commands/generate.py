"""``magpie-ollama generate``: the main job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Any

import click

from magpie_ollama.asking.said import SETTINGS
from magpie_ollama.asking.settings import Settings, settings_of
from magpie_ollama.commands.making import make
from magpie_ollama.commands.options import (
    language_file_option,
    option,
    output_options,
    parallel_option,
    responder_choice,
    responder_options,
    server_choice,
    server_options,
    setting_options,
)
from magpie_ollama.corpus import voice
from magpie_ollama.corpus.corpus import Corpus, StdoutCorpus
from magpie_ollama.corpus.voice import Own
from magpie_ollama.display import consoles, summary
from magpie_ollama.display.plan import show_plan
from magpie_ollama.errors import UsageError
from magpie_ollama.method import languages
from magpie_ollama.method.steering import default_steering, parse_steering
from magpie_ollama.run.interrupts import run
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import Session, open_session


@click.command()
@option("-l", "--language", default="en", help="Code, English or native name; see `magpie-ollama languages`.")
@option("-n", "--count", type=click.IntRange(min=1), default=20, help="Records to make.")
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
@option(
    "--sync",
    type=click.Choice(["always", "second", "never"]),
    default="second",
    help="How often records are forced to the disk.",
)
@option("--dry-run", is_flag=True, help="Show the prompt and what is left to do; generate nothing.")
@output_options
def command(**given: Any) -> int:
    """Make instruction data: the model writes users' instructions, then answers them.

    Records are appended to a JSONL corpus. The same command again continues an unfinished run, or adds
    as many records once more.
    """
    settings = _settings(given)
    output = given["output"] or f"{settings.language.code}.jsonl"
    if output == "-" and given["as_json"]:
        raise UsageError("--json and -o - both want stdout.", "leave out one of the two")
    return run(_generate(settings, output, given))


async def _generate(settings: Settings, output: str, given: dict[str, Any]) -> int:
    progress = Progress(target=settings.target)
    title = f"{settings.language.english} · {settings.steering} · {output}"

    async def planned(session: Session) -> Callable[[], None]:
        return partial(show_plan, await session.plan(), session, consoles.stdout(), given["as_json"])

    with StdoutCorpus() if output == "-" else Corpus.open(Path(output), sync=given["sync"]) as corpus:
        session = open_session(settings, corpus, progress)
        return await make(session, corpus, progress, title, given, planned, summary.show, summary.as_dict)


def _settings(given: dict[str, Any]) -> Settings:
    language = languages.given(given["language"], given["language_file"])
    if given["only_instructions"]:
        if given["turns"] != "1":
            raise UsageError("--only-instructions makes no conversations.", "give --end-with user in its place")
        given = {**given, "end_with": "user"}
    own, steering, language = _own(given, given["steering"] or default_steering(language, given["topics"]), language)
    choice = server_choice(given)
    settings = settings_of(choice, language, parse_steering(steering), given["count"], given, given["parallel"])
    responder = responder_choice(given, choice)
    return replace(settings, own=own, keep_passage=not given["no_passage"], responder=responder)


def _own(given: dict[str, Any], steering: str, language: languages.Language) -> tuple[Own, str, languages.Language]:
    """What comes from files, with the steering and the language that show it."""
    systems: tuple[voice.Piece, ...] = ()
    passages: tuple[voice.Piece, ...] = ()
    files: tuple[Path, ...] = ()
    if path := given["examples"]:
        pairs = voice.pairs(path)
        language = replace(language, exemplars=tuple(starmap(languages.Exemplar, pairs)))
        steering, files = given["steering"] or "exemplar", (path,)
    if path := given["systems"]:
        systems, files = voice.systems(path), (*files, path)
    if path := given["document"]:
        passages, documents = voice.passages(path)
        files = (*files, *documents)
        steering = given["steering"] or "exemplar+opener"
        if not (given["topics"] or given["system"] or given["systems"] or given["examples"]):
            given["topics"] = "document-questions"
        if "prefix" in steering:
            raise UsageError(
                "With --document a user's turn begins with a passage, and not with a prefix.", "leave out -s"
            )
    if systems and given["system"]:
        raise UsageError("--systems and --system both want to be the system message.", "leave out one of the two")
    if given["topics"] and (given["examples"] or systems):
        raise UsageError(
            "A topic has exemplars and a system message of its own.", "leave out --topics, or --examples and --systems"
        )
    return Own(systems, passages, voice.digests(files)), steering, language
