"""``magpie-ollama import``: other tools' instruction data as records of a corpus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from magpie_ollama.commands.base import Command
from magpie_ollama.commands.cleaning import STREAM, data_argument, operation
from magpie_ollama.commands.options import columns_option, debug_option, option, quiet_option
from magpie_ollama.corpus.corpus import Corpus
from magpie_ollama.corpus.forms import Wanted
from magpie_ollama.corpus.names import parse_columns
from magpie_ollama.corpus.reading import Row, Rows, is_stream, size_of
from magpie_ollama.corpus.rewriting import same_file
from magpie_ollama.curation.importing import EXPLANATIONS, Importer
from magpie_ollama.curation.provenance import note
from magpie_ollama.curation.removals import BAD_LINE, Removals
from magpie_ollama.display import consoles, ending, removals
from magpie_ollama.display.progress import reading
from magpie_ollama.display.words import counted
from magpie_ollama.errors import MagpieError, UsageError
from magpie_ollama.records import Record, keys_of
from magpie_ollama.tagging import scales


@click.command(
    cls=Command, examples=("import alpaca.json -o it.jsonl -l it", "import others.parquet -o it.jsonl --redetect")
)
@data_argument
@option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    envvar="MAGPIE_OLLAMA_IMPORT_OUTPUT",
    help="The corpus that the records are appended to, new or there already.",
)
@option(
    "-l",
    "--language",
    default="",
    envvar="MAGPIE_OLLAMA_IMPORT_LANGUAGE",
    help="Their language. Default: what each one names.",
)
@option("--redetect", is_flag=True, help="Read the texts: to find the language, or to keep out what is not in -l.")
@option(
    "-m",
    "--model",
    default="",
    envvar="MAGPIE_OLLAMA_IMPORT_MODEL",
    help="The model that wrote them. Default: what each one names.",
)
@columns_option
@option("--keep-duplicates", is_flag=True, help="Let in instructions that the corpus, or FILE before, has already.")
@option("--skip-bad", is_flag=True, help="Pass over lines that are no records.")
@option("--json", "as_json", is_flag=True, help="The report as JSON on stdout.")
@quiet_option
@debug_option
def command(file: Path, output: Path, language: str, **given: Any) -> None:
    """Turn other tools' instruction data into records of a corpus: of a conversation, its first exchange.

    FILE is JSONL, a JSON array, CSV, TSV or Parquet, also as .gz or .zst, with messages, conversations, instruction
    and output (or response), or prompt and completion; - is stdin. Its records name `import` as their server; those of
    another corpus of this tool keep theirs.
    """
    if output == STREAM:
        raise UsageError("A corpus is a file, not stdout", "name one: -o it.jsonl")
    if same_file(output, file):
        raise UsageError(f"{file} is the corpus itself", "name another one with -o")
    importer = Importer(language and _code(language), given["redetect"], given["model"])
    quiet, counts, columns = given["quiet"], Removals(), parse_columns(given["columns"])
    example: tuple[str, str] | None = None
    if given["keep_duplicates"] and not is_stream(file):
        # A bad line behind half of it: the same command, once more, would append that half again.
        for _ in Rows(file, skip_bad=given["skip_bad"], columns=columns, wanted=Wanted()):
            pass
    with (
        _progress_told(counts, output, given),  # the outer one: it speaks when the bar is gone
        reading(f"Reading {file.name}", size_of(file), quiet) as on_progress,
    ):
        rows = Rows(file, skip_bad=given["skip_bad"], columns=columns, on_progress=on_progress, wanted=Wanted())
        with Corpus.open(output) as corpus:
            keys = set(keys_of(corpus.schema))
            tagged = "tags" not in keys and _has_tags(output)
            keys |= {"tags"} if tagged else set()
            for row, made in _made(rows, importer, None if given["keep_duplicates"] else corpus):
                if isinstance(made, Record):
                    judged = {name: text for name, text in made.tags.items() if name in (*scales.KEYS, "judge")}
                    corpus.append(made, **({"tags": judged} if tagged else {}))
                    importer.take_note(row, keys)
                    example = example or (made.instruction, made.response)
                counts.count(made if isinstance(made, str) else None)
            notices, records = corpus.notices, corpus.records
    counts.count(BAD_LINE, len(rows.bad))
    if counts.kept:
        note(output, operation(counts))
    left_out = {name: count for name, count in importer.left_out.most_common() if count}
    if given["as_json"]:
        facts = {"input": str(file), "output": str(output), "read": counts.read, "imported": counts.kept}
        passed_over = dict(counts.reasons.most_common())
        facts |= {"passed_over": passed_over, "left_out": left_out, "records": records}
        facts["no_text"] = dict(importer.details.most_common())
        consoles.show_json(facts)
    if quiet:
        return
    told = (rows.notice(), _counts("Passed over what is no text", importer.details), _counts(_LEFT_OUT, left_out))
    for notice in (*notices, *filter(None, told)):
        consoles.show_notice(consoles.stderr(), notice)
    if not given["as_json"]:
        removals.show(counts, EXPLANATIONS, consoles.stdout(), "Imported", "passed over")
        consoles.say(consoles.stdout(), Text(f"{output} has {counted(records, 'record')}."))
        ending.show(consoles.stderr(), example, "stats", str(output))


@contextmanager
def _progress_told(counts: Removals, output: Path, given: dict[str, Any]) -> Iterator[None]:
    """What was added to the corpus already when an error or a signal ends the block, and how to go on."""
    try:
        yield
    except (MagpieError, KeyboardInterrupt, SystemExit) as error:
        if counts.kept and not given["quiet"] and not is_stream(output):
            again = "The same command goes on: it passes over what is there."
            if given["keep_duplicates"]:
                again = "The same command would append them again: without --keep-duplicates it passes over them."
            elif isinstance(error, MagpieError):
                again = "What is there is passed over once that is mended."
            told = f"Stopped after {counted(counts.kept, 'record')}, kept in {output}. {again}"
            consoles.show_notice(consoles.stderr(), told)
        raise


def _made(rows: Rows, importer: Importer, corpus: Corpus | None) -> Iterator[tuple[Row, Record | str]]:
    """Each row with its record, or the reason why it has none: one is that ``corpus`` or an earlier row has it."""
    made = ((row, importer.record(row)) for row in rows)
    if corpus is None:
        yield from made
        return
    from magpie_ollama.curation.deduplication import TOGETHER, Deduplicator, deduplicated

    seen = Deduplicator()
    there = (text for _, text in corpus.instructions())
    while batch := list(islice(there, TOGETHER)):
        seen.keep(batch)
    items = ((one.instruction if isinstance(one, Record) else None, (row, one)) for row, one in made)
    for (row, one), twin in deduplicated(items, seen, lambda item: item[0].input):
        yield row, twin.reason if twin else one


def _has_tags(corpus: Path) -> bool:
    """Whether its first record has them: `datasets` refuses a file that has a further column behind."""
    return any("judge" in row.tags for row in islice(Rows(corpus, skip_bad=True), 1))


def _code(name: str) -> str:
    from magpie_ollama.method import languages

    return languages.find(name).code


_LEFT_OUT = "Left out what a record has no place for"


def _counts(what: str, counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    shown = ", ".join(f"{name} ({count:,})" for name, count in list(counts.items())[:8])
    more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
    return f"{what}: {shown}{more}."
