"""What ``generate`` does with its options."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from magpie_ollama.api.wanting import open_wanting
from magpie_ollama.asking.settings import Settings
from magpie_ollama.commands import configuration
from magpie_ollama.commands.making import STREAM, corpus_at, make, refuse_both
from magpie_ollama.commands.options import server_choice
from magpie_ollama.commands.previewing import preview
from magpie_ollama.corpus.corpus import Corpus
from magpie_ollama.corpus.questions import read
from magpie_ollama.corpus.reading import free_name
from magpie_ollama.display import consoles, ending, summary
from magpie_ollama.display.plan import show_plan
from magpie_ollama.errors import ShortOfTarget, UsageError
from magpie_ollama.run import continuing, report
from magpie_ollama.run.asked import generating
from magpie_ollama.run.interrupts import run
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import Session
from magpie_ollama.tagging.wanted import Condition, conditions


def generate(given: dict[str, Any]) -> int:
    asked = _asked(given)
    named = "-".join(settings.language.code for settings in asked)
    output = Path(given["output"] or configuration.in_folder(f"{named}.jsonl"))
    refuse_both(output, given)
    if given["preview"] and not given["dry_run"]:
        return max(run(preview(settings, given)) for settings in asked)
    return run(_generate(asked, output, given))


def _asked(given: dict[str, Any]) -> list[Settings]:
    """Of each language that -l names."""
    if given["language_file"] or "," not in given["language"]:
        return [_settings(given)]
    for name in ("total", "prefer", "examples", "systems", "system", "document"):
        if given[name]:
            raise UsageError(f"--{name} is for one language, and -l names several.", "leave out one of the two")
    if given["as_json"] and (given["dry_run"] or given["preview"]):
        raise UsageError("--json shows the plan of one language, and -l names several.", "give -l one of them")
    found = [_settings({**given, "language": name.strip()}) for name in given["language"].split(",")]
    asked = {settings.language.code: settings for settings in found}
    return [replace(settings, in_turn=tuple(asked)) for settings in asked.values()]


async def _generate(asked: Sequence[Settings], output: Path, given: dict[str, Any]) -> int:
    wanted = conditions(given["where"], "--where")
    if given["judge"] and not wanted and not given["prefer"]:
        raise UsageError("--judge has nothing to judge.", "say what is wanted: --where quality=good,excellent")
    if given["prefer"] and (output == STREAM or asked[0].end_with == "user"):
        raise UsageError(
            "--prefer wants a corpus with responses, in a file.", "name one with -o, and let it end with them"
        )
    begun: list[Session] = []

    async def planned(session: Session) -> Callable[[], None]:
        return partial(show_plan, await session.plan(), session, consoles.stdout(), given["as_json"])

    done: list[dict[str, Any]] = []
    several = len(asked) > 1
    tell = done.append if several or given["prefer"] else None
    with corpus_at(output, given) as corpus:
        code, short = 0, None
        for settings in continuing.left(asked, corpus.runs):
            progress = Progress(target=settings.target)
            title = f"{settings.language.english} · {settings.steering} · {output}"
            session = _opened(settings, corpus, progress, wanted, given, begun)
            try:
                code = await make(session, corpus, progress, title, given, planned, summary.show, report.as_dict, tell)
            except ShortOfTarget as error:
                short = error  # another language may well come to its own
            if code:
                break
        if given["prefer"] and corpus.path is not None and not (code or short or given["dry_run"]):
            code = await _prefer(asked[0], corpus.path, given)
            if not code and (run_of := begun[0].run):
                run_of.finish("done")
        words = ("view", str(corpus.path)) if corpus.path is not None else ()
    if done and given["as_json"]:
        consoles.show_json({one["language"]: one for one in done} if several else done[0])
    elif several and done and not given["quiet"]:
        summary.show_languages(done, consoles.stderr())
        ending.show(consoles.stderr(), None, *words)
    if short is not None:
        raise short
    return code


async def _prefer(settings: Settings, path: Path, given: dict[str, Any]) -> int:
    """What ``magpie-ollama prefer`` does by its defaults, with the model that answers."""
    from magpie_ollama.commands.preferring import LENGTH_RATIO, MARGIN, TEMPERATURE, prefer  # most runs need none

    given = {**given, "topics": "", "temperature": TEMPERATURE, "margin": MARGIN, "length_ratio": LENGTH_RATIO}
    given |= {"force": False, "as_json": False}
    choice, output = settings.responder or settings.server, free_name(path, "preferred")
    return await prefer(read(path), choice, given["prefer"], settings.language, output, given)


@asynccontextmanager
async def _opened(
    settings: Settings,
    corpus: Corpus,
    progress: Progress,
    wanted: tuple[Condition, ...],
    given: dict[str, Any],
    begun: list[Session],
) -> AsyncIterator[Session]:
    async with open_wanting(settings, corpus, progress, wanted, given) as session:
        begun.append(session)
        session.at_target = "interrupted" if given["prefer"] else "done"
        yield session


def _settings(given: dict[str, Any]) -> Settings:
    if given["only_instructions"]:
        if given["turns"] != "1":
            raise UsageError("--only-instructions makes no conversations.", "give --end-with user in its place")
        given = {**given, "end_with": "user"}
    if given["total"] and _is_given("count"):
        raise UsageError("-n makes so many more, --total makes the corpus have so many.", "leave out one of the two")
    return generating(server_choice(given), given["total"] or given["count"], given)


def _is_given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE
