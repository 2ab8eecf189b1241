"""A judging while it goes on, and what it came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from magpie_ollama.display.consoles import say, show_facts
from magpie_ollama.display.live import Mode, Showing
from magpie_ollama.display.words import counted, duration, rate, share
from magpie_ollama.tagging.judging import JudgingProgress


def showing(progress: JudgingProgress, console: Console, mode: Mode) -> Showing:
    """Shows ``progress`` within its block: a bar where ``mode`` is "live", lines now and then where it is "plain"."""
    return Showing(progress, console, mode, lambda width: _picture(progress, width), lambda: _line(progress))


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


def _line(progress: JudgingProgress) -> str:
    return " · ".join((_count(progress), *_rates(progress)))


def _count(progress: JudgingProgress) -> str:
    return f"{progress.done}/{progress.total} {progress.deed} ({share(progress.done, progress.total)})"


def _rates(progress: JudgingProgress) -> list[str]:
    parts = [f"{progress.in_flight} in flight"]
    left = progress.seconds_left()
    if left is not None:
        parts = [f"{duration(left)} left", rate(progress.per_minute()), *parts]
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
