"""Every bad input of ``generate``: one clear sentence and the next command, no traceback, nothing lost."""

from __future__ import annotations

import errno
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands.support import Done, Runner, check_error, finished, process, records
from corpus.support import PACKAGE
from fake_ollama import FakeModel, FakeOllama, Reply, base_model, default_script, embedder, harmony, llama3
from fake_ollama.openai import FakeOpenAI
from run.support import generating
from servers.support import MODEL, canned

from magpie_ollama.servers import connections

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals, devices and permissions")


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
            fake.script = lambda ask: Reply("x", fault="out_of_memory") if ask.index > 15 else default_script(ask)
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
    ("command", "name"),
    [
        *(("generate", f"--{name}") for name in ("temperature", "top-p", "min-p", "repeat-penalty", "min-confidence")),
        *(("generate", f"--response-{name}") for name in ("temperature", "top-p", "min-p", "repeat-penalty")),
        ("compare", "--temperature"),
    ],
)
def test_nan_is_no_number(run: Runner, command: str, name: str) -> None:
    done = run(command, "-l", "it", name, "nan", "--host", "127.0.0.1:1")
    assert done.code == 2, done.err
    assert name in done.err
    assert "'nan' is no number" in done.err


def test_lengths_that_no_instruction_has(run: Runner) -> None:
    args = ("generate", "--min-words", 20, "--host", "127.0.0.1:1")
    check_error(run(*args, "--max-words", 3), 2, "--min-words 20", "give --max-words 20")
    check_error(run(*args, "--max-words", 20), 3)


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


@pytest.mark.parametrize(
    ("args", "remedy"),
    [
        (("generate", "--option", "top_p=.9"), "use --top-p or --response-top-p instead"),
        (("compare", "-l", "it", "--option", "temperature=.2"), "use --temperature instead"),
        (("compare", "-l", "it", "--option", "top_p=.9"), "leave it out"),
        (("tag", "en.jsonl", "--in-place", "--option", "seed=2"), "leave it out"),
        (("doctor", "--option", "num_ctx=512"), "use --num-ctx instead"),
        (("template", "show", "--option", "repeat_penalty=1.2"), "leave it out"),
    ],
)
def test_an_option_that_a_command_sets_itself(run: Runner, args: tuple[str, ...], remedy: str) -> None:
    Path("en.jsonl").write_text('{"instruction": "Why?", "response": "So."}\n', "utf-8")
    check_error(run(*args, "--host", "127.0.0.1:1"), 2, "This command sets ", remedy)


def test_null_leaves_out_what_a_command_sets_itself(run: Runner) -> None:
    with FakeOpenAI("vllm") as fake:
        left = [f"--option={name}=null" for name in ("top_p", "seed", "logprobs")]
        done = run("generate", "--server", "openai", "--host", fake.url, "-n", "1", *left)
        bodies = [exchange.body for exchange in fake.requests if exchange.generation >= 0]
    assert done.code == 0, done.err
    assert bodies
    assert not any({"top_p", "seed", "logprobs"} & body.keys() for body in bodies)


@pytest.mark.parametrize(
    "value", ["NaN", "nan", "Infinity", "-inf", "1e400", '[1, {"a": NaN}]', '"\\ud800"', "-Infinity"]
)
def test_an_option_that_json_cannot_hold(run: Runner, value: str) -> None:
    with FakeOllama() as fake:
        done = run("generate", "-n", 1, "--option", f"mirostat_tau={value}", "--host", fake.url)
        check_error(done, 2, "--option mirostat_tau", "JSON cannot hold", "give a number")
        assert not fake.requests
    deep = run("generate", "--option", "x=" + "[" * 100_000, "--host", "127.0.0.1:1")
    check_error(deep, 3, "ollama serve")


@posix
@pytest.mark.parametrize(
    "args",
    [
        ("generate", "--system", "caf\udce9"),
        ("generate", "--option", "x=\udce9"),
        ("generate", "-m", "\udce9"),
        ("generate", "-o", "caf\udce9.jsonl"),
        ("generate", "--host", "\udce9"),
        ("push", "en.jsonl", "a/b", "--licence", "\udce9", "--dry-run"),
        ("filter", "en.jsonl", "--match", "\udce9"),
        ("stats", "\udce9.jsonl"),
        ("\udce9",),
    ],
    ids=range(9),
)
def test_arguments_that_are_no_text(run: Runner, args: tuple[str, ...]) -> None:
    Path("en.jsonl").write_text('{"instruction": "Why?", "output": "So."}\n', "utf-8")
    check_error(run(*args), 2, "The argument is no text", "\\udce9", "write it in UTF-8")
    assert [path.name for path in Path().iterdir()] == ["en.jsonl"]


@posix
@pytest.mark.parametrize("name", ["MAGPIE_OLLAMA_SYSTEM", "OLLAMA_HOST", "OPENAI_API_KEY"])
def test_variables_that_are_no_text(run: Runner, name: str) -> None:
    check_error(run("generate", **{name: "\udce9"}), 2, f"The variable {name} is no text")


@posix
@pytest.mark.parametrize(
    "args",
    [("stats", "en.jsonl"), ("view", "en.jsonl"), ("sample", "en.jsonl"), ("push", "en.jsonl", "a/b", "--dry-run"),
     ("filter", "en.jsonl", "--min-words", 2, "-o", "x.jsonl"), ("dedup", "en.jsonl"), ("export", "en.jsonl")],
)  # fmt: skip
def test_a_disk_that_fails_while_it_is_read(
    run: Runner, monkeypatch: pytest.MonkeyPatch, args: tuple[object, ...]
) -> None:
    Path("en.jsonl").write_text('{"instruction": "Why is it so?", "output": "So."}\n' * 5, "utf-8")
    real = Path.open

    class Failing(io.BufferedReader):
        def readline(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    def opened(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        file = real(path, mode, *rest, **named)
        return Failing(file.detach()) if path.name == "en.jsonl" and isinstance(file, io.BufferedReader) else file

    monkeypatch.setattr(Path, "open", opened)
    check_error(run(*args), 1, "Input/output error", "check the disk")
    assert [path.name for path in Path().iterdir()] == ["en.jsonl"]


@posix
@pytest.mark.parametrize("limit", [6, 10])
def test_few_open_files(limit: int) -> None:
    with FakeOllama() as fake:
        done = subprocess.run(
            ["sh", "-c", f'ulimit -n {limit} && exec "$@"', "sh", sys.executable, "-m", "magpie_ollama",
             "generate", "-n", "2", "-q", "--host", fake.url],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        )  # fmt: skip
    check_error(Done(done.returncode, done.stdout, done.stderr), 1, "ulimit -n 1024")
    # Where the limit is met decides who tells it: the process, or the one that writes the file.
    assert re.search(r"may not open as many files|Cannot write to \S+en\.jsonl\S*: .*too many open files", done.stderr)


def test_any_failure_of_the_system_is_told_with_its_cause(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", "/mnt/en.jsonl")

    monkeypatch.setattr("magpie_ollama.commands.generating._settings", broken)
    check_error(run("generate"), 1, "/mnt/en.jsonl cannot be read or written: Stale file handle", "check the disk")


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
        done = run(
            "generate", "-n", 1, "--host", fake.url, HTTP_PROXY="http://127.0.0.1:1", ALL_PROXY="http://127.0.0.1:1"
        )
    assert done.code == 0, done.err


# Places that cannot hold a corpus. The server is never asked for an instruction.


@pytest.mark.parametrize("named", ["flag", "variable"])
def test_debug_shows_the_traceback(named: str) -> None:
    flag = ["--debug"] if named == "flag" else []
    environment = {} if named == "flag" else {"MAGPIE_OLLAMA_DEBUG": "1"}
    done = finished(process("generate", "--host", "127.0.0.1:1", *flag, environment=environment))
    assert "Traceback" in done.err
    assert "NoServer" in done.err
    assert "ConnectionLost" in done.err, "with its cause"
    assert done.code != 0


def test_a_bug_is_told_as_one(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("magpie_ollama.commands.generating._settings", broken)
    done = run("generate")
    check_error(done, 1, "ZeroDivisionError", "--debug")


@pytest.mark.parametrize(
    "wrong", [{"ALL_PROXY": "socks5h://127.0.0.1:1"}, {"all_proxy": "nonsense://x"}, {"NO_PROXY": "localhost,fd00::/8"}]
)
def test_proxies_that_cannot_be_used(run: Runner, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]) -> None:
    """A server on this machine needs none; for another one they are named."""
    with FakeOllama() as fake:
        local = finished(process("template", "show", "-m", MODEL, "--host", fake.url, environment=wrong))
        assert local.code == 0, local.err
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    connections._check_proxies.cache_clear()
    far = run("template", "show", "-m", MODEL, "--host", "ollama.invalid")
    check_error(far, 2, "The proxy in the environment cannot be used", "unset", "ALL_PROXY")


def test_an_address_that_only_the_environment_has_wrong() -> None:
    with FakeOllama() as fake:
        done = finished(
            process("template", "show", "-m", MODEL, "--host", fake.url, environment={"OLLAMA_HOST": "a:b"})
        )
        assert done.code == 0, done.err


def test_bos_probe_is_all_that_a_dry_run_may_ask(run: Runner) -> None:
    with FakeOllama(models=[FakeModel("llama3.2", llama3())]) as fake:
        assert run("generate", "--dry-run", "--host", fake.url).code == 0
        assert [one.body["options"] for one in generating(fake)] == [{"num_predict": 1}]


@posix
def test_no_room_to_unpack_the_language_identifier() -> None:
    with FakeOllama() as fake:
        limited = ["sh", "-c", 'ulimit -f 20 && exec "$@"', "sh", sys.executable, "-m", "magpie_ollama"]
        done = subprocess.run(
            [*limited, "generate", "-l", "it", "-s", "system", "-n", "1", "--host", fake.url],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        )  # fmt: skip
    check_error(Done(done.returncode, done.stdout, done.stderr), 1, "cannot be unpacked", "TMPDIR")
