"""How far a large file is read: a bar on stderr, gone when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from magpie_ollama.corpus.forms import Wanted
from magpie_ollama.corpus.names import Columns
from magpie_ollama.corpus.reading import Rows, size_of
from magpie_ollama.display import consoles
from magpie_ollama.display.characters import inline
from magpie_ollama.display.suspending import suspending
from magpie_ollama.errors import NotACorpus

LARGE = 20_000_000
"""Bytes below which a file is read before a bar could be looked at."""


@contextmanager
def reading(label: str, size: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Gives the function to call with the bytes read so far, of ``size``. The bar is shown on a terminal only.

    A command that writes lines to the same terminal meanwhile (``-o -``) has to ask for ``quiet``.
    """
    console = consoles.stderr()
    if quiet or size < LARGE or not console.is_interactive:
        yield lambda done: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress, suspending() as suspension:
        task = progress.add_task(label, total=size)

        def read(done: int) -> None:
            progress.update(task, completed=done)
            if suspension.asked:
                console.show_cursor(True)
                suspension.stop()
                console.show_cursor(False)

        yield read


@contextmanager
def reading_rows(path: Path, *, skip_bad: bool, quiet: bool, columns: Columns | None = None) -> Iterator[Rows]:
    """The rows of a file with their bar and, at the end, the notice on bad lines. To be read to their end.

    Raises as ``Rows`` does, and NotACorpus where there was no record at all.
    """
    with reading(f"Reading {inline(path.name)}", size_of(path), quiet) as on_progress:
        rows = Rows(path, skip_bad=skip_bad, columns=columns, on_progress=on_progress, wanted=Wanted())
        yield rows
    if rows.bad and not quiet:
        consoles.show_notice(consoles.stderr(), inline(rows.notice()))
    if not rows.count:
        raise NotACorpus(f"{path} holds no records", "make some with `magpie-ollama generate`")
