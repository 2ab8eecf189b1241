"""``magpie-ollama review``: a corpus record by record, to keep, drop, edit and tag."""

from __future__ import annotations

from pathlib import Path

import click
from rich.text import Text

from magpie_ollama.commands.base import Command
from magpie_ollama.commands.cleaning import file_argument
from magpie_ollama.commands.options import debug_option, option, quiet_option
from magpie_ollama.corpus.decisions import Applied, Decisions
from magpie_ollama.corpus.reading import Rows
from magpie_ollama.curation.pages import check, opened
from magpie_ollama.curation.provenance import Operation, note
from magpie_ollama.display import consoles
from magpie_ollama.display.reviewing import Review
from magpie_ollama.display.words import counted
from magpie_ollama.errors import UsageError


@click.command(cls=Command, examples=("review it.jsonl --order doubt", "review it.jsonl --apply"))
@file_argument
@option(
    "--order",
    type=click.Choice(["file", "doubt"]),
    default="file",
    help="As the records stand, or the most doubtful first: by confidence and known words.",
)
@option("--apply", is_flag=True, help="Make the file what was decided, in one step; what it was is kept beside it.")
@option("--json", "as_json", is_flag=True, help="What --apply did, as JSON on stdout.")
@quiet_option
@debug_option
def command(file: Path, order: str, apply: bool, as_json: bool, quiet: bool) -> None:
    """Go through a corpus in the terminal: keep, drop, edit or tag one record after another.

    Each decision is written down beside FILE as it is made, and FILE changes with --apply alone. The same command
    goes on with the first record that nothing was decided on. ? shows the keys.
    """
    Rows(file)  # names what is no such file
    decisions = Decisions(file)
    if apply:
        applied = decisions.apply()
        if applied.backup:
            gone = applied.done["drop"]
            note(
                file, Operation.now("review", "", applied.read, applied.read - gone, {"dropped": gone} if gone else {})
            )
        _tell(applied, file, as_json=as_json, quiet=quiet)
        return
    console = consoles.stdout()
    if not console.is_interactive or console.legacy_windows:
        raise UsageError(
            "A review needs a terminal", f"look at the records in a browser: magpie-ollama serve {file.parent}"
        )
    with opened(file) as lines:
        check(lines, file)
        from magpie_ollama.display.fullscreen import Screen  # prompt_toolkit takes a third of a second

        screen = Screen(console)
        review = Review(lines, file.name, decisions, by_doubt=order == "doubt", stop=screen.stop)
        screen.show(review, review.begin)
    if not quiet and (pending := decisions.pending):
        told = ", ".join(f"{count:,} {WORDS[what]}" for what, count in sorted(pending.items()))
        consoles.say(consoles.stderr(), Text(f"{told}. To change the file: magpie-ollama review {file} --apply"))


WORDS = {"keep": "kept", "drop": "dropped", "edit": "edited", "tag": "tagged"}


def _tell(applied: Applied, file: Path, *, as_json: bool, quiet: bool) -> None:
    backup = str(file.with_name(applied.backup.name)) if applied.backup else ""
    if as_json:
        counts = {word: applied.done[what] for what, word in WORDS.items()}
        consoles.show_json({"file": str(file), "backup": backup, **counts, "stale": applied.stale})
    elif not quiet:
        done = ", ".join(f"{applied.done[what]:,} {word}" for what, word in WORDS.items() if applied.done[what])
        kept_as = f"; what it was is kept as {backup}" if backup else ""
        consoles.say(consoles.stdout(), Text(f"{file}: {done or 'nothing was decided, nothing changed'}{kept_as}."))
    if applied.stale and not quiet:
        told = (
            f"{counted(len(applied.stale), 'record')} had changed since they were decided on, and stayed as they are."
        )
        consoles.show_notice(consoles.stderr(), told)
