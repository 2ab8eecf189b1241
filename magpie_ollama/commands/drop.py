"""``magpie-ollama drop``: records removed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from magpie_ollama.commands.base import Command
from magpie_ollama.commands.cleaning import cleaning, file_argument, writing_options
from magpie_ollama.commands.options import option
from magpie_ollama.errors import UsageError

EXPLANATIONS = {
    "dropped": "named on the command line or in --ids-from",
    "bad_line": "no record (--skip-bad), or torn",
}


@click.command(
    cls=Command, examples=("drop it.jsonl --line 3,7-9 --in-place", "drop it.jsonl --ids-from bad.txt -o rest.jsonl")
)
@file_argument
@click.argument("ids", nargs=-1)
@option("--line", "line_lists", multiple=True, metavar="LINES", help="By line numbers, from 1: 3,7-9. Repeatable.")
@option("--ids-from", type=click.Path(path_type=Path), help="A text file of ids, one a line; - for stdin.")
@writing_options("drop")
def command(file: Path, ids: tuple[str, ...], line_lists: tuple[str, ...], ids_from: Path | None, **given: Any) -> None:
    """Remove records by their ids or line numbers. Where one of these is not there, nothing is written.

    FILE is a corpus, or any other tool's JSONL of instruction data; - is stdin.
    """
    wanted = dict.fromkeys((*ids, *(_ids(ids_from) if ids_from else ())))
    ranges = [one for text in line_lists for one in _ranges(text)]
    if not wanted and not ranges:
        raise UsageError("Nothing says which records to drop", "give ids, or lines: --line 3,7-9")
    if file == ids_from == Path("-"):
        raise UsageError("Stdin cannot be both the records and the ids", "give one of them as a file")
    found_ids: set[str] = set()
    found_lines: set[int] = set()
    with cleaning(file, EXPLANATIONS, given) as job:
        for row in job.rows:
            named = row.id in wanted
            numbered = any(row.number in part for part in ranges)
            if named:
                found_ids.add(row.id)
            if numbered:
                found_lines.add(row.number)
            job.settle(row, "dropped" if named or numbered else None)
        found_lines.update(number for number, _ in job.rows.bad)
        _check_found(file, [one for one in wanted if one not in found_ids], ranges, found_lines)


def _check_found(file: Path, missing: list[str], ranges: list[range], found_lines: set[int]) -> None:
    """Raises UsageError, and so nothing is written."""
    if missing:
        more = f", nor with {len(missing) - 1} more of those given" if len(missing) > 1 else ""
        raise UsageError(
            f"{file} has no record with the id {missing[0]!r}{more}",
            "`magpie-ollama view` shows the ids, --line takes line numbers; nothing was written",
        )
    line = next((number for part in ranges for number in part if number not in found_lines), None)
    if line is not None:
        raise UsageError(f"{file} has no record on line {line}", "check the numbers; nothing was written")


def _ranges(text: str) -> list[range]:
    """The parts of a list such as 3,7-9."""
    found = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or not (last or first).isdecimal() or not 0 < int(first) <= int(last or first):
            raise UsageError(f"--line {text!r} is no list of line numbers", "write for example --line 3,7-9")
        found.append(range(int(first), int(last or first) + 1))
    return found


def _ids(path: Path) -> list[str]:
    try:
        with click.open_file(str(path), encoding="utf-8-sig") as file:
            found = [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(f"{path} cannot be read: {why}", "give a text file of ids, one a line") from error
    if not found:
        raise UsageError(f"{path} has no ids", "give a text file of ids, one a line")
    return found
