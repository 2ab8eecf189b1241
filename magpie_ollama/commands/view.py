"""``magpie-ollama view``: a corpus to read, one record a page."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import click

from magpie_ollama.commands.base import Command
from magpie_ollama.commands.options import debug_option, html_option, option
from magpie_ollama.corpus.reading import Rows
from magpie_ollama.curation.pages import check, from_line, opened
from magpie_ollama.display import consoles, record
from magpie_ollama.display.pager import Pager
from magpie_ollama.errors import UsageError


@click.command(cls=Command, examples=("view it.jsonl --start 200", "view it.jsonl --html it.html"))
@click.argument("file", type=click.Path(path_type=Path))
@option("--start", type=click.IntRange(min=1), default=1, help="The line to begin with.")
@html_option("the records, at most 5,000,")
@debug_option
def command(file: Path, start: int, html: Path | None) -> None:
    """Read a corpus, one record a page. FILE is any JSONL file of instruction data; - is stdin.

    In a terminal, ? shows the keys: right and left, / to search, q to quit.

    Where stdout is no terminal, the records are printed one after another.
    """
    Rows(file)  # names what is no such file
    console = consoles.stdout()
    with opened(file) as lines:
        check(lines, file)
        if html is not None:
            from magpie_ollama.web.pages import of_corpus, write

            write(html, of_corpus(file, lines, start))
        elif console.is_interactive and not console.legacy_windows:
            from magpie_ollama.display.fullscreen import Screen  # prompt_toolkit takes a third of a second

            screen = Screen(console)
            pager = Pager(lines, "stdin" if file == Path("-") else file.name, screen.stop)
            screen.show(pager, lambda: pager.jump(start))
        else:
            pages = from_line(lines, start)
            first = next(pages, None)
            if first is None:
                raise UsageError(f"There is no line {start:,}: {file} has {lines.count:,}", "give a lower --start")
            record.show(chain((first,), pages), console)
