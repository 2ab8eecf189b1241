"""``magpie-ollama sample``: some records of a corpus, drawn at random."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

import click
from rich.text import Text

from magpie_ollama.commands.base import Command
from magpie_ollama.commands.cleaning import data_argument
from magpie_ollama.commands.options import OutputPath, debug_option, option, quiet_option, rules_given
from magpie_ollama.corpus import lines
from magpie_ollama.corpus.reading import Row, Rows
from magpie_ollama.corpus.rewriting import check_new, new_file, same_file
from magpie_ollama.curation.filters import language_code
from magpie_ollama.curation.pages import page
from magpie_ollama.curation.provenance import Operation, carrying
from magpie_ollama.curation.sampling import draw
from magpie_ollama.display import consoles, record
from magpie_ollama.display.progress import reading_rows
from magpie_ollama.display.words import counted
from magpie_ollama.errors import UsageError


@click.command(cls=Command, examples=("sample it.jsonl -n 5", "sample it.jsonl -n 200 -o some.jsonl"))
@data_argument
@option("-n", "--count", envvar="MAGPIE_OLLAMA_SAMPLE_COUNT", type=click.IntRange(min=1), default=5, help="Records.")
@option("--seed", envvar="MAGPIE_OLLAMA_SAMPLE_SEED", type=int, help="The same one draws the same. Default: drawn.")
@option("-l", "--language", envvar="MAGPIE_OLLAMA_SAMPLE_LANGUAGE", default="", help="Only of this language.")
@option(
    "-s",
    "--steering",
    envvar="MAGPIE_OLLAMA_SAMPLE_STEERING",
    default="",
    help="Only of this steering, for example system+opener.",
)
@option(
    "-o",
    "--output",
    envvar="MAGPIE_OLLAMA_SAMPLE_OUTPUT",
    type=OutputPath(),
    help="Write the lines as they stand to a new file; - for stdout.",
)
@option("--force", is_flag=True, help="Replace the file of -o.")
@option("--skip-bad", is_flag=True, help="Pass over lines that are no records.")
@option("--json", "as_json", is_flag=True, help="The lines as they stand on stdout, like -o -.")
@quiet_option
@debug_option
def command(
    file: Path,
    count: int,
    seed: int | None,
    language: str,
    steering: str,
    output: Path | None,
    force: bool,
    skip_bad: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Draw some records at random, and print them to read. FILE is any JSONL file of instruction data; - is stdin."""
    if as_json and output not in (None, Path("-")):
        raise UsageError("--json and -o both say where the lines go", "leave out one of the two")
    if steering:
        from magpie_ollama.method.steering import parse_steering

        steering = parse_steering(steering)
    output = Path("-") if as_json else output
    if output not in (None, Path("-")):
        if same_file(output, file):
            raise UsageError(f"{output} is the input itself", "choose another name with -o")
        check_new(output, force)  # before a long reading, not after
    seed = secrets.randbelow(2**30) if seed is None else seed
    with reading_rows(file, skip_bad=skip_bad, quiet=quiet) as rows:
        drawn = draw(_wanted(rows, language, steering), count, seed)
    if not drawn:
        raise UsageError(
            f"{file} has no records of {' and '.join(filter(None, (language, steering)))}",
            f"magpie-ollama stats {quote(str(file))} shows which there are",
        )
    if output is not None:
        with carrying(file, output) as carrier, new_file(output, force=force) as target:
            for _, line in drawn:
                target.write(line)
            others = {"not_drawn": rows.count - len(drawn)}
            rules = rules_given()
            rules += "" if "--seed" in rules else f" --seed {seed}"
            done = Operation.now("sample", rules, rows.count, len(drawn), others)
            values = [lines.parse(line) for _, line in drawn]
            carrier.take({str(value.get("run")) for value in values if isinstance(value, dict)}, done)
    else:
        record.show((page(number, line) for number, line in drawn), consoles.stdout())
    if not quiet:
        where = f" in {output}" if output not in (None, Path("-")) else ""
        told = f"{len(drawn):,} of {counted(rows.count, 'record')}{where}; --seed {seed} draws them again."
        consoles.say(consoles.stderr(), Text(told))


def _wanted(rows: Rows, language: str, steering: str) -> Iterator[Row]:
    code = language_code(language)
    for row in rows:
        if (not code or language_code(row.text("language")) == code) and (
            not steering or row.text("steering") == steering
        ):
            yield row
