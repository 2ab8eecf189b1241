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
    asker: Asker,
    draft: Draft,
    may_go_on: Callable[[Draft], Awaitable[bool]] = _always,
    until: Stage = Stage.RESPONSE,
) -> str:
    """Has written what the draft lacks, up to the end of ``until``. What became of it: ``KEPT``, the ``Reason`` of the
    turn that was rejected, or ``DROPPED`` where it may not go on, which is asked before each turn.

    A draft that was kept with ``until`` its instruction may be given again, to be answered.
    """
    while (stage := draft.lacks) is not None:
        draft.waiting = True
        if not await may_go_on(draft):
            return DROPPED
        draft.waiting = False
        reason = await (asker.instruction if stage is Stage.INSTRUCTION else asker.response)(draft)
        if reason is not None:
            return reason
        if stage is until is Stage.INSTRUCTION:
            break
    return KEPT
