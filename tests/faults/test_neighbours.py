"""Two processes on one corpus, a file that grows under us, a clock that jumps."""

from __future__ import annotations

import signal
import sys
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from commands.support import Runner, finished
from corpus.support import record
from fake_ollama import FakeOllama
from faults.trial import Trial, paced, wait_for_more

from magpie_ollama.corpus import lines

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

DAY = 86400


def test_two_processes(run: Runner, trial: Trial) -> None:
    """At the same moment, on a corpus that is not there yet: one of them makes it, the other is refused."""
    with FakeOllama(script=paced) as fake:
        both = [trial.start("--host", fake.url) for _ in range(2)]
        fake.wait_until(lambda: any(one.poll() is not None for one in both), timeout=120)
        both.sort(key=lambda one: one.poll() is None)
        refused, other = finished(both[0]), both[1]
        trial.ended(refused, 1, "writes to", "another file with -o")
        wait_for_more(fake, trial, other)
        other.send_signal(signal.SIGINT)
        trial.ended(finished(other), 130)
        trial.check("two processes")
        trial.go_on("two processes", run, fake)


def test_a_file_that_grows(run: Runner, trial: Trial) -> None:
    """By another program's records, which stay where they are; then by half a line, to which nothing is glued."""
    theirs = [lines.encode(record("", seed, text=f"Is {seed} a number?").to_dict()) for seed in range(3)]
    with FakeOllama(script=paced) as fake:
        started = trial.start("--host", fake.url)
        for foreign in (theirs[0], theirs[1], theirs[2][:50]):
            wait_for_more(fake, trial, started)
            with trial.path.open("ab", buffering=0) as file:
                file.write(foreign)
        trial.ended(finished(started), 1, "Another program is in the middle of writing a line")
        assert trial.path.read_bytes().endswith(b"\n" + theirs[2][:50])
        records = trial.go_on("a file that grew", run, fake)
    assert [one["seed"] for one in records if not one["run"]] == [0, 1]


def test_a_clock_that_jumps(run: Runner, trial: Trial, own_folder: Path) -> None:
    """A day ahead while it runs; back by a week before the next run; and by another day while that one runs."""
    shift = own_folder / "shift"
    with FakeOllama(script=paced) as fake:
        for before, after in ((0, DAY), (-7 * DAY, -8 * DAY)):
            shift.write_text(str(before))
            started = trial.start("--host", fake.url, inside=f"clock:{shift}")
            wait_for_more(fake, trial, started)
            new = shift.with_name("new")
            new.write_text(str(after))
            new.replace(shift)
            wait_for_more(fake, trial, started, 5)
            started.send_signal(signal.SIGINT)
            trial.ended(finished(started), 130)
            trial.check("a clock that jumps")
        records = trial.go_on("a clock that jumps", run, fake)
    times = [datetime.fromisoformat(one["created_at"]) for one in records]
    jumps = [later - sooner for sooner, later in pairwise(times)]
    days = [round(jump / timedelta(days=1)) for jump in jumps]
    assert [jump for jump in days if jump] == [1, -8, -1, 8], "the jumps took place"
