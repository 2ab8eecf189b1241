"""The vectors of a file's instructions, written down as they come: ``it.jsonl.magpie/cache/vectors-...``, a file for
each model and digest.

A line of JSON says whose they are and how long; rows follow, of the key of a text and its vector of length 1 in half
precision, which moves a cosine by 0.0005 at most. It may be deleted at any time.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from magpie_ollama.corpus import files, lines, system
from magpie_ollama.corpus.appender import failure, write_all
from magpie_ollama.decoding import Misshapen, decode
from magpie_ollama.errors import CorpusError

_KEY = 16
"""Bytes of a text's key."""


class _Head(msgspec.Struct):
    """The file's first line. ``cut``: characters of a text that were embedded at most."""

    model: str
    digest: str
    cut: int
    numbers: int


class Vectors:
    """Those that ``model`` made of texts cut at ``cut`` characters. A context manager; one process at a time."""

    def __init__(self, source: Path, model: str, digest: str, cut: int) -> None:
        """For the records of ``source``. Raises CorpusError."""
        self._whose = (model, digest, cut)
        name = blake2b(json.dumps(self._whose).encode(), digest_size=8).hexdigest()
        self._path = files.folder_beside(source.resolve()) / "cache" / f"vectors-{name}"
        self._rows: dict[bytes, int] = {}
        self._start = self._numbers = 0
        try:
            files.make_folder(self._path.parent.parent)
            files.make_folder(self._path.parent)
            self._fd = system.open_plain(self._path, system.APPEND | os.O_CREAT)
        except OSError as error:
            raise failure(error, self._path) from error
        try:
            if system.hold(self._fd) is False:
                raise CorpusError(
                    f"Another command is embedding {source}", "wait for it to end, then run the same command again"
                )
            self._read()
        except BaseException:
            os.close(self._fd)
            raise

    def __contains__(self, text: str) -> bool:
        return _key(text) in self._rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def add(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Write the vectors of texts down, a row each. Raises CorpusError, also where they have become longer or
        shorter."""
        numbers = vectors.shape[1]
        try:
            if not self._rows:
                model, digest, cut = self._whose
                os.ftruncate(self._fd, 0)
                head = lines.encode({"model": model, "digest": digest, "cut": cut, "numbers": numbers})
                write_all(self._fd, head)
                self._start, self._numbers = len(head), numbers
            if numbers != self._numbers:
                raise CorpusError(
                    f"{self._whose[0]} now makes vectors of {numbers} numbers, and made some of {self._numbers} before",
                    f"rm {shlex.quote(str(self._path))}; then run the same command again",
                )
            halves = vectors.astype("<f2")
            write_all(self._fd, b"".join(_key(t) + v.tobytes() for t, v in zip(texts, halves, strict=True)))
        except OSError as error:
            raise failure(error, self._path) from error
        for text in texts:
            self._rows[_key(text)] = len(self._rows)

    def of(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """The vectors of texts that are all there, of length 1: an array of texts and numbers."""
        places = [self._rows[_key(text)] for text in texts]
        if not places:
            return np.empty((0, self._numbers), np.float32)
        found = self._table()["vector"][places].astype(np.float32)
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        return found

    def _table(self) -> NDArray[np.void]:
        row = np.dtype([("key", f"V{_KEY}"), ("vector", "<f2", (self._numbers,))])
        count = (os.fstat(self._fd).st_size - self._start) // row.itemsize
        return np.memmap(self._path, row, "r", self._start, (count,)) if count else np.empty(0, row)

    def _read(self) -> None:
        """What earlier runs wrote; half a row at the end, of one that was killed, is cut off."""
        with self._path.open("rb") as file:
            line = file.readline(2**16)
        try:
            head = decode(line, _Head)
        except Misshapen:
            return
        if line[-1:] != b"\n" or (head.model, head.digest, head.cut) != self._whose or head.numbers < 1:
            return
        self._start, self._numbers = len(line), head.numbers
        table = self._table()
        os.ftruncate(self._fd, self._start + table.nbytes)
        self._rows = {key.tobytes(): place for place, key in enumerate(table["key"])}


def _key(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_KEY).digest()
