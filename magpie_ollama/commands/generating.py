"""What ``generate`` does with its options."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from magpie_ollama.asking.settings import Settings, settings_of
from magpie_ollama.commands import configuration
from magpie_ollama.commands.judging import opened_judge
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
from magpie_ollama.run.parallel import USUAL
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import Session, open_session
from magpie_ollama.tagging.judgements import Judgements
from magpie_ollama.tagging.judging import Judging, JudgingProgress
from magpie_ollama.tagging.wanted import Condition, Gate, conditions


def generate(given: dict[str, Any]) -> int:
    settings = _settings(given)
    output = given["output"] or str(configuration.in_folder(f"{settings.language.code}.jsonl"))
    if output == "-" and given["as_json"]:
        raise UsageError("--json and -o - both want stdout.", "leave out one of the two")
    return run(_generate(settings, output, given))


async def _generate(settings: Settings, output: str, given: dict[str, Any]) -> int:
    wanted = conditions(given["where"], "--where")
    if given["judge"] and not wanted:
        raise UsageError("--judge has nothing to judge.", "say what is wanted: --where quality=good,excellent")
    progress = Progress(target=settings.target)
    title = f"{settings.language.english} · {settings.steering} · {output}"

    async def planned(session: Session) -> Callable[[], None]:
        return partial(show_plan, await session.plan(), session, consoles.stdout(), given["as_json"])

    with StdoutCorpus() if output == "-" else Corpus.open(Path(output), sync=given["sync"]) as corpus:
        session = _opened(settings, corpus, progress, wanted, given)
        return await make(session, corpus, progress, title, given, planned, summary.show, report.as_dict)


@asynccontextmanager
async def _opened(
    settings: Settings, corpus: Corpus, progress: Progress, wanted: tuple[Condition, ...], given: dict[str, Any]
) -> AsyncIterator[Session]:
    """With the judge that --where wants, and the target that --total leaves."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(open_session(settings, corpus, progress))
        there = corpus.records
        if wanted:
            if corpus.path is None:
                raise UsageError(
                    "--where keeps judgements beside the corpus, and a stream has no place.", "name a file with -o"
                )
            judge = await opened_judge(stack, session, given["judge"])
            judging = Judging(judge, settings.parallel or USUAL, JudgingProgress(notices=progress.notices), "--judge")
            judgements = stack.enter_context(Judgements(corpus.path, judging.judge, judging.model))
            session.gate = gate = Gate(judging, judgements, wanted)
            if given["total"] and there and not given["dry_run"]:
                progress.enter("Judging the records that are there")
                there = await gate.there(corpus.path)
                progress.enter("")
        if given["total"]:
            session.lack(max(0, given["total"] - there))
        yield session


def _settings(given: dict[str, Any]) -> Settings:
    language = languages.given(given["language"], given["language_file"])
    if given["only_instructions"]:
        if given["turns"] != "1":
            raise UsageError("--only-instructions makes no conversations.", "give --end-with user in its place")
        given = {**given, "end_with": "user"}
    own, steering, language = _own(given, given["steering"] or default_steering(language, given["topics"]), language)
    choice = server_choice(given)
    if given["total"] and _is_given("count"):
        raise UsageError("-n makes so many more, --total makes the corpus have so many.", "leave out one of the two")
    target = given["total"] or given["count"]
    settings = settings_of(choice, language, parse_steering(steering), target, given, given["parallel"])
    responder = responder_choice(given, choice)
    return replace(settings, own=own, keep_passage=not given["no_passage"], responder=responder)


def _is_given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


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
