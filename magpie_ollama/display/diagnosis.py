"""The doctor's findings: a line each as they come, with the check under way below them on a terminal."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from magpie_ollama.display.consoles import say
from magpie_ollama.display.live import Showing
from magpie_ollama.display.words import duration, size
from magpie_ollama.doctor.findings import Diagnosis, Finding
from magpie_ollama.run.progress import Progress

SIGNS = {"ok": ("✓", "green"), "warning": ("!", "bold yellow"), "error": ("✗", "bold red")}
NAMES = 15
"""Columns of the longest name, "exemplar+opener": findings come one by one, so that no table can measure them."""


def show_finding(finding: Finding, console: Console) -> None:
    """Sign, name and text; under it the remedy. On a terminal they fold within their column, elsewhere they are a line
    each."""
    sign, style = SIGNS[finding.verdict]
    if not console.is_terminal:
        say(console, Text(f"{sign} {finding.name:<{NAMES}}  {finding.text}"))
        if finding.remedy:
            say(console, Text(f"  {'':<{NAMES}}  → {finding.remedy}"))
        return
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(width=NAMES + 1, style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(Text(sign, style), finding.name, Text(finding.text))
    if finding.remedy:
        table.add_row("", "", Text(f"→ {finding.remedy}", style="cyan"))
    console.print(table)


def show_end(diagnosis: Diagnosis, console: Console) -> None:
    counts = Counter(finding.verdict for finding in diagnosis.findings)
    parts = [f"{counts[verdict]} {verdict}{'s' * (counts[verdict] > 1)}" for verdict in ("error", "warning")]
    told = [part for part in parts if not part.startswith("0")]
    say(console, Text(f"{len(diagnosis.findings)} checks: {', '.join(told) or 'all is well'}.", style="bold"))


def under_way(progress: Progress, console: Console) -> Showing:
    """Shows what is being done, and for how long, on the last line of a terminal; elsewhere nothing."""
    return Showing(progress, console, "live" if console.is_interactive else "quiet", lambda width: _line(progress), str)


def _line(progress: Progress) -> Text:
    if not progress.step:
        return Text()
    amount = f"{size(progress.step_done)} of {size(progress.step_total)}" if progress.step_total else ""
    parts = filter(None, (progress.step, progress.step_detail, amount, duration(progress.step_seconds)))
    return Text(f"… {' · '.join(parts)}", style="dim", overflow="ellipsis", no_wrap=True)
