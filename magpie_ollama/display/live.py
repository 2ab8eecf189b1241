"""What goes on, while it does: a live display on a terminal, plain lines now and then elsewhere; and a run so shown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Literal, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from magpie_ollama.asking import silence
from magpie_ollama.display.characters import inline
from magpie_ollama.display.consoles import say, show_notice
from magpie_ollama.display.suspending import Suspension, in_foreground, suspending
from magpie_ollama.display.words import counted, duration, rate, share, size
from magpie_ollama.records import KEPT
from magpie_ollama.run.progress import Progress

Mode = Literal["live", "plain", "notices", "quiet"]

REFRESH_SECONDS = 0.25
PLAIN_SECONDS = 15.0
"""Between two plain lines: a log of an hour's run stays readable."""

ECHO = 4
"""Columns left free for the ^C that a terminal echoes, twice: were it folded, the line above would not be taken off."""


class Shown(Protocol):
    """What any progress has: the ``step`` under way, when the work itself ``started`` (0.0: not yet), and the
    ``notices`` so far, which are only ever added to: whoever reads them remembers how many."""

    step: str
    started: float
    notices: list[str]


def mode(console: Console, *, quiet: bool, plain: bool) -> Mode:
    """How to show what goes on: unless ``plain`` lines are asked for, live where the cursor of ``console`` can move."""
    if quiet:
        return "quiet"
    return "live" if console.is_interactive and not plain else "plain"


class Showing:
    """Shows ``progress`` from entering the block until ``close`` or its end.

    "live" shows ``picture``, made for a width in columns, anew every ``seconds``, which are its alone; "plain" tells
    ``title``, each step as it begins, and ``line`` every ``PLAIN_SECONDS`` once the work has started; "notices" is for
    a command whose answer is all that is wanted. Notices show in all modes but "quiet".
    """

    def __init__(
        self,
        progress: Shown,
        console: Console,
        mode: Mode,
        picture: Callable[[int], RenderableType],
        line: Callable[[], str],
        *,
        title: str = "",
        seconds: float = REFRESH_SECONDS,
        told: int = 0,
    ) -> None:
        """``told`` of the notices were shown before."""
        self._progress = progress
        self._console = console
        self._mode = mode
        self._picture = picture
        self._line = line
        self._title = title
        self._seconds = seconds
        self.told = told
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        show = {"live": self._live, "plain": self._plain}.get(self._mode)
        if show is not None:
            self._task = asyncio.create_task(show())
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Takes the live display off the screen and tells what was not told yet."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._mode != "quiet":
            self._tell()

    async def _live(self) -> None:
        with suspending() as suspension:
            while True:
                if in_foreground(self._console):
                    await self._draw(suspension)
                else:
                    await asyncio.sleep(self._seconds)
                if suspension.asked:
                    suspension.stop()

    async def _draw(self, suspension: Suspension) -> None:
        """The live display, for as long as it may be there."""
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            try:
                while in_foreground(self._console) and not suspension.asked:
                    self._tell()
                    width = self._console.width - ECHO
                    live.update(Constrain(self._whole(width), width), refresh=True)
                    await asyncio.sleep(self._seconds)
            finally:
                live.update("")  # at its end it is drawn whole: of a picture higher than the screen, lines would stay

    def _whole(self, width: int) -> RenderableType:
        if away := silence.told():
            return Group(self._picture(width), Text(away, style="yellow"))
        return self._picture(width)

    async def _plain(self) -> None:
        step, printed, away = "", time.monotonic(), ""
        if self._title:
            say(self._console, Text(self._title))
        while True:
            self._tell()
            if self._progress.step and self._progress.step != step:
                step = self._progress.step
                say(self._console, Text(f"{step} ..."))
            if away != silence.told():
                away, printed = silence.told(), time.monotonic()
                say(self._console, Text(away or "It answers again."))
            if (self._progress.started or away) and time.monotonic() - printed >= PLAIN_SECONDS:
                printed = time.monotonic()
                parts = (self._line() if self._progress.started else "", away)
                say(self._console, Text(" · ".join(filter(None, parts))))
            await asyncio.sleep(REFRESH_SECONDS)

    def _tell(self) -> None:
        """Prints the notices not told yet."""
        for notice in self._progress.notices[self.told :]:
            self.told += 1
            show_notice(self._console, notice)


class Display(Showing):
    """Shows a run."""

    def __init__(self, progress: Progress, title: str, console: Console, mode: Mode) -> None:
        def picture(width: int) -> RenderableType:
            return _picture(progress, title, width)

        super().__init__(progress, console, mode, picture, lambda: _line(progress), title=title)


def _picture(progress: Progress, title: str, width: int) -> RenderableType:
    lines: list[RenderableType] = []
    if title:
        lines.append(Text(title, style="bold", overflow="ellipsis", no_wrap=True))
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
        lines.append(Text(f"steering: {shares(progress.shares, width - len('steering: '))}", no_wrap=True))
    if progress.newest:
        lines.append(Text(f"“{inline(progress.newest)}”", style="italic green", overflow="ellipsis", no_wrap=True))
    return Group(*lines)


def shares(found: Mapping[str, float], width: int) -> str:
    """The greatest shares, as many as there is room for; the greatest in any case.

    >>> shares({"none@1": 0.5, "exemplar+opener@0.7": 0.25, "system@0.5": 0.25}, 45)
    'none@1 50 % · exemplar+opener@0.7 25 % …'
    """
    whole = [(name, part) for name, part in sorted(found.items(), key=lambda item: -item[1]) if part]
    told = [f"{name} {share(part, 1)}" for name, part in whole]
    while len(" · ".join(told)) + 2 > width and len(told) > 1:
        told.pop()
    return " · ".join(told) + (" …" if len(told) < len(whole) else "")


def _line(progress: Progress) -> str:
    return " · ".join((_count(progress), *_rates(progress), _funnel(progress).plain))


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
        rates = [f"{duration(left)} left", rate(progress.records_per_minute()), *rates]
    return rates


def _funnel(progress: Progress) -> Text:
    funnel = progress.funnel
    parts = [f"{count} {name}" for name, count in funnel.rejected()]
    text = Text(f"{counted(funnel.attempts, 'attempt')}: ")
    text.append(f"{funnel.outcomes[KEPT]} kept", style="green")
    if parts:
        text.append(" · " + " · ".join(parts))
    return text
