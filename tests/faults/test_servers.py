"""What a server can do wrong, once and for good: the command outlasts the one, and ends well on the other."""

from __future__ import annotations

import signal
import sys
import time

import pytest
from commands.support import Runner, finished
from fake_ollama import Ask, FakeOllama, Fault, Reply, default_script
from faults.trial import MANY, Trial, paced, wait_for, wait_for_more
from run.support import impatient

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

FAULTS: dict[str, tuple[Fault, int, str]] = {
    "half a line": (Fault("half_line"), 3, "fails again and again"),
    "bad UTF-8": (Fault("bad_utf8"), 3, "fails again and again"),
    "HTML": (Fault("html_200"), 3, "fails again and again"),
    "an error line after 200": (Fault("engine_dies"), 3, "fails again and again"),
    "an answer without its end": (Fault("incomplete_part"), 3, "fails again and again"),
    "a dropped connection": (Fault("drop_mid"), 3, "dropped the connection"),
    "a full queue": (Fault("busy"), 3, "busy"),
    "a 10 MB line": (Fault("huge_line"), 4, "Kept"),
    "endless tokens": (Fault("endless"), 4, "Kept"),
}
"""Each with the exit code and the words of a run that meets nothing else any more."""


@posix
def test_once(run: Runner, trial: Trial) -> None:
    """One process meets them all, one after another, each in a response, and goes on."""
    with FakeOllama(script=paced) as fake:
        started = trial.start("--host", fake.url)
        wait_for_more(fake, trial, started)
        for kind, (fault, _, _) in FAULTS.items():
            fake.fail_next(1, fault, "/api/chat")
            wait_for(fake, lambda fault=fault: fault in [one.fault for one in fake.requests], started)
            wait_for_more(fake, trial, started)
            trial.check(kind)
        fake.stop()
        time.sleep(0.3)
        fake.start()
        wait_for_more(fake, trial, started)
        trial.check("a server that restarts")
        started.send_signal(signal.SIGINT)
        trial.ended(finished(started), 130)
        trial.go_on("a server that restarts", run, fake)


@pytest.mark.parametrize("kind", FAULTS)
def test_for_good(run: Runner, trial: Trial, kind: str) -> None:
    """Every instruction and every response from some moment on; in this process, for nothing strikes it itself."""
    fault, code, words = FAULTS[kind]

    def script(ask: Ask) -> Reply:
        reply = default_script(ask)
        return Reply(reply.text, fault=fault) if ask.index > 8 else reply

    with FakeOllama(script=script) as fake:
        with impatient():
            # Eight attempts without an answer end a run; where there are answers, the bound on attempts does.
            done = run(*trial.arguments(MANY, "--max-attempts", 14 if code == 3 else 5, "--host", fake.url))
        trial.ended(done, code, words)
        assert trial.check(kind)
        trial.go_on(kind, run, fake)


@posix
def test_a_server_that_dies(run: Runner, trial: Trial) -> None:
    with FakeOllama(script=paced) as fake:
        started = trial.start("--host", fake.url, inside="impatient:")
        wait_for_more(fake, trial, started)
        fake.stop()
        trial.ended(finished(started), 3, "has stopped answering", "the same command")
        trial.check("a server that dies")
        fake.start()
        trial.go_on("a server that dies", run, fake)


@posix
def test_a_server_that_stalls(run: Runner, trial: Trial) -> None:
    def script(ask: Ask) -> Reply:
        silent = Fault("stall", seconds=60, after=1)
        return Reply("What is it?", fault=silent) if ask.index > 12 else default_script(ask)

    with FakeOllama(script=script) as fake:
        done = finished(trial.start("--host", fake.url, inside="stalled:2"))
        trial.ended(done, 3, "is stalled", "the same command")
        assert len(trial.check("a server that stalls")) > 2
        trial.go_on("a server that stalls", run, fake)
