"""How a command ends: one of the records that it made, in short, and the command that comes next."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console
from rich.text import Text

from magpie_ollama.display.characters import inline, printable

LONGEST = 160
"""Letters of a line where no terminal says how wide it is."""


def show(console: Console, example: tuple[str, str] | None, *words: str) -> None:
    """``example`` is an instruction and what became of it; ``words`` are a command line without the program's name."""
    for mark, text in zip(("e.g.  ", "   →  "), example or (), strict=False):
        line = Text.assemble((mark, "bold"), inline(text[: 2 * LONGEST]))
        line.truncate(console.width if console.is_terminal else LONGEST, overflow="ellipsis")
        if text:
            console.print(line, soft_wrap=True)
    if words:  # in one piece: folded it could not be copied
        told = printable(shlex.join(("magpie-ollama", *map(_here, words))))
        console.print(Text.assemble(("next: ", "bold"), told), soft_wrap=True)


def _here(word: str) -> str:
    """A path as one names it in this folder."""
    path, here = Path(word), Path.cwd()
    return str(path.relative_to(here)) if path.is_absolute() and path.is_relative_to(here) else word
