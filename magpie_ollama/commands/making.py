"""A run on the screen, from its first step to its summary: what ``generate`` and ``respond`` share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from rich.console import Console

from magpie_ollama.corpus.corpus import Corpus
from magpie_ollama.display import consoles, live
from magpie_ollama.display.words import counted
from magpie_ollama.errors import INTERRUPTED
from magpie_ollama.run.interrupts import on_interrupt
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import Session

S = TypeVar("S", bound=Session)


async def make(
    opened: AbstractAsyncContextManager[S],
    corpus: Corpus,
    progress: Progress,
    title: str,
    given: Mapping[str, Any],
    plan: Callable[[S], Awaitable[Callable[[], None]]],
    show: Callable[[S, Console], None],
    as_dict: Callable[[S], dict[str, Any]],
) -> int:
    """The exit code. ``plan`` makes what --dry-run shows; ``show`` and ``as_dict`` tell what a run came to."""
    console = consoles.stderr()
    shared = corpus.path is None and consoles.stdout().is_terminal  # records would be written over the display
    mode = live.mode(console, quiet=given["quiet"], plain=given["no_progress"] or shared)
    interrupted = False
    async with live.Display(progress, title, console, mode) as display, opened as session:
        if given["dry_run"]:
            shown = await plan(session)
            await display.close()
            shown()
            return 0
        if not session.settings.target:
            await display.close()
            if given["as_json"]:
                consoles.show_json(as_dict(session))
            elif mode != "quiet":
                console.print("Nothing to do: the corpus has so many.")
            return 0

        def stop() -> str:
            nonlocal interrupted
            interrupted = True
            waiting = session.stop()
            return f"Stopping: {counted(waiting, 'response')} in flight to finish, Ctrl-C again leaves now."

        try:
            with on_interrupt(lambda: progress.notices.append(stop())):
                await session.generate()
        except asyncio.CancelledError:
            if not interrupted:
                raise
        finally:
            await display.close()
            if session.run is not None and mode != "quiet":
                show(session, console)
            if given["as_json"] and session.run is not None:
                consoles.show_json(as_dict(session))
    if not interrupted or (session.run is not None and session.run.kept >= session.run.target):
        return 0
    if mode != "quiet" and corpus.path is not None:
        console.print("Stopped. The same command continues where it stopped.")
    return INTERRUPTED
