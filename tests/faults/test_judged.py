"""kill -9 while a judge is at work: what it said stands, and nobody is asked twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from commands.support import Runner, finished, process, records
from commands.test_prefer import BESIDE, SCORES, corpus, judging
from fake_ollama import Ask, FakeOllama, Reply
from faults.trial import TALLY, Trial, check_left, paced, wait_for, wait_for_more

CANDIDATES = BESIDE / "candidates.jsonl"


def lines(path: Path) -> list[dict[str, Any]]:
    """Without one that a kill has cut."""
    there = path.read_text("utf-8").split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in there if line.endswith("}")]


class Judged(Trial):
    """Records that a judge lets pass."""

    def arguments(self, count: int, *more: object) -> tuple[object, ...]:
        return *super().arguments(count), "--where", "quality=good,excellent", "--unproven", *more


def test_no_record_that_was_not_judged(run: Runner, own_folder: Path) -> None:
    trial = Judged()
    try:
        with FakeOllama(script=paced) as fake:
            started = trial.start("--host", fake.url)
            wait_for_more(fake, trial, started)
            started.kill()
            finished(started)
            made = trial.go_on("kill -9 while records are judged", run, fake)
    finally:
        trial.close()
    assert {record["tags"]["quality"] for record in made} <= {"good", "excellent"}
    for record in records("en.jsonl.magpie/unwanted.jsonl"):
        assert record["tags"]["quality"] not in ("good", "excellent")
    check_left(own_folder)


def test_responses_and_scores_are_asked_for_once(run: Runner, own_folder: Path) -> None:
    source = corpus(count=20)
    asked = ("prefer", source, "-k", 2, "--margin", 0.1, "-q", "--unproven", "--parallel", 2)

    def script(ask: Ask) -> Reply:
        reply = judging(ask)
        return Reply(reply.text, delay=0.001, top=reply.top)

    with FakeOllama(script=script) as fake:

        def told(scores: bool) -> int:
            writes = [one for one in fake.requests if one.finished and one.generation >= 0]
            return sum(("top_logprobs" in one.body) == scores for one in writes)

        for scores in (False, True):
            before = lines(CANDIDATES), lines(SCORES)
            started = process(*asked, "--host", fake.url)
            wait_for(fake, lambda scores=scores: told(scores) >= 5, started)
            started.kill()
            assert finished(started).code < 0
            TALLY.rounds["kill -9 of prefer"] += 1
            assert lines(CANDIDATES)[: len(before[0])] == before[0]
            assert lines(SCORES)[: len(before[1])] == before[1]
        done = run(*asked, "--host", fake.url)
        assert done.code == 0, done.err
    questions = Counter(one["messages"][0]["content"] for one in lines(CANDIDATES))
    assert set(questions.values()) == {2}
    assert len(questions) == 20
    assert set(Counter(line["record"] for line in lines(SCORES)).values()) == {1}
    assert records("it-preferred.jsonl")
    check_left(own_folder)
