"""``magpie-ollama export``: the file that a trainer reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from magpie_ollama.commands.options import debug_option, option

FORMS = ("messages", "prompt-completion", "alpaca", "sharegpt", "parquet")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@option(
    "--to",
    "form",
    type=click.Choice(FORMS),
    default="messages",
    help="messages and prompt-completion as TRL reads them; parquet: messages in Parquet.",
)
@option(
    "-o",
    "--output",
    envvar="MAGPIE_OLLAMA_EXPORT_OUTPUT",
    type=click.Path(path_type=Path),
    help="The new file; - for stdout. Default: FILE-FORM.jsonl, FILE.parquet.",
)
@option(
    "--split",
    default="",
    metavar="SHARES",
    help="Several files: 0.9 (train, and the rest is test), or train=0.8,validation=0.1,test=0.1.",
)
@option(
    "--seed",
    envvar="MAGPIE_OLLAMA_EXPORT_SEED",
    type=click.IntRange(min=0),
    default=0,
    help="Of the split: another one, other sides.",
)
@option("--force", is_flag=True, help="Replace files that are there.")
@option("--skip-bad", is_flag=True, help="Pass over lines that are no records.")
@option("-q", "--quiet", is_flag=True, help="Only errors.")
@option("--json", "as_json", is_flag=True, help="The report as JSON on stdout (stderr with -o -).")
@debug_option
def command(
    file: Path,
    form: str,
    output: Path | None,
    split: str,
    seed: int,
    force: bool,
    skip_bad: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write the form that a trainer wants: messages, prompt/completion, Alpaca, ShareGPT, Parquet.

    FILE is a corpus, or any other tool's JSONL of instruction data; - is stdin. With --split, equal
    instructions are on the same side, whatever their order and number.
    """
    from magpie_ollama.corpus.reading import Rows
    from magpie_ollama.curation import export
    from magpie_ollama.display.progress import reading_rows

    Rows(file)  # a folder gives no name for the output
    parts = export.parse_split(split)
    paths = _paths(file, output, form, list(parts))
    to_stdout = Path("-") in paths.values()
    with reading_rows(file, skip_bad=skip_bad, quiet=quiet or to_stdout) as rows, ExitStack() as stack:
        put = {name: stack.enter_context(_destination(path, form, force)) for name, path in paths.items()}
        form_of = export.FORMS["messages" if form == "parquet" else form]
        counts = export.export(rows, form_of, put, export.Sides(parts, seed))
        _check(counts, paths, file)
    facts = {
        "input": str(file),
        "form": form,
        "files": [{"path": str(path), "split": name, "records": counts.written[name]} for name, path in paths.items()],
        "unanswered": counts.unanswered,
        "tools": counts.tools,
        "cut": counts.cut,
        "bad": len(rows.bad),
    }
    _report(facts, as_json, quiet, to_stdout)


def _paths(file: Path, output: Path | None, form: str, names: list[str]) -> dict[str, Path]:
    """Where each side of the split goes; the one side without a split is ""."""
    from magpie_ollama.corpus.reading import is_stream
    from magpie_ollama.corpus.rewriting import check_new, same_file
    from magpie_ollama.errors import UsageError

    if output is None:
        if is_stream(file):
            raise UsageError(
                "What comes from stdin or a pipe gives no name for the output", "name it with -o, or -o - for stdout"
            )
        output = file.with_suffix(".parquet") if form == "parquet" else file.with_name(f"{file.stem}-{form}.jsonl")
    if output == Path("-"):
        if names:
            raise UsageError("A split makes several files, and stdout is one", "name a file with -o")
        return {"": output}
    if names:
        check_new(output, force=True)  # a folder has no name to add the side's to
    paths = {name: output.with_name(f"{output.stem}-{name}{output.suffix}") for name in names} or {"": output}
    for path in paths.values():
        if same_file(path, file):
            raise UsageError(f"{path} is the input itself", "choose another name with -o")
    return paths


@contextmanager
def _destination(path: Path, form: str, force: bool) -> Iterator[Any]:
    """The function that takes a line's values."""
    from magpie_ollama.corpus.lines import encode_quickly
    from magpie_ollama.corpus.rewriting import new_file
    from magpie_ollama.curation.parquet import MessagesTable

    with new_file(path, force=force) as output:
        if form == "parquet":
            with MessagesTable(output) as table:
                yield table.add
        else:
            yield lambda values: output.write(encode_quickly(values))


def _check(counts: Any, paths: dict[str, Path], file: Path) -> None:
    """Raises before any file takes its name."""
    from magpie_ollama.errors import CorpusError, UsageError

    if not counts.written:
        response = "a response that needs no tool" if counts.tools else "a response"
        raise CorpusError(f"No record of {file} has {response}: there is nothing to train on", "choose another file")
    for name in paths:
        if not counts.written[name]:
            raise UsageError(
                f"No record falls on the side {name!r}: {counts.written.total()} records are few for this split",
                "give it a larger share, or choose another --seed",
            )


def _report(facts: dict[str, Any], as_json: bool, quiet: bool, to_stdout: bool) -> None:
    from rich.text import Text

    from magpie_ollama.display import consoles
    from magpie_ollama.display.words import counted

    if as_json:
        consoles.show_json(facts, err=to_stdout)
        return
    if quiet:
        return
    console = consoles.stderr() if to_stdout else consoles.stdout()
    for file in facts["files"]:
        consoles.say(
            console,
            Text(f"{counted(file['records'], 'record')} -> {file['path'] if file['path'] != '-' else 'stdout'}"),
        )
    if facts["unanswered"]:
        consoles.show_notice(
            consoles.stderr(), f"Left out {counted(facts['unanswered'], 'record')} without a response."
        )
    if facts["tools"]:
        consoles.show_notice(
            consoles.stderr(),
            f"Left out {counted(facts['tools'], 'record')} whose first answer needs a tool, which no form can hold.",
        )
    if facts["cut"]:
        parts = "a system message, further turns, " if facts["form"] == "alpaca" else ""
        consoles.show_notice(
            consoles.stderr(),
            f"{counted(facts['cut'], 'record')} lost a part that {facts['form']} has no place for: {parts}turns "
            "without an answer, turns from one on that is no text, or a tool's, or a column history, context or tools.",
        )
