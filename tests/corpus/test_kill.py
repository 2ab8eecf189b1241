"""kill -9 at any moment: each record that was acknowledged is there once, whole, and the run goes on."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path

from corpus.support import ids, python

from magpie_ollama.corpus import Corpus

ROUNDS = 25

WORK = """
import sys
from pathlib import Path
from corpus.support import record
from magpie_ollama.corpus import Corpus
from magpie_ollama.records import Attempt

with Corpus.open(Path(sys.argv[1])) as corpus:
    run = corpus.unfinished({}) or corpus.start_run({}, {}, 10**9)
    run.resume(10**9)
    print("open", run.id, flush=True)
    while True:
        index = run.next_index
        one = record(run.id, run.seed + index, text="Perché? " * (index % 3000))
        corpus.append(one)
        print(one.id, flush=True)
        run.journal(Attempt(index, "kept", "system"))
"""


def test_killed_at_random_moments(tmp_path: Path) -> None:
    path, chance = tmp_path / "it.jsonl", random.Random(1)
    acknowledged: list[str] = []
    run_ids = set()
    for round_ in range(1, ROUNDS + 1):
        child = python(WORK, path)
        assert child.stdin
        assert child.stdout
        opened = child.stdout.readline().split()
        assert opened, child.communicate()[1]
        run_ids.add(opened[1])
        killer = threading.Timer(chance.uniform(0, 0.08), child.kill)
        killer.start()
        acknowledged += [line.strip() for line in child.stdout if line.endswith("\n")]
        killer.join()
        child.communicate()
        Corpus.open(path).close()  # a write longer than a page may itself be cut by the kill: set aside here
        there = ids(path) if path.exists() else []
        assert len(set(there)) == len(there), "none twice"
        assert set(acknowledged) <= set(there), "none lost"
        assert len(there) <= len(acknowledged) + round_, "at most one a round was not acknowledged"

    assert len(acknowledged) > ROUNDS, "the rounds were long enough to mean something"
    assert len(run_ids) == 1, "each round went on with the run of the one before"
    with Corpus.open(path) as corpus:
        run = corpus.unfinished({})
        assert run
        run.resume(10**9)
        seeds = [json.loads(line)["seed"] for line in path.read_text("utf-8").splitlines()]
        assert [seed - run.seed for seed in seeds] == list(range(run.kept)), "no seed twice, none left out"
        assert [one.index for one in run.attempts()] == list(range(run.kept)), "and the journal has each once"
