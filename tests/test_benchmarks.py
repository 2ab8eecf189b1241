"""benchmarks/useful.py: its judge, its ratios, its chart, and the whole comparison on the mock."""

from __future__ import annotations

import asyncio
import importlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
from fake_ollama import FakeOpenAI

from magpie_ollama.method import languages
from magpie_ollama.method.template import Template
from magpie_ollama.servers import weights
from magpie_ollama.servers.openai import OpenAIServer

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
TEMPLATE = Template("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", ("<|im_end|>",), "test")
QUESTION = "How do I keep my tomatoes from splitting after heavy rain?"
ANSWER = "Water them evenly, mulch the soil around them, and pick the ripe ones before it pours."


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def test_the_judge(load: Any) -> None:
    judge: ModuleType = load("judge")
    pair = load("baselines").Pair
    english = languages.find("en")
    judged = judge.Judge(english, TEMPLATE)
    copied = english.exemplars[0]
    assert judged(pair(QUESTION, True, ANSWER, "stop", 9)) is None
    for reason, bad in {
        "duplicate": pair(QUESTION, True, ANSWER, "stop", 9),
        "truncated": pair("Why do cats purr when they", False, ANSWER, "stop", 9),
        "wrong_language": pair("¿Cómo puedo aprender a cocinar en casa?", True, ANSWER, "stop", 9),
        "response_truncated": pair("Why do cats purr so often at night?", True, ANSWER, "length", 9),
        "response_echo": pair("Why is the sea salty everywhere?", True, "Why is the sea salty everywhere?", "stop", 9),
    }.items():
        assert judged(bad) == reason
    assert judged(pair(copied.instruction, True, ANSWER, "stop", 9)) == "duplicate"
    assert judge.Judge(english, TEMPLATE)(pair(QUESTION, True, ANSWER, "stop", 9)) is None, "each system has its own"


def test_a_baseline_without_any_useful_record(load: Any) -> None:
    useful = load("useful")
    tool, other = useful.Account(seconds=60, useful=6, rates=[5.0, 7.0]), useful.Account(seconds=60, rates=[0.0, 0.0])
    ratio = useful.Ratio.of(tool, other)
    assert ratio.value == math.inf
    assert ratio.to_dict() == {"value": None, "low": None, "high": None}, "JSON has no infinity"
    assert str(ratio) == "∞ (∞ to ∞)"


def test_on_the_mock(load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    useful = load("useful")
    monkeypatch.setenv("MAGPIE_OLLAMA_DATA_DIR", os.environ.get("MAGPIE_OLLAMA_DATA_DIR", str(tmp_path)))
    monkeypatch.setattr(weights, "find_weights", lambda model, path, *rest: path)
    with FakeOpenAI("llama-server", parallel=4, delay=0.002) as fake:

        class Engine(OpenAIServer):
            kind = "embedded"

            def __init__(self, weights: Path, slots: int, options: Mapping[str, Any]) -> None:
                super().__init__(fake.url)
                self.slots = slots

        monkeypatch.setattr(useful, "EmbeddedServer", Engine)
        chart = tmp_path / "chart.svg"
        options = ["-l", "en", "--rounds", "2", "--seconds", ".6", "--batch", "6", "--chart", str(chart), "--json"]
        useful.main(options)
    told = json.loads(capsys.readouterr().out)["languages"]["en"]
    assert list(told["systems"]) == ["magpie-ollama", "sequential", "two phases"]
    for name, system in told["systems"].items():
        assert 0 <= system["useful"] <= system["records"] <= system["attempts"], name
        assert 0 <= system["share_of_tokens_in_useful"] <= 1, name
        assert len(system["rounds_useful_a_minute"]) == 2
    assert {name: list(ratio) for name, ratio in told["ratios"].items()} == {
        "sequential": ["value", "low", "high"],
        "two phases": ["value", "low", "high"],
    }
    asked = [exchange.body["prompt"] for exchange in fake.requests if exchange.path == "/v1/completions"]
    alone = sum("in English" not in prompt for prompt in asked)
    assert 0 < alone < len(asked), "two phases have the system message in front, the others do not"

    root = ElementTree.fromstring(chart.read_text("utf-8"))
    assert len(root.findall("{*}rect")) == 1 + 3


def test_judging(load: Any) -> None:
    from fake_ollama import FakeOllama
    from tagging.oracle import Oracle

    from magpie_ollama.asking.opening import opened
    from magpie_ollama.servers.base import ServerChoice
    from magpie_ollama.tagging.judging import JudgingProgress

    judging = load("judging")

    async def go() -> None:
        async with opened(ServerChoice("ollama", fake.url), 4, JudgingProgress()) as model:
            rates = await judging.speeds(model, 2, 1)
            assert all(rate > 0 for (rate,) in rates.values()) and len(rates) == 3
            assert len(fake.requests_to("/api/chat")) == 9, "a question a record, and one before"
            found = await judging.proofs(model, ["es"])
            assert {scale: proof.auc for scale, proof in found["es"].items()} == dict.fromkeys(
                ("quality", "safety", "language", "answer"), 1.0
            )

    with FakeOllama(script=Oracle("es")) as fake:
        asyncio.run(go())
