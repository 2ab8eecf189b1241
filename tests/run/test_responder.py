"""Instructions by one model, responses by another."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest
from fake_ollama import FakeModel, FakeOllama
from hypothesis import given
from hypothesis import strategies as some
from run import support
from run.support import generate, generating, settings

from magpie_ollama.asking.drafts import Draft, Drawn, Turn
from magpie_ollama.asking.settings import responder_of
from magpie_ollama.errors import ModelMissing, UsageError
from magpie_ollama.method.reasons import Stage
from magpie_ollama.method.steering import Steered
from magpie_ollama.run import phases
from magpie_ollama.run.phases import Phases
from magpie_ollama.servers.base import ServerChoice

MODELS = [FakeModel("asks:1b"), FakeModel("answers:8b")]


def test_each_is_asked_its_own(tmp_path: Path) -> None:
    with FakeOllama(models=MODELS) as fake:
        asked = settings(fake, 6, model="asks:1b", responder=ServerChoice("ollama", fake.url, "answers:8b"))
        done = generate(asked, tmp_path / "a.jsonl")
    assert done.error is None
    assert {(one.path, one.body["model"]) for one in generating(fake)} == {
        ("/api/generate", "asks:1b"),
        ("/api/chat", "answers:8b"),
    }
    assert {(one["model"], one["response_model"]) for one in done.records} == {("asks:1b", "answers:8b")}
    assert done.manifests[0]["settings"]["response_model"] == "answers:8b"
    assert fake.loads == 2
    assert not any("in memory together" in notice for notice in done.progress.notices)


def test_on_another_server(tmp_path: Path) -> None:
    with FakeOllama(models=MODELS[:1]) as asks, FakeOllama(models=MODELS[1:], holds=1) as answers:
        asked = settings(asks, 3, responder=ServerChoice("ollama", answers.url, "answers:8b"))
        assert generate(asked, tmp_path / "a.jsonl").error is None
    assert {one.path for one in generating(asks)} == {"/api/generate"}
    assert {one.path for one in generating(answers)} == {"/api/chat"}


def test_one_at_a_time_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "PHASE", 4)
    with FakeOllama(models=MODELS, holds=1) as fake:
        asked = settings(fake, 10, model="asks:1b", responder=ServerChoice("ollama", fake.url, "answers:8b"))
        done = generate(asked, tmp_path / "a.jsonl")
    assert done.error is None
    assert len(done.records) == 10
    assert any("are not in memory together: 32 instructions" in notice for notice in done.progress.notices)
    turns = [(model, len(list(some_))) for model, some_ in groupby(one.body["model"] for one in generating(fake))]
    assert [model for model, _ in turns] == ["asks:1b", "answers:8b"] * 3, "4, 4 and 2"
    assert fake.loads == 2 + 5, "each once to begin with, and one more for each phase but the first"
    assert sorted(one["index"] for one in done.attempts) == list(range(len(done.attempts))), "none twice"


def test_a_run_of_phases_is_stopped_and_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "PHASE", 4)
    with FakeOllama(models=MODELS, holds=1) as fake:
        asked = settings(fake, 8, model="asks:1b", seed=3, responder=ServerChoice("ollama", fake.url, "answers:8b"))

        async def stop(session: support.Session, task: object) -> None:
            await support.until(lambda: session.run and session.run.kept)
            session.stop()

        first = generate(asked, tmp_path / "a.jsonl", stop)
        done = generate(asked, tmp_path / "a.jsonl")
    assert 0 < len(first.records) < 8
    assert len(done.records) == 8
    assert len(done.manifests) == 1
    assert len({one["seed"] for one in done.records}) == 8


def test_one_that_is_not_there_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with FakeOllama(models=MODELS) as fake:
        asked = settings(fake, 3, model="asks:1b", responder=ServerChoice("ollama", fake.url, "absent"))
        done = generate(asked, tmp_path / "a.jsonl")
    assert isinstance(done.error, ModelMissing)
    assert "absent" in done.error.cause
    assert fake.loads == 0
    assert not generating(fake)


def test_what_goes_with_it() -> None:
    first = ServerChoice("openai", "http://a", "m", options={"x": 1})
    assert first.beside("n") == ServerChoice("openai", "http://a", "n", options={"x": 1})
    assert first.beside("n", "ollama") == ServerChoice("ollama", "", "n")
    assert first.beside("n", "openai", "http://b") == ServerChoice("openai", "http://b", "n", options={"x": 1})
    with pytest.raises(UsageError, match="for another model"):
        responder_of(first, {"response_model": "", "response_server": "", "response_host": "h"})


class _Numbered:
    def __init__(self, count: int, turns: int) -> None:
        self._left = list(range(count))
        self._turns = turns

    def next(self) -> Draft | None:
        return Draft(Drawn(self._left.pop(0), 0, Steered("none"), 0.0, self._turns)) if self._left else None


@given(
    some.integers(1, 9),
    some.integers(0, 30),
    some.integers(1, 4),
    some.integers(1, 3),
    some.lists(some.booleans(), min_size=70, max_size=70),
)
def test_phases(size: int, attempts: int, workers: int, turns: int, passes: list[bool]) -> None:
    """Any number of workers: each turn of the user that passes is answered once, and never amid a phase of the
    others."""
    answered: list[int] = []
    out: list[tuple[Draft, bool]] = []
    phases.PHASE, before = size, phases.PHASE
    try:
        work = Phases(_Numbered(attempts, turns))  # type: ignore[arg-type]
        steps = 0
        while not work.is_done:
            steps += 1
            assert steps < 1000, "it comes to an end"
            while len(out) < workers and work.ready(99):
                if (draft := work.take()) is None:
                    break
                answers = draft.lacks is Stage.RESPONSE
                assert {one[1] for one in out} <= {answers}, "one model at a time"
                out.append((draft, answers))
            if out:
                draft, answers = out.pop(0)
                draft.turns.append(Turn("assistant" if answers else "user"))
                if answers:
                    answered.append(draft.drawn.index)
                work.give_back(draft, again=passes[draft.drawn.index] and draft.lacks is not None)
    finally:
        phases.PHASE = before
    assert sorted(answered) == [index for index in range(attempts) for _ in range(turns) if passes[index]]
