"""What a shell offers behind the cursor."""

from __future__ import annotations

import socket
import subprocess
from time import monotonic

import pytest
from click.shell_completion import ShellComplete
from fake_ollama import FakeModel, FakeOllama, FakeOpenAI

from magpie_ollama.__main__ import COMMANDS, cli
from magpie_ollama.commands import completing, configuration

from .support import Runner


def offered(*words: str) -> list[tuple[str, str]]:
    """The values, and of which type, with the last word begun."""
    completion = ShellComplete(cli, {}, "magpie-ollama", "_MAGPIE_OLLAMA_COMPLETE")
    return [(one.value, one.type) for one in completion.get_completions(list(words[:-1]), words[-1])]


def plain(*words: str) -> list[str]:
    return [value for value, kind in offered(*words) if kind == "plain"]


def test_commands_and_options() -> None:
    assert plain("ex") == ["export"]
    assert plain("") == list(COMMANDS)
    assert {"--topics", "--top-p", "--top-k"} <= set(plain("generate", "--to"))


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (("generate", "-l", "ital"), []),
        (("generate", "-l", "it"), ["it"]),
        (("compare", "-l", "it,n"), ["it,ne", "it,nl", "it,nn", "it,no"]),
        (("generate", "-s", "ex"), ["exemplar"]),
        (("generate", "-s", "exemplar+o"), ["exemplar+opener"]),
        (("compare", "-s", "system,auto"), ["system,auto"]),
        (("generate", "--topics", "ma"), ["maths", "magpie-ultra"]),
        (("generate", "--topics", "maths:2,co"), ["maths:2,code"]),
        (("generate", "--template", "phi4"), ["phi4", "phi4-mini"]),
        (("export", "it.jsonl", "--for", "u"), ["unsloth"]),
    ],
)
def test_values(words: tuple[str, ...], values: list[str]) -> None:
    assert plain(*words) == values


@pytest.mark.parametrize(
    "words", [("view", "i"), ("generate", "-o", "i"), ("tag", "i"), ("generate", "--template", "i")]
)
def test_files(words: tuple[str, ...]) -> None:
    assert ("i", "file") in offered(*words)


def test_models_of_the_server() -> None:
    with FakeOllama(models=[FakeModel("llama3.2:1b"), FakeModel("qwen2.5:3b")]) as fake:
        assert plain("generate", "--host", fake.url, "-m", "") == ["llama3.2:1b", "qwen2.5:3b"]
        configuration.change("host", fake.url)
        assert plain("tag", "it.jsonl", "-m", "q") == ["qwen2.5:3b"], "by the user's own default"
    with FakeOpenAI("plain", models=[FakeModel("served")]) as fake:
        assert plain("compare", "--server", "openai", "--host", fake.url, "-m", "s") == ["served:latest"]


def test_no_server_no_values_and_no_word(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert plain("generate", "--host", "127.0.0.1:1", "-m", "") == []
    assert plain("generate", "--host", "::no address::", "-m", "") == []
    monkeypatch.setattr(completing, "SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = monotonic()
        assert plain("generate", "--host", f"127.0.0.1:{silent.getsockname()[1]}", "-m", "") == []
        assert monotonic() - began < 10
    configuration.path().parent.mkdir(parents=True, exist_ok=True)
    configuration.path().write_text("model =")
    assert plain("generate", "-l", "it") == ["it"], "a broken file of defaults says nothing here"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_the_shell_reads(run: Runner, shell: str) -> None:
    done = run("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert f"_MAGPIE_OLLAMA_COMPLETE={shell}_complete" in done.out
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=done.out, text=True, check=True)
