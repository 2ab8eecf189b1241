"""A corpus that faults strike: what it acknowledged before each of them, and what is there after it.

One round: the real command in a process of its own, against a mocked server over a socket; a fault; ``note`` for what
was acknowledged by then; and ``check``, or ``go_on``, which first has the same command continue without the fault.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.json
from commands.support import TARGET, Done, Runner
from corpus.support import PACKAGE
from fake_ollama import Ask, FakeOllama, Reply, default_script

from magpie_ollama.records import KEYS

INSIDE = Path(__file__).with_name("inside")

MANY = 1000
"""Records that no round waits for."""

Key = tuple[str, int]
"""A record's run and seed: what its run's journal names it by. Its id is checked besides."""


@dataclass
class Tally:
    """The whole session's rounds by the kind of fault, and what became of the records."""

    rounds: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    left: int = 0

    def __str__(self) -> str:
        return (
            f"faults tried: {self.rounds.total()} rounds of {len(self.rounds)} kinds, "
            f"records acknowledged: {self.acknowledged}, lost: {self.lost}, doubled: {self.doubled}, "
            f"temporary files after a sweep: {self.left}"
        )


TALLY = Tally()


class Trial:
    """The corpus at ``path``. ``acknowledged`` are the records that were promised, by whichever sign came first: a
    whole line in the file or a line in the journal that says "kept". ``ended`` holds the process to its own number."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or Path(TARGET)
        self.acknowledged: set[Key] = set()
        self._lines: dict[Key, bytes] = {}
        self._counted = 0
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *args: object, inside: str = "", prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
        """The command as a process. ``inside`` names what is to strike it from within (see ``inside/``), ``prefix`` is
        a command that runs it."""
        command = [*prefix, sys.executable, "-m", "magpie_ollama", *map(str, self.arguments(MANY, *args))]
        paths = [INSIDE, PACKAGE] if inside else [PACKAGE]
        started = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, paths)),
                "PYTHONIOENCODING": "utf-8",
                "PYTHONFAULTHANDLER": "1",
                "FAULT_INSIDE": inside,
            },
        )
        self._started.append(started)
        return started

    def close(self) -> None:
        """Ends what a test that failed has left running."""
        for started in self._started:
            if started.poll() is None:
                started.kill()
                started.communicate()

    def ended(self, done: Done, code: int, *words: str) -> dict[str, Any]:
        """The summary of a process that ended as it should: with its exit code, and each of ``words`` in the error."""
        assert done.code == code, done.err
        assert "Traceback" not in done.err
        told = " ".join(line for line in done.err.splitlines() if line.startswith(("error: ", "   next: ")))
        for word in words:
            assert word.lower() in told.lower(), told
        summary: dict[str, Any] = json.loads(done.out) if done.out else {}
        missing = max(0, summary.get("records", 0) - len(self.lines()))
        TALLY.lost += missing
        assert not missing, "as many are in the file as it says"
        self.note()
        return summary

    def lines(self) -> list[bytes]:
        """The whole lines in the file."""
        data = self.path.read_bytes() if self.path.exists() else b""
        return data.split(b"\n")[:-1]

    def note(self) -> int:
        """Takes down what is acknowledged by now; the number of records."""
        for line in self.lines():
            self._lines.setdefault(key(line), line)
        self.acknowledged |= self._lines.keys() | self.journaled()
        return len(self.acknowledged)

    def journaled(self) -> set[Key]:
        """The records that the runs' journals call kept."""
        found = set()
        for path in self.manifests():
            manifest = json.loads(path.read_bytes())
            journal = path.with_name(f"{manifest['run']}.attempts.jsonl")
            for line in journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []:
                try:
                    attempt = json.loads(line)
                except ValueError:  # cut by the kill, ended by the next run
                    assert not line.endswith(b"}"), line
                    continue
                if attempt["outcome"] == "kept":
                    found.add((manifest["run"], manifest["seed"] + attempt["index"]))
        return found

    def manifests(self) -> list[Path]:
        return sorted(self.path.with_name(f"{self.path.name}.magpie").glob("runs/*.json"))

    def check(self, kind: str) -> list[dict[str, Any]]:
        """The end of a round of this kind: every record once acknowledged is there once, as it was, and any reader
        loads the file. The records."""
        TALLY.rounds[kind] += 1
        self.note()
        lines = self.lines()
        there, present = Counter(map(key, lines)), set(lines)
        changed = {one for one, line in self._lines.items() if line not in present}
        ids = Counter(json.loads(line)["id"] for line in lines)
        lost = (self.acknowledged - there.keys()) | changed
        doubled = max(sum(count - 1 for count in counts.values()) for counts in (there, ids))
        TALLY.acknowledged += len(self.acknowledged) - self._counted
        self._counted = len(self.acknowledged)
        TALLY.lost += len(lost)
        TALLY.doubled += doubled
        assert not lost, f"{len(lost)} of {len(self.acknowledged)} records lost"
        assert not doubled, "no id twice, and no seed of a run"
        data = self.path.read_bytes() if self.path.exists() else b""
        assert data.endswith(b"\n") or not data, "no torn line"
        check_loads(data)
        return [json.loads(line) for line in lines]

    def go_on(self, kind: str, run: Runner, fake: FakeOllama) -> list[dict[str, Any]]:
        """``check``, after the same command has continued the run without the fault, to three records more. It runs in
        this process, which saves it its start."""
        self.note()
        fake.script = default_script
        target = len([line for line in self.lines() if json.loads(line)["run"]]) + 3
        done = run(*self.arguments(target), "--host", fake.url)
        told = self.ended(done, 0)
        records = self.check(kind)
        assert told["status"] == "done"
        assert told["kept"] == target
        own = [record for record in records if record["run"]]
        assert len(own) == target, "exactly what was asked for"
        assert len({record["run"] for record in own}) == 1, "one run, continued"
        assert len({record["messages"][0]["content"] for record in own}) == target, "no instruction twice"
        return records

    def arguments(self, count: int, *more: object) -> tuple[object, ...]:
        return "generate", "-n", count, "-o", self.path, "--seed", 11, "-q", "--json", *more


def check_left(folder: Path) -> None:
    """No temporary file is left in a folder and those in it, once something was written there again."""
    left = [path.name for path in folder.rglob(".magpie-ollama-*")]
    TALLY.left += len(left)
    assert not left


def key(line: bytes) -> Key:
    record = json.loads(line)
    return record["run"], record["seed"]


def check_loads(data: bytes) -> None:
    """As ``datasets`` reads JSON lines: pyarrow, with a block that holds the longest of them."""
    if data:
        options = pyarrow.json.ReadOptions(block_size=len(data))
        table = pyarrow.json.read_json(io.BytesIO(data), read_options=options)
        assert set(table.column_names) == KEYS
        assert table.num_rows == data.count(b"\n")


def paced(ask: Ask) -> Reply:
    """Slow enough for something to happen meanwhile."""
    return Reply(default_script(ask).text, delay=0.0005)


def wait_for(fake: FakeOllama, condition: Callable[[], object], started: subprocess.Popen[str]) -> None:
    """Until the condition is true. A process that has ended before, or hangs, fails the test with what it last said."""
    try:
        fake.wait_until(lambda: condition() or started.poll() is not None, timeout=120)
    except TimeoutError:
        started.send_signal(signal.SIGABRT)  # which has Python say where it is
        raise AssertionError(started.communicate()) from None
    assert started.poll() is None, started.communicate()


def wait_for_more(fake: FakeOllama, trial: Trial, started: subprocess.Popen[str], more: int = 3) -> None:
    """Until there are that many records more than now."""
    wanted = len(trial.lines()) + more
    wait_for(fake, lambda: len(trial.lines()) >= wanted, started)
