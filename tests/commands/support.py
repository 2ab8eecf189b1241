"""The command, in this process or as one of its own."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from corpus.support import PACKAGE
from fake_ollama import FakeOpenAI

from magpie_ollama import __main__
from magpie_ollama.servers import embedded, weights

TARGET = "en.jsonl"


@dataclass
class Done:
    code: int
    out: str
    err: str


class Runner:
    """``run`` goes through all that the process does but its start, which takes a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capture = capture

    def __call__(self, *args: object, **environment: str) -> Done:
        self._capture.readouterr()
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["magpie-ollama", *map(str, args)])
            for name, value in environment.items():
                patch.setenv(name, value)
            code = __main__._run()
        gc.collect(1)
        return Done(code, *self._capture.readouterr())


def process(*args: object, environment: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
    """The command as a process of its own, stdout and stderr on pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "magpie_ollama", *map(str, args)],
        stdin=subprocess.DEVNULL,
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(PACKAGE), "PYTHONIOENCODING": "utf-8", **(environment or {})},
        **options,
    )


def finished(started: subprocess.Popen[str]) -> Done:
    out, err = started.communicate()
    return Done(started.returncode, out or "", err)


def records(path: str | Path = TARGET) -> list[dict[str, Any]]:
    """Every line has to be JSON, and whole."""
    text = Path(path).read_text("utf-8") if Path(path).exists() else ""
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def check_error(done: Done, code: int, *words: str) -> None:
    """One clear sentence and the next command, and no traceback."""
    lines = [line for line in done.err.splitlines() if line.startswith(("error: ", "   next: "))]
    assert done.code == code, done.err
    assert [line.partition(":")[0].strip() for line in lines] == ["error", "next"], done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    told = " ".join(lines)
    for word in words:
        assert word in told


def stand_in(monkeypatch: pytest.MonkeyPatch, fake: FakeOpenAI) -> None:
    """``fake`` answers for the embedded engine, whatever weights that is given; any repository has "from-hub"."""
    path = Path("from-hub.gguf").absolute()
    path.write_bytes(b"GGUF")
    monkeypatch.setattr(weights, "is_available", lambda: True)
    monkeypatch.setattr(weights, "_from_hub", lambda model, on_bytes: path)
    process = SimpleNamespace(returncode=None, pid=os.getpid(), kill=lambda: None, stdin=None, wait=_at_once)

    async def opened(server: object) -> tuple[SimpleNamespace, str]:
        return process, fake.url

    monkeypatch.setattr(embedded.EmbeddedServer, "_open", opened)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1")  # the engine may not be installed


async def _at_once() -> None: ...
