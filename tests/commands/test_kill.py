"""kill -9 at any moment of the real command, again and again: nothing lost, doubled or torn, the target reached."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from commands.support import TARGET, finished, process, records
from fake_ollama import FakeOllama, Reply, default_script

ROUNDS = 20


def paced(ask: Any) -> Reply:
    return Reply(default_script(ask).text, delay=0.0005)


def written(fake: FakeOllama) -> int:
    return sum(one.finished and one.path == "/api/chat" and one.generation >= 0 for one in fake.requests)


@pytest.mark.kill
def test_killed_at_random_moments() -> None:
    chance = random.Random(3)
    seen: list[str] = []
    killed_amid = 0
    with FakeOllama(script=paced) as fake:
        command = ("generate", "--seed", 11, "--parallel", 4, "-q", "--host", fake.url)
        for _ in range(ROUNDS):
            started = process(*command, "-n", 1000)
            # The clock starts with one of the first answers: before there is one, there is nothing to lose.
            answers = written(fake) + chance.randrange(10)
            fake.wait_until(lambda answers=answers: written(fake) >= answers, timeout=60)
            killer = Timer(chance.uniform(0.0, 0.05), started.kill)
            killer.start()
            done = finished(started)
            killer.join()
            assert done.code < 0 or done.code == 1, done.err
            text = Path(TARGET).read_text("utf-8") if Path(TARGET).exists() else ""
            whole = [json.loads(line)["id"] for line in text.split("\n")[:-1]]
            assert whole[: len(seen)] == seen, "what was there is there, in its place"
            killed_amid += len(whole) > len(seen)
            seen = whole
        target = len(seen) + 5
        last = finished(process(*command, "-n", target))
    assert last.code == 0, last.err
    made = records()
    assert killed_amid > ROUNDS / 4, "the rounds were long enough to mean something"
    assert [record["id"] for record in made[: len(seen)]] == seen
    assert len(made) == target, "exactly what was asked for"
    for name, values in {
        "id": [record["id"] for record in made],
        "seed": [record["seed"] for record in made],
        "instruction": [record["messages"][0]["content"] for record in made],
    }.items():
        assert not [value for value, count in Counter(values).items() if count > 1], f"no {name} twice"
    assert len({record["run"] for record in made}) == 1, "one run, continued each time"
    journals = list(Path(f"{TARGET}.magpie/runs").glob("*.attempts.jsonl"))
    assert len(journals) == 1
    attempts = [json.loads(line) for line in journals[0].read_text("utf-8").splitlines()]
    kept = [attempt for attempt in attempts if attempt["outcome"] == "kept"]
    assert len({attempt["index"] for attempt in kept}) == len(kept) == target, "and the journal has each once"
