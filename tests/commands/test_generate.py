"""``magpie-ollama generate`` as a user meets it: what it prints, writes and returns; and every bad input."""

from __future__ import annotations

import doctest
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands.support import TARGET, Done, Runner, check_error, finished, process, records
from fake_ollama import FakeModel, FakeOllama, Fault, Reply, default_script
from fake_ollama.openai import FakeOpenAI
from run.support import generating

from magpie_ollama.display import words
from magpie_ollama.records import KEYS

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals, devices and permissions")


# What it does.


def test_makes_a_corpus_and_says_so(run: Runner) -> None:
    with FakeOllama() as fake:
        done = run("generate", "-n", 3, "--host", fake.url)
        assert done.code == 0
        assert len(records()) == 3
        assert done.out == "", "what is told goes to stderr"
        assert "Kept 3 of" in done.err
        assert TARGET in done.err
        assert "\x1b" not in done.err, "no terminal: plain lines"
        assert all(len(line) < 400 for line in done.err.splitlines())
        again = run("generate", "-n", 2, "--host", fake.url)
    assert (again.code, len(records())) == (0, 5)
    assert "Adding 2 to the 3 records there" in again.err


def test_as_a_process_with_its_output_on_pipes() -> None:
    with FakeOllama() as fake:
        done = finished(process("generate", "-n", 3, "--host", fake.url))
    assert (done.code, done.out) == (0, "")
    assert "Kept 3 of" in done.err
    assert "\x1b" not in done.err
    assert len(records()) == 3


def test_records_on_stdout_and_nothing_else(run: Runner) -> None:
    with FakeOllama() as fake:
        done = run("generate", "-n", 3, "-o", "-", "--host", fake.url)
    assert done.code == 0
    made = [json.loads(line) for line in done.out.splitlines()]
    assert [record.keys() == KEYS for record in made] == [True] * 3
    assert "Kept 3 of" in done.err
    assert not list(Path().iterdir()), "and no file"


@posix
def test_a_reader_that_has_had_enough_is_no_error() -> None:
    with FakeOllama(delay=0.001) as fake:
        writer = process("generate", "-n", 200, "-o", "-", "--host", fake.url)
        head = subprocess.run(["head", "-1"], stdin=writer.stdout, capture_output=True, text=True, check=True)
        assert writer.stdout
        writer.stdout.close()
        assert writer.stderr
        told = writer.stderr.read()
        writer.stderr.close()
        assert writer.wait() in (0, 1), "1 is what click makes of it"
    assert json.loads(head.stdout).keys() == KEYS
    assert "error" not in told
    assert "Traceback" not in told
    assert "Broken" not in told


def test_quiet(run: Runner) -> None:
    with FakeOllama() as fake:
        assert run("generate", "-n", 2, "-q", "--host", fake.url) == Done(0, "", "")
        failed = run("generate", "-n", 2, "-q", "-m", "nosuch", "--host", fake.url)
    assert len(records()) == 2
    check_error(failed, 3, "nosuch")


def test_json(run: Runner) -> None:
    with FakeOllama() as fake:
        done = run("generate", "-n", 3, "--json", "-q", "--host", fake.url)
        both = run("generate", "-n", 3, "--json", "-o", "-", "--host", fake.url)
    told = json.loads(done.out)
    assert (done.code, done.err) == (0, "")
    assert (told["kept"], told["target"], told["records"], told["status"]) == (3, 3, 3, "done")
    assert told["funnel"]["outcomes"]["kept"] == 3
    assert told["model"] == "smollm2:135m"
    assert Path(told["output"]).name == TARGET
    check_error(both, 2, "--json", "-o -")


def test_one_is_told_as_one(run: Runner) -> None:
    assert doctest.testmod(words).failed == 0
    with FakeOllama() as fake:
        done = run("generate", "-n", 1, "--dry-run", "--host", fake.url)
    assert "1 record\n" in done.out


@pytest.mark.parametrize("language", ["en", "es"])
def test_dry_run_generates_nothing(run: Runner, language: str) -> None:
    with FakeOllama() as fake:
        plan = ("generate", "-l", language, "-n", 7, "--dry-run", "--host", fake.url)
        shown = run(*plan, "-s", "system", "--num-ctx", 2048)
        told = run(*plan, "--json", "-q")
        assert not generating(fake)
    assert (shown.code, told.code) == (0, 0)
    assert "<|im_start|>user\\n" in shown.out, "escapes are visible"
    assert "<|im_end|>" in shown.out
    assert "temperature=1.0" in shown.out
    assert "num_ctx=2048" in shown.out
    assert "7 records" in shown.out
    values = json.loads(told.out)
    assert values["prompt"].startswith("<|im_start|>")
    assert values["target"] == 7
    assert not list(Path().iterdir()), "and nothing is written"


def test_dry_run_of_a_run_that_is_there(run: Runner) -> None:
    with FakeOllama() as fake:
        fake.script = lambda ask: "Hello" if ask.index > 6 else default_script(ask)
        run("generate", "-n", 9, "--max-attempts", 5, "--parallel", 1, "--host", fake.url)
        before = Path(TARGET).read_bytes()
        done = run("generate", "-n", 9, "--dry-run", "--host", fake.url)
    kept = len(records())
    assert 0 < kept < 9
    assert f"{9 - kept} records" in done.out
    assert f"has {kept} of 9" in done.out
    assert Path(TARGET).read_bytes() == before


@pytest.mark.parametrize("no_color", ["1", ""])
def test_colours(run: Runner, no_color: str) -> None:
    """FORCE_COLOR makes a terminal of stderr; NO_COLOR takes the colours off all the same."""
    environment = {"FORCE_COLOR": "1", "TERM": "xterm-256color"} | ({"NO_COLOR": no_color} if no_color else {})
    done = run("generate", "-m", "nosuch", "--host", "127.0.0.1:1", **environment)
    assert done.code == 3
    coloured = "\x1b[31m" in done.err or "\x1b[1;31m" in done.err
    assert coloured == (not no_color)


def test_pull_shows_its_progress(run: Runner) -> None:
    with FakeOllama(models=[], pullable=[FakeModel("tiny")], delay=0.1) as fake:
        fake.script = lambda ask: Reply(default_script(ask).text, delay=0.0)
        fake.fail_next(1, Fault("slow_load", seconds=0.6), "/api/generate")
        done = run("generate", "-n", 1, "-m", "tiny", "--pull", "--parallel", 1, "--host", fake.url)
    assert done.code == 0, done.err
    assert "Pulling tiny" in done.err
    assert "Loading tiny" in done.err
    assert len(records()) == 1


def test_short_of_the_target(run: Runner) -> None:
    with FakeOllama(script=lambda ask: "Hello there") as fake:
        done = run("generate", "-n", 3, "--max-attempts", 10, "--host", fake.url)
    check_error(done, 4, "Kept 0 of 3 after 10 attempts", "10 too_short", "--max-attempts")


def test_every_setting_by_its_variable(run: Runner) -> None:
    with FakeOllama() as fake:
        done = run(
            "generate",
            MAGPIE_OLLAMA_HOST=fake.url,
            MAGPIE_OLLAMA_COUNT="2",
            MAGPIE_OLLAMA_LANGUAGE="Spanish",
            MAGPIE_OLLAMA_STEERING="system",
            MAGPIE_OLLAMA_OUTPUT="mine.jsonl",
            MAGPIE_OLLAMA_SEED="5",
            MAGPIE_OLLAMA_QUIET="1",
            MAGPIE_OLLAMA_NUM_CTX="1024",
            MAGPIE_OLLAMA_TEMPERATURE="0.7",
        )
        flag = run("generate", "-n", 1, "-l", "es", "-q", "-s", "system", MAGPIE_OLLAMA_COUNT="9", OLLAMA_HOST=fake.url)
    assert done == Done(0, "", "")
    assert flag.code == 0
    made = records("mine.jsonl")
    assert [record["language"] for record in made] == ["es", "es"]
    assert {record["seed"] for record in made} <= set(range(5, 15))
    raw = generating(fake)[0].body["options"]
    assert (raw["num_ctx"], raw["temperature"]) == (1024, 0.7)
    assert len(records("es.jsonl")) == 1, "a flag goes over a variable"


def test_an_openai_server(run: Runner) -> None:
    with FakeOpenAI("vllm", api_key="sk-secret") as fake:
        done = run("generate", "-n", 2, "--server", "openai", "--host", fake.url, OPENAI_API_KEY="sk-secret")
        refused = run("generate", "-n", 2, "--server", "openai", "--host", fake.url, OPENAI_API_KEY="sk-wrong")
    assert done.code == 0, done.err
    assert {record["server"] for record in records()} == {"openai"}
    check_error(refused, 3, "wants a key", "set OPENAI_API_KEY")
    assert "sk-" not in refused.err + done.err


@posix
def test_ctrl_c_once() -> None:
    def script(ask: Any) -> Reply:
        return Reply(default_script(ask).text, delay=0.005)

    with FakeOllama(script=script) as fake:
        started = process("generate", "-n", 1000, "--host", fake.url)
        fake.wait_until(lambda: Path(TARGET).exists() and len(records()) >= 2, timeout=60)
        started.send_signal(signal.SIGINT)
        done = finished(started)
        assert done.code == 130
        assert "Stopping: " in done.err
        assert "Ctrl-C again leaves now" in done.err
        assert "The same command continues where it stopped." in done.err
        assert "Traceback" not in done.err
        kept = len(records())
        assert kept >= 2
        fake.script = default_script
        rest = finished(process("generate", "-n", kept + 3, "--host", fake.url))
    assert rest.code == 0
    assert "Continuing run" in rest.err
    assert len(records()) == kept + 3


@posix
def test_ctrl_c_twice() -> None:
    def script(ask: Any) -> Reply:
        return Reply(default_script(ask).text, delay=0.001 if ask.index < 12 else 2.0)

    with FakeOllama(script=script) as fake:
        started = process("generate", "-n", 1000, "--parallel", 4, "--host", fake.url)
        # All four attempts wait for a response or an instruction that would take minutes.
        fake.wait_until(lambda: len([one for one in generating(fake) if one.generation >= 12]) >= 4, timeout=60)
        started.send_signal(signal.SIGINT)
        assert started.stderr
        told = ""
        while "Ctrl-C again" not in told:
            told += started.stderr.readline()
        there = len(records())
        if started.poll() is None:
            started.send_signal(signal.SIGINT)
        done = finished(started)
    assert done.code == 130
    assert "Traceback" not in told + done.err
    assert len(records()) == there


@posix
def test_ctrl_c_while_the_model_is_loaded() -> None:
    with FakeOllama() as fake:
        fake.fail_next(1, Fault("slow_load", seconds=30))
        started = process("generate", "-n", 3, "--host", fake.url)
        fake.wait_until(lambda: fake.requests_to("/api/generate"), timeout=60)
        started.send_signal(signal.SIGINT)
        done = finished(started)
    assert done.code == 130
    assert "Traceback" not in done.err
    assert not Path(TARGET).exists()
