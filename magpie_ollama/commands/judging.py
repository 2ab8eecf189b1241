"""A judge beside a run: another model of the same server, or the run's own."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from magpie_ollama.commands.options import option

if TYPE_CHECKING:
    from magpie_ollama.run.session import Session
    from magpie_ollama.servers.loaded import LoadedModel

judge_option = option(
    "--judge", default="", metavar="MODEL", help="Another model of the same server that judges. Default: the same."
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


def own_words(judge: str) -> str:
    return f"{judge} judges what it wrote itself: models prefer their own words. --judge names another one."
