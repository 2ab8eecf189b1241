"""Rows of twelve forms with something wrong in each: whatever they hold, they are read or refused in words, nothing
that is labelled as bad is written, and every row that is left out is counted. FOREIGN_ROWS=20000 makes it long."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from magpie_ollama.corpus import lines
from magpie_ollama.corpus.reading import Row, Rows
from magpie_ollama.curation import export, statistics
from magpie_ollama.curation.filters import Criteria, first_reason, rules
from magpie_ollama.curation.importing import EXPLANATIONS, Importer
from magpie_ollama.curation.pages import page
from magpie_ollama.errors import CorpusError
from magpie_ollama.records import Record

ROWS = int(os.environ.get("FOREIGN_ROWS", "600"))
BAD = "LABELLED-BAD"
Q, A = "Why is the sea salty?", "Rivers carry salts into it."


def chat(who: str, what: str, *roles: str) -> list[dict[str, Any]]:
    return [{who: role, what: A if number % 2 else Q} for number, role in enumerate(roles)]


FORMS: list[Any] = [
    {"messages": chat("role", "content", "user", "assistant", "user", "assistant")},
    {"conversations": chat("from", "value", "human", "gpt"), "system": "Be brief."},
    {"conversation": chat("role", "text", "user", "assistant")},
    {"instruction": Q, "input": "The Dead Sea.", "output": A},
    {"prompt": Q, "completion": A},
    {"prompt": chat("role", "content", "user"), "completion": [{"role": "assistant", "content": A}]},
    {"prompt": Q, "chosen": A, "rejected": BAD},
    {"chosen": chat("role", "content", "user", "assistant"), "rejected": [{"role": "assistant", "content": BAD}]},
    {"question": Q, "answer": A, "context": "The sea."},
    {"conversation": [{"system": "S", "input": Q, "output": A}, {"input": Q, "output": A}]},
    {"messages": json.dumps(chat("role", "content", "user", "assistant"))},
    chat("role", "content", "user", "assistant"),
]
VALUES: list[Any] = [
    *(None, "", " ", 0, 4, -1, 2**70, 1.5, 1e308, float("nan"), float("inf"), True, False, [], {}, [[]], [None], ["a"]),
    *(
        {"a": 1},
        "\ud83d",
        "a\0b",
        "[",
        "[{}]",
        '{"role": "user"}',
        [{"type": "image_url"}],
        [{"type": "text", "text": "t"}],
    ),
    *({"role": "user"}, {"role": "tool", "content": "1"}, {"role": "assistant", "content": None, "tool_calls": [{}]}),
    *([{"from": "human", "value": 3}], "x" * 5000, {"content": {"parts": ["a"]}}, [1, 2, 3], "\u202e"),
]
KEYS = [
    *("messages", "conversations", "instruction", "input", "output", "prompt", "completion", "chosen", "rejected"),
    *("role", "from", "content", "value", "text", "system", "tools", "history", "reasoning", "thinking", "language"),
    *("model", "id", "confidence", "tags", "label", "weight", "schema", "tool_calls", "name", "context", "question"),
]
LABELS: list[dict[str, Any]] = [{"label": False}, {"label": "bad"}, {"kto_tag": False}, {"weight": 0}, {"train": False}]


def places(value: Any) -> list[Any]:
    """All objects and lists in a value."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(one for part in inside for one in places(part))] if isinstance(value, (dict, list)) else []


def mutated(draw: random.Random) -> Any:
    row = deepcopy(draw.choice(FORMS))
    for _ in range(draw.randint(0, 3)):
        place = draw.choice(places(row))
        if isinstance(place, dict):
            key = draw.choice([*place, draw.choice(KEYS)])
            if draw.random() < 0.25:
                place.pop(key, None)
            elif key != "schema":
                place[key] = deepcopy(draw.choice(VALUES))
        elif place and draw.random() < 0.5:
            place.insert(draw.randrange(len(place) + 1), deepcopy(draw.choice([*VALUES, *place])))
        elif place:
            place.pop(draw.randrange(len(place)))
    return row


def labelled(row: Any, draw: random.Random) -> Any:
    """The row with one answer, or all of them, labelled as bad."""
    row = deepcopy(row)
    label = draw.choice(LABELS)
    turns = [
        one for one in places(row) if isinstance(one, dict) and one.get("role", one.get("from")) in ("assistant", "gpt")
    ]
    whole = isinstance(row, dict) and (not turns or draw.random() < 0.5)
    for turn in turns if not whole else []:
        for key in ("content", "value", "text"):
            if key in turn:
                turn[key] = BAD
        turn.update(label)
    if whole:
        row.update(label)
        for place in places(row):
            for key in ("output", "completion", "chosen", "answer", "response", "content", "value", "text"):
                if (
                    isinstance(place, dict)
                    and isinstance(place.get(key), str)
                    and place.get("role") not in ("user", "system")
                ):
                    place[key] = BAD
    return row


def has_types(value: Any, like: Any) -> bool:
    if isinstance(like, dict):
        return (
            isinstance(value, dict)
            and list(value) == list(like)
            and all(has_types(value[key], like[key]) for key in like)
        )
    if isinstance(like, list):
        return isinstance(value, list) and all(has_types(one, like[0]) for one in value)
    return type(value) is type(like)


TURN = {"role": "", "content": "", "reasoning_content": ""}
LIKE: dict[str, Any] = {
    "messages": {"messages": [TURN]},
    "prompt-completion": {"prompt": [TURN], "completion": [TURN]},
    "alpaca": {"instruction": "", "input": "", "output": ""},
    "sharegpt": {"conversations": [{"from": "", "value": ""}]},
}


@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_rows_are_read_or_refused_in_words(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    made = [mutated(draw) for _ in range(ROWS // 2)]
    made += [labelled(draw.choice(FORMS), draw) for _ in range(ROWS // 2)]
    path = tmp_path / "a.jsonl"
    data = [json.dumps(row).encode() for row in made]
    path.write_bytes(lines.encode({"instruction": Q, "output": A}) + b"\n".join(data) + b"\n")
    rows = Rows(path, skip_bad=True)
    found = list(rows)
    assert len(found) + len(rows.bad) == len(made) + 1
    assert all(why and "Error" not in why for _, why in rows.bad)
    for number, line in enumerate(data, 1):
        page(number, line)
        try:
            list(Rows(_one(tmp_path, line)))
        except CorpusError as error:
            assert error.cause and error.remedy
    _exports(found)
    _imports(found)
    statistics.of(iter(found), near=True).to_dict()
    wanted = rules(Criteria(min_words=1, min_confidence=0.1, match=("",), magpie=True))
    kept = [row for row in found if first_reason(row, wanted) is None]
    assert not any(BAD in row.response for row in kept)


def _one(folder: Path, line: bytes) -> Path:
    path = folder / "one.jsonl"
    path.write_bytes(line + b"\n")
    return path


def _exports(found: list[Row]) -> None:
    for name, form in export.FORMS.items():
        put: list[Any] = []
        where: export.Reasoning = "inline" if name in export.INLINE else "key"
        counts = export.export(found, form, {"": put.append}, export.Sides({}, 0), where)
        assert counts.written.total() + counts.left_out.total() == len(found)
        assert len(put) == counts.written.total() > 0
        text = json.dumps(put)
        assert BAD not in text
        assert "NaN" not in text
        assert all(has_types(values, LIKE[name]) for values in put), name
        for values in put:
            turns = values.get("messages") or values.get("conversations") or values.get("prompt", [])
            roles = [turn.get("role") or turn["from"] for turn in turns]
            after = roles[1:] if roles[:1] == ["system"] else roles
            assert all(
                role == ("user", "assistant")[n % 2] or role == ("human", "gpt")[n % 2] for n, role in enumerate(after)
            )


def _imports(found: list[Row]) -> None:
    importer, reasons = Importer("en"), Counter[str]()
    for row in found:
        made = importer.record(row)
        if isinstance(made, Record):
            importer.take_note(row)
            assert made.response.strip() and made.instruction.strip() and BAD not in made.response
            lines.encode(made.to_dict())
        else:
            reasons[made] += 1
    assert reasons.keys() <= EXPLANATIONS.keys()
    assert reasons["labelled_bad"]
