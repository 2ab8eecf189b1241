"""kill -9 at any moment, again and again: nothing lost, doubled or torn, and the next process goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
from pathlib import Path

import pytest
from commands.support import Runner, finished, process
from corpus.support import PACKAGE, first, python
from fake_ollama import Ask, FakeOllama, Reply, default_script
from faults.trial import INSIDE, TALLY, Trial, check_left, paced, wait_for

from magpie_ollama.corpus import Corpus

ROUNDS = int(os.environ.get("FAULT_KILLS", "5"))
"""Of the whole command. One costs two seconds, nearly all of them for its start."""

WRITING = """
import os, sys
from pathlib import Path
from corpus.support import record
from magpie_ollama.corpus import Corpus
from magpie_ollama.records import Attempt

def write(path):
    print("begun", os.getpid(), flush=True)
    with Corpus.open(path) as corpus:
        run = corpus.unfinished({}) or corpus.start_run({}, {}, 10**9)
        run.resume(10**9)
        while True:
            index = run.next_index
            one = record(run.id, run.seed + index, text="Perché? " * (index % 50 if index % 8 else 3000))
            corpus.append(one)
            os.write(1, f"{one.run} {one.seed}\\n".encode())  # in one piece, or the kill may cut it
            run.journal(Attempt(index, "kept", "system"))

for path in sys.stdin:  # each by a process of its own, without its start
    pid = os.fork()
    if not pid:
        write(Path(path.strip()))
    os.waitpid(pid, 0)
    print("killed", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
@pytest.mark.parametrize("chain", range(10))
def test_appending(tmp_path: Path, chain: int) -> None:
    """Ten chains of ten rounds. The records are appended as fast as can be, every eighth over several pages: the
    write itself may be cut in two."""
    trial, chance = Trial(tmp_path / "it.jsonl"), random.Random(chain)
    with python(WRITING) as child:
        assert child.stdin
        assert child.stdout
        for round_ in range(1, 11):
            print(trial.path, file=child.stdin, flush=True)
            begun = child.stdout.readline().split()
            assert begun, child.stderr and child.stderr.read()
            # After so many records, or, with none to wait for, amid its opening and mending.
            killer = threading.Timer(chance.uniform(0, 0.004), os.kill, (int(begun[1]), signal.SIGKILL))
            left = chance.choice((0, 1, chance.randrange(30)))
            if not left:
                killer.start()
            while (told := child.stdout.readline()) != "killed\n":
                run, seed = told.split()
                trial.acknowledged.add((run, int(seed)))
                left -= 1
                if not left:
                    killer.start()
            killer.join()
            sure = len(trial.acknowledged)
            Corpus.open(trial.path).close()  # a torn line is set aside here
            assert len(trial.lines()) <= sure + round_, "at most one a round was not acknowledged"
            trial.check("kill -9 while appending")
        child.stdin.close()
    assert len(trial.acknowledged) > 10, "the rounds were long enough to mean something"
    assert len(trial.manifests()) == 1, "each round went on with the run of the one before"
    with Corpus.open(trial.path) as corpus:
        again = corpus.unfinished({})
        assert again
        again.resume(10**9)
        seeds = [json.loads(line)["seed"] - again.seed for line in trial.lines()]
        assert seeds == list(range(again.kept)), "none left out"
        assert [one.index for one in again.attempts()] == seeds, "and the journal has each once"


@pytest.mark.timeout(300 + 20 * ROUNDS)
def test_the_command(run: Runner, trial: Trial, own_folder: Path) -> None:
    chance = random.Random(3)
    amid = 0
    with FakeOllama(script=paced) as fake:

        def answers() -> int:
            return sum(one.finished and one.path == "/api/chat" and one.generation >= 0 for one in fake.requests)

        for _ in range(ROUNDS):
            there = len(trial.lines())
            started = trial.start("--host", fake.url)
            # The clock starts with one of the first answers: before there is one, there is nothing to lose.
            wanted = answers() + chance.randrange(10)
            wait_for(fake, lambda wanted=wanted: answers() >= wanted, started)
            killer = threading.Timer(chance.uniform(0.0, 0.05), started.kill)
            killer.start()
            done = finished(started)
            killer.join()
            assert done.code < 0 or done.code == 1, done.err
            amid += len(trial.lines()) > there
            trial.check("kill -9 of the command")
        made = trial.go_on("kill -9 of the command", run, fake)
    assert amid > ROUNDS / 4, "the rounds were long enough to mean something"
    assert len(trial.journaled()) == len(made), "and the journal has each once"
    check_left(own_folder)


LINE = '{"instruction": "Come si fa il pane?", "output": "Con farina."}\n{"instruction": "No?", "output": "No."}\n'
WRITERS: dict[str, tuple[object, ...]] = {
    "filter -o": ("filter", "it.jsonl", "--min-words", 3, "-o", "new.jsonl", "--force"),
    "filter --in-place": ("filter", "it.jsonl", "--min-words", 3, "--in-place"),
    "export --split": ("export", "it.jsonl", "--split", "train=0.5,test=0.5", "-o", "new.jsonl", "--force"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("name", WRITERS)
def test_what_a_killed_command_was_writing_is_swept_by_the_next(run: Runner, own_folder: Path, name: str) -> None:
    arguments, source, kept = WRITERS[name], Path("it.jsonl"), 0
    for moment in range(1, 9):
        source.write_text(LINE, "utf-8")
        environment = {"PYTHONPATH": f"{INSIDE}{os.pathsep}{PACKAGE}", "FAULT_INSIDE": f"dies_at:{moment}"}
        done = finished(process(*arguments, environment=environment))
        if done.code >= 0:
            break
        TALLY.rounds[f"kill -9 of {name}"] += 1
        kept += len(list(own_folder.glob(".magpie-ollama-*")))
        files = {path.name: path.read_text("utf-8") for path in own_folder.glob("*.jsonl")}
        assert all(text.endswith("}\n") for text in files.values()), "whole files only"
        again = run(*arguments)
        assert again.code == 0, again.err
        check_left(own_folder)
    assert moment > 2
    assert kept, "there was something to sweep"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_upgrade(run: Runner, own_folder: Path) -> None:
    """At each of its calls that changes what is on the disk: the corpus is the old one or the new one, whole."""
    source = Path("it.jsonl")
    first(source, *({"score": number} for number in range(3)), run="20260101-000000-abcd")
    old = source.read_bytes()
    assert run("upgrade", source, "-q").code == 0
    new = source.read_bytes()
    for moment in range(1, 19):
        for left in own_folder.glob("it.jsonl.bak*"):
            left.unlink()
        source.write_bytes(old)
        environment = {"PYTHONPATH": f"{INSIDE}{os.pathsep}{PACKAGE}", "FAULT_INSIDE": f"dies_at:{moment}"}
        done = finished(process("upgrade", source, environment=environment))
        if done.code >= 0:
            break
        TALLY.rounds["kill -9 of upgrade"] += 1
        there = source.read_bytes()
        assert there in (old, new)
        assert there == old or Path("it.jsonl.bak").read_bytes() == old, "what it was is kept before it is replaced"
        assert run("upgrade", source, "-q").code == 0
        assert source.read_bytes() == new
        check_left(own_folder)
    assert moment > 3


class Answers(Trial):
    """The same for questions of a user's own."""

    def arguments(self, count: int, *more: object) -> tuple[object, ...]:
        return "respond", "q.txt", "-o", self.path, "--seed", 11, "-q", "--json", *more


@pytest.mark.timeout(300 + 20 * ROUNDS)
def test_answers(run: Runner, own_folder: Path) -> None:
    """No question is answered twice, and none is forgotten: three of them never get an answer."""
    chance, trial = random.Random(4), Answers(Path("a.jsonl"))
    questions = [f"What is the {number}th thing to know of a cello?" for number in range(1, 10 + 10 * ROUNDS)]
    Path("q.txt").write_text("\n".join(questions))
    silent = questions[:3]

    def script(ask: Ask) -> Reply:
        return Reply("") if any(text in ask.prompt for text in silent) else paced(ask)

    try:
        with FakeOllama(script=script) as fake:
            for _ in range(ROUNDS):
                there = len(trial.lines())
                started = trial.start("--host", fake.url)
                wanted = there + chance.randrange(1, 8)
                wait_for(fake, lambda wanted=wanted: len(trial.lines()) >= wanted, started)
                threading.Timer(chance.uniform(0.0, 0.02), started.kill).start()
                assert finished(started).code < 0
                trial.check("kill -9 of respond")
            done = run(*trial.arguments(0, "--host", fake.url))
            told = trial.ended(done, 4, "3 are left", "--retry")
            made = trial.check("kill -9 of respond")
            answered = [record["messages"][0]["content"] for record in made]
            assert sorted(answered) == sorted(questions[3:]), "each once"
            assert {one["source"] for one in told["unanswered"]} == {"q.txt#1", "q.txt#2", "q.txt#3"}
            assert len({record["run"] for record in made}) == 1, "one run, continued"
            fake.script = default_script
            assert run(*trial.arguments(0, "--host", fake.url, "--retry")).code == 0
            assert len(trial.check("kill -9 of respond")) == len(questions)
        check_left(own_folder)
    finally:
        trial.close()


class Conversations(Trial):
    """The same for the records of another corpus, which go on."""

    def arguments(self, count: int, *more: object) -> tuple[object, ...]:
        return "converse", "en.jsonl", "-o", self.path, "--turns", 2, "--seed", 11, "-q", "--json", *more


@pytest.mark.timeout(300 + 20 * ROUNDS)
def test_conversations(run: Runner, own_folder: Path) -> None:
    """No record goes on twice, and none is forgotten."""
    chance, trial = random.Random(5), Conversations(Path("c.jsonl"))

    def going_on(ask: Ask) -> Reply:
        step = 1 + (ask.seed or 0) % 1000
        return Reply(f"And what comes after step {step}?" if ask.kind == "raw" else f"Step {step + 1}.", delay=0.0005)

    try:
        with FakeOllama() as fake:
            assert run("generate", "-n", 5 + 10 * ROUNDS, "-o", "en.jsonl", "--host", fake.url, "-q").code == 0
            fake.script = going_on
            for _ in range(ROUNDS):
                started = trial.start("--host", fake.url)
                wanted = len(trial.lines()) + chance.randrange(1, 8)
                wait_for(fake, lambda wanted=wanted: len(trial.lines()) >= wanted, started)
                threading.Timer(chance.uniform(0.0, 0.02), started.kill).start()
                assert finished(started).code < 0
                trial.check("kill -9 of converse")
            told = trial.ended(run(*trial.arguments(0, "--host", fake.url)), 0)
        assert told["status"] == "done"
        made = trial.check("kill -9 of converse")
        ids = [json.loads(line)["id"] for line in Path("en.jsonl").read_bytes().splitlines()]
        assert sorted(record["source"] for record in made) == sorted(ids), "each once"
        assert {len(record["messages"]) for record in made} == {4}
        assert len({record["run"] for record in made}) == 1, "one run, continued"
        check_left(own_folder)
    finally:
        trial.close()
