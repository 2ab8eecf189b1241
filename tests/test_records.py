"""The record's keys, which nobody may change by the way: a corpus' keys never vary within a file."""

from __future__ import annotations

import json
from pathlib import Path

from corpus.support import record

import magpie_ollama
from magpie_ollama.corpus import lines
from magpie_ollama.corpus.scan import Contents
from magpie_ollama.records import SCHEMA, Record, json_schema, keys_of

KEYS = [
    *("id", "messages", "language", "model", "response_model", "server", "steering", "temperature", "seed", "run"),
    *("source", "topic", "opener", "created_at", "instruction_tokens", "response_tokens", "finish_reason"),
    *("reasoning", "confidence", "fluency", "known_words", "response_known_words", "tags", "reward", "schema"),
]
FIRST = [
    *("id", "messages", "language", "model", "server", "steering", "seed", "run", "created_at"),
    *("instruction_tokens", "response_tokens", "finish_reason", "reasoning", "confidence", "schema"),
]
TAGS = ["quality", "difficulty", "category", "safety", "intent", "language", "judge"]


def test_a_line_has_the_keys_of_its_schema_in_their_order() -> None:
    line = json.loads(lines.encode(lines.values(record())))
    assert list(line) == KEYS and list(line["tags"]) == TAGS and line["schema"] == SCHEMA == 2
    assert not any(value is None for value in line.values())


def test_the_json_schema_in_the_package_is_the_one_of_the_record() -> None:
    path = Path(magpie_ollama.__file__).with_name("record.schema.json")
    told = json.loads(path.read_text("utf-8"))
    assert told == json_schema(), "write it anew: json.dumps(records.json_schema(), indent=2)"
    assert told["$defs"]["Record"]["required"] == list(told["$defs"]["Record"]["properties"]) == KEYS
    assert sorted(told["$defs"]["Tags"]["required"]) == sorted(TAGS)
    assert Record.__doc__ and told["$defs"]["Record"]["description"].startswith("One line of a corpus.")


def test_a_corpus_has_the_keys_of_the_oldest_schema_in_it() -> None:
    assert [list(keys_of(schema)) for schema in (1, SCHEMA)] == [FIRST, KEYS]
    assert not any(map(keys_of, (0, SCHEMA + 1, True, 1.0, "1", [1], None)))
    line = lines.values(record())
    contents = Contents(schema=SCHEMA + 1)
    oldest = []
    for schema in (SCHEMA + 1, SCHEMA, 1, SCHEMA):
        contents.count(line | {"schema": schema})
        oldest.append(contents.schema)
    assert oldest == [SCHEMA + 1, SCHEMA, 1, 1]
