"""Rows in the forms that trainers read."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from magpie_ollama.corpus.reading import Row, Rows
from magpie_ollama.curation import export
from magpie_ollama.curation.export import FORMS, Sides, conversation, parse_split
from magpie_ollama.errors import UsageError

SYSTEM = {"role": "system", "content": "Sii breve."}
USER = {"role": "user", "content": "Chi sei?"}
ANSWER = {"role": "assistant", "content": "Nessuno."}
AGAIN = [{"role": "user", "content": "Perché?"}, {"role": "assistant", "content": "Così."}]

SHAREGPT = [{"from": "human", "value": "Chi sei?"}, {"from": "gpt", "value": "Nessuno."}]


def rows(path: Path, *values: object) -> list[Row]:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), "utf-8")
    return list(Rows(path))


@pytest.mark.parametrize(
    ("value", "turns"),
    [
        ({"conversation": [USER, ANSWER], "system_prompt": "Sii breve."}, [SYSTEM, USER, ANSWER]),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Chi sei?"}]}, ANSWER]}, [USER, ANSWER]),
        ({"messages": [USER, ANSWER]}, [USER, ANSWER]),
        ({"messages": [SYSTEM, USER, ANSWER, *AGAIN]}, [SYSTEM, USER, ANSWER, *AGAIN]),
        ({"messages": [{**USER, "weight": 1}, ANSWER]}, [USER, ANSWER]),
        ({"conversations": SHAREGPT}, [USER, ANSWER]),
        ({"conversations": SHAREGPT, "system": "Sii breve."}, [SYSTEM, USER, ANSWER]),
        (
            {"conversations": [{"from": "system", "value": "Sii breve."}, *SHAREGPT], "system": "x"},
            [SYSTEM, USER, ANSWER],
        ),
        ({"instruction": "Chi sei?", "output": "Nessuno."}, [USER, ANSWER]),
        ({"instruction": "Chi sei?", "output": "Nessuno.", "system": "Sii breve."}, [SYSTEM, USER, ANSWER]),
        ({"prompt": "Chi sei?", "completion": "Nessuno."}, [USER, ANSWER]),
        ({"prompt": [SYSTEM, USER], "completion": [ANSWER]}, [SYSTEM, USER, ANSWER]),
    ],
)
def test_every_shape_becomes_the_same_turns(tmp_path: Path, value: object, turns: list[Any]) -> None:
    (row,) = rows(tmp_path / "a.jsonl", value)
    assert conversation(row) == (turns, False)


def test_a_context_belongs_to_what_is_asked(tmp_path: Path) -> None:
    (row,) = rows(tmp_path / "a.jsonl", {"instruction": "Chi sei?", "context": "Un testo.", "output": "Nessuno."})
    assert conversation(row) == ([{**USER, "content": "Chi sei?\n\nUn testo."}, ANSWER], False)


@pytest.mark.parametrize("beside", [{"history": [["Ciao", "Ciao!"]]}])
def test_a_column_that_no_form_reads_is_told(tmp_path: Path, beside: dict[str, Any]) -> None:
    pair = {"instruction": "Chi sei?", "output": "Nessuno."}
    (row, bare) = rows(tmp_path / "a.jsonl", {**pair, **beside}, {**pair, **dict.fromkeys(beside, "")})
    assert conversation(row) == ([USER, ANSWER], True)
    assert conversation(bare) == ([USER, ANSWER], False)


def test_tools_that_a_model_was_offered_are_told(tmp_path: Path) -> None:
    offered, none = rows(tmp_path / "a.jsonl", *({"messages": [USER, ANSWER], "tools": t} for t in ([{"x": 1}], [])))
    assert conversation(offered) == ([USER, ANSWER], True)
    assert conversation(none) == ([USER, ANSWER], False)


@pytest.mark.parametrize(
    "more",
    [
        [AGAIN[0]],
        [AGAIN[0], {"role": "assistant", "content": " "}],
        [AGAIN[0], {"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool", "content": "1"}],
    ],
)
def test_what_nobody_answers_is_cut_off_and_told(tmp_path: Path, more: list[Any]) -> None:
    (row,) = rows(tmp_path / "a.jsonl", {"messages": [USER, ANSWER, *more]})
    assert conversation(row) == ([USER, ANSWER], True)


@pytest.mark.parametrize(
    "value", [{"messages": [USER]}, {"messages": [USER, {**ANSWER, "content": ""}]}, {"instruction": "x"}]
)
def test_a_row_without_a_response_is_no_conversation(tmp_path: Path, value: object) -> None:
    (row,) = rows(tmp_path / "a.jsonl", value)
    assert conversation(row) is None


def test_the_forms(tmp_path: Path) -> None:
    (row,) = rows(tmp_path / "a.jsonl", {"messages": [SYSTEM, USER, ANSWER, *AGAIN]})
    found = conversation(row)
    assert found is not None
    assert {name: form(found.turns, row) for name, form in FORMS.items()} == {
        "messages": ({"messages": [SYSTEM, USER, ANSWER, *AGAIN]}, False),
        "prompt-completion": ({"prompt": [SYSTEM, USER, ANSWER, AGAIN[0]], "completion": [AGAIN[1]]}, False),
        "alpaca": ({"instruction": "Chi sei?", "input": "", "output": "Nessuno."}, True),
        "sharegpt": (
            {
                "conversations": [
                    {"from": "system", "value": "Sii breve."},
                    *SHAREGPT,
                    {"from": "human", "value": "Perché?"},
                    {"from": "gpt", "value": "Così."},
                ]
            },
            False,
        ),
    }


def test_alpaca_comes_back_as_it_was(tmp_path: Path) -> None:
    value = {"instruction": "Sum.", "input": "1 2", "output": "3"}
    (row,) = rows(tmp_path / "a.jsonl", value)
    found = conversation(row)
    assert found is not None
    assert FORMS["alpaca"](found.turns, row) == (value, False)
    assert found.turns[0]["content"] == "Sum.\n\n1 2"


def test_counts(tmp_path: Path) -> None:
    found = rows(
        tmp_path / "a.jsonl", {"messages": [USER, ANSWER]}, {"messages": [USER]}, {"messages": [USER, ANSWER, USER]}
    )
    put: list[Any] = []
    counts = export.export(found, FORMS["messages"], {"": put.append}, Sides({}, 0))
    assert (counts.written, counts.left_out, counts.cut) == (Counter({"": 2}), {"no_response": 1}, 1)
    assert put == [{"messages": [USER, ANSWER]}] * 2


LOOKS = {"role": "assistant", "content": "Guardo.", "tool_calls": [{"id": "c1"}]}
SEES = {"role": "tool", "tool_call_id": "c1", "content": "{}"}


@pytest.mark.parametrize(
    "value",
    [
        {"messages": [USER, LOOKS, SEES, ANSWER]},
        {"messages": [USER, {**LOOKS, "content": None}, SEES, ANSWER]},
        {
            "conversations": [
                SHAREGPT[0],
                {"from": "function_call", "value": "{}"},
                {"from": "observation", "value": "{}"},
                SHAREGPT[1],
            ]
        },
    ],
)
def test_an_answer_that_needs_a_tool_is_left_out_and_counted(tmp_path: Path, value: object) -> None:
    put: list[Any] = []
    counts = export.export(rows(tmp_path / "a.jsonl", value), FORMS["messages"], {"": put.append}, Sides({}, 0))
    assert (put, counts.left_out) == ([], {"tool_call": 1})


def test_a_conversation_ends_where_a_tool_begins(tmp_path: Path) -> None:
    (row,) = rows(tmp_path / "a.jsonl", {"messages": [USER, ANSWER, AGAIN[0], LOOKS, SEES, AGAIN[1]]})
    assert conversation(row) == ([USER, ANSWER], True)


class TestSides:
    def test_the_shares_are_about_right_and_the_seed_changes_the_sides(self) -> None:
        texts = [f"instruction {number}" for number in range(4000)]
        parts = {"train": 0.8, "validation": 0.1, "test": 0.1}
        first = [Sides(parts, 0).of(text) for text in texts]
        assert {name: pytest.approx(share, abs=0.02) for name, share in parts.items()} == {
            name: count / 4000 for name, count in Counter(first).items()
        }
        assert [Sides(parts, 0).of(text) for text in texts] == first
        assert [Sides(parts, 1).of(text) for text in texts] != first

    def test_a_larger_train_share_takes_records_from_the_rest_only(self) -> None:
        texts = [f"instruction {number}" for number in range(500)]
        before, after = Sides({"train": 0.8, "test": 0.2}, 3), Sides({"train": 0.9, "test": 0.1}, 3)
        assert all(after.of(text) == "train" for text in texts if before.of(text) == "train")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1.5", "more than 0"),
        ("nine", "no number"),
        ("train=0.5,test=0.4", "add up to 0.9"),
        ("train=0.5,train=0.5", "twice"),
        ("tr/ain=0.5,test=0.5", "letters"),
        ("train=1,test=0", "more than 0"),
        ("train,test=1", "no number"),
        ("nan", "more than 0"),
    ],
)
def test_a_split_that_is_none(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        parse_split(text)
    assert "--split" in caught.value.remedy
