"""What is wrong with a file that should hold one JSON object a line, in words."""

from __future__ import annotations

import codecs
import json

import jsonlines

_MAGIC = {
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

HEAD = 4096
"""Bytes of a file's beginning that ``kind`` wants to see."""


def kind(head: bytes) -> str:
    """What a file is whose first bytes cannot begin a line of JSON objects; "" where they can."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if not text or text.startswith(b"{"):
        return ""
    first = text.partition(b"\n")[0]
    known = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")
    if known:
        return known
    if b"\0" in first:
        return "a binary file"
    if text.startswith(b"["):
        return "a JSON array, not one JSON object a line"
    words = first.decode(errors="replace")
    form = "CSV" if any(mark in words for mark in ",;\t") else "text"
    return f"{form}, which begins with {words[:40].strip()!r}"


def fault(error: jsonlines.InvalidLineError) -> str:
    """Why a line is no JSON, to follow after its number."""
    why = error.__cause__
    if isinstance(why, UnicodeDecodeError):
        return f"is not UTF-8 (at its byte {why.start + 1})"
    if isinstance(why, json.JSONDecodeError):
        return f"is not valid JSON ({why.msg} at its character {why.pos + 1})"
    return f"is not valid JSON ({why or 'null'})"
