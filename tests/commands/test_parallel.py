"""--parallel: auto or a number."""

from __future__ import annotations

import json

import pytest
from fake_ollama import FakeOllama

from .support import Runner, records


@pytest.mark.parametrize("given", ["0", "1025", "-1", "many", "4.5", ""])
def test_neither_auto_nor_a_number(run: Runner, given: str) -> None:
    done = run("generate", f"--parallel={given}", "--host", "127.0.0.1:1")
    assert done.code == 2
    assert "--parallel" in done.err and "auto nor a number from 1 to 1024" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(("given", "level"), [([], 4), (["--parallel", "auto"], 4), (["--parallel", "2"], 2)])
def test_what_was_in_flight_is_told(run: Runner, given: list[str], level: int) -> None:
    with FakeOllama(parallel=8) as fake:
        done = run("generate", "-n", 6, "--json", "-q", "--host", fake.url, *given)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["parallel"], told["tokens_per_second_with"]) == (level, {}), "a run of six records measures nothing"
    assert fake.max_in_flight <= level
    assert len(records()) == 6


def test_by_the_environment(run: Runner) -> None:
    with FakeOllama(parallel=8) as fake:
        done = run("generate", "-n", 3, "--json", "-q", "--host", fake.url, MAGPIE_OLLAMA_PARALLEL="7")
    assert json.loads(done.out)["parallel"] == 7
