"""A run until so many records count: what a corpus lacks of a total, of those alone that a judge tags as is wanted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from magpie_ollama.asking.opening import opened
from magpie_ollama.asking.settings import Settings
from magpie_ollama.corpus.corpus import Corpus
from magpie_ollama.errors import UsageError
from magpie_ollama.run import measurements
from magpie_ollama.run.parallel import USUAL
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import Session, open_session
from magpie_ollama.servers.loaded import LoadedModel
from magpie_ollama.tagging.judgements import Judgements
from magpie_ollama.tagging.judging import Judging, JudgingProgress
from magpie_ollama.tagging.proof import check, proof_lines
from magpie_ollama.tagging.wanted import Condition, Gate


@asynccontextmanager
async def open_wanting(
    settings: Settings,
    corpus: Corpus,
    progress: Progress,
    wanted: tuple[Condition, ...],
    given: Mapping[str, Any],
) -> AsyncIterator[Session]:
    """With the judge of the ``wanted`` records, and the target that ``total`` leaves. Raises MagpieError."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(open_session(settings, corpus, progress))
        there, look = corpus.records, given.get("dry_run")
        if wanted:
            if corpus.path is None:
                raise UsageError("Judgements lie beside the corpus, and a stream has no place.", "name a file with -o")
            judge = await _opened_judge(stack, session, given["judge"])
            judging = Judging(judge, settings.parallel or USUAL, JudgingProgress(notices=progress.notices), "--judge")
            judgements = stack.enter_context(Judgements(corpus.path, judging.judge, judging.model))
            if not look:
                progress.enter("Proving the judge, once a model and language")
                names, code = [name for name, _ in wanted], settings.language.code
                await check_proven(judging, names, [code], progress.notices, given["unproven"])
                progress.enter("")
            session.gate = gate = Gate(judging, judgements, wanted)
            if given["total"] and there and not look:
                progress.enter("Judging the records that are there")
                there = await gate.there(corpus.path)
                progress.enter("")
        if given["total"]:
            session.lack(max(0, given["total"] - there))
        yield session


async def _opened_judge(stack: AsyncExitStack, session: Session, name: str) -> LoadedModel:
    """The model ``name`` for as long as the stack is open, the session's own where none is named, which is told."""
    judge, notices = session.model, session.progress.notices
    if name:
        settings = session.settings
        opening = opened(settings.server.beside(name), settings.parallel, session.progress, stands_in=False)
        judge = await stack.enter_async_context(opening)
        if await session.model.in_memory() is None:
            notices.append(
                f"{judge.name} and {session.model.name} are not in memory together, and are loaded in turn: that takes "
                "long. A smaller --judge may fit."
            )
    if judge.name in (session.model.name, session.responder.name):
        notices.append(own_words(judge.name))
    return judge


async def check_proven(
    judging: Judging, scales: Iterable[str], languages: Iterable[str], notices: list[str], unproven: bool
) -> None:
    """Has the judge prove itself on these scales, which is told, unless it was before, or it need not: ``unproven``.
    Raises ServerError where it does not."""
    wanted = {*scales} & {*judging.proven_on}
    if wanted and unproven:
        notices.append(f"{judging.model} was not asked to prove that it can judge (--unproven).")
    if unproven or not wanted:
        return
    found = await judging.prove(dict.fromkeys(languages, ()), measurements.path(judging.loaded, "judge"))
    asked = {
        code: {scale: proof for scale, proof in proofs.items() if scale in wanted} for code, proofs in found.items()
    }
    notices += proof_lines(asked)
    check(judging.model, asked, "--unproven", "--judge")


def own_words(judge: str) -> str:
    return f"{judge} judges what it wrote itself: models prefer their own words. --judge names another one."
