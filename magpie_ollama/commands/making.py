"""A run on the screen, from its first step to its summary: what ``generate``, ``respond`` and ``converse`` share."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from magpie_ollama.corpus.corpus import Corpus, StdoutCorpus
from magpie_ollama.corpus.questions import stem
from magpie_ollama.corpus.reading import is_stream
from magpie_ollama.corpus.rewriting import same_file
from magpie_ollama.display import consoles, ending, live
from magpie_ollama.display.words import counted
from magpie_ollama.errors import INTERRUPTED, UsageError
from magpie_ollama.records import Record
from magpie_ollama.run.interrupts import on_interrupt
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import Session

S = TypeVar("S", bound=Session)

STREAM = Path("-")


def output_of(file: Path, given: Mapping[str, Any], ending: str) -> Path:
    """Where the records go that are made of ``file``: beside it under its name with that ``ending``, unless said."""
    if not given["output"] and is_stream(file):
        raise UsageError(
            "What comes from stdin or a pipe gives no name for the output.", "name it with -o, or -o - for stdout"
        )
    output = Path(given["output"] or file.with_name(f"{stem(file)}{ending}"))
    if same_file(output, file):
        raise UsageError(f"{file} is the corpus itself", "name another one with -o")
    refuse_both(output, given)
    return output


def refuse_both(output: Path, given: Mapping[str, Any]) -> None:
    if output == STREAM and given["as_json"]:
        raise UsageError("--json and -o - both want stdout.", "leave out one of the two")


def corpus_at(output: Path, given: Mapping[str, Any]) -> Corpus:
    return StdoutCorpus() if output == STREAM else Corpus.open(output, sync=given["sync"])


async def make(
    opened: AbstractAsyncContextManager[S],
    corpus: Corpus,
    progress: Progress,
    title: str,
    given: Mapping[str, Any],
    plan: Callable[[S], Awaitable[Callable[[], None]]],
    show: Callable[[S, Console], None],
    as_dict: Callable[[S], dict[str, Any]],
    tell: Callable[[dict[str, Any]], None] | None = None,
) -> int:
    """The exit code. ``plan`` makes what --dry-run shows; ``show`` and ``as_dict`` tell what a run came to. Of one
    among several runs ``tell`` gets that, and says the end."""
    console = consoles.stderr()
    # Records would be written over the display.
    shared = corpus.path is None and not given.get("preview") and consoles.stdout().is_terminal
    mode = live.mode(console, quiet=given["quiet"], plain=given["no_progress"] or shared)
    interrupted = False
    made: deque[Record] = deque(maxlen=1)
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
                await session.generate(made.append)
        except asyncio.CancelledError:
            if not interrupted:
                raise
        finally:
            await display.close()
            if session.run is not None and mode != "quiet":
                show(session, console)
            if tell is not None and session.run is not None:
                tell(as_dict(session))
            elif given["as_json"] and session.run is not None:
                consoles.show_json(as_dict(session))
    if not interrupted or (session.run is not None and session.run.kept >= session.run.target):
        if tell is None and mode != "quiet" and not given["as_json"]:
            words = ("view", str(corpus.path)) if corpus.path is not None else ()
            newest = [(one.instruction, one.response) for one in made if words]  # what is on stdout is seen there
            ending.show(console, next(iter(newest), None), *words)
        return 0
    if mode != "quiet" and corpus.path is not None:
        console.print("Stopped. The same command continues where it stopped.")
    return INTERRUPTED
