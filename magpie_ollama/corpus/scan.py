"""One pass over a corpus file: is it one, what is in it, and is its last line whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import jsonlines

from magpie_ollama.corpus import lines, sniffing
from magpie_ollama.errors import CorpusError, NotACorpus
from magpie_ollama.records import SCHEMA, keys_of

_OTHER_FILE = "write to another file with -o"

_OWN_START = b'{"id":"'

_CHUNK = 2**20

LAST_SEED = 2**31
"""Above all that a server takes."""


@dataclass(slots=True)
class OfRun:
    """What the corpus itself says about one run: records kept, the highest seed among them (-1 for none),
    and the newest of them."""

    kept: int = 0
    top_seed: int = -1
    newest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Contents:
    """What is in a corpus. ``torn`` is its last line where that is not whole.

    ``schema`` is the oldest of this tool's records, the newest where there are none: what is added has its keys.
    ``size`` and ``lines`` are how far it was read, ``digest`` the SHA-256 of those bytes (in hexadecimal digits); it is
    "" where they do not end with a line.
    """

    records: int = 0
    schema: int = SCHEMA
    models: set[str] = field(default_factory=set)
    runs: dict[str, OfRun] = field(default_factory=dict)
    torn: bytes = b""
    size: int = 0
    lines: int = 0
    digest: str = ""

    def count(self, record: Mapping[str, Any]) -> None:
        """Add one record, of this tool or of another that writes ``messages``."""
        self.records += 1
        schema: Any = record.get("schema")
        if schema != self.schema and (keys := keys_of(schema)) and schema < self.schema and record.keys() >= set(keys):
            self.schema = schema
        for model in (record.get("model"), record.get("response_model")):
            if type(model) is str and model:
                self.models.add(model)
        run, seed = record.get("run"), record.get("seed")
        if type(run) is str and run:
            tally = self.runs.setdefault(run, OfRun())
            tally.kept += 1
            tally.newest = record
            if type(seed) is int and seed < LAST_SEED:
                tally.top_seed = max(tally.top_seed, seed)


class _Lines:
    """The lines of ``file``, behind ``number`` others. ``line`` is the one last given, ``number`` its number, ``size``
    the bytes given so far."""

    def __init__(self, file: BinaryIO, number: int = 0, hasher: hashlib._Hash | None = None) -> None:
        self._file = file
        self._hasher = hasher
        self.line = b""
        self.number = number
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for line in self._file:
            self.number += 1
            self.size += len(line)
            self.line = line
            if self._hasher:
                self._hasher.update(line)
            yield line


def _values(source: _Lines) -> Iterator[Any]:
    """The values of the lines that are not blank. Raises InvalidLineError."""
    for line in source:
        value = lines.parse(line)
        if value is not None:
            yield value


class _NoRecordError(ValueError):
    pass


def scan(path: Path, *, first_only: bool = False, known: Contents | None = None) -> Contents:
    """Read the file to its end, or to its first record. Where it still begins with what is ``known`` of an earlier
    reading, only the rest is parsed, and ``known`` grows by it.

    Raises NotACorpus for a foreign file, CorpusError for a line that is no record or a newer one's,
    OSError. A bad last line without its newline is no error: it was torn, and is given as ``torn``.
    """
    with path.open("rb") as file:
        kind = sniffing.kind(file.read(sniffing.HEAD))
        if kind:
            raise NotACorpus(f"{path} is not a corpus but {kind}", f"{_OTHER_FILE}; nothing was changed")
        file.seek(0)
        contents, hasher = _begin(file, known)
        source = _Lines(file, contents.lines, hasher)
        try:
            for value in _values(source):
                contents.count(_record(value, path))
                if first_only:
                    break
        except (jsonlines.InvalidLineError, _NoRecordError) as error:
            cut = not source.line.endswith(b"\n") and (contents.records or _own(source.line, error))
            if not cut:
                raise _refusal(path, contents, source.number, error) from None
            contents.torn = source.line
    contents.size += source.size
    contents.lines = source.number
    contents.digest = hasher.hexdigest() if not source.line or source.line.endswith(b"\n") else ""
    return contents


def _begin(file: BinaryIO, known: Contents | None) -> tuple[Contents, hashlib._Hash]:
    """What need not be read again, with ``file`` behind it, and the hash of it."""
    if known is not None:
        hasher = _hashed(file, known.size)
        if hasher.hexdigest() == known.digest:
            return known, hasher
        file.seek(0)
    return Contents(), hashlib.sha256()


def digest(path: Path, size: int) -> str:
    """The SHA-256 of the first ``size`` bytes, in hexadecimal digits. 1.5 GB/s. Raises OSError."""
    with path.open("rb") as file:
        return _hashed(file, size).hexdigest()


def _hashed(file: BinaryIO, size: int) -> hashlib._Hash:
    hasher = hashlib.sha256()
    while size and (chunk := file.read(min(size, _CHUNK))):
        hasher.update(chunk)
        size -= len(chunk)
    return hasher


def instructions(path: Path, *, size: int = 0, number: int = 0) -> Iterator[tuple[str, str]]:
    """Each record's id ("line 7" where it has none) and instruction, in the order of the file, behind its first
    ``size`` bytes, which are ``number`` lines.

    For a file that ``scan`` has accepted: a line that is no record has come since, from another program, and is passed
    over. Raises OSError, CorpusError for a newer record.
    """
    with path.open("rb") as file:
        file.seek(size)
        source = _Lines(file, number)
        for line in source:
            try:
                if (value := lines.parse(line)) is None:
                    continue
                messages = _record(value, path)["messages"]
            except (jsonlines.InvalidLineError, _NoRecordError):
                continue
            text = next((m["content"] for m in messages if m["role"] == "user"), "")
            yield str(value.get("id") or f"line {source.number}"), lines.whole_text(text)


def _record(value: Any, path: Path) -> dict[str, Any]:
    if type(value) is not dict:
        raise _NoRecordError("is no JSON object")
    check_schema(value, path)
    messages = value.get("messages")
    if messages is None:
        keys = ", ".join(str(key)[:30] for key in list(value)[:8])
        raise _NoRecordError(f"has no messages (its keys: {keys or 'none'})")
    if type(messages) is not list or not messages or not all(_is_message(message) for message in messages):
        raise _NoRecordError("has messages that are no list of role and content")
    return value


def check_schema(value: Mapping[str, Any], path: Path) -> None:
    """Raises CorpusError for a record of a later schema than this tool knows."""
    schema = value.get("schema")
    if type(schema) is int and schema > SCHEMA:
        raise CorpusError(
            f"{path} was written by a newer magpie-ollama (schema {schema}; this one knows {SCHEMA})",
            "pip install --upgrade magpie-ollama",
        )


def _is_message(value: Any) -> bool:
    return type(value) is dict and type(value.get("role")) is str and type(value.get("content")) is str


def _own(line: bytes, error: ValueError) -> bool:
    """Whether a file of this one line alone is the torn beginning of a record, and no foreign file."""
    torn = isinstance(error, jsonlines.InvalidLineError)
    return torn and (line.startswith(_OWN_START) or _OWN_START.startswith(line))


def _refusal(path: Path, contents: Contents, number: int, error: ValueError) -> CorpusError:
    wrong = sniffing.fault(error) if isinstance(error, jsonlines.InvalidLineError) else str(error)
    if contents.records:
        return CorpusError(
            f"Line {number} of {path} {wrong}", f"mend or remove line {number}, or {_OTHER_FILE}; nothing was changed"
        )
    return NotACorpus(f"{path} is not a corpus: line {number} {wrong}", f"{_OTHER_FILE}; nothing was changed")
