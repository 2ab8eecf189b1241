"""--topics on the command line: what it tells at the end, what stats counts, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands.support import Runner, check_error, records
from fake_ollama import FakeOllama


def test_the_summary_and_stats_tell_each_topic(run: Runner) -> None:
    with FakeOllama() as fake:
        shown = run("generate", "--topics", "maths:2,code:1", "-n", 6, "-s", "system", "--host", fake.url)
        told = run("generate", "--topics", "maths:2,code:1", "-n", 6, "-s", "system", "--host", fake.url, "--json")
    assert shown.code == told.code == 0
    assert "4 kept (67 %; asked for: 66.7 %) of 4 (100 %), 100 % distinct" in " ".join(shown.err.split())
    topics = json.loads(told.out)["topics"]
    expected = {"attempts": 4, "kept": 4, "yield": 1.0, "distinct": 1.0, "share": 0.6667, "has_language": True}
    assert topics["maths"] == expected
    tagged = [{**record, "tags": {**record["tags"], "category": "Math"}} for record in records()]
    Path("tagged.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in tagged), "utf-8")
    stats = run("stats", "tagged.jsonl", "--json")
    assert json.loads(stats.out)["topics"] == {"maths": 8, "code": 4}
    assert json.loads(stats.out)["recognised"] == {"maths": [8, 8], "code": [0, 4]}
    assert "code 0 of 4 · maths 8 of 8" in run("stats", "tagged.jsonl").out


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--topics", "mathz"), ("no topic 'mathz'", "did you mean maths?")),
        (("--topics", "maths:x"), ("weight 'x' of maths",)),
        (("--topics", "maths", "--system", "Be kind."), ("--topics and --system", "leave out --system")),
        (("--topics", "own.toml"), ("own.toml cannot be read",)),
    ],
)
def test_what_is_refused_before_a_server_is_asked(run: Runner, given: tuple[str, ...], words: tuple[str, ...]) -> None:
    check_error(run("generate", *given, "--host", "http://127.0.0.1:9"), 2, *words)


def test_a_dry_run_shows_the_first_topics_prompt(run: Runner) -> None:
    with FakeOllama() as fake:
        plan = json.loads(run("generate", "--topics", "maths", "--host", fake.url, "--dry-run", "--json").out)
    assert "You are an assistant for mathematics" in plan["prompt"]
