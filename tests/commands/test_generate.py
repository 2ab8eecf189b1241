"""``magpie-ollama generate`` as a user meets it: what it prints, writes and returns; and every bad input."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands.support import TARGET, Done, Runner, check_error, finished, process, records
from corpus.support import without_privileges
from fake_ollama import FakeModel, FakeOllama, Fault, Reply, base_model, default_script, embedder, harmony, llama3
from fake_ollama.openai import FakeOpenAI
from run.support import generating
from servers.support import canned

from magpie_ollama.corpus import Corpus, appender
from magpie_ollama.corpus.appender import write_all
from magpie_ollama.records import KEYS

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals, devices and permissions")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Runner:
    return Runner(monkeypatch, capfd)


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
        started = process("generate", "-n", 1000, "--host", fake.url)
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


# Bad input: one sentence and the next command, no traceback, nothing lost.


def test_no_server(run: Runner) -> None:
    done = run("generate", "--host", "127.0.0.1:1")
    check_error(done, 3, "No Ollama answers at http://127.0.0.1:1", "ollama serve", "--server embedded")
    check_error(run("generate", "--server", "openai", "--host", "127.0.0.1:1"), 3, "--host")
    check_error(run("generate", OLLAMA_HOST="127.0.0.1:1"), 3, "ollama serve")
    assert not list(Path().iterdir())


def test_no_server_as_a_process() -> None:
    check_error(finished(process("generate", "--host", "127.0.0.1:1")), 3, "ollama serve")


def test_a_server_that_is_not_ollama(run: Runner) -> None:
    with FakeOpenAI("vllm") as fake:
        check_error(run("generate", "--server", "ollama", "--host", fake.url), 3, "is not Ollama", "--server openai")
        check_error(run("generate", "--host", fake.url), 3, "is not Ollama")
    with canned({"/api/version": (200, b"<html>my router</html>")}) as url:
        check_error(run("generate", "--server", "ollama", "--host", url), 3, "is not Ollama")
        check_error(run("generate", "--server", "openai", "--host", url), 3, "--host")


@pytest.mark.parametrize("host", ["localhost:http", "ftp://localhost", "my host", "[::1", "http:/x"])
def test_wrong_host_syntax(run: Runner, host: str) -> None:
    check_error(run("generate", "--host", host), 2, repr(host), "--host 127.0.0.1:11434")
    check_error(run("generate", OLLAMA_HOST=host), 2, repr(host))


def test_missing_model(run: Runner) -> None:
    with FakeOllama() as fake:
        done = run("generate", "-m", "nosuch:7b", "--host", fake.url)
        check_error(done, 3, "'nosuch:7b'", "smollm2:135m", "`ollama pull nosuch:7b`", "--pull")
        check_error(run("generate", "-m", "nosuch", "--pull", "--host", fake.url), 3, "could not pull 'nosuch'")
    assert not list(Path().iterdir())


def test_several_models(run: Runner) -> None:
    with FakeOllama(models=[FakeModel("b"), FakeModel("a")]) as fake:
        check_error(run("generate", "--host", fake.url), 2, "a:latest, b:latest", "-m a:latest")


@pytest.mark.parametrize(
    "model",
    [FakeModel("gpt-oss", harmony()), FakeModel("base", base_model()), embedder("embeds")],
    ids=["harmony", "base", "embedder"],
)
def test_models_that_leave_no_user_turn(run: Runner, model: FakeModel) -> None:
    with FakeOllama(models=[model]) as fake:
        check_error(run("generate", "-m", model.name, "--host", fake.url), 3, model.name.split(":")[0])


@pytest.mark.parametrize("when", ["load", "run"])
def test_too_little_memory(run: Runner, when: str) -> None:
    with FakeOllama() as fake:
        if when == "load":
            fake.fail_next(1, "out_of_memory")
        else:
            fake.script = lambda ask: Reply("x", fault="out_of_memory") if ask.index > 3 else default_script(ask)
        done = run("generate", "-n", 50, "--host", fake.url)
    check_error(done, 3, "too little memory", "choose a smaller model")
    assert (len(records()) > 0) == (when == "run"), "what was made is kept"


@pytest.mark.parametrize(
    ("name", "offered"), [("spansh", "es (Spanish)"), ("italain", "it (Italian)"), ("xx-qq", "languages")]
)
def test_unknown_language(run: Runner, name: str, offered: str) -> None:
    check_error(run("generate", "-l", name), 2, repr(name), offered)


@pytest.mark.parametrize("count", ["0", "-3", "many"])
def test_count(run: Runner, count: str) -> None:
    done = run("generate", "-n", count)
    assert done.code == 2
    assert "--count" in done.err
    assert count in done.err
    assert "--help" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "args",
    [
        ("--steering", "magic"),
        ("--option", "num_ctx"),
        ("--option", "num_ctx=4096"),
        ("--template", "nosuch"),
        ("--template", "nosuch.toml"),
        ("--language-file", "nosuch.toml"),
        ("--server", "embedded", "--host", "localhost"),
        ("--server", "embedded", "--model-path", "nosuch.gguf"),
    ],
)
def test_other_wrong_options(run: Runner, args: tuple[str, ...]) -> None:
    with FakeOllama() as fake:
        check_error(run("generate", *args, OLLAMA_HOST=fake.url), 2)
    assert not list(Path().iterdir())


def test_an_option_of_the_wrong_type(run: Runner) -> None:
    with FakeOllama() as fake:
        check_error(run("generate", "--option", "num_thread=many", "--host", fake.url), 3, "must be of type integer")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('user = "no place"\nassistant = "{content}"\nreply = ""', "{content}"),
        ('user = "{content} {content}"\nassistant = "{content}"\nreply = ""', "exactly once"),
        ('assistant = "{content}"\nreply = ""', "'user'"),
        ("user = [", ""),
    ],
)
def test_a_template_file_without_the_users_place(run: Runner, text: str, words: str) -> None:
    Path("mine.toml").write_text(text)
    with FakeOllama() as fake:
        check_error(run("generate", "--template", "mine.toml", "--host", fake.url), 2, "mine.toml", words)
        assert not generating(fake)


def test_a_proxy(run: Runner) -> None:
    with FakeOllama() as fake:
        done = run("generate", "-n", 1, "--host", fake.url, HTTP_PROXY="http://127.0.0.1:1", ALL_PROXY="http://127.0.0.1:1")
    assert done.code == 0, done.err


# Places that cannot hold a corpus. The server is never asked for an instruction.


def refused(run: Runner, output: object, code: int, *words: str) -> None:
    with FakeOllama() as fake:
        check_error(run("generate", "-n", 2, "-o", output, "--host", fake.url), code, *words)
        assert not generating(fake)


def test_output_in_a_missing_folder(run: Runner) -> None:
    refused(run, "no/such/en.jsonl", 2, "does not exist", "mkdir -p")


def test_output_is_a_folder(run: Runner) -> None:
    Path("folder").mkdir()
    refused(run, "folder", 2, "is a folder", "-o")
    assert not list(Path("folder").iterdir())


@pytest.mark.parametrize(
    "content", [b"a,b\n1,2\n", b"\x89PNG\r\n\x1a\n\0\0", b'{"prompt": "x"}\n', b"[1]\n", b"# Title\n"], ids=repr
)
def test_output_is_a_foreign_file(run: Runner, content: bytes) -> None:
    Path("mine").write_bytes(content)
    refused(run, "mine", 1, "is not a corpus", "-o")
    assert Path("mine").read_bytes() == content
    assert [path.name for path in Path().iterdir()] == ["mine"]


@posix
def test_output_is_read_only(run: Runner, own_folder: Path) -> None:
    with FakeOllama() as fake:
        run("generate", "-n", 1, "--host", fake.url)
    before = Path(TARGET).read_bytes()
    Path(TARGET).chmod(0o444)
    for path in own_folder.rglob("*"):
        if path.name != TARGET:
            path.chmod(0o777)
    with without_privileges(own_folder / TARGET):
        refused(run, TARGET, 2, "cannot be written to", "chmod")
    assert Path(TARGET).read_bytes() == before


@posix
def test_output_in_an_unwritable_folder(run: Runner, own_folder: Path) -> None:
    shut = own_folder / "shut"
    shut.mkdir(mode=0o555)
    with without_privileges(shut / TARGET):
        refused(run, shut / TARGET, 2, "cannot be written to", "-o")


def test_output_is_locked(run: Runner) -> None:
    with FakeOllama() as fake:
        run("generate", "-n", 1, "--host", fake.url)
    before = Path(TARGET).read_bytes()
    with Corpus.open(Path(TARGET)):
        refused(run, TARGET, 1, f"process {os.getpid()}", "wait until it is done")
    assert Path(TARGET).read_bytes() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_full_device(run: Runner) -> None:
    with FakeOllama() as fake:
        done = run("generate", "-n", 2, "-o", "/dev/full", "--host", fake.url)
    check_error(done, 1, "the disk is full", "free some space")


def test_a_full_disk(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes half of the fourth record."""
    full: list[bool] = []

    def write(fd: int, data: bytes) -> None:
        if data.startswith(b'{"id"'):
            full.append(len(full) >= 3)
        if full and full[-1]:
            os.write(fd, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        write_all(fd, data)

    with FakeOllama() as fake:
        with monkeypatch.context() as patch:
            patch.setattr(appender, "write_all", write)
            done = run("generate", "-n", 9, "--seed", 1, "--host", fake.url)
        check_error(done, 1, "the disk is full", "free some space, then run the same command again")
        before = records()
        assert len(before) == 3
        rest = run("generate", "-n", 9, "--seed", 1, "--host", fake.url)
    assert rest.code == 0, rest.err
    assert "torn" not in rest.err
    assert "Continuing run" in rest.err
    assert records()[:3] == before
    assert len({record["seed"] for record in records()}) == len(records()) == 9


@pytest.mark.parametrize("named", ["flag", "variable"])
def test_debug_shows_the_traceback(named: str, request: pytest.FixtureRequest) -> None:
    flag = ["--debug"] if named == "flag" else []
    environment = {} if named == "flag" else {"MAGPIE_OLLAMA_DEBUG": "1"}
    if named == "variable":
        reason = "--help offers MAGPIE_OLLAMA_DEBUG, and nobody looks at it"
        request.applymarker(pytest.mark.xfail(strict=True, reason=reason))
    done = finished(process("generate", "--host", "127.0.0.1:1", *flag, environment=environment))
    assert "Traceback" in done.err
    assert "NoServer" in done.err
    assert "ConnectionLost" in done.err, "with its cause"
    assert done.code != 0


def test_a_bug_is_told_as_one(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("magpie_ollama.commands.generate._settings", broken)
    done = run("generate")
    check_error(done, 1, "ZeroDivisionError", "--debug")


def test_texts_that_the_terminal_cannot_show() -> None:
    """A terminal that is not UTF-8 must not end a run of hours."""
    with FakeOllama() as fake:
        started = process(
            "generate", "-n", 2, "-l", "ja", "-s", "none", "--max-attempts", 2, "--dry-run", "--host", fake.url,
            environment={"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C", "PYTHONUTF8": "0"},
        )  # fmt: skip
        done = finished(started)
    assert done.code == 0, done.err


def test_bos_probe_is_all_that_a_dry_run_may_ask(run: Runner) -> None:
    with FakeOllama(models=[FakeModel("llama3.2", llama3())]) as fake:
        assert run("generate", "--dry-run", "--host", fake.url).code == 0
        assert [one.body["options"] for one in generating(fake)] == [{"num_predict": 1}]


