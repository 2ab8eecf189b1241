"""A judging while it goes on, and what it came to."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from magpie_ollama.display.consoles import say, show_facts, show_notice
from magpie_ollama.display.live import PLAIN_SECONDS, REFRESH_SECONDS
from magpie_ollama.display.words import counted, duration, rate, share
from magpie_ollama.run.judging import JudgingProgress


@asynccontextmanager
async def showing(progress: JudgingProgress, console: Console, mode: str) -> AsyncIterator[None]:
    """Shows ``progress`` within the block: a bar where ``mode`` is "live", lines now and then where it is "plain"."""
    show = {"live": _live, "plain": _plain}.get(mode)
    if show is None:
        yield
        return
    task = asyncio.create_task(show(progress, console))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        _tell(progress, console)


async def _live(progress: JudgingProgress, console: Console) -> None:
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            _tell(progress, console)
            live.update(_picture(progress, console.width), refresh=True)
            await asyncio.sleep(REFRESH_SECONDS)


async def _plain(progress: JudgingProgress, console: Console) -> None:
    step, printed = "", time.monotonic()
    while True:
        _tell(progress, console)
        if progress.step and progress.step != step:
            step = progress.step
            say(console, Text(f"{step} ..."))
        if progress.started and time.monotonic() - printed >= PLAIN_SECONDS:
            printed = time.monotonic()
            say(console, Text(" · ".join((_count(progress), *_rates(progress)))))
        await asyncio.sleep(REFRESH_SECONDS)


def _tell(progress: JudgingProgress, console: Console) -> None:
    while progress.notices:
        show_notice(console, progress.notices.pop(0))


def _picture(progress: JudgingProgress, width: int) -> Text | Table:
    if not progress.started:
        return Text(f"{progress.step} ..." if progress.step else "", style="cyan")
    table = Table.grid()
    count = _count(progress)
    bar = ProgressBar(total=max(progress.total, 1), completed=progress.done, width=max(10, min(width, 80) - len(count)))
    line = Table.grid(padding=(0, 1))
    line.add_row(bar, count)
    table.add_row(line)
    table.add_row(Text(" · ".join(_rates(progress)), overflow="ellipsis", no_wrap=True))
    return table


def _count(progress: JudgingProgress) -> str:
    return f"{progress.done}/{progress.total} judged ({share(progress.done, progress.total)})"


def _rates(progress: JudgingProgress) -> list[str]:
    parts = [f"{progress.in_flight} in flight"]
    left = progress.seconds_left()
    if left is not None:
        parts = [rate(progress.per_minute()), *parts, f"{duration(left)} left"]
    if progress.invalid:
        parts.append(f"{progress.invalid} invalid answers")
    if progress.unjudged:
        parts.append(f"{progress.unjudged} given up")
    return parts


def show_tags(counts: Mapping[str, Counter[str]], progress: JudgingProgress, model: str, console: Console) -> None:
    """How the tags of a whole file fall; ``counts`` are by key and value."""
    pace = f" in {duration(progress.seconds)} ({rate(progress.per_minute())})" if progress.done else ""
    again = f"; {progress.invalid} invalid answers were asked for again" if progress.invalid else ""
    say(console, Text(f"{model} judged {counted(progress.judged, 'record')}{pace}{again}.", "bold"))
    rows = {
        key: " · ".join(f"{count:,} {value}" for value, count in values.most_common()) for key, values in counts.items()
    }
    show_facts(rows, console)
