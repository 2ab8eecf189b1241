"""What ``generate`` does with its options."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from magpie_ollama.asking.settings import Settings
from magpie_ollama.commands import configuration
from magpie_ollama.commands.judging import opened_judge
from magpie_ollama.commands.making import corpus_at, make, refuse_both
from magpie_ollama.commands.options import server_choice
from magpie_ollama.commands.previewing import preview
from magpie_ollama.corpus.corpus import Corpus
from magpie_ollama.display import consoles, summary
from magpie_ollama.display.plan import show_plan
from magpie_ollama.errors import UsageError
from magpie_ollama.run import report
from magpie_ollama.run.asked import generating
from magpie_ollama.run.interrupts import run
from magpie_ollama.run.parallel import USUAL
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import Session, open_session
from magpie_ollama.tagging.judgements import Judgements
from magpie_ollama.tagging.judging import Judging, JudgingProgress
from magpie_ollama.tagging.wanted import Condition, Gate, conditions


def generate(given: dict[str, Any]) -> int:
    settings = _settings(given)
    output = Path(given["output"] or configuration.in_folder(f"{settings.language.code}.jsonl"))
    refuse_both(output, given)
    if given["preview"] and not given["dry_run"]:
        return run(preview(settings, given))
    return run(_generate(settings, output, given))


async def _generate(settings: Settings, output: Path, given: dict[str, Any]) -> int:
    wanted = conditions(given["where"], "--where")
    if given["judge"] and not wanted:
        raise UsageError("--judge has nothing to judge.", "say what is wanted: --where quality=good,excellent")
    progress = Progress(target=settings.target)
    title = f"{settings.language.english} · {settings.steering} · {output}"

    async def planned(session: Session) -> Callable[[], None]:
        return partial(show_plan, await session.plan(), session, consoles.stdout(), given["as_json"])

    with corpus_at(output, given) as corpus:
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
    if given["only_instructions"]:
        if given["turns"] != "1":
            raise UsageError("--only-instructions makes no conversations.", "give --end-with user in its place")
        given = {**given, "end_with": "user"}
    if given["total"] and _is_given("count"):
        raise UsageError("-n makes so many more, --total makes the corpus have so many.", "leave out one of the two")
    return generating(server_choice(given), given["total"] or given["count"], given)


def _is_given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE
