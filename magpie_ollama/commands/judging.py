"""A judge beside a run: another model of the same server, or the run's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from magpie_ollama.commands.options import option, together

if TYPE_CHECKING:
    from magpie_ollama.run.session import Session
    from magpie_ollama.servers.loaded import LoadedModel
    from magpie_ollama.tagging.judging import Judging

unproven_option = option("--unproven", is_flag=True, help="Take the judge's word without the proof.")
judge_options = together(
    option(
        "--judge", default="", metavar="MODEL", help="Another model of the same server that judges. Default: the same."
    ),
    unproven_option,
)


async def opened_judge(stack: AsyncExitStack, session: Session, name: str) -> LoadedModel:
    """The model ``name`` for as long as the stack is open, the session's own where none is named, which is told."""
    from magpie_ollama.asking.opening import opened

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
    judging: Judging, scales: Iterable[str], languages: Iterable[str], notices: list[str], given: Mapping[str, Any]
) -> None:
    """Has the judge prove itself on these scales, which is told, unless it was before, or --unproven is given. Raises
    ServerError where it does not."""
    from magpie_ollama.display.judging import proof_lines
    from magpie_ollama.run import measurements
    from magpie_ollama.tagging.proof import check

    wanted = {*scales} & {*judging.proven_on}
    if wanted and given["unproven"]:
        notices.append(f"{judging.model} was not asked to prove that it can judge (--unproven).")
    if given["unproven"] or not wanted:
        return
    found = await judging.prove(dict.fromkeys(languages, ()), measurements.path(judging.loaded, "judge"))
    asked = {
        code: {scale: proof for scale, proof in proofs.items() if scale in wanted} for code, proofs in found.items()
    }
    notices += proof_lines(asked)
    check(judging.model, asked, "--unproven", "--judge")


def own_words(judge: str) -> str:
    return f"{judge} judges what it wrote itself: models prefer their own words. --judge names another one."
