"""``magpie-ollama push``: a corpus and its card, on the Hugging Face Hub."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from rich.text import Text

from magpie_ollama.commands.base import Command
from magpie_ollama.commands.options import debug_option, option, quiet_option
from magpie_ollama.corpus.forms import Wanted
from magpie_ollama.corpus.history import PastRun, history
from magpie_ollama.corpus.reading import Row, Rows, is_stream, size_of
from magpie_ollama.corpus.rewriting import new_file
from magpie_ollama.curation import card, hub, licences, provenance, readme, statistics
from magpie_ollama.curation.hub import CARD
from magpie_ollama.display import consoles
from magpie_ollama.display.characters import inline
from magpie_ollama.display.progress import reading_rows
from magpie_ollama.display.words import counted, size
from magpie_ollama.errors import NotACorpus, UsageError


@click.command(
    cls=Command,
    examples=(
        "push it.jsonl me/italian --dry-run",
        "push it-train.jsonl it-test.jsonl me/italian --public",
    ),
)
@click.argument("files", nargs=-1, required=True, metavar="[[CONFIG/]SPLIT=]FILE...")
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
    files: tuple[str, ...],
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

    Several files are splits of one dataset: each is the one it is given as (test=FILE), or that its name ends in
    (it-test.jsonl), else train. The card tells models, languages, steerings and what was rejected, and how much of the
    data is known to be synthetic; it is written anew with each push, but for what others wrote in it. The token is the
    one of HF_TOKEN or of `hf auth login`.
    """
    hub.check_name(name)
    parts = _parts(files)
    licence = licences.find(licence) if licence else ""
    read: dict[str, Rows] = {}
    samples = card.Samples()

    def rows() -> Iterator[Row]:
        for path, file in parts.items():
            with reading_rows(file, skip_bad=skip_bad, quiet=quiet) as read[path]:
                yield from samples.seen(read[path])

    found = statistics.of(rows())
    runs: dict[str, PastRun] = {}
    for file in parts.values():
        past, notices = history(file, found.kinds["runs"])
        runs = {run.id: run for run in past} | runs
        for notice in [] if quiet else notices:
            consoles.show_notice(consoles.stderr(), inline(notice))
    done = []
    for file in parts.values():
        done += [one for one in provenance.operations(file) if one not in done]
    made = card.card(name, parts, found, [run.to_dict() for run in runs.values()], licence, done, samples.texts)
    text = readme.marked(made)

    def merge(there: bytes) -> bytes:
        if replace_card:
            return text.encode()
        whole, told = readme.merged(made, there, f"{CARD} of {name}")
        for notice in [] if quiet else told:
            consoles.show_notice(consoles.stderr(), inline(notice))
        return whole.encode()

    with ExitStack() as stack:
        data = {path: stack.enter_context(_whole(file, read[path])) for path, file in parts.items()}
        facts: dict[str, Any] = {
            "dataset": name,
            "private": private,
            "records": found.records,
            "files": {CARD: len(text.encode()), **{path: size_of(file) for path, file in data.items()}},
            "uploaded": not dry_run,
            "url": "",
        }
        message = f"{counted(found.records, 'record')}, by magpie-ollama"
        progress = not quiet and consoles.stderr().is_terminal
        whole: dict[str, Path | bytes] = {CARD: text.encode(), **data}
        published = None if dry_run else hub.publish(name, whole, message, merge, private=private, progress=progress)
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


def _parts(given: tuple[str, ...]) -> dict[str, Path]:
    """The files by their paths in the dataset: data/SPLIT.jsonl, of another config data/CONFIG/SPLIT.jsonl."""
    found: dict[str, Path] = {}
    for text in given:
        named = re.match(r"(?:([\w-]+)/)?(\w+)=(?=.)", text, re.ASCII)
        file = Path(text[named.end() :] if named and not Path(text).exists() else text)
        if is_stream(file):
            raise UsageError("Push uploads files, and stdin or a pipe is none", "write it to a file first")
        ending = re.search(r"-(train|validation|test)$", file.name.partition(".")[0])
        split = named[2] if named else ending[1] if ending else "train"
        path = "/".join(filter(None, ("data", named and named[1], f"{split}.jsonl")))
        if path in found:
            raise UsageError(
                f"{found[path]} and {file} would both be the split {split}",
                f"say which is which: train={shlex.quote(str(found[path]))} test={shlex.quote(str(file))}",
            )
        found[path] = file
    return found


@contextmanager
def _whole(file: Path, rows: Rows) -> Iterator[Path]:
    """The file, or a copy as JSONL where it is none, or has lines that are no records: ``datasets`` would refuse the
    whole for one."""
    try:
        Rows(file)
        lines = not rows.bad
    except NotACorpus:
        lines = False
    if lines:
        yield file
        return
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "data.jsonl"
        with new_file(copy) as output:
            for row in Rows(file, skip_bad=True, wanted=Wanted()):
                output.write(row.line)
        yield copy
