"""A record of an older schema as one of the newest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any, get_type_hints

from magpie_ollama.corpus import lines
from magpie_ollama.corpus.reading import Row, free_name
from magpie_ollama.decoding import Misshapen, convert
from magpie_ollama.errors import NotACorpus
from magpie_ollama.records import FIRST, KEYS, SCHEMA, Record, Tags, keys_of, tags

_TYPES = get_type_hints(Record)
_TURN = {"role", "content"}
_PLAIN = {"str", "int", "float", "bool"}


@dataclass(slots=True)
class Survey:
    """What is in a corpus: how many of its records are ``old``, and the keys that the schema does not have, by the
    types of their values."""

    records: int = 0
    old: int = 0
    further: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def staying(self) -> set[str]:
        """Keys that stay in the lines: each record has one, of one plain type. A key of some lines would be one that
        ``datasets`` refuses."""
        everywhere = {key for key, types in self.further.items() if list(types.values()) == [self.records]}
        return {key for key in everywhere - KEYS if _PLAIN.issuperset(self.further[key])}

    @property
    def left(self) -> dict[str, int]:
        """The others, with how many records have them."""
        return {key: types.total() for key, types in self.further.items() if key not in self.staying}


def survey(rows: Iterable[Row], path: Path) -> Survey:
    """One pass over the file at ``path``. Raises NotACorpus for a record that is not of this tool, and for none."""
    found = Survey()
    for row in rows:
        found.records += 1
        found.old += row.data.get("schema") != SCHEMA
        for key, value in _parted(row, path)[1].items():
            kind = type(value).__name__ if not isinstance(value, float) or math.isfinite(value) else "no number"
            found.further.setdefault(key, Counter())[kind] += 1
    if not found.records:
        raise NotACorpus(f"{path} holds no records", "make some with `magpie-ollama generate`")
    return found


def upgraded(row: Row, path: Path, staying: set[str]) -> bytes:
    """The row's line in the newest schema, with its own keys behind that are ``staying``."""
    made, further = _parted(row, path)
    if staying:
        exact = lines.exact(row.line) if staying & further.keys() else {}
        made |= {key: exact[key] for key in sorted(staying)}
    return lines.encode_quickly(made)


def _parted(row: Row, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The record of a row, and what has no place in it. A key that the schema has is taken where its value is of the
    type, whoever added it."""
    data = row.data
    fields = {key: data[key] for key in FIRST if key in data} | {"schema": SCHEMA}
    further = {key: value for key, value in data.items() if key not in FIRST and value is not None}
    for key in further.keys() & KEYS:
        try:
            value = convert(further[key], _TYPES[key]) if key != "tags" else _tags(row)
        except Misshapen:
            continue
        if not isinstance(value, float) or math.isfinite(value):
            fields[key] = value
            del further[key]
    try:
        if not keys_of(data.get("schema")):
            raise Misshapen("names no schema")
        made = lines.values(convert(fields, Record))
        if any(turn.keys() - _TURN for turn in data["messages"]):
            raise Misshapen("has turns with more than role and content")
    except Misshapen as error:
        new = free_name(path)
        raise NotACorpus(
            f"Line {row.number} of {path} is no record of this tool: {error}",
            f"mend or remove it; or make records of all that can be one: magpie-ollama import {quote(str(path))} "
            f"-o {quote(str(new))}",
        ) from error
    if not math.isfinite(made["confidence"]):
        made["confidence"] = 0.0  # not measured
    return made, further


def _tags(row: Row) -> Tags:
    """Raises Misshapen for what is not a judge's of this tool."""
    given = convert(row.data["tags"], dict[str, str])
    if given and not {"judge"} <= given.keys() <= Tags.__annotations__.keys():
        raise Misshapen("has other tags")
    return tags(given)
