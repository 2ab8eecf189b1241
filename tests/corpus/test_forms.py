"""Rows of files in other forms: arrays, tables, texts, and what is packed."""

from __future__ import annotations

import builtins
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from magpie_ollama.corpus.forms import Wanted
from magpie_ollama.corpus.reading import Rows
from magpie_ollama.errors import CorpusError, MagpieError, NotACorpus, UsageError

PAIRS = [{"instruction": "Chi?", "output": "Io."}, {"instruction": 'Che "è"?\nDi\' su.', "output": "Questo; 1,50 €"}]
LINES = "".join(json.dumps(pair) + "\n" for pair in PAIRS).encode()
ARRAY = json.dumps(PAIRS, indent=2).encode()
TABLE = 'instruction,output\nChi?,Io.\n"Che ""è""?\nDi\' su.","Questo; 1,50 €"\n'.encode()


def _parquet(path: Path) -> bytes:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(PAIRS), path)
    return path.read_bytes()


def _zstd(data: bytes, path: Path) -> bytes:
    import pyarrow

    with pyarrow.CompressedOutputStream(path, "zstd") as out:
        out.write(data)
    return path.read_bytes()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("q.jsonl.gz", lambda path: gzip.compress(LINES, mtime=0)),
        ("q.json", lambda path: ARRAY),
        ("q.json.gz", lambda path: gzip.compress(ARRAY, mtime=0)),
        ("q.jsonl.zst", lambda path: _zstd(LINES, path)),
        ("q.json.zst", lambda path: _zstd(ARRAY, path)),
        ("q.csv", lambda path: TABLE),
        ("q.csv", lambda path: b"\xef\xbb\xbf" + TABLE.replace(b"\n", b"\r\n").replace(b"\r\nDi", b"\nDi")),
        ("q.CSV.gz", lambda path: gzip.compress(TABLE, mtime=0)),
        ("q.tsv", lambda path: b"instruction\toutput\nChi?\tIo.\n"),
        ("q.csv", lambda path: b"instruction;output\nChi?;Io.\n"),
        ("q.parquet", _parquet),
    ],
)  # fmt: skip
def test_the_same_rows_in_every_form(tmp_path: Path, name: str, make: Callable[[Path], bytes]) -> None:
    rows = list(Rows(write(tmp_path / name, make(tmp_path / name)), wanted=Wanted()))
    assert [row.data for row in rows] in (PAIRS, PAIRS[:1])
    assert [json.loads(row.line) for row in rows] == [row.data for row in rows]
    assert [row.number for row in rows][:1] == ([2] if name[2:5].lower() in ("csv", "tsv") else [1])


def test_an_array_keeps_every_digit(tmp_path: Path) -> None:
    path = write(tmp_path / "q.json", b'[\n {"instruction": "a",\n  "n": 1.50, "m": 123456789012345678901}]')
    (row,) = Rows(path, wanted=Wanted())
    assert row.line == b'{"instruction": "a",   "n": 1.50, "m": 123456789012345678901}'
    nan = write(tmp_path / "nan.json", b'[{"instruction": "a", "n": NaN}]')
    assert [row.data["n"] for row in Rows(nan, wanted=Wanted())] == [None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One?\nTwo?\n", ["One?", "Two?"]),
        ("One?\n\nTwo?\nThree?\nOne?\n", ["One?", "", "Two?", "Three?", "One?"]),
        ("One?\n\nTwo?\n", ["One?", "", "Two?"]),
        ("Mend this:\nI has a dog\n\nWhat is\nthat?\n\n\n", ["Mend this:\nI has a dog", "What is\nthat?"]),
        ("One line that goes on\nand ends.", ["One line that goes on", "and ends."]),
        ('He said "yes."\nShe said no.\n\nWhy?', ['He said "yes."', "She said no.", "", "Why?"]),
    ],
)
def test_a_text_is_lines_or_blocks(tmp_path: Path, text: str, expected: list[str]) -> None:
    rows = Rows(write(tmp_path / "q.txt", text.encode()), wanted=Wanted(text=True))
    assert [row.data["instruction"] for row in rows] == expected
    joined = [block for block in text.split("\n\n") if block.strip()]
    told = 1 < len(joined) < len(text.split()) and any("\n" in block.strip() for block in joined)
    assert bool(rows.notice()) == told, "said where it could be read the other way"


@given(
    some.lists(some.text(some.characters(codec="utf-8", exclude_characters='"'), min_size=1), min_size=1, max_size=4)
)
def test_told_how_it_is_read_it_is_read_so(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    texts = [line for text in texts if (line := " ".join(text.split()))] or ["x"]
    path = write(tmp_path_factory.mktemp("text") / "q.txt", "\n\n".join(f"{text}\nb" for text in texts).encode())
    first = {"{", "["}
    if texts[0][0] in first or "\0" in texts[0] or texts[0][:4] in ("PAR1", "%PDF", "GGUF"):
        return  # no text, by its first signs
    blocks = [row.data["instruction"] for row in Rows(path, wanted=Wanted(text=True, blocks=True))]
    assert blocks == [f"{text}\nb" for text in texts]
    lines = [row.data["instruction"] for row in Rows(path, wanted=Wanted(text=True, blocks=False))]
    assert lines == [line for text in texts for line in (text, "b", "")][:-1]


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        ("q.csv", b"a,a\n1,2\n", NotACorpus, "two columns called 'a'"),
        ("q.csv", b"instruction,output\n1,2,3\n", CorpusError, "Row 2 of .* has 3 cells, and its header 2"),
        ("q.csv", "instruction\ncaffè\n".encode("latin-1"), NotACorpus, "is not UTF-8"),
        ("q.csv", b"frage,antwort\n1,2\n", NotACorpus, "row 2 has no instruction .*frage, antwort"),
        ("q.json", b'[{"instruction": "a"}', NotACorpus, "no whole JSON array"),
        ("q.gz", gzip.compress(LINES, mtime=0)[:-9], CorpusError, "no whole archive"),
        ("q.parquet", b"PAR1 and no more", NotACorpus, "cannot be read as Parquet"),
        ("q.parquet.gz", gzip.compress(b"PAR1 and no more", mtime=0), NotACorpus, "packed Parquet"),
        ("q.txt", b"One?\n", NotACorpus, "is text, which begins"),
        ("q.bin", b"\x7fELF\0\0", NotACorpus, "a binary file"),
        ("q.json.gz", gzip.compress(b'{\n"data": [\n{"a": 1}\n]}', mtime=0), NotACorpus, "over several lines"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, content: bytes, error: type[MagpieError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        list(Rows(write(tmp_path / name, content), wanted=Wanted()))
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["q.parquet", "q.jsonl.zst"])
def test_without_pyarrow_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(_parquet(path) if name == "q.parquet" else _zstd(LINES, path))
    usual = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.partition(".")[0] in ("pyarrow", "compression"):
            raise ImportError(name)
        return usual(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError) as caught:
        list(Rows(path, wanted=Wanted()))
    assert "magpie-ollama[parquet]" in caught.value.remedy
