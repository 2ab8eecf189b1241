"""What a run did not take, beside its corpus: responses in ``it.jsonl.magpie/rejected.jsonl``, whole records that its
judge held back in ``unwanted.jsonl``.

Nothing depends on them: where they cannot be written, the run goes on without.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from magpie_ollama.corpus import files, lines
from magpie_ollama.corpus.appender import Appender, cause_and_remedy
from magpie_ollama.decoding import Misshapen, decode
from magpie_ollama.errors import CorpusError
from magpie_ollama.records import Message


class Rejected(msgspec.Struct, frozen=True):
    """A response to an accepted instruction that was rejected for ``reason`` (``method.reasons.Reason``).

    ``messages`` are a record's: what was asked, then the response, which ends where the fault was seen while it was
    written (``finish_reason`` ""). ``model`` wrote the response, which has so many ``tokens``; ``run`` and
    ``seed`` are those of the attempt, whose responses ``trial`` counts from 0; ``system`` is the steering's system
    message as it was sent.
    """

    messages: list[Message]
    reason: str
    language: str
    model: str
    run: str
    seed: int
    trial: int
    steering: str
    system: str
    tokens: int
    finish_reason: str
    reasoning: str


def path_beside(corpus: Path) -> Path:
    return files.folder_beside(corpus.resolve()) / "rejected.jsonl"


def unwanted_beside(corpus: Path) -> Path:
    return files.folder_beside(corpus.resolve()) / "unwanted.jsonl"


def read(corpus: Path) -> Iterator[Rejected]:
    """Those beside a corpus. Half a line, which is what a crash leaves, is passed over. Raises OSError."""
    for line in files.read(path_beside(corpus)).splitlines():
        try:
            yield decode(line, Rejected)
        except Misshapen:
            continue


class Aside:
    """Those of a run on their way into their file, until it holds ``most`` lines; ``what`` they are called."""

    def __init__(self, path: Path | None, what: str, most: int = sys.maxsize) -> None:
        """``path`` None: there is no place for them."""
        self._path = path if most else None
        self._what = what
        self._most = most
        self._count = 0
        self._appender: Appender | None = None
        self._notice = ""

    def add(self, fields: Mapping[str, Any]) -> None:
        """It is in the file whole when this returns, or not at all."""
        if self._path is None:
            return
        try:
            if self._appender is None:
                self._appender = self._opened(self._path)
            if self._count >= self._most:
                self._end(f"No more {self._what}s are kept: {self._path} has {self._count:,} (--keep-rejected)")
                return
            self._appender.append(lines.encode(fields))
            self._count += 1
        except CorpusError as error:
            self._end(f"{self._what.capitalize()}s are kept no more: {error.cause}")
        except OSError as error:
            told = f"{self._path} cannot be used: {cause_and_remedy(error)[0]}"
            self._end(f"{self._what.capitalize()}s are not kept: {told}")

    def close(self) -> list[str]:
        """Notices on what was not kept."""
        self._end(self._notice)
        return [self._notice] if self._notice else []

    def _opened(self, path: Path) -> Appender:
        there = path.exists()
        self._count = files.read(path).count(b"\n") if there else 0
        appender = Appender(path, create=not there, sync="never")
        appender.end_line()
        return appender

    def _end(self, notice: str) -> None:
        self._path, self._notice = None, notice
        if self._appender is not None:
            appender, self._appender = self._appender, None
            appender.close()
