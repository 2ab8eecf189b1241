"""``--server embedded`` without weights: the offer to fetch some, at a terminal alone."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from commands.support import Runner, check_error, stand_in
from fake_ollama import FakeOpenAI

from magpie_ollama.display import consoles
from magpie_ollama.servers import weights

QUESTION = "Fetch bartowski/SmolLM2-135M-Instruct-GGUF from the Hugging Face Hub: 105.0 MB, English only? [y/N]"


class Typed(io.StringIO):
    """What somebody types at a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The engine without weights, at a terminal; and what is fetched, which is there from then on."""
    names: list[str] = []
    path = Path("from-hub.gguf").absolute()

    def fetch(model: str, on_bytes: weights.OnBytes) -> Path:
        names.append(model)
        on_bytes(52_500_000, weights.SMALL_BYTES)
        on_bytes(weights.SMALL_BYTES, weights.SMALL_BYTES)
        return path

    with FakeOpenAI("llama-server") as fake:
        stand_in(monkeypatch, fake)
        monkeypatch.setattr(weights, "_from_hub", fetch)
        monkeypatch.setattr(weights, "small_weights", lambda: path if names else None)
        monkeypatch.setattr(consoles._Console, "is_terminal", property(lambda console: True))
        yield names


@pytest.mark.parametrize("answer", ["y\n", "n\n", "\n"])
def test_what_is_asked(answer: str, run: Runner, fetched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Typed(answer))
    done = run("generate", "-n", "2", "--server", "embedded", "--no-progress")
    assert QUESTION in done.err
    if answer == "y\n":
        assert done.code == 0, done.err
        assert fetched == [f"{weights.SMALL}:{weights.SMALL_FILE}"]
        assert "105.0/105.0 MB" in done.err, "the bar"
        again = run("generate", "-n", "1", "--server", "embedded", "--no-progress")
        assert QUESTION not in again.err
        assert again.code == 0
    else:
        assert not fetched
        assert done.code == 3
        assert f"-m {weights.SMALL}" in done.err


@pytest.mark.parametrize("why", ["stdin", "quiet", "engine", "hub", "named", "vectors"])
def test_who_is_not_asked(why: str, run: Runner, fetched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO() if why == "stdin" else Typed("y\n"))
    words = ["generate", "-n", "1", "--server", "embedded", "--no-progress"]
    if why == "vectors":
        Path("en.jsonl").write_text('{"instruction": "Why?", "output": "So."}\n')
        words = ["dedup", "en.jsonl", "--semantic", "--server", "embedded"]
    elif why == "quiet":
        words.append("-q")
    elif why == "named":
        words += ["-m", "none"]
    elif why == "engine":
        monkeypatch.setattr(weights, "is_available", lambda: False)
    elif why == "hub":
        monkeypatch.setattr("magpie_ollama.commands.offering.find_spec", lambda name: None)
    done = run(*words)
    assert "[y/N]" not in done.err
    assert not fetched
    assert done.code == 3
    assert weights.engine_remedy() in " ".join(done.err.split()) or f"-m {weights.SMALL}" in done.err


def test_weights_that_were_fetched_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are found in the Hub's cache without a name, and by that of their file."""
    folder = tmp_path / f"models--{weights.SMALL.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    path = folder / "snapshots" / ("0" * 40) / weights.SMALL_FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"GGUF")
    monkeypatch.setattr(weights, "packaged_weights", lambda: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert weights.find_weights("", None) == weights.find_weights(path.stem, None) == path
    path.unlink()
    with pytest.raises(weights.NoServer):
        weights.find_weights("", None)


@pytest.mark.parametrize(
    ("pip", "shell", "command"),
    [
        (True, "own", "pip install 'magpie-ollama[hub]'"),
        (True, "other", f"{sys.executable} -m pip install 'magpie-ollama[hub]'"),
        (False, "other", f"uv pip install --python {sys.executable} 'magpie-ollama[hub]'"),
    ],
)
def test_an_extra_is_installed_where_the_tool_runs(
    pip: bool, shell: str, command: str, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(sys.executable).parent if shell == "own" else Path("/usr/bin")
    monkeypatch.setattr("shutil.which", lambda name: str(folder / name))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: ModuleType("pip").__spec__ if not pip else object())
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    Path("en.jsonl").write_text('{"instruction": "Why?", "output": "So."}\n')
    check_error(run("stats", "maria/none"), 2, command)
