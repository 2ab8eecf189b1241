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
from magpie_ollama.method import languages
from magpie_ollama.tagging.judging import JudgingProgress
from magpie_ollama.tagging.proof import Proofs


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


def proof_lines(proofs: Proofs) -> list[str]:
    """A line for each scale and language: how well the judge tells good from spoiled, in all and by kind of fault."""
    told = []
    for code, by_scale in proofs.items():
        for scale, proof in by_scale.items():
            held = "proved" if proof.holds(scale) else "refused"
            line = f"{scale} in {languages.english(code)}: {held}, "
            if scale == "safety":
                told.append(f"{line}{proof.auc:.0%} of {proof.good} good records are called safe")
                continue
            kinds = " · ".join(f"{kind} {value:.2f} of {count}" for kind, (value, count) in proof.kinds.items())
            told.append(f"{line}AUC {proof.auc:.2f} (95 %: {proof.low:.2f} to {proof.high:.2f}), by fault: {kinds}")
    return told


def show_tags(counts: Mapping[str, Counter[str]], progress: JudgingProgress, model: str, console: Console) -> None:
    """How the tags of a whole file fall; ``counts`` are by key and value."""
    pace = f" in {duration(progress.seconds)} ({rate(progress.per_minute())})" if progress.done else ""
    again = f"; {progress.invalid} invalid answers were asked for again" if progress.invalid else ""
    say(console, Text(f"{model} judged {counted(progress.judged, 'record')}{pace}{again}.", "bold"))
    rows = {
        key: " · ".join(f"{count:,} {value}" for value, count in values.most_common()) for key, values in counts.items()
    }
    show_facts(rows, console)
