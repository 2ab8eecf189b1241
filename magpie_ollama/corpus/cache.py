"""What was found in a corpus when it was last read, so that the next opening need not parse all of it again.

One file, ``it.jsonl.magpie/cache/opening``: a line with the contents of the corpus up to some byte, as JSON behind its
SHA-256, and behind it a state of the caller's. It counts only while the corpus still begins with the same bytes, by
their SHA-256; whatever else is wrong with it, it is as if it were not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from magpie_ollama.corpus import files, lines, system
from magpie_ollama.corpus.scan import Contents, OfRun, digest
from magpie_ollama.decoding import Count, Misshapen, decode
from magpie_ollama.records import SCHEMA

_FORMAT = (3, SCHEMA)
"""This tool's version of the file, and the records it knows: a newer record has to be met and refused again."""

_NEWEST = ("seed", "steering", "topic", "instruction_tokens", "response_tokens")
"""Keys of a run's newest record that continuing the run asks for."""


class _Head(msgspec.Struct):
    """The file's first line. A run is what it kept, its highest seed (-1: none), and its newest record."""

    format: tuple[int, int]
    state: str
    size: Count
    lines: Count
    digest: str
    records: Count
    schema: Count
    models: list[str]
    runs: dict[str, tuple[Count, int, dict[str, Any]]]


class Cache:
    """The cache of one corpus. First ``contents``, then ``opened``; the rest after these."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is the one beside the corpus; it is there when anything is written."""
        self._path = folder / "cache" / "opening"
        self._known: Contents | None = None
        self._state = (0, "")  # where it begins in the file, and its SHA-256
        self._state_covers = (0, 0)
        self._opened: dict[str, Any] = {}
        self.covered = (0, 0)
        """Bytes and lines of the corpus that ``state`` is about: none, until it has given one."""

    def contents(self) -> Contents | None:
        """What an earlier opening found, None if that is not known. Up to the caller to see that it still holds."""
        try:
            with self._open() as file:
                line = file.readline()
            checked, _, text = line.partition(b" ")
            head = decode(text, _Head)
        except (OSError, Misshapen):
            return None
        if head.format != _FORMAT or checked != _checksum(text):
            return None
        runs = {run: OfRun(*values) for run, values in head.runs.items()}
        known = Contents(head.records, head.schema, set(head.models), runs, b"", head.size, head.lines, head.digest)
        self._state = (len(line), head.state)
        self._state_covers = (known.size, known.lines)
        self._known = known
        return known

    def opened(self, contents: Contents) -> None:
        """Take note of what this opening has found: the known contents, grown, or new ones."""
        if contents is not self._known:
            self._known = None
        self._opened = _values(contents)

    def state(self) -> bytes:
        """What ``write`` was given at an earlier opening, b"" where that is lost or about other bytes."""
        if self._known is None:
            return b""
        start, checked = self._state
        with contextlib.suppress(OSError), self._open() as file:
            file.seek(start)
            state = file.read()
            if hashlib.sha256(state).hexdigest() == checked:
                self.covered = self._state_covers
                return state
        return b""

    def write(self, corpus: Path, state: bytes) -> None:
        """Keep what this opening has found, and ``state``. It may fail: then nothing is kept."""
        if not self._opened.get("digest"):
            return
        with contextlib.suppress(OSError, ValueError):  # ValueError: a number that is none, in another tool's record
            # Whoever made the state read the corpus again: both readings must have met the same bytes.
            if digest(corpus, self._opened["size"]) != self._opened["digest"]:
                return
            files.make_folder(self._path.parent)
            head = lines.encode({**self._opened, "format": _FORMAT, "state": hashlib.sha256(state).hexdigest()})
            files.write(self._path, _checksum(head) + b" " + head + state, sync=False)

    def _open(self) -> BinaryIO:
        return os.fdopen(system.open_plain(self._path, os.O_RDONLY), "rb")


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()


def _values(contents: Contents) -> dict[str, Any]:
    return {
        "size": contents.size,
        "lines": contents.lines,
        "digest": contents.digest,
        "records": contents.records,
        "schema": contents.schema,
        "models": sorted(contents.models),
        "runs": {
            run: [tally.kept, tally.top_seed, {key: tally.newest[key] for key in _NEWEST if key in tally.newest}]
            for run, tally in contents.runs.items()
        },
    }
