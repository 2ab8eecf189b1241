"""Reads any JSONL file of instruction data as a stream of rows: this tool's corpora and those of others.

Where ``scan`` guards the corpus that is appended to, this serves the commands that look at data and clean it.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import jsonlines

from magpie_ollama.corpus import lines, shapes, sniffing
from magpie_ollama.corpus.scan import check_schema
from magpie_ollama.errors import CorpusError, NotACorpus, UsageError

LONGEST = 64 * 2**20
"""Bytes of a line beyond which it is a bad one: it would have to be held in memory."""

_STEP = 2**20
"""Bytes between two reports of the progress."""

_REMEDIES = {
    "a gzip archive": "unpack it first: gunzip < {path} > {new}",  # whatever its name ends in
    "a zip archive": "unpack it first: unzip {path}",
    "a zstd archive": "unpack it first: unzstd < {path} > {new}",
    "a JSON array, not one JSON object a line": "make lines of it: jq -c '.[]' {path} > {new}",
    "a Parquet file": "make lines of it, with pyarrow (pip install 'magpie-ollama[parquet]'): "
    'python -c "import json, sys, pyarrow.parquet as p; '
    '[print(json.dumps(row, default=str)) for row in p.read_table(sys.argv[1]).to_pylist()]" {path} > {new}',
    "UTF-16 text, not UTF-8": "convert it: iconv -f UTF-16 -t UTF-8 {path} > {new}",
}


@dataclass(slots=True)
class Row:
    """One line of a file. ``number`` counts lines from 1; ``line`` are its bytes as they stand, without the newline;
    ``data`` is the object; ``shape`` the key that the pair was found under (see ``shapes``)."""

    number: int
    line: bytes
    data: dict[str, Any]
    shape: str
    instruction: str
    response: str

    @property
    def id(self) -> str:
        """The record's own id, else "line 7"."""
        value = self.data.get("id")
        if type(value) is float:
            value = lines.exact(self.line)["id"]
        return f"line {self.number}" if value in (None, "") else str(value)  # 0 is an id

    def text(self, key: str) -> str:
        """The value of a key that is text; "" where it is not there or something else."""
        value = self.data.get(key)
        return value if type(value) is str else ""

    @property
    def model(self) -> str:
        return self.text("model") or self.text("model_name")

    @property
    def confidence(self) -> float:
        """0 to 1; 0.0 where it was not measured, or is anything else."""
        value = self.data.get("confidence")
        return float(value) if isinstance(value, (float, int)) and 0 <= value <= 1 else 0.0


class Rows:
    """The rows of a file, one at a time: ``for row in Rows(path)``.

    ``bad`` are the lines that were no record: (number, why). A bad last line that lacks its newline was torn, by a
    crash or because it is being written: it is always passed over. Any other raises CorpusError, unless ``skip_bad``.
    ``size`` is the file's in bytes, 0 for a stream; ``on_progress`` is called with the bytes read so far.
    """

    def __init__(
        self, path: Path, *, skip_bad: bool = False, on_progress: Callable[[int], None] = lambda done: None
    ) -> None:
        """``Path("-")`` is stdin; see ``is_stream`` for others.

        Raises UsageError for a missing file, NotACorpus for one of another kind.
        """
        self.path = path
        self.bad: list[tuple[int, str]] = []
        self.count = 0
        self._skip_bad = skip_bad
        self._on_progress = on_progress
        self._stdin = path == Path("-")
        self.size = 0 if is_stream(path) else _check(path)

    def __iter__(self) -> Iterator[Row]:
        if self._stdin:
            yield from self._rows(sys.stdin.buffer)
            return
        with self.path.open("rb") as file:
            yield from self._rows(file)

    def notice(self) -> str:
        """A sentence on the bad lines, "" where there were none."""
        if not self.bad:
            return ""
        number, why = self.bad[0]
        more = f", and {len(self.bad) - 1} others" if len(self.bad) > 1 else ""
        return f"Passed over line {number} of {self.path}, which {why}{more}."

    def _rows(self, file: BinaryIO) -> Iterator[Row]:
        source = _Source(file, self._on_progress)
        for line in source:
            try:
                value = lines.parse(line)
            except jsonlines.InvalidLineError as error:
                self._pass_over(source, source.wrong or sniffing.fault(error))
                continue
            if type(value) is not dict:
                if value is not None:  # a blank line
                    self._pass_over(source, "is no JSON object")
                continue
            check_schema(value, self.path)
            found = shapes.pair(value)
            if found is None:
                self._pass_over(source, shapes.fault(value))
                continue
            self.count += 1
            yield Row(source.number, line.rstrip(b"\r\n"), value, *found)

    def _pass_over(self, source: _Source, wrong: str) -> None:
        torn = self.count and not source.line.endswith(b"\n") and not source.wrong
        self.bad.append((source.number, "is torn" if torn else wrong))
        if torn or self._skip_bad:
            return
        if self.count:
            raise CorpusError(f"Line {source.number} of {self.path} {wrong}", "mend the line, or add --skip-bad")
        raise NotACorpus(
            f"{self.path} holds no instruction data: line {source.number} {wrong}",
            "give a JSONL file with messages, conversations, instruction and output, or prompt and completion",
        )


class _Source:
    """The lines of ``file``. ``wrong`` says what is wrong with the last one before it is even parsed."""

    def __init__(self, file: BinaryIO, on_progress: Callable[[int], None]) -> None:
        self._file = file
        self._on_progress = on_progress
        self.line = b""
        self.number = 0
        self.wrong = ""

    def __iter__(self) -> Iterator[bytes]:
        done = told = 0
        while line := self._file.readline(LONGEST):
            self.number += 1
            self.line = line
            self.wrong = ""
            done += len(line)
            if len(line) == LONGEST and not line.endswith(b"\n"):
                self.wrong = f"is longer than {LONGEST >> 20} MB"
                self.line = b"\n"
                while line and not line.endswith(b"\n"):
                    line = self._file.readline(LONGEST)
                    done += len(line)
                yield b"!"  # no JSON: the reader of these lines refuses it
            else:
                yield line
            if done - told >= _STEP:
                self._on_progress(done)
                told = done
        self._on_progress(done)


def is_stream(path: Path) -> bool:
    """Whether it is stdin (``Path("-")``), a FIFO or a device: read once only, and written to as it stands."""
    try:
        return path == Path("-") or stat.S_IFMT(path.stat().st_mode) in (stat.S_IFIFO, stat.S_IFCHR)
    except OSError:
        return False


def size_of(path: Path) -> int:
    """Bytes of a file, for its progress; 0 for a stream, and for what ``Rows`` will refuse."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _check(path: Path) -> int:
    """The size of a file that may hold rows. Raises UsageError and NotACorpus."""
    try:
        with path.open("rb") as file:
            kind = sniffing.kind(file.read(sniffing.HEAD))
            size = file.seek(0, 2) if file.seekable() else 0
    except OSError as error:
        denied = isinstance(error, PermissionError)
        remedy = "check its rights" if denied else "check its name, or make it with `magpie-ollama generate`"
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy) from error
    if kind:
        remedy = _REMEDIES.get(kind, "give a JSONL file: one JSON object a line")
        raise NotACorpus(f"{path} is {kind}", remedy.format(path=_quoted(path), new=_quoted(free_name(path))))
    if not size:
        raise NotACorpus(f"{path} is empty", "make records with `magpie-ollama generate`")
    return size


def free_name(path: Path, what: str = "lines") -> Path:
    """A name beside ``path``, for ``what`` is made of it, that no file has yet."""
    names = (path.with_name(f"{path.stem}-{what}{number if number > 1 else ''}.jsonl") for number in count(1))
    return next(name for name in names if not os.path.lexists(name))


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
