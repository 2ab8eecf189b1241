"""What is asked in a row, and what is kept of the rest of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from magpie_ollama.corpus.questions import Questions, read, stem
from magpie_ollama.errors import NotACorpus


def questions(tmp_path: Path, *rows: Any, **options: Any) -> Questions:
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read(path, **options)


USER = {"role": "user", "content": "What is a cello?"}


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        ({"question": "What?"}, ["user: What?"]),
        ({"text": "What?", "label": 0}, ["user: What?"]),
        ({"prompt": "Mend this", "context": "I has"}, ["user: Mend this\n\nI has"]),
        ({"instruction": "Mend this", "input": "I has", "output": "I have"}, ["user: Mend this\n\nI has"]),
        ({"prompt": "What?", "chosen": "A.", "rejected": "B."}, ["user: What?"]),
        ({"system_prompt": "Be brief.", "question": "What?", "answer": "It."}, ["system: Be brief.", "user: What?"]),
        ({"system": "Be brief.", "instruction": "What?"}, ["system: Be brief.", "user: What?"]),
        ({"messages": [USER]}, ["user: What is a cello?"]),
        ([USER, {"role": "assistant", "content": "Wood."}], ["user: What is a cello?"]),
        (
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes?"},
                               {"from": "human", "value": "What?"}, {"from": "human", "value": "Tell."}]},
            ["user: Hi", "assistant: Yes?", "user: What?\n\nTell."],
        ),
        ({"messages": [{"role": "system", "content": "Be brief."}, USER], "label": False},
         ["system: Be brief.", "user: What is a cello?"]),
    ],
)  # fmt: skip
def test_what_is_asked(tmp_path: Path, row: Any, asked: list[str]) -> None:
    (found,) = questions(tmp_path, row).asked
    assert [f"{message['role']}: {message['content']}" for message in found.messages] == asked


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": None}, "empty"),
        ({"question": " "}, "empty"),
        ({"messages": [{"role": "user", "content": ""}]}, "empty"),
        ({"question": ["a", {"b": 1}]}, "no_text"),
        ({"messages": [USER, {"role": "assistant", "content": "", "tool_calls": [{"id": 1}]}]}, "tool_call"),
        ({"prompt": "What is a cello?"}, "duplicate"),
        ({"messages": [{"role": "user", "content": "What is a cello? "}]}, "duplicate"),
    ],
)
def test_what_is_passed_over_is_told(tmp_path: Path, row: Any, reason: str) -> None:
    found = questions(tmp_path, {"id": "one", "question": "What is a cello?"}, row)
    (one,) = found.passed_over
    assert (one.row, one.reason) == (2, reason)
    assert one.first == ("one" if reason == "duplicate" else "")
    assert len(found.asked) == 1


def test_ids_and_further_columns(tmp_path: Path) -> None:
    found = questions(
        tmp_path,
        {"id": "a", "question": "What?", "model": "me", "row_model": "you", "n": 1.0, "answer": "It."},
        {"id": "a", "question": "Who?", "tags": ["x"]},
        {"question": "Why?", "": "no name"},
    )
    assert [one.source for one in found.asked] == ["a", "q.jsonl#2", "q.jsonl#3"]
    first, second, third = (one.further for one in found.asked)
    assert first == {"row_model": "me", "row_row_model": "you", "n": "1.0", "answer": "It."}
    assert second == {"row_id": "a", "row_tags": '["x"]'}
    assert third == {"row_": "no name"}
    assert found.further == ("row_model", "row_row_model", "n", "answer", "row_id", "row_tags", "row_")


def test_a_column_of_ones_own(tmp_path: Path) -> None:
    found = questions(tmp_path, {"frage": "Was?", "question": "What?"}, column="frage")
    assert [one.text for one in found.asked] == ["Was?"]
    assert found.asked[0].further == {"question": "What?"}
    with pytest.raises(NotACorpus, match=r"no column 'domanda' \(its columns: frage, question\)"):
        questions(tmp_path, {"frage": "Was?", "question": "What?"}, column="domanda")


def test_names() -> None:
    assert [stem(Path(name)) for name in ("q.csv", "my.q.jsonl.gz", "q")] == ["q", "my.q", "q"]
