"""A run from beginning to end: stopped, continued, added to; and interrupted by signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fake_ollama import Ask, FakeModel, FakeOllama, Reply, chatml, default_script, embedder, harmony, llama3
from fake_ollama.templates import base_model
from run.support import QUESTION, generate, generating, settings, until

from magpie_ollama.errors import TemplateError
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.run import session as sessions
from magpie_ollama.run.interrupts import ENDS, on_interrupt, run
from magpie_ollama.run.session import Session
from magpie_ollama.servers.base import Sampling

posix = pytest.mark.skipif(sys.platform == "win32", reason="sends itself POSIX signals")


def slow_responses(ask: Ask) -> Reply:
    reply = default_script(ask)
    return Reply(reply.text, delay=0.01 if ask.kind == "chat" else 0.03)


def test_stopping_finishes_responses_and_drops_instructions(tmp_path: Path) -> None:
    waiting: list[int] = []

    async def meanwhile(session: Session, task: asyncio.Task[Any]) -> None:
        await until(lambda: 0 < session.progress.responding < session.progress.in_flight)
        waiting.extend([session.progress.kept, session.stop()])

    with FakeOllama(script=slow_responses) as fake:
        made = generate(settings(fake, 100, seed=0), tmp_path / "en.jsonl", meanwhile)
        fake.wait_until(lambda: all(exchange.finished or exchange.cancelled for exchange in generating(fake)))
    assert made.error is None
    before, promised = waiting
    assert promised > 0
    assert len(made.records) == before + promised
    outcomes = Counter(made.outcomes)
    assert outcomes == {"kept": before + promised, "dropped": 4 - promised}
    cut = [exchange for exchange in generating(fake) if exchange.cancelled]
    assert {exchange.path for exchange in cut} <= {"/api/generate"}, "no response is cut"
    assert made.manifests[0]["status"] == "interrupted"


def test_the_summary_tells_steerings_and_attempts_of_one_kind(tmp_path: Path) -> None:
    async def meanwhile(session: Session, task: asyncio.Task[Any]) -> None:
        await until(lambda: session.progress.kept >= 3 and session.progress.responding < session.progress.in_flight)
        session.stop()

    with FakeOllama(script=slow_responses) as fake:
        made = generate(settings(fake, 100, seed=0), tmp_path / "en.jsonl", meanwhile)
    funnel = made.progress.funnel
    assert "dropped" in funnel.outcomes
    assert funnel.steerings.total() == funnel.attempts


def test_a_model_that_does_not_write_the_language_is_told_after_thirty_attempts(tmp_path: Path) -> None:
    """Auto tries unsteered attempts among them, which say nothing of the language."""
    with FakeOllama(script=lambda ask: Reply(f"{QUESTION} {ask.seed}")) as fake:
        made = generate(settings(fake, 5, language="it", steering="auto", max_attempts=30), tmp_path / "it.jsonl")
    assert len(made.attempts) == 30 and any(attempt["steering"] == "none" for attempt in made.attempts)
    told = [notice for notice in made.progress.notices if "does not write Italian" in notice]
    assert len(told) == 1 and "`magpie-ollama compare -l it --temperature 0.5,0.7,1.0` tells" in told[0]


def test_fewer_than_an_unfinished_run_has_are_made_beside_it(tmp_path: Path) -> None:
    """It waits for the command that it was begun by, and what is asked for now is made."""
    path = tmp_path / "en.jsonl"
    with FakeOllama() as fake:
        begun = generate(settings(fake, 10, max_attempts=5, parallel=1), path)
        assert len(begun.records) == 5
        assert len(generate(settings(fake, 2, parallel=1), path).records) == 7
        whole = generate(settings(fake, 10, parallel=1), path)
    assert [manifest["kept"] for manifest in whole.manifests] == [10, 2]
    assert len({record["messages"][0]["content"] for record in whole.records}) == 12


def test_ctrl_c_while_all_is_closed_ends_like_ctrl_c() -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        run(main())


def test_stopping_before_the_first_attempt(tmp_path: Path) -> None:
    async def meanwhile(session: Session, task: asyncio.Task[Any]) -> None:
        await until(lambda: fake.requests_to("/api/chat"))
        session.stop()

    with FakeOllama() as fake:
        made = generate(settings(fake, 100, max_attempts=5), tmp_path / "en.jsonl", meanwhile)
    assert made.error is None
    assert made.records == []
    assert not generating(fake)


@pytest.mark.parametrize("cancelled", [False, True])
def test_leaving_while_the_corpus_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cancelled: bool) -> None:
    """The process would wait for the thread that reads: the reading ends, too."""
    reading = threading.Event()

    def index(corpus: Any, stopped: Any) -> DuplicateIndex:
        reading.set()
        while not stopped():
            time.sleep(0.002)
        return DuplicateIndex()

    async def meanwhile(session: Session, task: asyncio.Task[Any]) -> None:
        await until(reading.is_set)
        if cancelled:
            task.cancel()
        else:
            session.stop()

    monkeypatch.setattr(sessions, "index", index)
    with FakeOllama() as fake:
        made = generate(settings(fake, 100), tmp_path / "en.jsonl", meanwhile)
    assert made.records == []
    assert isinstance(made.error, asyncio.CancelledError) == cancelled


def test_the_same_settings_continue_and_then_add(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"

    async def interrupt(session: Session, task: asyncio.Task[Any]) -> None:
        await until(lambda: session.progress.kept >= 3)
        session.stop()

    with FakeOllama(delay=0.0005) as fake:
        first = generate(settings(fake, 10, seed=7), path, interrupt)
        there = len(first.records)
        assert 3 <= there < 10
        second = generate(settings(fake, 10, seed=7), path)
        assert len(second.records) == 10
        assert any("Continuing run" in notice for notice in second.progress.notices)
        third = generate(settings(fake, 10, seed=7), path)
    assert [first.error, second.error, third.error] == [None] * 3
    assert len(third.records) == 20
    assert any("Adding 10" in notice for notice in third.progress.notices)
    assert [(manifest["status"], manifest["kept"]) for manifest in third.manifests] == [("done", 10)] * 2
    assert second.records == third.records[:10], "nothing that was there has changed"
    assert len({record["seed"] for record in third.records}) == 20, "not the same seeds again"
    assert len({record["messages"][0]["content"] for record in third.records}) == 20


def test_another_target_is_the_unfinished_runs_new_one(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"

    async def interrupt(session: Session, task: asyncio.Task[Any]) -> None:
        await until(lambda: session.progress.kept >= 2)
        session.stop()

    with FakeOllama(delay=0.0005) as fake:
        generate(settings(fake, 100), path, interrupt)
        made = generate(settings(fake, 12, parallel=2), path)
    assert len(made.records) == 12
    assert [manifest["target"] for manifest in made.manifests] == [12]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steering": "system"}, "-s none (here system)"),
        ({"options": {"num_ctx": 1024}}, "--option none (here num_ctx=1024)"),
        ({"seed": 5, "think": True}, "--think off (here on) and --seed none (here 5)"),
        ({"system": "Be brief."}, "--system none (here 'Be brief.')"),
        (
            {"instruction": Sampling(temperature=0.5, max_tokens=99), "response": Sampling(0.0, 512, top_k=7)},
            "--temperature 1.0 (here 0.5), --max-instruction-tokens 256 (here 99), "
            "--max-response-tokens 1024 (here 512), --response-top-k 0 (here 7) and 1 more",
        ),
    ],
)
def test_other_settings_begin_another_run_and_the_one_that_waits_is_named(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = tmp_path / "en.jsonl"

    async def interrupt(session: Session, task: asyncio.Task[Any]) -> None:
        await until(lambda: session.progress.kept >= 2)
        session.stop()

    with FakeOllama(delay=0.0005) as fake:
        first = generate(settings(fake, 50), path, interrupt)
        made = generate(settings(fake, 3, **changes), path)
    assert len(made.records) == len(first.records) + 3
    assert len(made.manifests) == 2
    (told,) = (notice for notice in made.progress.notices if "waits" in notice)
    assert told == (
        f"Run {first.manifests[0]['run']} waits with {len(first.records)} of its 50 records: it has "
        f"{said}; the same command with those continues it."
    )


def test_a_run_that_has_more_than_is_asked_for_is_named(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"
    with FakeOllama() as fake:
        begun = generate(settings(fake, 10, max_attempts=5, parallel=1), path)
        made = generate(settings(fake, 2, parallel=1), path)
        assert f"Run {begun.manifests[0]['run']} waits with 5 of its 10 records: -n 10 continues it." in (
            made.progress.notices
        )
        assert not any("waits" in told for told in generate(settings(fake, 10, parallel=1), path).progress.notices)
        assert not any("waits" in told for told in generate(settings(fake, 3, parallel=1), path).progress.notices)


def test_another_model_that_adds_to_a_corpus_says_so(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"
    with FakeOllama(models=[FakeModel("a:1"), FakeModel("b:1")]) as fake:
        first = generate(settings(fake, 2, model="a:1"), path)
        second = generate(settings(fake, 2, model="b:1"), path)
        third = generate(settings(fake, 1, model="b:1"), path)
    assert not any("Adding" in notice for notice in first.progress.notices)
    assert "Adding 2 to the 2 records there, which are by a:1; the new ones are by b:1." in second.progress.notices
    assert "Adding 1 to the 4 records there, which are by a:1 and b:1; the new ones are by b:1." in (
        third.progress.notices
    )


@pytest.mark.parametrize("known", [True, False])
def test_a_model_made_anew_under_its_name_begins_another_run(tmp_path: Path, known: bool) -> None:
    path = tmp_path / "en.jsonl"
    with FakeOllama(models=[FakeModel("m:1")]) as fake:
        begun = generate(settings(fake, 10, max_attempts=5, parallel=1, seed=3), path)
    if not known:  # as an earlier version wrote it
        (manifest,) = begun.manifests
        del manifest["model_digest"]
        (tmp_path / "en.jsonl.magpie" / "runs" / f"{manifest['run']}.json").write_text(json.dumps(manifest), "utf-8")
    with FakeOllama(models=[FakeModel("m:1", digest="feed" * 16)]) as fake:
        made = generate(settings(fake, 10, parallel=1, seed=3), path)
        assert len(made.records) == (15 if known else 10)
        assert len({record["seed"] for record in made.records}) == len(made.records), "no seed twice"
        assert any("m:1 is another model than it was in run" in told for told in made.progress.notices) == known
        assert any("(digest feedfeedfeed, then " in told for told in made.progress.notices) == known
        again = generate(settings(fake, 2, parallel=1, seed=3), path)
    assert not any("another model" in told for told in again.progress.notices), "it is told once"
    with FakeOllama(models=[FakeModel("m:1")]) as fake:  # the first one is back, and its run goes on
        back = generate(settings(fake, 10, parallel=1, seed=3), path)
    assert any("Continuing run" in told for told in back.progress.notices) == known


def test_a_model_by_both_its_names_is_one_run(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"

    async def interrupt(session: Session, task: asyncio.Task[Any]) -> None:
        await until(lambda: session.progress.kept >= 2)
        session.stop()

    with FakeOllama(models=[FakeModel("mine", chatml())], delay=0.0005) as fake:
        generate(settings(fake, 6, model="mine"), path, interrupt)
        made = generate(settings(fake, 6, model="mine:latest"), path)
    assert len(made.records) == 6
    assert {record["model"] for record in made.records} == {"mine:latest"}


def test_the_manifest_says_what_was_done(tmp_path: Path) -> None:
    with FakeOllama(version="0.24.0") as fake:
        made = generate(settings(fake, 2, options={"num_ctx": 1024}), tmp_path / "en.jsonl")
    (manifest,) = made.manifests
    assert manifest["server"] == "ollama"
    assert manifest["server_version"] == "0.24.0"
    assert manifest["model"] == "smollm2:135m"
    assert manifest["model_digest"] == fake.models[0].digest
    assert manifest["context"] == 1024
    assert manifest["template"]["prefix"].endswith("<|im_start|>user\n")
    assert manifest["template"]["suffix"] == "<|im_end|>\n<|im_start|>assistant\n"
    assert manifest["system"] == "", "none is sent"
    assert manifest["funnel"]["kept"] == 2


# Templates.


@pytest.mark.parametrize("version", ["0.24.0", "0.33.0"])
@pytest.mark.parametrize("adds", [True, False])
def test_bos_never_comes_twice(tmp_path: Path, version: str, adds: bool) -> None:
    with FakeOllama(version=version, models=[FakeModel("llama3.2", llama3(), adds_bos=adds)]) as fake:
        made = generate(settings(fake, 3), tmp_path / "en.jsonl")
    assert made.error is None
    raw = [exchange.body for exchange in generating(fake) if exchange.path == "/api/generate"]
    prompts = [body["prompt"] for body in raw if body["stream"]]
    assert len(prompts) >= 3
    for prompt in prompts:
        assert prompt.count("<|begin_of_text|>") == (0 if adds else 1)
        assert prompt.endswith("<|start_header_id|>user<|end_header_id|>\n\n")
    assert len(raw) == len(prompts) + 1, "the server was asked about it once"


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (FakeModel("gpt-oss:20b", harmony()), "harmony"),
        (FakeModel("llama3-base", base_model()), "base model"),
        (embedder(), "embedding model"),
    ],
    ids=["harmony", "base", "embedding"],
)
def test_models_that_cannot_be_asked(tmp_path: Path, model: FakeModel, why: str) -> None:
    path = tmp_path / "en.jsonl"
    with FakeOllama(models=[model]) as fake:
        made = generate(settings(fake, 3, model=model.name), path)
    assert isinstance(made.error, TemplateError)
    assert made.error.exit_code == 3
    assert why in made.error.cause
    assert made.error.remedy
    assert not path.exists()
    assert not generating(fake)


def test_an_ollama_that_cannot_render_takes_a_preset(tmp_path: Path) -> None:
    with FakeOllama(version="0.6.0", models=[FakeModel("qwen2.5:7b", chatml())]) as fake:
        made = generate(settings(fake, 2), tmp_path / "en.jsonl")
    assert made.error is None
    assert made.manifests[0]["template"]["source"] == "preset qwen2.5"


def test_a_model_that_does_not_load(tmp_path: Path) -> None:
    with FakeOllama() as fake:
        fake.fail_next(1, "load_crash", "/api/generate")
        made = generate(settings(fake, 2), tmp_path / "en.jsonl")
    assert made.error is None, "it is tried again"
    assert len(made.records) == 2


# Signals.


@posix
@pytest.mark.parametrize("number", ENDS)
def test_the_first_signal_calls_and_the_second_cancels(number: signal.Signals) -> None:
    calls: list[str] = []
    before = signal.getsignal(number)

    async def go() -> None:
        with on_interrupt(lambda: calls.append("first")):
            os.kill(os.getpid(), number)
            await until(lambda: calls)
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
            with pytest.raises(asyncio.CancelledError):
                await asyncio.Event().wait()
        calls.append("left")

    asyncio.run(go())
    assert calls == ["first", "left"]
    assert signal.getsignal(number) == before


@posix
def test_a_closed_window_that_says_so_twice_is_told_once() -> None:
    calls: list[str] = []

    async def go() -> None:
        with on_interrupt(lambda: calls.append("first")):
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGHUP)
                await asyncio.sleep(0.01)

    asyncio.run(go())
    assert calls == ["first"]


@posix
def test_the_second_signal_ends_a_write_that_nobody_reads() -> None:
    calls: list[str] = []

    async def write() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):  # of one kind, two might be taken for one
            os.kill(os.getpid(), number)
        while True:  # a real write would miss a signal that comes just before it begins
            time.sleep(0.002)  # noqa: ASYNC251

    async def go() -> None:
        with on_interrupt(lambda: calls.append("first")):
            async with asyncio.TaskGroup() as group:
                group.create_task(write())
        calls.append("left")

    with pytest.raises(KeyboardInterrupt):
        run(go())
    assert calls == ["first"]


def test_records_are_json_that_others_read(tmp_path: Path) -> None:
    with FakeOllama() as fake:
        made = generate(settings(fake, 2), tmp_path / "en.jsonl")
    for line in made.path.read_text("utf-8").splitlines():
        record = json.loads(line)
        assert [type(value).__name__ for value in record.values()] == [
            "str", "list", "str", "str", "str", "str", "str", "float", "int", "str", "str", "str", "str", "str", "int",
            "int", "str", "str", "float", "float", "float", "float", "dict", "float", "int",
        ]  # fmt: skip
