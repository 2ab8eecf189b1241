"""What is counted of a corpus."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magpie_ollama.corpus.reading import Rows
from magpie_ollama.curation import statistics
from magpie_ollama.curation.statistics import OTHERS, QUANTILES, Statistics, bins, quantiles
from magpie_ollama.records import tags


def counted(folder: Path, *values: dict[str, Any], near: bool = False) -> Statistics:
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps({"output": "Sì certo.", **value}) + "\n" for value in values), "utf-8")
    return statistics.of(Rows(path), near=near)


def test_fields_are_counted(tmp_path: Path) -> None:
    mine = {"instruction": "Chi è lui?", "language": "it", "steering": "system", "model": "m", "server": "ollama"}
    found = counted(
        tmp_path,
        {**mine, "finish_reason": "stop", "run": "r1", "tags": tags({"quality": "good", "judge": "j"})},
        {**mine, "finish_reason": "length", "run": "r1", "steering": "opener"},
        {"instruction": "Who?", "language": "English", "model_name": "n", "input_quality": "poor", "output": ""},
        {"instruction": "Why?", "model": ["not", "text"]},
    )
    report = found.to_dict()
    assert report["records"] == 4
    assert report["forms"] == {"instruction": 4}
    assert report["models"] == {"m": 2, "n": 1}
    assert report["steerings"] == {"system": 1, "opener": 1}
    assert report["servers"] == {"ollama": 2}
    assert report["finish_reasons"] == {"stop": 1, "length": 1}
    assert report["runs"] == {"r1": 2}
    assert report["tags"] == {"quality": {"good": 1}, "judge": {"j": 1}, "input_quality": {"poor": 1}}
    assert report["without_response"] == 1
    assert [(part["language"], part["records"]) for part in report["languages"]] == [("it", 2), ("en", 1), ("", 1)]


def test_turns_of_the_user_are_counted(tmp_path: Path) -> None:
    asked, answered = {"role": "user", "content": "Perché?"}, {"role": "assistant", "content": "Sì."}
    turns = [[asked, answered], [asked, answered] * 3, [asked, answered, asked], [asked]]
    found = counted(tmp_path, *({"messages": some, "output": None} for some in turns))
    assert found.to_dict()["turns"] == {"1": 3, "3": 1}, "a question that nobody answers is no turn behind an answer"
    spoken = {"role": "system", "content": "Du bist ein Koch."}
    found = counted(tmp_path, {"messages": [spoken, *turns[0]]}, {"messages": turns[0]})
    assert found.to_dict()["with_system"] == 1


def test_lengths_are_in_words_or_in_characters_without_spaces(tmp_path: Path) -> None:
    found = counted(
        tmp_path,
        {"instruction": "Come si  fa\nil pane?", "language": "it"},
        {"instruction": "雪は なぜ白い？", "output": "光。", "language": "ja"},
        {"instruction": "为什么天是蓝的？"},
        {"instruction": "Как дела?"},
    )
    lengths = {(part.language, part.unit): dict(part.instruction) for part in found.parts.values()}
    assert lengths == {("it", "words"): {5: 1}, ("ja", "characters"): {7: 1}, ("", "characters"): {8: 1},
                       ("", "words"): {2: 1}}  # fmt: skip
    assert found.lengths("instruction", "characters") == Counter({7: 1, 8: 1})


def test_duplicates_but_for_case_and_spaces(tmp_path: Path) -> None:
    texts = ["Che ora è?", "che  ORA è?\n", "Che ora era?", "Che ora è?"]
    assert counted(tmp_path, *({"instruction": text} for text in texts)).duplicates == 2


def test_near_duplicates_are_those_that_dedup_finds_beyond(tmp_path: Path) -> None:
    long = "Scrivi una breve poesia sul mare d'inverno visto da una finestra di Genova"
    values = [{"instruction": text} for text in (long, long, f"{long}!", f"{long} oggi", "Tutt'altro, davvero.")]
    found = counted(tmp_path, *values, near=True)
    assert (found.duplicates, found.near_duplicates) == (1, 2)
    assert counted(tmp_path, *values).near_duplicates is None


def test_confidence_by_language(tmp_path: Path) -> None:
    values = [{"instruction": "Chi?", "language": "it", "confidence": n / 100} for n in range(101)]
    (part,) = counted(tmp_path, *values).to_dict()["languages"]
    assert part["confidence"] == {"p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}


def test_memory_is_bounded_in_a_file_whose_every_field_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "MOST_VALUES", 10)
    found = counted(
        tmp_path, *({"instruction": "x " * n, "model": f"m{n}", "language": f"q{n}", "run": "r"} for n in range(1, 60))
    )
    assert len(found._groups) <= 10
    assert found.kinds["models"].total() == found.kinds["runs"]["r"] == 59
    assert found.kinds["models"][OTHERS] == 49
    assert len(found.parts) == 11
    assert found.kinds["models"].total() == 59  # asked again, nothing is counted twice


@given(st.lists(st.integers(0, 300_000), min_size=1))
def test_quantiles_and_bins(lengths: list[int]) -> None:
    counts = Counter(map(statistics._rounded, lengths))
    ordered = sorted(map(statistics._rounded, lengths))
    expected = [ordered[max(0, -int(-len(ordered) * share // 1) - 1)] for share in QUANTILES]
    assert quantiles(counts) == expected
    for low, high, n in bins(counts):
        assert n == sum(low <= length and (high is None or length < high) for length in lengths)
    assert sum(n for *_, n in bins(counts)) == len(lengths)


def test_nothing_has_no_quantiles() -> None:
    assert quantiles({}) == bins({}) == []
