"""The recipes of docs/recipes, run as they stand on mocked servers, with fewer records."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from fake_hub import FakeHub
from fake_ollama import Ask, FakeOllama, Reply, default_script
from fake_ollama.script import wanted_schema
from tagging.oracle import Oracle

from .support import Runner, records
from .test_push import hub  # noqa: F401, a fixture

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"


FEWER = {"500": "20", "0.9": "0.5", "OWNER/NAME": "maria/ricette"}


def commands(name: str) -> list[list[str]]:
    """The command lines of a page, without the program's name."""
    page = (RECIPES / f"{name}.md").read_text("utf-8")
    return [shlex.split(line) for line in re.findall("^    magpie-ollama (.+)$", page, re.MULTILINE)]


ORACLE = Oracle("it")


def judging(ask: Ask) -> Reply:
    """It sees the faults that are planted for its proof; and every third record is poor."""
    if ask.kind == "chat" and wanted_schema(ask.body) is not None:
        if "very poor" in (told := ORACLE(ask)).text:
            return told
        quality = ("poor", "good", "excellent")[len(str(ask.messages)) % 3]
        return Reply(json.dumps({"quality": quality, "difficulty": "easy", "category": "Math", "safety": "safe"}))
    return default_script(ask)


def test_an_italian_sft_set(run: Runner, hub: FakeHub) -> None:  # noqa: F811
    asked = commands("italian-sft")
    assert len(asked) <= 7
    with FakeOllama(script=judging, parallel=8) as fake:
        for words in asked:
            few = [FEWER.get(word, word) for word in words]
            done = run(*few, OLLAMA_HOST=fake.url)
            assert done.code == 0, (words, done.out, done.err)
    good = records("it.jsonl")
    assert len(good) == 20
    assert {one["tags"]["quality"] for one in good} == {"good", "excellent"}
    assert {one["language"] for one in good} == {"it"}
    sides = [records(f"it-trl-sft-{side}.jsonl") for side in ("train", "test")]
    assert sum(map(len, sides)) == 20 and all(sides)
    assert hub.datasets["maria/ricette"].files["data/train.jsonl"] == Path("it.jsonl").read_bytes()
    assert hub.datasets["maria/ricette"].private
