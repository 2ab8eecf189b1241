"""Servers that fail: what is tried again, what is not, and that each record is there once whatever happens."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import stamina
from fake_ollama import Ask, Exchange, FakeOllama, Fault, Reply, default_script
from fake_ollama.faults import Kind
from fake_ollama.openai import FakeOpenAI
from run.support import generate, generating, impatient, settings, until

from magpie_ollama.asking import retrying, watchdog
from magpie_ollama.errors import (
    Busy,
    ConnectionLost,
    MagpieError,
    ModelMissing,
    NoServer,
    OutOfMemory,
    ServerError,
    Stalled,
    TransientError,
)
from magpie_ollama.run.session import Session

TRANSIENT = [
    Fault("busy"),
    Fault("drop"),
    Fault("reset"),
    Fault("drop_mid"),
    Fault("engine_dies"),
    Fault("error_mid"),
    Fault("half_line"),
    Fault("bad_utf8"),
    Fault("load_crash"),
    Fault("html_200"),
    Fault("html_502"),
]


@pytest.mark.parametrize("fault", TRANSIENT, ids=lambda fault: fault.kind)
def test_tried_again(tmp_path: Path, fault: Fault) -> None:
    """Twice for an instruction and twice for a response; every attempt comes to its record all the same."""
    with FakeOllama() as fake, impatient():

        def script(ask: Ask) -> Reply:
            if ask.kind == "chat" and not failed:
                failed.append(ask)
                fake.fail_next(2, fault, "/api/chat")
            return default_script(ask)

        failed: list[Ask] = []
        fake.script = script

        async def meanwhile(session: Session, task: asyncio.Task[Any]) -> None:
            fake.fail_next(2, fault, "/api/generate")

        made = generate(settings(fake, 5, seed=0, parallel=1), tmp_path / "en.jsonl", meanwhile)
    assert made.error is None
    assert made.outcomes == ["kept"] * 5
    assert [record["seed"] for record in made.records] == [0, 1, 2, 3, 4]
    broken = [exchange for exchange in fake.requests if exchange.fault is not None]
    assert len(broken) == 4
    for exchange in broken:
        again = [other for other in fake.requests if other.raw == exchange.raw and other.fault is None]
        assert len(again) == 1, "the same request, answered once"


@pytest.mark.parametrize("kind", ["incomplete_nothing", "incomplete_part"])
@pytest.mark.parametrize("phase", ["raw", "chat"])
@pytest.mark.parametrize("breaks", [1, 2, 99])
def test_a_text_that_breaks_off_is_tried_with_other_seeds(tmp_path: Path, kind: Kind, phase: str, breaks: int) -> None:
    """With the same one it would break off again: at a token that is one byte of no letter."""
    seeds: list[int | None] = []

    def script(ask: Ask) -> Reply:
        reply = default_script(ask)
        if ask.kind != phase:
            return reply
        seeds.append(ask.seed)
        return replace(reply, fault=kind) if len(seeds) <= breaks else reply

    with FakeOllama(script=script) as fake:
        made = generate(settings(fake, 1, seed=3, parallel=1, max_attempts=1), tmp_path / "en.jsonl")
    assert len(seeds) == len(set(seeds)) == min(breaks, 2) + 1, "at once, and never twice alike"
    assert seeds[0] == 3
    lost = "no_answer" if phase == "raw" else "response_no_answer"
    assert made.outcomes == (["kept"] if breaks < 3 else [lost])
    assert [record["seed"] for record in made.records] == ([3] if breaks < 3 else []), "the attempt's own"


@pytest.mark.parametrize(("kind", "spared"), [("busy", 0), ("load_crash", 2)])
def test_renderings_are_tried_again_too(tmp_path: Path, kind: Kind, spared: int) -> None:
    """An exemplar steering has templates rendered all along the run, not only at its beginning, when an error would be
    taken for the template's own."""

    class FailsAtFirst(FakeOllama):
        def _planned(self, exchange: Exchange) -> Fault | None:
            rendering = exchange.body is not None and "_debug_render_only" in exchange.body
            others = {other.raw for other in self.requests if other is not exchange and other.path == "/api/chat"}
            return Fault(kind) if rendering and len(others) >= spared and exchange.raw not in others else None

    with FailsAtFirst() as fake, impatient():
        made = generate(settings(fake, 6, steering="exemplar"), tmp_path / "en.jsonl")
    assert made.error is None
    assert len(made.records) == 6
    assert len([exchange for exchange in fake.requests if exchange.fault is not None]) > 2


def test_a_server_that_restarts_in_the_middle(tmp_path: Path) -> None:
    async def meanwhile(session: Session, task: asyncio.Task[Any]) -> None:
        for kept in (3, 8):
            await until(lambda kept=kept: session.progress.kept >= kept)  # type: ignore[misc]
            await asyncio.to_thread(fake.stop)
            await until(lambda: session.progress.in_flight == 4)
            await asyncio.to_thread(fake.start)

    with FakeOllama(delay=0.002) as fake:
        made = generate(settings(fake, 40, seed=0), tmp_path / "en.jsonl", meanwhile)
    assert made.error is None
    assert len({record["id"] for record in made.records}) == 40
    assert len({record["seed"] for record in made.records}) == 40
    assert len({record["messages"][0]["content"] for record in made.records}) == 40
    assert set(made.outcomes) <= {"kept", "dropped"}


def test_a_server_that_stays_away(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"

    async def meanwhile(session: Session, task: asyncio.Task[Any]) -> None:
        await until(lambda: session.progress.kept >= 2)
        await asyncio.to_thread(fake.stop)

    with FakeOllama(delay=0.001) as fake, impatient():
        made = generate(settings(fake, 1000, seed=0), path, meanwhile)
        assert isinstance(made.error, NoServer)
        assert made.error.cause == f"The server at {fake.url} has stopped answering."
        assert "the same command" in made.error.remedy
        assert made.manifests[0]["status"] == "failed"
        there = len(made.records)
        assert there >= 2
        fake.start()
        rest = generate(settings(fake, there + 8, seed=0), path)
    assert rest.error is None
    assert len(rest.records) == there + 8
    assert len(rest.manifests) == 1, "the same run, continued"
    assert len({record["seed"] for record in rest.records}) == there + 8


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("out_of_memory"), OutOfMemory),
        (Fault("error_mid", text="llama-server process has terminated: out-of-memory during startup"), OutOfMemory),
        (Fault("status", status=404, text="model 'smollm2:135m' not found"), ModelMissing),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_not_tried_again(tmp_path: Path, fault: Fault, error: type[MagpieError]) -> None:
    async def meanwhile(session: Session, task: asyncio.Task[Any]) -> None:
        await until(lambda: session.progress.kept >= 1)
        fake.fail_next(1, fault)

    with FakeOllama(delay=0.001) as fake:
        made = generate(settings(fake, 1000, parallel=1), tmp_path / "en.jsonl", meanwhile)
    assert type(made.error) is error
    assert made.error.remedy
    assert generating(fake)[-1].fault is not None or fake.requests[-1].fault is not None, "it was the last request"
    assert made.manifests[0]["status"] == "failed"
    assert len(made.records) == made.progress.kept


def test_an_instruction_without_any_complete_answer_is_given_up(tmp_path: Path) -> None:
    def script(ask: Ask) -> Reply:
        reply = default_script(ask)
        return Reply(reply.text, fault="engine_dies") if ask.seed == 1 else reply

    with FakeOllama(script=script) as fake, impatient():
        made = generate(settings(fake, 3, seed=0, parallel=1), tmp_path / "en.jsonl")
    assert made.error is None
    assert made.outcomes == ["kept", "no_answer", "kept", "kept"]
    assert len([ex for ex in generating(fake) if ex.body["options"]["seed"] == 1]) == retrying.FAILURES


def test_a_server_that_fails_every_time_ends_the_run(tmp_path: Path) -> None:
    with FakeOllama(script=lambda ask: Reply("What is it?", fault="engine_dies")) as fake, impatient():
        made = generate(settings(fake, 100, parallel=2), tmp_path / "en.jsonl")
    assert type(made.error) is ServerError
    assert made.error.cause.startswith("The server fails again and again: ")
    assert made.outcomes.count("no_answer") == retrying.NO_ANSWERS - 1
    assert len(generating(fake)) <= (retrying.NO_ANSWERS + 1) * retrying.FAILURES


def test_more_in_flight_than_the_server_takes(tmp_path: Path) -> None:
    """The queue is full all the time: those sent away wait, and none is given up."""
    with FakeOllama(parallel=1, max_queue=1, delay=0.0005) as fake, impatient(cap=False):
        made = generate(settings(fake, 6, seed=0, parallel=12), tmp_path / "en.jsonl")
        refused = [exchange for exchange in fake.requests if exchange.status == 503]
    assert made.error is None
    assert refused
    assert set(made.outcomes) <= {"kept", "dropped"}
    assert len(made.records) == 6


def test_a_machine_that_slept_is_no_stalled_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that counts the sleep, as Windows' does, the silence before it is over counts for nothing."""
    clock, waited = 1000.0, 0

    async def sleep(seconds: float) -> None:
        nonlocal clock, waited
        clock += 8 * 3600 if waited == 3 else seconds
        waited += 1

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    server = SimpleNamespace(silent_for=lambda: clock - 1000.0, address="http://h:1")
    with pytest.raises(Stalled):
        asyncio.run(watchdog.watch(server, lambda: 1))  # type: ignore[arg-type]
    assert waited > 4 + 60, "five whole minutes after it woke"


def test_the_watchdog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "STALLED_SECONDS", 0.3)
    with FakeOllama() as fake:
        fake.script = lambda ask: (
            Reply("What is it?", fault=Fault("stall", seconds=60, after=1)) if ask.index >= 4 else default_script(ask)
        )
        made = generate(settings(fake, 100), tmp_path / "en.jsonl")
        fake.wait_until(lambda: all(exchange.cancelled or exchange.finished for exchange in generating(fake)))
    assert isinstance(made.error, Stalled)
    assert made.error.exit_code == 3
    assert fake.url in made.error.cause
    assert "4 requests in flight" in made.error.cause
    assert len(made.records) == made.progress.kept


def test_a_slow_server_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer takes longer than the watchdog's limit, but a byte comes now and then."""
    monkeypatch.setattr(watchdog, "STALLED_SECONDS", 0.5)
    with FakeOllama(parallel=1, delay=0.02) as fake:
        made = generate(settings(fake, 1, parallel=2), tmp_path / "en.jsonl")
    assert made.error is None
    assert len(made.records) == 1


def test_retries_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits that double from a quarter of a second to 15: about two minutes, in which a server can restart."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def call() -> None:
        raise ConnectionLost("gone")

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(NoServer):
        asyncio.run(retrying.retrying(call, "http://h:1"))
    assert len(waits) == retrying.ATTEMPTS - 1
    assert 0.25 <= waits[0] <= 0.5
    assert all(later >= earlier - 0.25 for earlier, later in pairwise(waits))
    assert max(waits) <= 15.25
    assert 100 < sum(waits) < 140


@pytest.mark.parametrize(("error", "calls"), [(Busy, retrying.ATTEMPTS), (TransientError, retrying.FAILURES)])
def test_a_busy_server_is_waited_for_longer_than_one_that_fails(error: type[TransientError], calls: int) -> None:
    made: list[int] = []

    async def call() -> None:
        made.append(1)
        raise error("no")

    with impatient(), pytest.raises(error):
        asyncio.run(retrying.retrying(call, "http://h:1"))
    assert len(made) == calls


@pytest.mark.parametrize("when", ["in the call", "in the wait"])
def test_a_cancelled_request_is_not_tried_again(when: str) -> None:
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        if when == "in the call":
            await asyncio.Event().wait()
        raise TransientError("no")

    async def go() -> None:
        task = asyncio.create_task(retrying.retrying(call, "http://h:1"))
        await until(lambda: calls)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(go())
    assert calls == 1
    assert not stamina.is_testing()


def test_other_errors_are_not_tried_again() -> None:
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        raise OutOfMemory("no")

    with pytest.raises(OutOfMemory):
        asyncio.run(retrying.retrying(call, "http://h:1"))
    assert calls == 1


def test_a_template_that_fails_on_the_server_is_not_waited_for(tmp_path: Path) -> None:
    """Gemma's has no system role: rendering one is an error of the template, every time."""

    with FakeOllama() as fake:
        fake.fail_next(1, Fault("status", status=500, text="template: :3: error calling raise_exception"), "/api/chat")
        made = generate(settings(fake, 1, steering="system"), tmp_path / "en.jsonl")
    assert made.error is not None
    assert isinstance(made.error, MagpieError)
    assert "raise_exception" in made.error.cause
    assert made.error.remedy
    assert Counter(exchange.path for exchange in fake.requests)["/api/chat"] == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 501])
def test_a_fault_that_will_not_go_away_ends_the_run_at_once(tmp_path: Path, status: int) -> None:
    """The key is taken back, the model is gone, amid a run: the next answer ends it, and what was kept stays."""

    async def meanwhile(session: Session, task: asyncio.Task[Any]) -> None:
        await until(lambda: session.progress.kept >= 2)
        refused = Fault("status", status=status, text="gone")
        fake.fail_next(1000, refused, "/v1/chat/completions")
        fake.fail_next(1000, refused, "/v1/completions")

    with FakeOpenAI("vllm", delay=0.001) as fake:
        started = time.monotonic()
        made = generate(settings(fake, 1000, kind="openai"), tmp_path / "en.jsonl", meanwhile)
        assert time.monotonic() - started < 20
        failed = [exchange for exchange in fake.requests if exchange.fault is not None]
    assert isinstance(made.error, ServerError)
    assert made.error.remedy
    assert len(failed) <= 8, "one each of those in flight"
    assert len(made.records) == made.progress.kept >= 2
    assert made.manifests[0]["status"] == "failed"


def test_what_a_server_does_not_take_is_said_and_the_run_goes_on(tmp_path: Path) -> None:
    class NoLogprobs(FakeOpenAI):
        def _planned(self, exchange: Exchange) -> Fault | None:
            guilty = exchange.body is not None and "logprobs" in exchange.body
            return Fault("status", status=500, text="list index out of range") if guilty else None

    with NoLogprobs("vllm") as fake:
        made = generate(settings(fake, 8, kind="openai"), tmp_path / "en.jsonl")
        refused = [exchange for exchange in fake.requests if exchange.status == 500]
    assert made.error is None
    assert [record["confidence"] for record in made.records] == [0.0] * 8
    assert made.progress.notices == [f"{fake.url} takes no logprobs: confidence is not measured."]
    assert len(refused) <= 12, "those that were in flight at first, and the search"


def test_a_server_that_drops_every_request_is_not_called_gone(tmp_path: Path) -> None:
    async def meanwhile(session: Session, task: asyncio.Task[Any]) -> None:
        await until(lambda: session.progress.kept >= 2)
        for path in ("/v1/completions", "/v1/chat/completions"):
            fake.fail_next(100_000, Fault("drop"), path)

    with FakeOpenAI("vllm", delay=0.001) as fake, impatient():
        made = generate(settings(fake, 1000, kind="openai"), tmp_path / "en.jsonl", meanwhile)
    assert isinstance(made.error, ServerError)
    assert "has stopped answering" not in made.error.cause
    assert "dropped the connection" in made.error.cause
