"""What is wrong with a file that should hold one JSON object a line, in words."""

from __future__ import annotations

import codecs
import json
import re

import jsonlines

ARRAY = "a JSON array, not one JSON object a line"
SEVERAL_LINES = "JSON over several lines, not one object a line"
ONE_LINE = "JSON objects one behind another, not one a line"
COMMAS = "JSON objects with a comma behind each"
NOT_UTF8 = "not UTF-8"

_MAGIC = {
    codecs.BOM_UTF32_LE: "UTF-32 text, not UTF-8",
    codecs.BOM_UTF32_BE: "UTF-32 text, not UTF-8",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3": "an SQLite database",
    b"GGUF": "a model (GGUF)",
    b"%PDF": "a PDF",
    codecs.BOM_UTF16_LE: "UTF-16 text, not UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16 text, not UTF-8",
}

_TURNS = re.compile(rb'\[\s*\{\s*"(?:role|from|speaker)"\s*:')
_AROUND = re.compile(rb'\s*\{\s*"(data|train|test|rows|examples|items|records|instances|samples|dataset)"\s*:\s*\[')

HEAD = 4096
"""Bytes of a file's beginning that ``kind`` wants to see."""


def kind(head: bytes) -> str:
    """What a file is whose first bytes cannot begin a line of JSON objects; "" where they can."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if head[:2] in (b"{\0", b"[\0", b"\0{", b"\0["):
        return f"UTF-16 text without a mark ({'big' if head[0] == 0 else 'little'}-endian), not UTF-8"
    first = text.partition(b"\n")[0]
    if text.startswith(b"{"):
        return ""
    if _TURNS.match(first):
        return ""  # each line a bare list of turns
    if not text:
        return ""
    known = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")
    if known:
        return known
    if b"\0" in first:
        return "a binary file"
    if text.startswith(b"["):
        return SEVERAL_LINES if _TURNS.match(text) else ARRAY
    words = first.decode(errors="replace")
    form = "CSV" if any(mark in words for mark in ",;\t") else "text"
    return f"{form}, which begins with {words[:40].strip()!r}"


def layout(head: bytes) -> str:
    """The same for JSON that begins with an object and has it over several lines."""
    first, _, behind = head.removeprefix(codecs.BOM_UTF8).lstrip().partition(b"\n")
    begun = first.rstrip()
    if not begun.startswith(b"{") or not begun.endswith((b"{", b"[", b",", b":")) or begun.endswith(b"},"):
        return ""
    return "" if not behind.strip() or behind.lstrip().startswith(b"{") else SEVERAL_LINES


def around(head: bytes) -> str:
    """The key of the list of rows that a file over several lines begins with; "" where it does not."""
    found = _AROUND.match(head.removeprefix(codecs.BOM_UTF8))
    return found[1].decode() if found else ""


def misfit(error: jsonlines.InvalidLineError) -> str:
    """What is wrong with the whole file, by its first line that is no JSON; "" where that may be the line alone."""
    why = error.__cause__
    if isinstance(why, UnicodeDecodeError):
        return NOT_UTF8
    if isinstance(why, json.JSONDecodeError) and why.msg == "Extra data":
        behind = why.doc[why.pos :].strip()
        return ONE_LINE if behind.startswith("{") else COMMAS if behind == "," else ""
    return ""


def fault(error: jsonlines.InvalidLineError) -> str:
    """Why a line is no JSON, to follow after its number."""
    why = error.__cause__
    if isinstance(why, UnicodeDecodeError):
        return f"is not UTF-8 (at its byte {why.start + 1})"
    if isinstance(why, json.JSONDecodeError):
        return f"is not valid JSON ({why.msg} at its character {why.pos + 1})"
    return f"is not valid JSON ({why or 'null'})"
