"""Rows with labels out of what was rejected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from magpie_ollama.corpus.reading import Rows
from magpie_ollama.corpus.rejections import Rejected
from magpie_ollama.curation.deriving import REASONS, Deriving, parse_reasons
from magpie_ollama.curation.export import ReasoningFound
from magpie_ollama.errors import UsageError
from magpie_ollama.records import Message

ALL = parse_reasons([])


def said(*texts: str) -> list[Message]:
    return [{"role": "assistant" if at % 2 else "user", "content": text} for at, text in enumerate(texts)]


def no(reason: str, *texts: str, **more: Any) -> Rejected:
    facts = {"language": "it", "model": "m", "run": "r", "seed": 1, "trial": 0, "steering": "none", "system": ""}
    return Rejected(
        messages=said(*texts),
        reason=f"response_{reason}",
        **{**facts, "tokens": 3, "finish_reason": "stop", "reasoning": "", **more},
    )


def rows(path: Path, *conversations: list[Message], **more: Any) -> Rows:
    path.write_text("".join(json.dumps({"messages": one, **more}) + "\n" for one in conversations), "utf-8")
    return Rows(path)


def derived(kind: str, kept: Rows, *rejected: Rejected, reasons: frozenset[str] = ALL) -> list[dict[str, Any]]:
    return list(getattr(Deriving(rejected, reasons), kind)(kept))


def test_kto_labels_what_was_kept_and_what_was_not(tmp_path: Path) -> None:
    kept = rows(tmp_path / "it.jsonl", said("Come?", "Così."), said("Perché?", "Perché sì."))
    found = derived("kto", kept, no("echo", "Chi?", "Chi?"), no("wrong_language", "Perché?", "Because."))
    flat = [
        (one["prompt"][0]["content"], one["completion"][0]["content"], one["label"], one["reason"]) for one in found
    ]
    assert flat == [
        ("Come?", "Così.", True, ""),
        ("Perché?", "Perché sì.", True, ""),
        ("Perché?", "Because.", False, "response_wrong_language"),
        ("Chi?", "Chi?", False, "response_echo"),
    ]
    assert all(one["completion"][0]["role"] == "assistant" for one in found)


def test_pairs_are_of_one_instruction_and_those_of_language_come_first(tmp_path: Path) -> None:
    kept = rows(tmp_path / "it.jsonl", said("Come?", "Così."), said("Perché?", "Perché sì."), said("Chi?", "Io."))
    rejected = [
        no("echo", "Come?", "Come?"),
        no("invented_words", "Perché?", "Perzzo."),
        no("wrong_language", "Chi?", "Me."),
        no("wrong_language", "Quando?", "Now."),
    ]
    dpo, pairs = derived("dpo", kept, *rejected), derived("pairs", kept, *rejected)
    assert [one["rejected"][0]["content"] for one in dpo] == ["Come?", "Perzzo.", "Me."]
    assert [one["rejected"][0]["content"] for one in pairs] == ["Perzzo.", "Me.", "Come?"]
    assert dpo[0] == {
        "prompt": [{"role": "user", "content": "Come?"}],
        "chosen": [{"role": "assistant", "content": "Così."}],
        "rejected": [{"role": "assistant", "content": "Come?"}],
        "reason": "response_echo",
    }


def test_the_system_message_of_a_question_tells_two_apart(tmp_path: Path) -> None:
    brief: list[Message] = [{"role": "system", "content": "Be brief."}, *said("Come?", "Così.")]
    assert not derived("dpo", rows(tmp_path / "it.jsonl", brief), no("echo", "Come?", "Come?"))


def test_a_first_answer_of_a_longer_conversation_has_its_pair(tmp_path: Path) -> None:
    kept = rows(tmp_path / "it.jsonl", said("Come?", "Così.", "E poi?", "Basta."))
    (pair,) = derived("dpo", kept, no("echo", "Come?", "Come?"))
    assert pair["chosen"][0]["content"] == "Così."
    (later,) = derived("dpo", kept, no("echo", "Come?", "Così.", "E poi?", "E poi?"))
    assert [turn["content"] for turn in later["prompt"]] == ["Come?", "Così.", "E poi?"]


def test_nothing_is_there_twice_or_on_both_sides(tmp_path: Path) -> None:
    kept = rows(tmp_path / "it.jsonl", said("Come?", "Così."))
    made = Deriving([no("truncated", "Come?", "Così."), no("echo", "Come?", "Sì"), no("echo", "Come?", "Sì")], ALL)
    labels = [(one["completion"][0]["content"], one["label"]) for one in made.kto(kept)]
    assert labels == [("Così.", True), ("Sì", False)]
    assert made.doubled == 2


def test_an_answer_labelled_as_bad_is_no_kept_one(tmp_path: Path) -> None:
    made = Deriving([no("echo", "Come?", "Sì")], ALL)
    assert not list(made.dpo(rows(tmp_path / "it.jsonl", said("Come?", "Così."), label=False)))
    assert made.unanswered == 1


def test_reasons_are_chosen_by_name(tmp_path: Path) -> None:
    kept = rows(tmp_path / "it.jsonl", said("Come?", "Così."))
    made = Deriving([no("echo", "Come?", "Come?"), no("copy", "Come?", "Copia.")], parse_reasons(["copy"]))
    assert [one["reason"] for one in made.dpo(kept)] == ["response_copy"]
    assert made.others == {"response_echo": 1}
    with pytest.raises(UsageError, match="'nonsense' is none"):
        parse_reasons(["echo", "nonsense"])
    assert parse_reasons([]) == {reason.value for reason in REASONS}


def test_reasoning_has_its_key_in_every_answer_or_in_none(tmp_path: Path) -> None:
    kept = rows(tmp_path / "it.jsonl", said("Come?", "Così."))
    rejected = [no("echo", "Come?", "Come?", reasoning="Mah.")]
    with pytest.raises(ReasoningFound):
        Deriving(rejected, ALL)
    (pair,) = Deriving(rejected, ALL, True).dpo(kept)
    assert (pair["chosen"][0]["reasoning_content"], pair["rejected"][0]["reasoning_content"]) == ("", "Mah.")
    thoughtful = rows(tmp_path / "es.jsonl", said("Come?", "Così."), reasoning="Allora.")
    with pytest.raises(ReasoningFound):
        list(Deriving([no("echo", "Come?", "Come?")], ALL).kto(thoughtful))
