"""JSON Lines, both ways: one object to one line of bytes, and a file of lines to objects."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jsonlines
import orjson

from magpie_ollama.records import Attempt, Record

# A NaN would be written as a bare NaN, which is no JSON: `datasets` then refuses the whole file.
_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_dumps_any = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(obj: Mapping[str, Any]) -> bytes:
    """One compact line of UTF-8 with its newline. Raises ValueError for NaN and infinities."""
    return whole_text(_dumps(obj)).encode() + b"\n"


def encode_quickly(obj: Mapping[str, Any]) -> bytes:
    """The same without the newline, in a third of the time, for what holds no NaN: it would become null."""
    try:
        return orjson.dumps(obj)
    except orjson.JSONEncodeError:  # half of a surrogate pair
        return encode(obj)[:-1]


def with_value(line: bytes, key: str, value: Any) -> bytes:
    """The object of a line with a value more, or another one, without the newline. Its other values stay what they are,
    NaN and whole numbers of any length too, but for a number beyond the floats (1e400), which becomes null."""
    try:
        found = exact(line)
        return whole_text(_dumps_any({**(found if type(found) is dict else {"messages": found}), key: value})).encode()
    except RecursionError:  # behind the rest, where of two values with one name the last counts
        return line.rstrip()[:-1] + b"," + encode({key: value})[1:-1]


def values(item: Record | Attempt) -> dict[str, Any]:
    """The fields of ``item`` by name. ``dataclasses.asdict`` copies them, at the cost of a whole write."""
    return {key: getattr(item, key) for key in type(item).__slots__}


def whole_text(text: str) -> str:
    """``text`` as UTF-8 can hold it: halves of surrogate pairs are joined, or else replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def reader(lines: Iterable[bytes]) -> jsonlines.Reader:
    """A reader of ``lines``; its ``InvalidLineError`` carries the line and its number, counted from 1."""
    return jsonlines.Reader(lines, loads=_loads)


def parse(line: bytes) -> Any:
    """The value of a line, None of a blank one. Raises jsonlines' InvalidLineError."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        value = None
    # Blank, bad, or to be understood by a closer look: with it, all lines would take twice their time.
    return next(reader([line]).iter(skip_empty=True), None) if value is None else value


def exact(line: bytes) -> Any:
    """The value of a line that ``parse`` takes, where every digit counts: to ``parse``, a whole number beyond 64 bits
    is a float. To look for such numbers would cost more than to parse. A number beyond the floats is None."""
    try:
        return json.loads(line, parse_float=_finite)
    except RecursionError:  # orjson goes deeper
        return orjson.loads(line)


def shown(value: Any) -> str:
    """``value`` as JSON for a reader, on one line."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except RecursionError:
        return "(nested too deeply to show)"


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None  # an infinity would be written as Infinity, which is no JSON


def _loads(line: str | bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass  # the standard library takes a few things more (halves of surrogate pairs), and says better what is wrong
    try:
        return json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None
