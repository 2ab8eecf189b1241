"""``magpie-ollama generate`` as a user meets it: what it prints, writes and returns; and every bad input."""

from __future__ import annotations

import contextlib
import doctest
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands.support import TARGET, Done, Runner, check_error, finished, process, records
from corpus.support import PACKAGE
from fake_ollama import FakeModel, FakeOllama, Fault, Reply, default_script
from fake_ollama.openai import FakeOpenAI
from run.support import generating

from magpie_ollama.display import words
from magpie_ollama.records import KEYS
from magpie_ollama.servers.openai import OpenAIServer

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals, devices and permissions")

CURSOR = re.compile(r"\x1b\[[?\d;]*[A-Zhl]")
"""What moves the cursor, hides it, or takes something off the screen; "m" only colours."""


def on_terminal(*args: object, **environment: str) -> tuple[int, str]:
    """The code of the command, and all that it writes, with stdout and stderr on one terminal."""
    terminal, end = os.openpty()
    command = [sys.executable, "-m", "magpie_ollama", *map(str, args)]
    env = {**os.environ, "PYTHONPATH": str(PACKAGE), "TERM": "xterm", **environment}
    started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=end, stderr=end, env=env)
    os.close(end)
    told = b""
    with contextlib.suppress(OSError):  # so Linux says that the other end is closed
        while more := os.read(terminal, 65536):
            told += more
    os.close(terminal)
    return started.wait(), told.decode()


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


@pytest.mark.parametrize("forced", ["0", "1"])
def test_colour_makes_no_terminal_of_a_pipe(run: Runner, forced: str) -> None:
    name = f"{'long' * 30}.jsonl"
    with FakeOllama() as fake:
        done = run("generate", "-n", 2, "-o", name, "--host", fake.url, FORCE_COLOR=forced, TERM="xterm")
    assert not CURSOR.search(done.err)
    assert ("\x1b[1mKept 2 of 2 records" in done.err) == (forced == "1")
    assert f"English · none · {name}\n" in done.err, "plain lines, and whole"


@posix
def test_the_live_display_on_a_terminal() -> None:
    with FakeOllama() as fake:
        code, told = on_terminal("generate", "-n", 2, "--host", fake.url)
    assert code == 0
    assert CURSOR.search(told)


@posix
def test_records_on_a_terminal_have_no_live_display_over_them() -> None:
    with FakeOllama() as fake:
        code, told = on_terminal("generate", "-n", 3, "-o", "-", "--host", fake.url)
    assert code == 0
    assert not CURSOR.search(told)
    assert sum(json.loads(line).keys() == KEYS for line in told.splitlines() if line.startswith("{")) == 3


@posix
def test_a_terminal_without_a_cursor_gets_plain_lines() -> None:
    with FakeOllama() as fake:
        code, told = on_terminal("generate", "-n", 2, "--host", fake.url, TERM="dumb")
    assert code == 0
    assert "\x1b" not in told
    assert "Loading smollm2:135m ..." in told


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


def test_what_it_cost_to_keep_nothing_is_told(run: Runner) -> None:
    with FakeOllama(script=lambda ask: "Hello there") as fake:
        done = run("generate", "-n", 3, "--max-attempts", 10, "--host", fake.url)
    assert "generated, none of them in kept records\n" in done.err


def test_a_seed_out_of_range_is_refused_before_the_server_is_asked(run: Runner) -> None:
    with FakeOllama() as fake:
        done = run("generate", "-n", 1, "--seed", 2**31 - 1, "--host", fake.url)
        assert not fake.requests
    assert (done.code, done.out) == (2, "")
    assert "0<=x<=1073741824" in done.err


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


def test_a_server_that_tells_no_version_has_no_empty_brackets(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    async def version(self: OpenAIServer) -> str:
        return ""

    monkeypatch.setattr(OpenAIServer, "version", version)
    with FakeOpenAI("vllm") as fake:
        base = ("generate", "-n", 1, "--server", "openai", "--host", fake.url)
        told = run(*base, "--dry-run").out + run(*base).err
    assert "server       openai at http" in told
    assert re.search("model .* on openai\n", told)


INTERRUPTED_WHILE_LOADING = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(1000): pass
            except KeyboardInterrupt:
                if name == "httpx":  # as pydantic does
                    raise RuntimeError("KeyboardInterrupt") from None
                raise

sys.meta_path.insert(0, Finder())
from magpie_ollama.__main__ import main
main()
"""


@posix
@pytest.mark.parametrize("module", ["click", "httpx", "rich.live"])
def test_ctrl_c_while_the_command_itself_is_loaded(module: str) -> None:
    code = INTERRUPTED_WHILE_LOADING.format(module=module)
    env = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    ended = subprocess.run(
        [sys.executable, "-c", code, "generate", "--host", "127.0.0.1:1"], env=env, capture_output=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


@posix
def test_ctrl_c_once() -> None:
    def script(ask: Any) -> Reply:
        return Reply(default_script(ask).text, delay=0.005)

    with FakeOllama(script=script) as fake:
        started = process("generate", "-n", 1000, "--host", fake.url)
        fake.wait_until(lambda: Path(TARGET).exists() and len(records()) >= 2)
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
        fake.wait_until(lambda: len([one for one in generating(fake) if one.generation >= 12]) >= 4)
        started.send_signal(signal.SIGINT)
        assert started.stderr
        told = ""
        while "Ctrl-C again" not in told:
            line = started.stderr.readline()
            assert line, f"it has ended: {told}"
            told += line
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
        fake.wait_until(lambda: fake.requests_to("/api/generate"))
        started.send_signal(signal.SIGINT)
        done = finished(started)
    assert done.code == 130
    assert "Traceback" not in done.err
    assert not Path(TARGET).exists()
