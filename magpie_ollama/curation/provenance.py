"""Where the records of a new file come from: the manifests of their runs, and what was done with them since.

Both travel from the folder beside the old file to the one beside the new: ``runs/``, ``tags.jsonl`` and
``rejected.jsonl`` as they are, and ``operations.jsonl`` with a line more.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from magpie_ollama.corpus import lines
from magpie_ollama.corpus.reading import is_stream
from magpie_ollama.corpus.rewriting import new_file
from magpie_ollama.decoding import Count, Misshapen, decode

_OPERATIONS = "operations.jsonl"
_ID = re.compile(r"[\w-]{1,64}", re.ASCII)
_CHUNK = 2**20


class Operation(msgspec.Struct):
    """One command on a file: ``rules`` are its options as they were given, ``removed`` counts by reason, ``at`` is in
    UTC (ISO 8601, seconds)."""

    command: str
    rules: str
    read: Count
    kept: Count
    removed: dict[str, Count]
    at: str

    def told(self) -> str:
        reasons = sorted(self.removed.items(), key=lambda item: -item[1])
        removed = f" ({', '.join(f'{count:,} {reason}' for reason, count in reasons[:12])})" if reasons else ""
        return f"{' '.join(filter(None, (self.command, self.rules)))}: {self.kept:,} of {self.read:,} records{removed}"

    @classmethod
    def now(cls, command: str, rules: str, read: int, kept: int, removed: Mapping[str, int]) -> Operation:
        return cls(command, rules, read, kept, dict(removed), datetime.now(UTC).isoformat(timespec="seconds"))


def folder(file: Path) -> Path:
    """The one beside a file; a link's is that of the file that it leads to."""
    file = file.resolve()
    return file.with_name(f"{file.name}.magpie")


def operations(file: Path) -> list[Operation]:
    """What was done with a file's records, the first first; a line that says nothing of the kind is passed over."""
    found = []
    for line in _lines(folder(file) / _OPERATIONS):
        try:
            found.append(decode(line, Operation))
        except Misshapen:
            continue
    return found


def note(file: Path, operation: Operation) -> None:
    """Add what was done with a file in place, where it has a folder."""
    path = folder(file) / _OPERATIONS
    if path.parent.is_dir():
        _write(path, [*_lines(path), _line(operation)])


class Carrier:
    """Takes what is known of the records of ``source`` along to the new file ``target``."""

    def __init__(self, source: Path, target: Path) -> None:
        self._known = None if is_stream(source) else folder(source)
        self._folder = None if is_stream(target) else folder(target)
        self._made: list[Path] = []

    def take(self, runs: Iterable[str], operation: Operation) -> None:
        """Before the new file has its name. ``runs`` are what its records name. What is in its folder already stays,
        but for the operations on what was there before. Raises UsageError, CorpusError."""
        runs = [run for run in runs if _ID.fullmatch(run)]
        known = self._known if self._known and self._known.is_dir() else None
        if self._folder is None or self._folder.is_symlink() or not (known or runs):
            return  # another tool's file, or a stream, has no folder
        for path in (self._folder, self._folder / "runs"):
            if not path.is_dir():
                path.mkdir()
                self._made.append(path)
        earlier = []
        if known:
            names = [f"runs/{run}{end}" for run in runs for end in (".json", ".attempts.jsonl")]
            for name in (*names, "tags.jsonl", "rejected.jsonl"):
                self._copy(known / name, self._folder / name)
            earlier = _lines(known / _OPERATIONS)
        path = self._folder / _OPERATIONS
        if not path.exists():
            self._made.append(path)
        _write(path, [*earlier, _line(operation)])

    def undo(self) -> None:
        for path in reversed(self._made):
            try:
                path.rmdir() if path.is_dir() else path.unlink()
            except OSError:
                continue

    def _copy(self, old: Path, new: Path) -> None:
        if old.is_symlink() or not old.is_file() or os.path.lexists(new):
            return
        with old.open("rb") as file, new_file(new) as output:
            while chunk := file.read(_CHUNK):
                output.write_bytes(chunk)
        self._made.append(new)


@contextmanager
def carrying(source: Path, target: Path) -> Iterator[Carrier]:
    """Around the block that writes ``target``: where it fails, what was taken along is taken back."""
    carrier = Carrier(source, target)
    try:
        yield carrier
    except BaseException:
        carrier.undo()
        raise


def _lines(path: Path) -> list[bytes]:
    try:
        return [] if path.is_symlink() else path.read_bytes().splitlines()
    except OSError:
        return []


def _line(operation: Operation) -> bytes:
    return lines.encode(msgspec.to_builtins(operation))[:-1]


def _write(path: Path, content: Iterable[bytes]) -> None:
    with new_file(path, force=True) as output:
        for line in content:
            output.write(line)
