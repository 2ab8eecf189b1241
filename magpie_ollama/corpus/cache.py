"""What was found in a corpus when it was last read, so that the next opening need not parse all of it again.

One file, ``it.jsonl.magpie/cache/opening``: a line of JSON with the contents of the corpus up to some byte, and behind
it a state of the caller's. It counts only while the corpus still begins with the same bytes, by their SHA-256; whatever
else is wrong with it, it is as if it were not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from magpie_ollama.corpus import lines, system
from magpie_ollama.corpus.scan import Contents, Tally, digest
from magpie_ollama.records import SCHEMA

_FORMAT = [1, SCHEMA]
"""This tool's version of the file, and the records it knows: a newer record has to be met and refused again."""

_TEXTS = ("messages", "reasoning")
"""Keys of a run's newest record that continuing the run does not ask for."""


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
            with self._path.open("rb") as file:
                line = file.readline()
            head = json.loads(line)
            known = _contents(head)
            self._state = (len(line), str(head["state"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
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
        with contextlib.suppress(OSError), self._path.open("rb") as file:
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
        new = self._path.with_name("opening.new")
        with contextlib.suppress(OSError):
            # Whoever made the state read the corpus again: both readings must have met the same bytes.
            if digest(corpus, self._opened["size"]) != self._opened["digest"]:
                return
            self._path.parent.mkdir(exist_ok=True)
            head = {**self._opened, "format": _FORMAT, "state": hashlib.sha256(state).hexdigest()}
            try:
                with new.open("wb") as file:
                    file.write(lines.encode(head))
                    file.write(state)
                system.replace(new, self._path)
            finally:
                new.unlink(missing_ok=True)


def _values(contents: Contents) -> dict[str, Any]:
    return {
        "size": contents.size,
        "lines": contents.lines,
        "digest": contents.digest,
        "records": contents.records,
        "models": sorted(contents.models),
        "runs": {
            run: [tally.kept, tally.top_seed, {k: v for k, v in tally.newest.items() if k not in _TEXTS}]
            for run, tally in contents.runs.items()
        },
    }


def _contents(head: dict[str, Any]) -> Contents:
    """Raises ValueError for another format, and whatever a malformed head makes Python raise."""
    if head["format"] != _FORMAT:
        raise ValueError("another format")
    return Contents(
        records=int(head["records"]),
        models=set(head["models"]),
        runs={run: Tally(int(kept), int(top), dict(newest)) for run, (kept, top, newest) in head["runs"].items()},
        size=int(head["size"]),
        lines=int(head["lines"]),
        digest=str(head["digest"]),
    )
