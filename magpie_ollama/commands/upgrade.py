"""``magpie-ollama upgrade``: a corpus of an older schema in the newest one."""

from __future__ import annotations

from pathlib import Path

import click
from rich.text import Text

from magpie_ollama.commands.base import Command
from magpie_ollama.commands.cleaning import file_argument
from magpie_ollama.commands.options import debug_option, option, quiet_option
from magpie_ollama.corpus.reading import Rows, is_stream
from magpie_ollama.corpus.rewriting import in_place
from magpie_ollama.curation.provenance import Operation, note
from magpie_ollama.curation.upgrading import survey, upgraded
from magpie_ollama.display import consoles
from magpie_ollama.display.progress import reading_rows
from magpie_ollama.display.words import counted
from magpie_ollama.errors import UsageError
from magpie_ollama.records import SCHEMA


@click.command(cls=Command, examples=("upgrade it.jsonl", "upgrade it.jsonl --json"))
@file_argument
@option("--json", "as_json", is_flag=True, help="The report as JSON on stdout.")
@quiet_option
@debug_option
def command(file: Path, as_json: bool, quiet: bool) -> None:
    """Give a corpus of an older version the keys of this one, in one step; the old file is kept as FILE.bak.

    Its runs are continued as before. A corpus that has the keys already is left as it is.
    """
    if is_stream(file):
        raise UsageError("Stdin or a pipe cannot be changed in place", "name the corpus' file")
    rows = Rows(file)
    try:
        with in_place(file) as output:
            found = survey(rows, file)
            output.unchanged = not found.old
            if found.old:
                with reading_rows(file, skip_bad=False, quiet=quiet) as again:
                    for row in again:
                        output.write(upgraded(row, file, found.staying))
    except UsageError as error:  # what it says of -o is for other commands
        raise UsageError(error.cause, f"make its folder writable, or upgrade a copy of {file}") from error
    if output.backup:
        note(file, Operation.now("upgrade", "", found.records, found.records, {}))
    if as_json:
        facts = {"file": str(file), "backup": str(output.backup or ""), "schema": SCHEMA, "records": found.records}
        consoles.show_json({**facts, "upgraded": found.old, "kept": sorted(found.staying), "left_out": found.left})
    if quiet:
        return
    if found.left and output.backup:
        names = ", ".join(f"{key} ({count:,})" for key, count in list(found.left.items())[:8])
        told = f"In {output.backup} alone, because not every record has them, or not as one plain type: {names}."
        consoles.show_notice(consoles.stderr(), told)
    if not as_json:
        done = f"{file} has schema {SCHEMA} already."
        if found.old:
            done = f"{counted(found.old, 'record')} of {file} upgraded to schema {SCHEMA}"
            done += f"; what it was is kept as {output.backup}."
        consoles.say(consoles.stdout(), Text(done))
