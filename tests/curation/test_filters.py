"""The rules: what each removes, and what it must not."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from magpie_ollama.corpus import shapes
from magpie_ollama.corpus.reading import Row
from magpie_ollama.curation.filters import EXPLANATIONS, Criteria, first_reason, rules
from magpie_ollama.errors import UsageError
from magpie_ollama.records import tags


def row(instruction: str = "Come si fa il pane?", response: str = "Con farina e acqua.", **data: Any) -> Row:
    value = {"instruction": instruction, "output": response, **data}
    found = shapes.find(value)
    assert isinstance(found, shapes.Said)
    return Row(1, json.dumps(value).encode(), value, found)


def reason(row: Row, **criteria: Any) -> str | None:
    found = first_reason(row, rules(Criteria(**criteria)))
    assert found is None or found in EXPLANATIONS
    return found


@pytest.mark.parametrize(
    ("data", "criteria", "expected"),
    [
        ({"language": "it"}, {"languages": ("it", "nl")}, None),
        ({"language": "IT"}, {"languages": ("it",)}, None),
        ({"language": "Italian"}, {"languages": ("it",)}, None),
        ({"language": "en"}, {"languages": ("it",)}, "other_language"),
        ({}, {"languages": ("it",)}, "no_language"),
        ({"steering": "system"}, {"steerings": ("system", "none")}, None),
        ({"steering": "system+opener"}, {"steerings": ("system",)}, "other_steering"),
        ({"model": "llama3.2:latest"}, {"models": ("llama3.2",)}, None),
        ({"model": "llama3.2:1b"}, {"models": ("llama3.2:latest",)}, "other_model"),
        ({"model_name": "llama3"}, {"models": ("llama3",)}, None),
        ({"confidence": 0.4}, {"min_confidence": 0.5}, "low_confidence"),
        ({"confidence": 0.5}, {"min_confidence": 0.5}, None),
        ({"confidence": 0.0}, {"min_confidence": 0.5}, None),
        ({}, {"min_confidence": 0.5}, None),
        ({}, {"match": ("pane", "farina")}, None),
        ({}, {"match": ("pane", "lievito")}, "no_match"),
        ({}, {"not_match": ("farina",)}, "match"),
        ({}, {"not_match": ("Farina",)}, None),
        ({}, {"not_match": ("(?i)Farina",)}, "match"),
        ({"tags": {"quality": "good"}}, {"tags": (("quality", ("good", "excellent")),)}, None),
        ({"tags": {"quality": "poor"}}, {"tags": (("quality", ("good", "excellent")),)}, "other_tag"),
        ({"tags": {"safety": "safe"}}, {"tags": (("quality", ("good",)),)}, "untagged"),
        ({"tags": tags()}, {"tags": (("quality", ("good",)),)}, "untagged"),
        ({"tags": tags({"quality": "good"})}, {"tags": (("quality", ("good",)),)}, None),
        ({"input_quality": "Good"}, {"tags": (("quality", ("good",)),)}, None),
        ({"difficulty": "hard"}, {"tags": (("difficulty", ("hard",)),)}, None),
        ({"task_category": "Math"}, {"tags": (("category", ("math",)),)}, None),
        ({"llama_guard_2": "unsafe"}, {"tags": (("safety", ("safe",)),)}, "other_tag"),
    ],
)
def test_what_the_record_says(data: dict[str, Any], criteria: dict[str, Any], expected: str | None) -> None:
    assert reason(row(**data), **criteria) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, None),
        ({"tags": {"quality": "excellent"}}, None),
        ({"tags": {"quality": "average"}}, "magpie_quality"),
        ({"input_quality": "very poor"}, "magpie_quality"),
        ({"input_quality": None}, None),
        ({"instruct_reward": -9.5}, None),
        ({"instruct_reward": -10}, "magpie_reward"),
        ({"uuid": "a", "min_similar_uuid": None}, None),
        ({"uuid": "a", "min_similar_uuid": "a"}, None),
        ({"uuid": "b", "min_similar_uuid": "a"}, "magpie_repetition"),
        ({"conversation_id": "b", "min_similar_conversation_id": "a"}, "magpie_repetition"),
    ],
)
def test_magpie(data: dict[str, Any], expected: str | None) -> None:
    assert reason(row(**data), magpie=True) == expected


@pytest.mark.parametrize("text", ["Traduci questo testo:", "Traduci: \n", "翻译下面的句子："])
def test_magpie_instructions_without_their_text(text: str) -> None:
    assert reason(row(text), magpie=True) == "magpie_incomplete"
    assert reason(row(text + " ciao"), magpie=True) is None


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("Come si fa il pane?", "it", 5),
        ("- - - a - - - b", "it", 2),  # signs alone are no words
        ("« Où ? »", "fr", 1),
        ("法国的首都是哪里？", "zh", 4),
        ("法国的首都是哪里？", "", 1),
        ("ประเทศไทยอยู่ที่ไหน", "th", 7),
        ("", "it", 0),
    ],
)
def test_words_are_counted_as_generate_counts_them(text: str, language: str, words: int) -> None:
    asked, answered = row(text, language=language), row(response=text, language=language)
    for count in range(9):
        assert reason(asked, min_words=count) == ("too_short" if words < count else None)
        assert reason(asked, max_words=count) == ("too_long" if words > count else None)
        assert reason(answered, min_response_words=count) == ("response_too_short" if words < count else None)
        assert reason(answered, max_response_words=count) == ("response_too_long" if words > count else None)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turns_of_the_user(turns: int) -> None:
    pair = [{"role": "user", "content": "Perché?"}, {"role": "assistant", "content": "Perché sì."}]
    for least in range(5):
        assert reason(row(messages=pair * turns), min_turns=least) == ("too_few_turns" if turns < least else None)


def test_a_bound_beyond_all_texts_is_one() -> None:
    assert reason(row(), min_words=10**30) == "too_short"
    assert reason(row(), max_words=10**30, max_response_words=2**63) is None


def test_a_wrong_regular_expression() -> None:
    with pytest.raises(UsageError, match=re.escape("'a(' is no regular expression: missing )")):
        rules(Criteria(match=("a(",)))
