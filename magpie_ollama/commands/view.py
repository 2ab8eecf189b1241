"""``magpie-ollama view``: a corpus to read, one record a page."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

import click

from magpie_ollama.commands.base import Command
from magpie_ollama.commands.options import debug_option, option
from magpie_ollama.corpus.reading import Rows
from magpie_ollama.curation.pages import Lines, Page, opened, page
from magpie_ollama.display import consoles, record
from magpie_ollama.display.pager import browse
from magpie_ollama.errors import NotACorpus, UsageError


@click.command(cls=Command, examples=("view it.jsonl", "view it.jsonl --start 200"))
@click.argument("file", type=click.Path(path_type=Path))
@option("--start", type=click.IntRange(min=1), default=1, help="The line to begin with.")
@debug_option
def command(file: Path, start: int) -> None:
    """Read a corpus, one record a page. FILE is any JSONL file of instruction data; - is stdin.

    \b
    n, right, Enter   next record            g, G    first, last record
    p, left           record before          :N      to line N; the digits alone will do
    space             on, to the next        /text   search on, in texts and fields; / again
    j k, up, down     scroll within one      N       search back
    q                 quit

    Where stdout is no terminal, the records are printed one after another.
    """
    Rows(file)  # names what is no such file
    console = consoles.stdout()
    with opened(file) as lines:
        _check(lines, file)
        if console.is_interactive and not console.legacy_windows:
            browse(lines, "stdin" if file == Path("-") else file.name, start, console)
        else:
            pages = _pages(lines, start)
            first = next(pages, None)
            if first is None:
                raise UsageError(f"There is no line {start:,}: {file} has {lines.count:,}", "give a lower --start")
            record.show(chain((first,), pages), console)


def _pages(lines: Lines, start: int) -> Iterator[Page]:
    """The pages from line ``start`` on, without blank lines."""
    for index in count(start - 1):
        while index >= lines.count:
            if not lines.extend():
                return
        if lines[index].strip():
            yield page(index + 1, lines[index])


def _check(lines: Lines, file: Path) -> None:
    """Raises NotACorpus where no line is a record. Single bad ones are shown as what they are."""
    wrong = "it is empty"
    for found in _pages(lines, 1):
        if not found.wrong:
            return
        wrong = f"line {found.number} {found.wrong}" if wrong == "it is empty" else wrong
    raise NotACorpus(
        f"{file} holds no instruction data: {wrong}",
        "give a JSONL file with messages, conversations, instruction and output, or prompt and completion",
    )
