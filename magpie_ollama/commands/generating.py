"""What ``generate`` does with its options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Any

from magpie_ollama.asking.settings import Settings, settings_of
from magpie_ollama.commands import configuration
from magpie_ollama.commands.making import make
from magpie_ollama.commands.options import (
    responder_choice,
    server_choice,
)
from magpie_ollama.corpus import voice
from magpie_ollama.corpus.corpus import Corpus, StdoutCorpus
from magpie_ollama.corpus.voice import Own
from magpie_ollama.display import consoles, summary
from magpie_ollama.display.plan import show_plan
from magpie_ollama.errors import UsageError
from magpie_ollama.method import languages
from magpie_ollama.method.steering import default_steering, parse_steering
from magpie_ollama.run import report
from magpie_ollama.run.interrupts import run
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import Session, open_session


def generate(given: dict[str, Any]) -> int:
    settings = _settings(given)
    output = given["output"] or str(configuration.in_folder(f"{settings.language.code}.jsonl"))
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
        return await make(session, corpus, progress, title, given, planned, summary.show, report.as_dict)


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
