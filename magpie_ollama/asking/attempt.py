"""One attempt: the turns that it lacks, one after another, until one is rejected or all are there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from magpie_ollama.asking.asker import Asker
from magpie_ollama.asking.drafts import Draft
from magpie_ollama.method.reasons import Stage
from magpie_ollama.records import DROPPED, KEPT


async def _always(draft: Draft) -> bool:
    return True


async def attempt(
    asker: Asker, draft: Draft, may_go_on: Callable[[Draft], Awaitable[bool]] = _always, until: Stage | None = None
) -> str:
    """Has written what the draft lacks, or only what is of the stage ``until``. What became of it: ``KEPT``, the
    ``Reason`` of the turn that was rejected, or ``DROPPED`` where it may not go on, which is asked before each turn.

    A rejected response is tried again as often as the draft has ``retries``. A later exchange of a conversation that is
    rejected is tried once more; then it ends there, and is kept if what is finished suffices. A draft that was kept and
    lacks something may be given again, to go on.
    """
    while (stage := draft.lacks) is not None and until in (None, stage):
        draft.waiting = True
        if not await may_go_on(draft):
            return KEPT if draft.closes() else DROPPED
        draft.waiting = False
        reason = await (asker.instruction if stage is Stage.INSTRUCTION else asker.response)(draft)
        if reason is None:
            draft.accept(stage)
        elif stage is Stage.RESPONSE and draft.retry(reason):
            continue
        elif not draft.is_later:
            return reason
        elif not draft.goes_back(reason):
            return KEPT if draft.closes() else reason
    return KEPT
