"""The two consoles: what the user asked for goes to stdout, everything else to stderr."""

from __future__ import annotations

import os
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from magpie_ollama.display.characters import printable
from magpie_ollama.errors import MagpieError


class _Console(Console):
    """Rich makes a terminal of any stream where FORCE_COLOR is set, which asks for colours and no more, and
    takes any for interactive, a pipe too, where TTY_INTERACTIVE is."""

    def __init__(self, **settings: Any) -> None:
        forced = os.environ.get("FORCE_COLOR", "") not in ("", "0")
        super().__init__(highlight=False, color_system="standard" if forced else "auto", **settings)
        self.is_interactive = self.is_interactive and self.is_terminal

    @property
    def is_terminal(self) -> bool:
        return super().is_terminal and self.file.isatty()


class _Stdout(_Console):
    def on_broken_pipe(self) -> None:
        """Leaves the error to the command line's frame, which ends every command alike."""
        raise


def stderr() -> Console:
    return _Console(stderr=True)


def stdout() -> Console:
    return _Stdout()


def show_error(error: MagpieError) -> None:
    """The cause, and under it the next command."""
    console = stderr()
    say(console, Text.assemble(("error: ", "bold red"), _sentence(error.cause)))
    if error.remedy:
        say(console, Text.assemble(("   next: ", "bold"), printable(error.remedy)))


def show_notice(console: Console, notice: str) -> None:
    say(console, Text.assemble(("note: ", "bold yellow"), _sentence(notice)))


def say(console: Console, text: Text) -> None:
    """Folds a line at words on a terminal; elsewhere a line stays one line, for grep."""
    console.print(text, soft_wrap=not console.is_terminal)


def show_facts(rows: dict[str, str], console: Console) -> None:
    """Names and values, a pair a line; on a terminal, long values fold within their column."""
    if not console.is_terminal:
        width = max(map(len, rows))
        for name, value in rows.items():
            console.print(Text(f"{name:<{width}}  {value}"), soft_wrap=True)
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, Text(value))
    console.print(table)


def _sentence(text: str) -> str:
    """With a full stop. A capital is the text's own matter: it may begin with a name or path of its own spelling."""
    text = printable(text)
    return text if text.endswith((".", "!", "?")) else f"{text}."
