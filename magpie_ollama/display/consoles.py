"""The two consoles: what the user asked for goes to stdout, everything else to stderr."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from magpie_ollama.errors import MagpieError


def stderr() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=False)


def stdout() -> Console:
    return Console(highlight=False)


def show_error(error: MagpieError) -> None:
    """The cause, and under it the next command."""
    console = stderr()
    console.print(Text.assemble(("error: ", "bold red"), _sentence(error.cause)), soft_wrap=True)
    if error.remedy:
        console.print(Text.assemble(("   next: ", "bold"), error.remedy), soft_wrap=True)


def show_notice(console: Console, notice: str) -> None:
    console.print(Text.assemble(("note: ", "bold yellow"), _sentence(notice)), soft_wrap=True)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
