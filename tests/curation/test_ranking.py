"""Which two of several responses make a pair."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from magpie_ollama.corpus.reading import Row, Rows
from magpie_ollama.curation.ranking import pairs


def paired(
    path: Path, answers: list[dict[str, Any]], margin: float = 0.5, ratio: float = 2.0
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Of answers to one question, whose score stands in their ``seed``."""
    asked = {"role": "user", "content": "How?"}
    lines = [{"messages": [asked, {"role": "assistant", **answer}], "seed": answer.pop("seed")} for answer in answers]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")

    def score(row: Row) -> float | None:
        value: float | None = row.data["seed"]
        return value

    left_out: Counter[str] = Counter()
    return list(pairs(Rows(path), score, margin, ratio, left_out)), left_out


def of(*given: tuple[str, float | None]) -> list[dict[str, Any]]:
    return [{"content": text, "seed": score} for text, score in given]


def test_the_two_furthest_apart_within_the_band(tmp_path: Path) -> None:
    answers = of(("So it is.", 5.0), ("No no.", 3.0), ("Somewhat.", 2.0), ("Long. " * 20, 1.0))
    (pair,), _ = paired(tmp_path / "a.jsonl", answers)
    assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == ("So it is.", "Somewhat.")
    assert (pair["score_chosen"], pair["score_rejected"]) == (5.0, 2.0)
    assert pair["prompt"] == [{"role": "user", "content": "How?"}]
    answers = of(("So it is.", 5.0), ("No no.", 3.0), ("Long. " * 20, 1.0))
    (pair,), _ = paired(tmp_path / "a.jsonl", answers, ratio=0)
    assert pair["score_rejected"] == 1.0


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (of(("One.", 5.0)), "alone"),
        (of(("One.", 5.0), ("One. ", 1.0)), "alone"),
        (of(("One.", 5.0), ("Two.", None)), "unscored"),
        (of(("One.", 3.4), ("Two.", 3.0)), "tie"),
        (of(("One.", 5.0), ("Two. " * 9, 1.0)), "length"),
    ],
)
def test_what_gives_no_pair(tmp_path: Path, answers: list[dict[str, Any]], why: str) -> None:
    assert paired(tmp_path / "a.jsonl", answers) == ([], {why: 1})


def test_reasoning_stands_in_each_answer_or_in_none(tmp_path: Path) -> None:
    thought = {"content": "One.", "reasoning_content": "Hm.", "seed": 5.0}
    (pair,), _ = paired(tmp_path / "a.jsonl", [thought, *of(("Two.", 1.0))])
    assert pair["chosen"] == [{"role": "assistant", "content": "One.", "reasoning_content": "Hm."}]
    assert pair["rejected"] == [{"role": "assistant", "content": "Two.", "reasoning_content": ""}]
