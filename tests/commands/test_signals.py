"""However a command is asked to end, or to make way: what is paid is kept, and the terminal is as it was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands.screen import ALONE, SHELL, posix, terminal
from commands.support import TARGET, finished, process, records
from corpus.support import PACKAGE, record
from fake_ollama import FakeOllama
from faults.trial import paced

from magpie_ollama.corpus import lines

pytestmark = posix

IGNORING = """
import os, signal, sys
signal.signal(getattr(signal, sys.argv[1]), signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, "-m", "magpie_ollama", *sys.argv[2:]])
"""


def manifest() -> dict[str, Any]:
    (path,) = Path(f"{TARGET}.magpie/runs").glob("*.json")
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def wait_for_records(fake: FakeOllama, count: int = 2) -> None:
    fake.wait_until(lambda: Path(TARGET).exists() and len(records()) >= count)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_generate_ends_as_by_ctrl_c(name: str) -> None:
    with FakeOllama(script=paced) as fake:
        started = process("generate", "-n", 1000, "--host", fake.url)
        wait_for_records(fake)
        started.send_signal(getattr(signal, name))
        done = finished(started)
    assert done.code == 130
    assert "Stopping: " in done.err
    assert "The same command continues where it stopped." in done.err
    assert "Traceback" not in done.err
    assert manifest()["status"] == "interrupted"
    assert manifest()["funnel"]["kept"] == len(records())


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_what_a_job_was_started_to_ignore_stays_ignored(name: str) -> None:
    """SIGINT in the background of a script, SIGHUP under nohup."""
    with FakeOllama(script=paced) as fake:
        command = [sys.executable, "-P", "-c", IGNORING, name, "generate", "-n", "9", "--host", fake.url]
        started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={"PYTHONPATH": str(PACKAGE)})
        wait_for_records(fake)
        started.send_signal(getattr(signal, name))
        done = finished(started)
    assert done.code == 0, done.err
    assert len(records()) == 9


def test_import_tells_what_is_there_when_it_is_asked_to_end() -> None:
    many = [lines.encode({"instruction": f"Domanda {n}?", "output": "Sì."}) for n in range(60_000)]
    Path("in.jsonl").write_bytes(b"".join(many))
    started = process("import", "in.jsonl", "-o", "out.jsonl", "-l", "it")
    while not Path("out.jsonl").exists() or Path("out.jsonl").stat().st_size < 10_000:
        assert started.poll() is None, started.communicate()
    started.send_signal(signal.SIGTERM)
    done = finished(started)
    assert done.code == 143
    assert "Stopped after" in done.err
    assert "Traceback" not in done.err


def test_a_closed_window_ends_the_run_in_good_order() -> None:
    with FakeOllama(script=paced) as fake, terminal("generate", "-n", 1000, "--host", fake.url, rows=20) as screen:
        screen.wait_for("kept", 60)
        wait_for_records(fake)
        screen.close()
        assert screen.process.wait(60) == 130
    assert manifest()["status"] == "interrupted"
    assert manifest()["funnel"]["kept"] == len(records())


def test_a_run_outlives_the_window_where_it_is_told_to() -> None:
    """``disown``, or ``trap '' HUP``: the display goes nowhere, and the records into the file."""
    deaf = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    with (
        FakeOllama(script=paced) as fake,
        terminal("generate", "-n", 20, "--host", fake.url, rows=20, within=deaf + ALONE) as screen,
    ):
        wait_for_records(fake)
        screen.close()
        assert screen.process.wait(60) == 0
    assert len(records()) == 20
    assert manifest()["status"] == "done"


def view_of_two() -> None:
    two = [record(seed=n, text=f"Domanda numero {n}, come si fa?") for n in range(2)]
    Path(TARGET).write_bytes(b"".join(lines.encode(lines.values(one)) for one in two))


def test_a_closed_window_ends_view() -> None:
    view_of_two()
    with terminal("view", TARGET) as screen:
        screen.wait_for("Domanda numero 0")
        screen.close()
        assert screen.process.wait(30) == 128 + signal.SIGHUP


def test_ctrl_z_in_view() -> None:
    view_of_two()
    with terminal("view", TARGET, within=SHELL) as screen:
        for _ in range(2):
            screen.wait_for("Domanda numero 0")
            screen.type("\x1a")
            screen.wait_for("<stopped>")
            assert screen.given_back
            screen.forget()
            screen.type("\n")
        screen.wait_for("Domanda numero 0")
        screen.type("\r")
        screen.wait_for("Domanda numero 1")
        screen.type("q")
        assert screen.end() == 0
        assert screen.given_back


def test_ctrl_z_on_the_live_display() -> None:
    with (
        FakeOllama(script=paced) as fake,
        terminal("generate", "-n", 1000, "--host", fake.url, rows=20, within=SHELL) as screen,
    ):
        wait_for_records(fake)
        screen.wait_for("kept", 60)
        screen.type("\x1a")
        screen.wait_for("<stopped>")
        assert screen.given_back
        there = len(records())
        screen.forget()
        screen.type("\n")
        screen.wait_for("kept", 60)
        assert not screen.given_back, "the display is there again"
        wait_for_records(fake, there + 2)
        screen.type("\x03")
        assert screen.end() == 130
        assert screen.given_back
    assert manifest()["status"] == "interrupted"
