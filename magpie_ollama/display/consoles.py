"""The two consoles: what the user asked for goes to stdout, everything else to stderr.

All that a command shows goes through here, and nothing of it is taken for a command to the terminal or for markup: a
model's text, a server's words, a file's name. Data, as records on stdout, is written as it stands.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from magpie_ollama.display import characters
from magpie_ollama.display.characters import printable
from magpie_ollama.errors import MagpieError


class _Console(Console):
    """Rich makes a terminal of any stream where FORCE_COLOR is set, which asks for colours and no more, and
    takes any for interactive, a pipe too, where TTY_INTERACTIVE is."""

    def __init__(self, **settings: Any) -> None:
        forced = os.environ.get("FORCE_COLOR", "") not in ("", "0")
        settings = {"highlight": False, "markup": False, "emoji": False, **settings}
        super().__init__(color_system="standard" if forced else "auto", **settings)
        self.is_interactive = self.is_interactive and self.is_terminal

    @property
    def is_terminal(self) -> bool:
        return super().is_terminal and self.file.isatty()

    def render_str(self, text: str, **settings: Any) -> Text:
        return characters.harmless(super().render_str(text, **settings))

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Control characters become escapes here, before their text is folded; again when it is drawn, whatever drew
        it."""
        if isinstance(renderable, Text):
            renderable = characters.harmless(renderable)
        for segment in super().render(renderable, options):
            safe = segment.text if segment.control else characters.stripped(segment.text)
            yield segment if safe == segment.text else Segment(safe, segment.style)


class _Stdout(_Console):
    def on_broken_pipe(self) -> None:
        """Leaves the error to the command line's frame, which ends every command alike."""
        raise


def stderr() -> Console:
    return _Console(stderr=True)


def stdout() -> Console:
    return _Stdout()


def show_json(value: object, *, err: bool = False) -> None:
    """``value`` on stdout, or stderr, for programs: exact, and harmless where a person looks at it."""
    click.echo(characters.as_json(json.dumps(value, ensure_ascii=False, indent=2)), err=err)


def show_error(error: MagpieError) -> None:
    """The cause, and under it the next command."""
    console = stderr()
    say(console, Text.assemble(("error: ", "bold red"), _sentence(error.cause)))
    if error.remedy:
        say(console, Text.assemble(("   next: ", "bold"), printable(error.remedy)))


def show_notice(console: Console, notice: str) -> None:
    say(console, Text.assemble(("note: ", "bold yellow"), _sentence(notice)))


def say(console: Console, text: Text) -> None:
    """Folds a line at words on a terminal; elsewhere a line stays one line, for grep. It is one whatever ``text``
    quotes: a server's words must not look like lines of ours."""
    console.print(Text(" ").join(text.split("\n")), soft_wrap=not console.is_terminal)


def show_facts(rows: dict[str, str], console: Console) -> None:
    """Names and values, a pair a line; on a terminal, long values fold within their column. Further lines of a value
    are set in as far as its first."""
    if not console.is_terminal:
        width = max(map(len, rows))
        for name, value in rows.items():
            set_in = value.replace("\n", f"\n{'':<{width}}  ")
            console.print(Text(f"{name:<{width}}  {set_in}"), soft_wrap=True)
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
