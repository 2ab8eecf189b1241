"""Reads any JSONL file of instruction data as a stream of rows: this tool's corpora and those of others.

Where ``scan`` guards the corpus that is appended to, this serves the commands that look at data and clean it.
"""

from __future__ import annotations

import gzip
import json
import os
import shlex
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import jsonlines

from magpie_ollama.corpus import forms, lines, names, shapes, sniffing
from magpie_ollama.corpus.appender import cause_and_remedy
from magpie_ollama.corpus.scan import check_schema
from magpie_ollama.errors import CorpusError, NotACorpus, UsageError, extra

LONGEST = 64 * 2**20
"""Bytes of a line beyond which it is a bad one: it would have to be held in memory."""

IMPORT = "import"
"""The ``server`` of a record that another tool made."""

FORMS = "give a JSONL file with messages, conversations, instruction and output, or prompt and completion"

_STEP = 2**20
"""Bytes between two reports of the progress."""

_REMEDIES = {
    "a gzip archive": "unpack it first: gunzip < {path} > {new}",  # whatever its name ends in
    "a zip archive": "unpack it first: unzip {path}",
    "a zstd archive": "unpack it first: unzstd < {path} > {new}",
    "a bzip2 archive": "unpack it first: bunzip2 < {path} > {new}",
    "an xz archive": "unpack it first: unxz < {path} > {new}",
    sniffing.ARRAY: "make lines of it: jq -c '.[]' {path} > {new}",
    sniffing.SEVERAL_LINES: "make lines of it: jq -c . {path} > {new}",
    sniffing.ONE_LINE: "make lines of it: jq -c . {path} > {new}",
    sniffing.COMMAS: "take the commas away: sed 's/,[[:space:]]*$//' {path} > {new}",
    "a Parquet file": "make lines of it, with pyarrow ({pyarrow}): "
    'python -c "import json, sys, pyarrow.parquet as p; '
    '[print(json.dumps(row, default=str)) for row in p.read_table(sys.argv[1]).to_pylist()]" {path} > {new}',
    "UTF-16 text, not UTF-8": "convert it: iconv -f UTF-16 -t UTF-8 {path} > {new}",
    "UTF-32 text, not UTF-8": "convert it: iconv -f UTF-32 -t UTF-8 {path} > {new}",
    "UTF-16 text without a mark (little-endian), not UTF-8": "convert it: iconv -f UTF-16LE -t UTF-8 {path} > {new}",
    "UTF-16 text without a mark (big-endian), not UTF-8": "convert it: iconv -f UTF-16BE -t UTF-8 {path} > {new}",
    sniffing.NOT_UTF8: "convert it, if it is in Windows' code page of Western Europe (else name its own): "
    "iconv -f CP1252 -t UTF-8 {path} > {new}",
}


@dataclass(slots=True)
class Row:
    """One line of a file. ``number`` counts lines from 1; ``line`` are its bytes as they stand, without the newline;
    ``data`` is the object; ``said`` what was found in it, ``shape`` the key that it was found under."""

    number: int
    line: bytes
    data: dict[str, Any]
    said: shapes.Said

    @property
    def shape(self) -> str:
        return self.said.shape

    @property
    def instruction(self) -> str:
        """All that is asked, with its input; user's turns in a row are one."""
        return self.said.instruction

    @property
    def response(self) -> str:
        """ "" where nobody answers; ``said.reason`` tells why."""
        return self.said.response

    @property
    def unwanted(self) -> bool:
        """Whether its answer is labelled as one that is not wanted."""
        return self.said.reason == "labelled_bad"

    @property
    def input(self) -> str:
        """The part of the instruction that its question is about, and that alone may tell it from others."""
        if self.data.get("server") == IMPORT:  # which joined them
            return self.instruction.partition(shapes.BETWEEN)[2]
        return self.said.input

    @property
    def id(self) -> str:
        """The record's own id, else "line 7"."""
        return id_of(self.number, self.line, self.data)

    def text(self, key: str) -> str:
        """The value of a key that is text; "" where it is not there or something else."""
        value = self.data.get(key)
        return value if type(value) is str else ""

    @property
    def model(self) -> str:
        return self.text("model") or self.text("model_name")

    @property
    def tags(self) -> dict[str, str]:
        """What a judge said, by name: in a record of any schema, or in another tool's table of that kind. What nobody
        judged, "", is left out."""
        table = self.data.get("tags")
        pairs = table.items() if type(table) is dict else ()
        return {name: str(value) for name, value in pairs if isinstance(value, str | int) and value != ""}

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
        self,
        path: Path,
        *,
        skip_bad: bool = False,
        columns: names.Columns | None = None,
        on_progress: Callable[[int], None] = lambda done: None,
        wanted: forms.Wanted | None = None,
        asked: str | None = None,
    ) -> None:
        """``Path("-")`` is stdin; see ``is_stream`` for others. ``columns`` are where the pair is under other names.
        With ``wanted``, a file of another form (``corpus.forms``) is read as well, each row as a line that is made.
        Where ``asked`` is not None, rows need no answer: it is the column of the questions, "" for the usual ones.

        Raises UsageError for a missing file, NotACorpus for one of another kind.
        """
        self.path = path
        self.bad: list[tuple[int, str]] = []
        self.count = 0
        self._skip_bad = skip_bad
        self._columns = columns
        self._on_progress = on_progress
        self._wanted = wanted
        self._asked = asked
        self._stdin = path == Path("-")
        self._told = ""
        self._unit = "line"
        self.size = _check(path, wanted)

    def __iter__(self) -> Iterator[Row]:
        with nullcontext(sys.stdin.buffer) if self._stdin else self.path.open("rb") as file:
            if self._wanted is None:
                yield from self._rows(_Source(file, self._on_progress))
            else:
                yield from self._formed(file, self._wanted)

    def _formed(self, packed: BinaryIO, wanted: forms.Wanted) -> Iterator[Row]:
        """The rows of a file of any form. Its progress is how far what is packed was read."""

        def told(done: int = 0) -> None:
            if self.size:
                self._on_progress(packed.tell())

        try:
            file = forms.unpacked(packed, _head(packed), self.path)
            head = _head(file)
            form = forms.form(head, self.path, wanted)
            if not form:
                _check_lines(head, self.path)
                yield from self._rows(_Source(file, told))
            elif form == forms.PARQUET and (file is not packed or is_stream(self.path)):
                raise NotACorpus(f"{self.path} is a packed Parquet file, or a stream of one", "give the file as it is")
            else:
                self._unit = "line" if form == forms.TEXT else "row"
                made = forms.Made(form, file, self.path, wanted, told)
                yield from self._rows(made)
                self._told = made.notice
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise CorpusError(f"{self.path} is no whole archive: {error}", "fetch it again") from error

    def notice(self) -> str:
        """A sentence on how a text was read, or on the bad lines; "" where there is nothing to tell."""
        if not self.bad:
            return self._told
        number, why = self.bad[0]
        more = f", and {len(self.bad) - 1} others" if len(self.bad) > 1 else ""
        return f"Passed over {self._unit} {number} of {self.path}, which {why}{more}."

    def _rows(self, source: _Source | forms.Made) -> Iterator[Row]:
        for line in source:
            try:
                value = lines.parse(line)
            except jsonlines.InvalidLineError as error:
                torn = self.count > 0 and not source.line.endswith(b"\n") and not source.wrong
                self.bad.append((source.number, "is torn" if torn else source.wrong or sniffing.fault(error)))
                if not torn and not self._skip_bad:
                    raise self._broken(source, error) from None
                continue
            if type(value) is not dict:
                if value is None:  # a blank line
                    continue
                value = shapes.as_row(value)
            check_schema(value, self.path)
            if self._asked is None:
                found = shapes.find(value, line, self._columns)
            else:
                found = shapes.question(value, line, self._asked)
            if isinstance(found, str):
                self.bad.append((source.number, found if line.lstrip()[:1] in b"{[" else "is no JSON object"))
                if not self._skip_bad:
                    raise self._foreign(value)
                continue
            self.count += 1
            yield Row(source.number, line.rstrip(b"\r\n"), value, found)

    def _broken(self, source: _Source | forms.Made, error: jsonlines.InvalidLineError) -> CorpusError:
        """What to say of a line that is no JSON."""
        number, wrong = self.bad[-1]
        misfit = "" if source.wrong else sniffing.misfit(error)
        if self.count:
            remedy = "mend the line, or add --skip-bad"
            if misfit == sniffing.NOT_UTF8:
                remedy += f"; or {_remedy(self.path, misfit)}"
            return CorpusError(f"Line {number} of {self.path} {wrong}", remedy)
        if is_stream(self.path) and not misfit and not source.wrong:
            head = source.line + source.more()
            if kind := sniffing.kind(head) or sniffing.layout(head):
                return NotACorpus(f"{self.path} is {kind}", _remedy(self.path, kind))
        cause = f"{self.path} holds no instruction data: line {number} {wrong}"
        return NotACorpus(cause, _remedy(self.path, misfit) if misfit else FORMS)

    def _foreign(self, value: dict[str, Any]) -> CorpusError:
        """What to say of an object that is no record."""
        number, wrong = self.bad[-1]
        if self.count:
            cause = f"{self._unit.capitalize()} {number} of {self.path} {wrong}"
            return CorpusError(cause, "mend it, or add --skip-bad")
        cause = f"{self.path} holds no instruction data: {self._unit} {number} {wrong}"
        if self._asked is not None:
            return NotACorpus(cause, "name the column of the questions with --column, or add --skip-bad")
        if key := shapes.around(value):
            return NotACorpus(cause, _unwrapped(self.path, key))
        guess = shapes.guess(value) or "instruction=question,response=answer"
        return NotACorpus(cause, f"{FORMS}; or name its columns to `export` or `import`: --columns {_quote(guess)}")


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
        while line := self._read():
            self.number += 1
            self.line = line
            self.wrong = ""
            done += len(line)
            if len(line) == LONGEST and not line.endswith(b"\n"):
                self.wrong = f"is longer than {LONGEST >> 20} MB"
                self.line = b"\n"
                yield b"!"  # no JSON: the reader of these lines refuses it, and its end is not even looked for
                while line and not line.endswith(b"\n"):
                    line = self._read()
                    done += len(line)
            else:
                yield line
            if done - told >= _STEP:
                self._on_progress(done)
                told = done
        self._on_progress(done)

    def more(self) -> bytes:
        """The next line."""
        return self._read(sniffing.HEAD)

    def _read(self, limit: int | None = None) -> bytes:
        try:
            return self._file.readline(limit or LONGEST)
        except OSError as error:
            cause, remedy = cause_and_remedy(error)
            raise CorpusError(f"{self._file.name} cannot be read: {cause}", remedy) from error


def id_of(number: int, line: bytes, data: dict[str, Any]) -> str:
    """The own id of a record on a line, else "line 7"."""
    value = data.get("id")
    if type(value) is float:
        value = lines.exact(line)["id"]
    return f"line {number}" if value in (None, "") else str(value)  # 0 is an id


def object_of(line: bytes) -> dict[str, Any]:
    """The object of a line; an empty one of a line that is none."""
    try:
        value = lines.parse(line) if len(line) < LONGEST else None
    except jsonlines.InvalidLineError:
        value = None
    return value if type(value) is dict else {}


def row_of(number: int, line: bytes) -> Row | None:
    """The row of a line; None of one that is no record."""
    data = object_of(line)
    said = shapes.find(data, line)
    return None if isinstance(said, str) else Row(number, line, data, said)


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


def _head(file: BinaryIO) -> bytes:
    """The first bytes, which stay to be read."""
    return file.peek(sniffing.HEAD)[: sniffing.HEAD]  # type: ignore[attr-defined, no-any-return]  # it is buffered


def _check(path: Path, wanted: forms.Wanted | None = None) -> int:
    """The size of a file that may hold rows, 0 of a stream. Raises UsageError and NotACorpus."""
    own = wanted is not None and wanted.text  # a user's own file, which this tool makes none of
    _check_no_device(path)
    if is_stream(path):
        return 0
    try:
        with path.open("rb") as file:
            head = file.read(sniffing.HEAD)
            size = file.seek(0, 2) if file.seekable() else 0
    except OSError as error:
        remedy = "check its name" + ("" if own else ", or make it with `magpie-ollama generate`")
        if isinstance(error, PermissionError):
            remedy = "check its rights"
        elif isinstance(error, IsADirectoryError):
            remedy = "name a file"
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy) from error
    if wanted is None:
        _check_lines(head, path)
    if not size:
        raise NotACorpus(
            f"{path} is empty", "write a text a line" if own else "make records with `magpie-ollama generate`"
        )
    return size


def _check_lines(head: bytes, path: Path) -> None:
    """Raises NotACorpus for what does not begin as lines of JSON do."""
    if kind := sniffing.kind(head) or sniffing.layout(head):
        key = sniffing.around(head) if kind == sniffing.SEVERAL_LINES else ""
        raise NotACorpus(f"{path} is {kind}", _unwrapped(path, key) if key else _remedy(path, kind))


def _check_no_device(path: Path) -> None:
    """Devices have no end (/dev/zero), or wait for somebody to type one (/dev/tty). Raises UsageError for one, but for
    /dev/null, and for a terminal that is stdin, where one may type."""
    try:
        found = os.fstat(0) if path == Path("-") else path.stat()
        null = Path(os.devnull).stat()
    except OSError:
        return  # whoever reads it will tell
    terminal = path == Path("-") and os.isatty(0)
    if stat.S_IFMT(found.st_mode) in (stat.S_IFCHR, stat.S_IFBLK) and found.st_rdev != null.st_rdev and not terminal:
        name = "Stdin" if path == Path("-") else path
        raise UsageError(f"{name} is a device, which has no end and no records", "give a JSONL file, or a pipe")


def free_name(path: Path, what: str = "lines") -> Path:
    """A name beside ``path``, for ``what`` is made of it, that no file has yet."""
    names = (path.with_name(f"{path.stem}-{what}{number if number > 1 else ''}.jsonl") for number in count(1))
    return next(name for name in names if not os.path.lexists(name))


def _remedy(path: Path, kind: str) -> str:
    remedy = _REMEDIES.get(kind, "give a JSONL file: one JSON object a line")
    if kind.startswith("CSV") and path.suffix.lower() in forms.TABLES:
        remedy = "make lines of it: magpie-ollama export {path} -o {new}"
    if is_stream(path):
        names = {"path": "FILE", "new": "NEW.jsonl"}
    else:
        names = {"path": _quote(str(path)), "new": _quote(str(free_name(path)))}
    return remedy.format(**names, pyarrow=extra("parquet"))


def _unwrapped(path: Path, key: str) -> str:
    """The command that makes lines of the list under a key."""
    inner = f".{key}[]" if key.isidentifier() and key.isascii() else f".[{json.dumps(key)}][]"
    return _remedy(path, sniffing.ARRAY).replace("'.[]'", _quote(inner))


def _quote(text: str) -> str:
    return f"'{text}'" if "[" in text and "'" not in text else shlex.quote(text)
