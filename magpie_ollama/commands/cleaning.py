"""What the commands that clean a file share: where its records go, and the report of what was removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.text import Text

from magpie_ollama.commands.options import (
    FETCHED,
    DataPath,
    OutputPath,
    debug_option,
    option,
    quiet_option,
    rules_given,
    together,
)
from magpie_ollama.corpus.forms import Wanted
from magpie_ollama.corpus.reading import Row, Rows, is_stream, size_of
from magpie_ollama.corpus.rewriting import Output, in_place, new_file, same_file
from magpie_ollama.curation.provenance import Carrier, Operation, carrying, note
from magpie_ollama.curation.removals import BAD_LINE, Removals
from magpie_ollama.display import consoles, ending, removals
from magpie_ollama.display.progress import reading
from magpie_ollama.errors import CorpusError, UsageError

F = TypeVar("F", bound=Callable[..., Any])

STREAM = Path("-")

ENOUGH = 100
"""Records of which a tenth on another side tells something."""


def file_argument(command: F) -> F:
    return click.argument("file", type=click.Path(path_type=Path))(command)


def data_argument(command: F) -> F:
    """A file, or a dataset of the Hub, which is read and stays as it is."""
    return click.argument("file", type=DataPath(), metavar="FILE|OWNER/DATASET[:SPLIT]")(command)


def writing_options(name: str) -> Callable[[F], F]:
    """Where the records that stay are written, and what is told, for the command of that name."""
    return together(
        option(
            "-o",
            "--output",
            envvar=f"MAGPIE_OLLAMA_{name.upper()}_OUTPUT",
            type=OutputPath(),
            help="The new file; - for stdout. Without it and --in-place, nothing is written, only told.",
        ),
        option("--in-place", is_flag=True, help="Replace FILE in one step; the old one is kept as FILE.bak."),
        option("--force", is_flag=True, help="Replace the file of -o."),
        option("--skip-bad", is_flag=True, help="Remove lines that are no records."),
        option("--json", "as_json", is_flag=True, help="The report as JSON on stdout (stderr with -o -)."),
        quiet_option,
        debug_option,
    )


@dataclass(slots=True)
class Cleaning:
    """One file on its way through a command. ``facts`` are further keys of the report as JSON."""

    rows: Rows
    output: Output | None
    again: Callable[[], AbstractContextManager[Rows]]
    """The rows once more, from the beginning, for what has to see all of them first."""
    removals: Removals = field(default_factory=Removals)
    runs: set[str] = field(default_factory=set)
    facts: dict[str, Any] = field(default_factory=dict)
    example: tuple[str, str] | None = None
    """Instruction and response of the first that stayed."""

    def settle(self, row: Row, reason: str | None) -> None:
        """Write a row that stays (None), or count the reason why it does not."""
        self.removals.count(reason)
        if reason is None and self.output is not None:
            self.output.write(row.line)
            self.runs.add(row.text("run"))
            self.example = self.example or (row.instruction, row.response)


@contextmanager
def cleaning(
    file: Path, explanations: Mapping[str, str], given: Mapping[str, Any], *, prints: bool = False
) -> Iterator[Cleaning]:
    """The block says of each row whether it stays. What is written is there, whole, when the block has ended; then the
    report is given. Where the block fails, nothing is written. ``given`` are the options of ``writing_options``. Where
    the block itself ``prints``, no progress bar takes its lines away."""
    output: Path | None = given["output"]
    no_bar = given["quiet"] or prints or output == STREAM
    _check(file, output, given["in_place"])

    @contextmanager
    def read() -> Iterator[Rows]:
        with reading(f"Reading {file.name}", size_of(file), no_bar) as on_progress:
            # In place, the lines that are made would stand where a table was.
            wanted = None if given["in_place"] else Wanted()
            yield Rows(file, skip_bad=given["skip_bad"], on_progress=on_progress, wanted=wanted)

    try:
        with read() as rows, _carrying(file, output) as carrier, _target(file, output, given) as target:
            job = Cleaning(rows, target, read)
            yield job
            job.removals.count(BAD_LINE, len(rows.bad))
            if target is not None and given["in_place"]:
                target.unchanged = not job.removals.removed
            done = operation(job.removals)
            if carrier is not None:
                carrier.take(job.runs, done)
        if target is not None and target.backup:
            note(file, done)
    except BrokenPipeError:
        if (output is None or is_stream(output)) and not given["in_place"]:
            raise  # nothing else was to be done
        raise CorpusError("Stdout was closed before the end, and nothing was written", "leave out --show") from None
    if rows.bad and not given["quiet"]:
        consoles.show_notice(consoles.stderr(), rows.notice())
    _report(file, job, explanations, given)


def _check(file: Path, output: Path | None, replace: bool) -> None:
    if output is not None and replace:
        raise UsageError("-o and --in-place both say where the records go", "leave out one of the two")
    if replace and click.get_current_context().meta.get(FETCHED):
        raise UsageError("A dataset of the Hub cannot be changed in place", "name an output with -o")
    if replace and is_stream(file):
        raise UsageError("Stdin or a pipe cannot be changed in place", "name an output with -o, or -o - for stdout")
    if output is not None and output != STREAM and same_file(output, file):
        raise UsageError(f"{output} is the input itself", "change it with --in-place, which keeps the old one")


def _target(file: Path, output: Path | None, given: Mapping[str, Any]) -> AbstractContextManager[Output | None]:
    if given["in_place"]:
        return in_place(file)
    return nullcontext() if output is None else new_file(output, force=given["force"])


def operation(removals: Removals, rules: str | None = None) -> Operation:
    """What the running command has done, for whoever asks later."""
    name = click.get_current_context().info_name or ""
    rules = rules_given() if rules is None else rules
    return Operation.now(name, rules, removals.read, removals.kept, removals.reasons)


def _carrying(file: Path, output: Path | None) -> AbstractContextManager[Carrier | None]:
    return nullcontext() if output is None else carrying(file, output)


def _report(file: Path, job: Cleaning, explanations: Mapping[str, str], given: Mapping[str, Any]) -> None:
    output: Path | None = file if given["in_place"] else given["output"]
    backup = job.output.backup if job.output else None
    if given["as_json"]:
        facts = {
            "input": str(file),
            "output": str(output or ""),
            "backup": str(backup or ""),
            "read": job.removals.read,
            "kept": job.removals.kept,
            "removed": dict(job.removals.reasons.most_common()),
        }
        consoles.show_json(facts | job.facts, err=output == STREAM)
        return
    if given["quiet"]:
        return
    console = consoles.stderr() if output == STREAM else consoles.stdout()
    words = ("Would keep", "and remove") if output is None else ("Kept", "removed")
    removals.show(job.removals, explanations, console, *words)
    if output is None:
        consoles.show_notice(consoles.stderr(), "Nothing was written: add -o FILE or --in-place.")
    elif given["in_place"]:
        change = f"changed; what it was is kept as {backup}" if backup else "as it was"
        consoles.say(console, Text(f"{file} is {change}."))
    elif output != STREAM:
        consoles.say(console, Text(f"Written to {output}."))
    if job.example and output is not None and not is_stream(output):
        split = ("--split", "0.9") if job.removals.kept >= ENOUGH else ()
        ending.show(consoles.stderr(), job.example, "export", str(output), "--for", "trl", *split)
