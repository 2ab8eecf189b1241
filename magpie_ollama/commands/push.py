"""``magpie-ollama push``: a corpus and its card, on the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from rich.text import Text

from magpie_ollama.commands.base import Command
from magpie_ollama.commands.options import debug_option, option, quiet_option
from magpie_ollama.corpus.history import history
from magpie_ollama.corpus.reading import Rows, is_stream, size_of
from magpie_ollama.corpus.rewriting import new_file
from magpie_ollama.curation import card, hub, licences, provenance, readme, statistics
from magpie_ollama.curation.hub import CARD
from magpie_ollama.display import consoles
from magpie_ollama.display.characters import inline
from magpie_ollama.display.progress import reading_rows
from magpie_ollama.display.words import counted, size
from magpie_ollama.errors import UsageError

DATA = "data/train.jsonl"


@click.command(
    cls=Command,
    examples=("push it.jsonl me/italian --dry-run", "push it.jsonl me/italian --public --licence cc-by-4.0"),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("name", metavar="OWNER/NAME")
@option(
    "--private/--public",
    "private",
    envvar="MAGPIE_OLLAMA_PUSH_PRIVATE",
    default=True,
    help="Who may see a dataset that is made; one that is there stays as it is.",
)
@option("--licence", "--license", default="", help="Of the collection, as the Hub names it: cc-by-4.0, apache-2.0, ...")
@option("--replace-card", is_flag=True, help="Write a README.md anew that has somebody's own words.")
@option("--dry-run", is_flag=True, help="Show the card and the files; upload nothing.")
@option("--skip-bad", is_flag=True, help="Leave out lines that are no records.")
@option("--json", "as_json", is_flag=True, help="The report as JSON on stdout.")
@quiet_option
@debug_option
def command(
    file: Path,
    name: str,
    private: bool,
    licence: str,
    replace_card: bool,
    dry_run: bool,
    skip_bad: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Publish a corpus on the Hugging Face Hub, with its dataset card.

    The card tells models, languages, steerings and what was rejected, and how much of the data is known to be
    synthetic; it is written anew with each push, but for what others wrote in it. The token is the one of HF_TOKEN or
    of `hf auth login`.
    """
    if is_stream(file):
        raise UsageError("Push uploads a file, and stdin or a pipe is none", "write it to a file first")
    hub.check_name(name)
    licence = licences.find(licence) if licence else ""
    with reading_rows(file, skip_bad=skip_bad, quiet=quiet) as rows:
        found = statistics.of(rows)
    runs, notices = history(file, found.kinds["runs"])
    if not quiet:
        for notice in notices:
            consoles.show_notice(consoles.stderr(), inline(notice))
    made = card.card(
        name.partition("/")[2], DATA, found, [run.to_dict() for run in runs], licence, provenance.operations(file)
    )
    text = readme.marked(made)

    def merge(there: bytes) -> bytes:
        if replace_card:
            return text.encode()
        whole, told = readme.merged(made, there, f"{CARD} of {name}")
        for notice in [] if quiet else told:
            consoles.show_notice(consoles.stderr(), inline(notice))
        return whole.encode()

    with _whole(file, rows) as data:
        facts: dict[str, Any] = {
            "dataset": name,
            "private": private,
            "records": found.records,
            "files": {CARD: len(text.encode()), DATA: size_of(data)},
            "uploaded": not dry_run,
            "url": "",
        }
        message = f"{counted(found.records, 'record')}, by magpie-ollama"
        progress = not quiet and consoles.stderr().is_terminal
        files: dict[str, Path | bytes] = {CARD: text.encode(), DATA: data}
        published = None if dry_run else hub.publish(name, files, message, merge, private=private, progress=progress)
    if published is None:
        if as_json:
            consoles.show_json({**facts, "card": text})
        else:
            consoles.stdout().print(Text(text), soft_wrap=True, end="")
            told = ", ".join(f"{path} ({size(amount)})" for path, amount in facts["files"].items())
            visibility = "private" if private else "public"
            consoles.say(consoles.stderr(), Text(f"Dry run: {told} would go to the {visibility} dataset {name}."))
        return
    facts |= {"url": published.url, "private": published.private}
    notices = published.warnings
    if published.private and not private:
        notices.append(f"The dataset {name} was there, and stays private: its settings on the Hub change that.")
    for warning in [] if quiet else notices:
        consoles.show_notice(consoles.stderr(), inline(warning))
    if as_json:
        consoles.show_json(facts)
    elif not quiet:
        consoles.say(consoles.stdout(), Text(f"Pushed {counted(found.records, 'record')} to {facts['url']}"))


@contextmanager
def _whole(file: Path, rows: Rows) -> Iterator[Path]:
    """The file, or a copy without the lines that were no records: ``datasets`` would refuse the whole for one."""
    if not rows.bad:
        yield file
        return
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "data.jsonl"
        with new_file(copy) as output:
            for row in Rows(file, skip_bad=True):
                output.write(row.line)
        yield copy
