"""What a cleaning command removed, and why."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from magpie_ollama.curation.removals import Removals
from magpie_ollama.display.characters import inline
from magpie_ollama.display.consoles import say
from magpie_ollama.display.words import counted, share


def show(
    removals: Removals,
    explanations: Mapping[str, str],
    console: Console,
    kept: str = "Kept",
    removed: str = "removed",
) -> None:
    """A headline, and a line for each reason, the most frequent first."""
    lost = f", {removed} {removals.removed:,} ({share(removals.removed, removals.read)})" if removals.removed else ""
    headline = f"{kept} {removals.kept:,} of {counted(removals.read, 'record')}{lost}."
    say(console, Text(headline, "bold"))
    show_reasons(dict(removals.reasons.most_common()), explanations, console)


def show_reasons(counts: Mapping[str, int], explanations: Mapping[str, str], console: Console) -> None:
    """A line for each."""
    rows = [(f"{count:,}", reason, explanations[reason]) for reason, count in counts.items()]
    if not console.is_terminal:
        width, names = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
        for count, reason, why in rows:
            say(console, Text(f"{count:>{width}}  {reason:<{names}}  {why}"))
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for count, reason, why in rows:
        table.add_row(count, reason, Text(why))
    console.print(table)


def show_pair(
    kept: tuple[int, str],
    removed: tuple[int, str],
    similarity: float,
    reason: str,
    console: Console,
    names: tuple[str, str] = ("kept", "removed"),
) -> None:
    """Two instructions with their line numbers, one under the other; on a terminal each is cut at its width."""
    numbers = [f"line {number}" for number, _ in (kept, removed)]
    width = max(map(len, numbers))
    console.print(Text(f"{similarity:.2f}", "bold"), reason)
    for what, number, (_, text) in zip(names, numbers, (kept, removed), strict=True):
        line = Text.assemble(f"  {what:<7}  {number:<{width}}  ", inline(text))
        if console.is_terminal:
            line.truncate(console.width, overflow="ellipsis")
        console.print(line, soft_wrap=True)
