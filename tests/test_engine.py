"""The whole tool on a real model: the command, the embedded engine, five English records, read as a reader would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from corpus.support import PACKAGE

from magpie_ollama.method.duplicates import similarity
from magpie_ollama.method.repetition import loops
from magpie_ollama.method.turns import speaks_as_assistant

ASKS = re.compile(
    r"\?|^\W*(?:please|can|could|would|how|what|why|when|where|which|who|is|are|do|does|i|i'm|i've|my|we|write|explain|"
    r"describe|create|give|list|make|find|help|tell|show|suggest|compare|provide|design|develop|generate|discuss|"
    r"analyze|summarize|identify|calculate|solve|use|consider|imagine|given|in|as|for|the|a|an|you)\b",
    re.IGNORECASE,
)
"""A question, or how requests begin."""

TOPICAL = {
    "maths": re.compile(r"\d|number|equation|probab|triangle|circle|sum|integer|function", re.IGNORECASE),
    "code": re.compile(r"code|python|function|program|list|string|sql|script|file|class|error|print", re.IGNORECASE),
}


def _run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OLLAMA", "MAGPIE"))}
    environment |= {"PYTHONPATH": str(PACKAGE), "MAGPIE_OLLAMA_DATA_DIR": str(folder / "data")}
    done = subprocess.run(
        [sys.executable, "-m", "magpie_ollama", *map(str, arguments), "--server", "embedded"],
        capture_output=True, text=True, encoding="utf-8", env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.engine
@pytest.mark.timeout(0)  # a machine that is busy otherwise writes ten tokens a second
def test_five_english_records(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"
    done = _run(tmp_path, "generate", "-l", "en", "-n", "5", "--seed", "7", "--max-response-tokens", "400", "-o", path)
    assert "SmolLM2-135M-Instruct" in done.stderr, "the summary names its model"
    assert "Traceback" not in done.stderr

    records: list[dict[str, Any]] = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len(records) == 5
    asked, answered = [], []
    for record in records:
        user, assistant = record["messages"]
        assert (user["role"], assistant["role"]) == ("user", "assistant")
        asked.append(user["content"])
        answered.append(assistant["content"])
        assert record["language"] == "en"
        assert record["server"] == "embedded"
        assert record["instruction_tokens"] > 3
        assert record["response_tokens"] > 3
        assert 0 < record["confidence"] < 1
        assert record["finish_reason"] == "stop"
    for text in asked:
        assert len(text.split()) >= 3, text
        assert ASKS.search(text), f"nobody asks for anything: {text!r}"
        assert not speaks_as_assistant(text), text
        assert "<|" not in text
        assert not re.search(r"\n\s*(?:user|assistant|system)\s*\n", text), text
        assert not loops(text), text
    for text in answered:
        assert len(text.split()) >= 2, text
        assert "<|" not in text
        assert not loops(text), text
    for number, text in enumerate(asked):
        assert all(similarity(text, other) < 0.8 for other in asked[:number]), f"alike: {text!r}"
    assert len(set(answered)) == 5


@pytest.mark.engine
@pytest.mark.timeout(0)
def test_questions_of_ones_own(tmp_path: Path) -> None:
    """Five lines, of which one is empty and one is there before."""
    path = tmp_path / "q.txt"
    asked = ["What is the capital of France?", "Name three colors of the rainbow.", "How many days has a week?"]
    path.write_text("\n".join([asked[0], "", *asked[1:], asked[0]]))
    done = _run(tmp_path, "respond", path, "--json", "--seed", "7")
    told = json.loads(done.stdout)
    assert (told["questions"], told["answered"]) == (3, 3)
    assert [(one["row"], one["reason"]) for one in told["passed_over"]] == [(2, "empty"), (5, "duplicate")]
    records = [json.loads(line) for line in (tmp_path / "q.answered.jsonl").read_text("utf-8").splitlines()]
    assert {one["source"]: one["messages"][0]["content"] for one in records} == {
        "q.txt#1": asked[0],
        "q.txt#3": asked[1],
        "q.txt#4": asked[2],
    }
    answers = {one["source"]: one["messages"][1]["content"] for one in records}
    assert "Paris" in answers["q.txt#1"]
    assert re.search("red|blue|yellow|green", answers["q.txt#3"], re.IGNORECASE)
    assert all(one["finish_reason"] == "stop" and not loops(one["messages"][1]["content"]) for one in records)


@pytest.mark.engine
@pytest.mark.timeout(0)
def test_a_conversation_of_three_turns(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"
    short = ("--max-instruction-tokens", "120", "--max-response-tokens", "100", "--keep-truncated")
    _run(tmp_path, "generate", "-n", "1", "--turns", "3", "--seed", "1002", "-o", path, "--max-attempts", "60", *short)
    (record,) = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [turn["role"] for turn in record["messages"]] == ["user", "assistant"] * 3
    asked = [turn["content"] for turn in record["messages"][::2]]
    assert not [text for text in asked if speaks_as_assistant(text)]
    assert max(similarity(asked[one], asked[other]) for one, other in ((0, 1), (0, 2), (1, 2))) < 0.7
    assert 3 < record["instruction_tokens"] <= 360
    assert 3 < record["response_tokens"] <= 300


@pytest.mark.engine
@pytest.mark.timeout(0)
def test_six_records_on_two_topics(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"
    limits = ("--max-response-tokens", "200", "--keep-truncated")
    done = _run(tmp_path, "generate", "--topics", "maths:2,code:1", "-n", "6", "--seed", "3", *limits, "-o", path)
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert Counter(record["topic"] for record in records) == {"maths": 4, "code": 2}
    asked = {topic: " ".join(r["messages"][0]["content"] for r in records if r["topic"] == topic) for topic in TOPICAL}
    for topic, words in TOPICAL.items():
        assert words.search(asked[topic]), asked[topic]
    assert "maths" in done.stderr
    assert all(share in done.stderr for share in ("asked for: 66.7 %", "asked for: 33.3 %"))


@pytest.mark.engine
@pytest.mark.timeout(0)
def test_a_cell_of_the_experiment(tmp_path: Path) -> None:
    """An English model, asked for Spanish: three exemplars and an opener bring it, more often than not."""
    done = _run(tmp_path, "compare", "-l", "es", "-s", "exemplar+opener", "-n", 8, "-o", tmp_path / "es", "--json")
    result = json.loads(done.stdout)
    (cell,) = result["cells"]
    assert (cell["attempts"], cell["steering"]) == (8, "exemplar+opener")
    assert cell["language"] == "es"
    assert cell["identified"] >= 4
    assert cell["useful"] >= 2
    assert 0 < cell["confidence"] < 1, "the engine tells log-probabilities"
    assert cell["useful"] / cell["tokens"] * 1000 == pytest.approx(cell["useful_per_1000_tokens"])
    texts = [json.loads(line)["text"] for line in (tmp_path / "es.jsonl").read_text("utf-8").splitlines()]
    assert len(texts) == 8
    assert result["next"] and " -s exemplar+opener " in result["next"][0]
    assert "<svg" in (tmp_path / "es.html").read_text("utf-8")
