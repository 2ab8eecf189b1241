"""Passwords and keys that a command was given are never printed, and stand in no file."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands.support import Done, Runner, check_error
from fake_ollama import FakeOllama

SECRET = "s3greto-Xq9"


def everywhere(done: Done) -> str:
    """All that was printed, and all that is in files now."""
    texts = [path.read_bytes().decode("utf-8", "replace") for path in Path().rglob("*") if path.is_file()]
    return "\n".join((done.out, done.err, *texts))


@pytest.mark.parametrize("command", [("generate",), ("compare", "-l", "it"), ("doctor",), ("template", "show")])
@pytest.mark.parametrize(
    "host",
    [
        f"http://maria:{SECRET}@127.0.0.1:1",
        f"maria:{SECRET}@127.0.0.1:1",
        f"https://{SECRET}@h/v1",
        f"http://m:{SECRET}/x@h:port",
        f"http://m:{SECRET} @h",
        f"http://127.0.0.1:1/v1?api_key={SECRET}",
    ],
)
@pytest.mark.parametrize("given", ["--host", "OLLAMA_HOST"])
def test_a_password_in_the_address(run: Runner, command: tuple[str, ...], host: str, given: str) -> None:
    done = run(*command, "--host", host) if given == "--host" else run(*command, OLLAMA_HOST=host)
    assert done.code == (3 if command == ("doctor",) and done.code == 3 else 2)
    assert "s3greto" not in everywhere(done)
    assert "is not an address of a server" in done.out + done.err


OPTIONS = (
    f"api_key={SECRET}",
    f"hf_token={SECRET}",
    f'extra_headers={{"Authorization": "Bearer {SECRET}"}}',
    f'proxy="http://u:{SECRET}@h"',
    f"password={SECRET}",
)


@pytest.mark.parametrize("pair", OPTIONS)
def test_a_key_among_the_options(run: Runner, pair: str) -> None:
    key = pair.partition("=")[0]
    with FakeOllama() as fake:
        base = ("--host", fake.url, "--option", pair, "--option", "num_thread=7")
        runs = [
            run("generate", *base, "--dry-run"),
            run("generate", *base, "--dry-run", "--json"),
            run("generate", *base, "-n", 2, "--json"),
            run("compare", *base, "-l", "en", "-s", "none", "-n", 2),
        ]
        sent = [one.body for one in fake.requests if one.body and "options" in one.body]
    assert [done.code for done in runs] == [0] * 4
    assert "s3greto" not in "".join(map(everywhere, runs))
    assert f"{key}=***" in runs[0].out.replace("{'Authorization': '***'}", "***")
    assert "num_thread=7" in runs[0].out + runs[3].out
    assert any("s3greto" in str(body["options"]) for body in sent), "the server has it"


def test_another_key_is_the_same_run(run: Runner) -> None:
    with FakeOllama() as fake:
        base = ("generate", "--host", fake.url, "--seed", 1)
        assert run(*base, "-n", 9, "--max-attempts", 2, "--option", "api_key=one").code == 4
        assert "Continuing run" in run(*base, "-n", 9, "--option", "api_key=two").err


def test_what_is_no_secret_is_shown(run: Runner) -> None:
    options = ("stop_token_ids=[7]", "eos_token=</s>", "num_keep=4", "keep_alive=5m", "api_key=")
    with FakeOllama() as fake:
        done = run(
            "generate", "--host", fake.url, "--dry-run", *(word for one in options for word in ("--option", one))
        )
    assert "***" not in done.out
    assert "eos_token=</s>" in done.out


def test_the_remedy_for_a_password_names_the_variables(run: Runner) -> None:
    check_error(run("generate", "--host", "http://maria:x@h"), 2, "http://***@h", "OLLAMA_API_KEY")
