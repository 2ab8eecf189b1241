"""Files that hold rows in another form than a JSON object a line, read as such lines: JSON arrays, tables (CSV, TSV,
Parquet), plain text; and what gzip or zstd packed."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import orjson

from magpie_ollama.corpus import lines, sniffing
from magpie_ollama.errors import CorpusError, NotACorpus, UsageError, extra

TABLES = {".csv": "", ".tsv": "\t", ".tab": "\t"}
"""Names that a table ends in, with what separates its cells; "": what its header has most of."""

PACKED = (".gz", ".zst", ".zstd")

ARRAY, PARQUET, TABLE, TEXT = "array", "parquet", "table", "text"

ENDS = ".?!…。？！؟।"
"""What a sentence ends with; a colon announces more."""

_CLOSING = "\"'”’»)]*_`"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which forms are taken beside those that tell themselves. ``text``: what is nothing else is plain text, whose
    instructions are ``blocks``, lines (False), or what they look like (None). ``table``: it is a table, whatever its
    name ends in."""

    text: bool = False
    blocks: bool | None = None
    table: bool = False


class Made:
    """Lines that were made of a file of another form, numbered as its rows are: a text by its lines, a table as a
    spreadsheet counts, all else from 1. ``notice`` tells how a text was read where that could be doubted."""

    wrong = ""

    def __init__(self, form: str, file: BinaryIO, path: Path, wanted: Wanted, on_row: Callable[[], None]) -> None:
        self._on_row = on_row
        self.line = b""
        self.number = 0
        self.notice = ""
        if form == TEXT:
            self._rows: Iterable[tuple[int, bytes]] = self._text(_decoded(file, path), wanted.blocks, path)
        elif form == TABLE:
            self._rows = _table(file, path)
        elif form == PARQUET:
            self._rows = enumerate(_parquet(path), 1)
        else:
            self._rows = enumerate(_array(file, path), 1)

    def __iter__(self) -> Iterator[bytes]:
        for number, line in self._rows:
            self.number, self.line = number, line
            yield line
            self._on_row()

    def more(self) -> bytes:
        return b""

    def _text(self, text: str, blocks: bool | None, path: Path) -> Iterator[tuple[int, bytes]]:
        rows = list(enumerate(text.replace("\r\n", "\n").removesuffix("\n").split("\n"), 1))
        joined = list(_blocks(rows))
        if blocks is None and 1 < len(joined) < sum(bool(line.strip()) for _, line in rows):
            blocks = _go_on(joined)
            how, other = ("blocks parted by blank lines", "--lines") if blocks else ("one a line", "--blocks")
            self.notice = f"{path.name} is read as questions, {how}; {other} reads it the other way."
        for number, one in joined if blocks else rows:
            yield number, orjson.dumps({"instruction": one})


def unpacked(file: BinaryIO, head: bytes, path: Path) -> BinaryIO:
    """What gzip or zstd packed; ``file`` itself where it is neither. Raises UsageError where zstd cannot be read."""
    kind = sniffing.kind(head)
    if kind == "a gzip archive":
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if kind != "a zstd archive":
        return file
    try:
        from compression import zstd  # type: ignore[import-not-found]  # Python 3.14

        return cast(BinaryIO, zstd.ZstdFile(file))
    except ImportError:
        pass
    try:
        import pyarrow
    except ImportError:
        raise UsageError(
            f"{path} is a zstd archive, which this Python cannot unpack",
            f"unzstd {path}; or `{extra('parquet')}`, whose pyarrow can",
        ) from None
    return cast(BinaryIO, io.BufferedReader(pyarrow.input_stream(file, compression="zstd")))


def form(head: bytes, path: Path, wanted: Wanted) -> str:
    """Which form a file has that begins so; "" for lines of JSON, and for what is none of them."""
    kind = sniffing.kind(head)
    if kind == sniffing.ARRAY:
        return ARRAY
    if kind == "a Parquet file":
        return PARQUET
    if kind.startswith(("CSV", "text")) or (kind == "" and not head.lstrip()):
        if wanted.table or _suffix(path) in TABLES:
            return TABLE
        return TEXT if wanted.text else ""
    return ""


def _suffix(path: Path) -> str:
    """What a file's name ends in, without what packed it."""
    return Path(path.stem if path.suffix.lower() in PACKED else path.name).suffix.lower()


def _decoded(file: BinaryIO, path: Path) -> str:
    try:
        return file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error


def _not_utf8(path: Path) -> NotACorpus:
    return NotACorpus(f"{path} is not UTF-8", f"convert it: iconv -f CP1252 -t UTF-8 {path} (or name its own encoding)")


def _blocks(rows: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Each run of lines between blank ones, under the number of its first."""
    block: list[tuple[int, str]] = []
    for number, line in (*rows, (0, "")):
        if line.strip():
            block.append((number, line))
        elif block:
            yield block[0][0], "\n".join(text for _, text in block)
            block = []


def _go_on(blocks: Iterable[tuple[int, str]]) -> bool:
    """Whether most lines that another one of their block follows do not end as a sentence does."""
    inner = [line.rstrip().rstrip(_CLOSING) for _, block in blocks for line in block.split("\n")[:-1]]
    return 2 * sum(not line.endswith(tuple(ENDS)) for line in inner) > len(inner)


def _table(file: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    csv.field_size_limit(2**31 - 1)  # the longest that a C long holds everywhere
    text = (line.decode() for line in file)
    try:
        first = next(text, "").removeprefix("\ufeff")
        mark = TABLES.get(_suffix(path)) or max(",;\t", key=first.count)
        header = next(csv.reader([first], delimiter=mark), [])
        if len(set(header)) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise NotACorpus(f"{path} has two columns called {twice!r}", "give one of them another name")
        for number, cells in enumerate(filter(None, csv.reader(text, delimiter=mark)), 2):
            if len(cells) > len(header):
                raise CorpusError(
                    f"Row {number} of {path} has {len(cells)} cells, and its header {len(header)}",
                    'put cells that hold the separator between quotes ("), then run the same command again',
                )
            yield number, orjson.dumps(dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True)))
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    except csv.Error as error:
        raise CorpusError(f"{path} is no whole table: {error}", "mend it, or save it as CSV once more") from error


def _array(file: BinaryIO, path: Path) -> Iterator[bytes]:
    data = file.read()
    try:
        rows = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"), type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):  # Python says better what is wrong, and takes a NaN
        try:
            yield from (lines.encode_quickly({"": row})[4:-1] for row in json.loads(data))
        except (ValueError, RecursionError) as error:
            raise NotACorpus(f"{path} is no whole JSON array: {error}", "mend it, or give one object a line") from error
        return
    for row in rows:
        yield bytes(row).replace(b"\n", b" ").replace(b"\r", b" ")  # between values: in a text they are escapes


def _parquet(path: Path) -> Iterator[bytes]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError(f"{path} is a Parquet file, which needs pyarrow", extra("parquet")) from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    yield orjson.dumps(row, default=_shown)
    except (pyarrow.ArrowException, OSError) as error:
        raise NotACorpus(f"{path} cannot be read as Parquet: {error}", "fetch it again, or give it as JSONL") from error


def _shown(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
