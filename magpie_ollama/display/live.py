"""A run while it goes on: a live display on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import asyncio
import time
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from magpie_ollama.display.consoles import say, show_notice
from magpie_ollama.display.words import counted, duration, rate, share, size
from magpie_ollama.run.funnel import KEPT, Progress

REFRESH_SECONDS = 0.25
PLAIN_SECONDS = 15.0
"""Between two plain lines: a log of an hour's run stays readable."""


class Display:
    """Shows ``progress`` from entering the block until ``close`` or its end. ``mode`` is "live", "plain", "notices" or
    "quiet"; notices show in all but quiet."""

    def __init__(self, progress: Progress, title: str, console: Console, mode: str) -> None:
        self._progress = progress
        self._console = console
        self._show = {"live": _live, "plain": _plain, "notices": _notices}.get(mode)
        self._title = title
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._show:
            self._task = asyncio.create_task(self._show(self._progress, self._title, self._console))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Takes the live display off the screen and tells what was not told yet."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            _tell(self._progress, self._console)


async def _live(progress: Progress, title: str, console: Console) -> None:
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            _tell(progress, console)
            live.update(_picture(progress, title, console.width), refresh=True)
            await asyncio.sleep(REFRESH_SECONDS)


async def _plain(progress: Progress, title: str, console: Console) -> None:
    step, printed = "", time.monotonic()
    say(console, Text(title))
    while True:
        _tell(progress, console)
        if progress.step and progress.step != step:
            step = progress.step
            say(console, Text(f"{step} ..."))
        if progress.started and time.monotonic() - printed >= PLAIN_SECONDS:
            printed = time.monotonic()
            parts = (_count(progress), *_rates(progress), _funnel(progress).plain)
            say(console, Text(" · ".join(parts)))
        await asyncio.sleep(REFRESH_SECONDS)


async def _notices(progress: Progress, title: str, console: Console) -> None:
    """For a command whose answer is all that is wanted: only what must be told, at its end."""


def _tell(progress: Progress, console: Console) -> None:
    """Prints the notices not told yet."""
    while progress.notices:
        show_notice(console, progress.notices.pop(0))


def _picture(progress: Progress, title: str, width: int) -> RenderableType:
    lines: list[RenderableType] = [Text(title, style="bold", overflow="ellipsis", no_wrap=True)]
    if not progress.started:
        if progress.step_total:
            amount = f"{size(progress.step_done)} of {size(progress.step_total)}"
            lines += [Text(f"{progress.step}: {progress.step_detail}", overflow="ellipsis", no_wrap=True)]
            lines += [_bar(progress.step_done, progress.step_total, amount, width)]
        elif progress.step:
            lines.append(Text(f"{progress.step} ... {duration(progress.step_seconds)}", style="cyan"))
        return Group(*lines)
    lines.append(_bar(progress.kept, progress.target, _count(progress), width))
    lines.append(Text(" · ".join(_rates(progress)), overflow="ellipsis", no_wrap=True))
    lines.append(_funnel(progress))
    if progress.shares:
        best = sorted(progress.shares.items(), key=lambda item: -item[1])[:3]
        shares = " · ".join(f"{way} {share(part, 1)}" for way, part in best)
        lines.append(Text(f"steering: {shares}", overflow="ellipsis", no_wrap=True))
    if progress.newest:
        newest = " ".join(progress.newest.split())
        lines.append(Text(f"“{newest}”", style="italic green", overflow="ellipsis", no_wrap=True))
    return Group(*lines)


def _bar(done: float, total: float, label: str, width: int) -> Table:
    table = Table.grid(expand=False, padding=(0, 1))
    bar = ProgressBar(total=max(total, 1), completed=done, width=max(10, min(width, 80) - len(label) - 2))
    table.add_row(bar, label)
    return table


def _count(progress: Progress) -> str:
    return f"{progress.kept}/{progress.target} kept ({share(progress.kept, progress.target)})"


def _rates(progress: Progress) -> list[str]:
    rates = [f"{progress.tokens_per_second():.0f} tokens/s", f"{progress.in_flight} in flight"]
    left = progress.seconds_left()
    if left is not None:
        rates = [rate(progress.records_per_minute()), *rates, f"{duration(left)} left"]
    return rates


def _funnel(progress: Progress) -> Text:
    funnel = progress.funnel
    parts = [f"{count} {name}" for name, count in funnel.rejected()]
    text = Text(f"{counted(funnel.attempts, 'attempt')}: ")
    text.append(f"{funnel.outcomes[KEPT]} kept", style="green")
    if parts:
        text.append(" · " + " · ".join(parts))
    return text
