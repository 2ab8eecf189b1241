"""The pipeline: attempts, their reasons, seeds and options; and never one record too many."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_ollama import Ask, FakeModel, FakeOllama, Reply, chatml, default_script, question
from run.support import ANSWER, GERMAN, QUESTION, Outcome, generate, generating, settings, until
from run.support import read as records

from magpie_ollama.asking.said import INSTRUCTION, RESPONSE
from magpie_ollama.decoding import decode
from magpie_ollama.errors import PromptTooLong, ShortOfTarget
from magpie_ollama.method import languages
from magpie_ollama.records import KEYS, Record
from magpie_ollama.run.session import Session
from magpie_ollama.servers import ollama

GENERATIONS = pytest.mark.parametrize("version", ["0.24.0", "0.33.0"])


@pytest.mark.parametrize("parallel", [1, 4, 16])
@pytest.mark.parametrize("target", [1, 9])
def test_never_more_than_asked_for(tmp_path: Path, parallel: int, target: int) -> None:
    with FakeOllama(parallel=16, delay=0.0005) as fake:
        made = generate(settings(fake, target, parallel=parallel, seed=100), tmp_path / "en.jsonl")
    assert made.error is None
    assert len(made.records) == len(made.kept) == made.progress.kept == made.progress.target == target
    assert [record["id"] for record in made.records] == [record.id for record in made.kept], "in the order of the file"
    assert all(record.keys() == KEYS for record in made.records)
    assert fake.max_in_flight <= parallel
    chats = [exchange for exchange in fake.requests_to("/api/chat") if exchange.generation >= 0]
    assert len(chats) == target, "no response is paid for that could not be kept"
    assert Counter(made.outcomes)["kept"] == target
    assert {*made.outcomes} <= {"kept", "dropped"}
    assert made.manifests[0]["status"] == "done"


def test_each_attempt_has_its_own_seed(tmp_path: Path) -> None:
    with FakeOllama() as fake:
        made = generate(settings(fake, 12, seed=1000), tmp_path / "en.jsonl")
    asked = [exchange.body["options"]["seed"] for exchange in generating(fake) if "raw" in exchange.body]
    assert sorted(asked) == list(range(1000, 1000 + len(asked)))
    assert [attempt["index"] for attempt in made.attempts] == list(range(len(asked)))
    chats = [exchange.body for exchange in generating(fake) if exchange.path == "/api/chat"]
    answered = {body["messages"][-1]["content"]: body["options"]["seed"] for body in chats}
    for record in made.records:
        assert answered[record["messages"][0]["content"]] == record["seed"], "the response has the attempt's seed"


@GENERATIONS
@pytest.mark.parametrize("options", [{}, {"num_ctx": 2048}, {"num_ctx": 1024, "num_thread": 2, "typical_p": 0.9}])
@pytest.mark.parametrize("steering", ["none", "exemplar"])
def test_the_same_runner_options_in_every_request(
    tmp_path: Path, version: str, options: dict[str, Any], steering: str
) -> None:
    """One that differs reloads the model, under the requests of the others."""
    with FakeOllama(version=version) as fake:
        generate(settings(fake, 4, options=options, steering=steering), tmp_path / "en.jsonl")
    asked = [one for one in fake.requests if one.path in ("/api/generate", "/api/chat") and one.body is not None]
    assert len(asked) > 8
    for exchange in asked:
        assert {name: exchange.body["options"].get(name) for name in options} == options
        others = exchange.body["options"].keys() - options.keys()
        assert others.isdisjoint({"num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread"})
    assert (fake.loads, fake.reloads) == (1, 0)


@GENERATIONS
def test_sampling(tmp_path: Path, version: str) -> None:
    with FakeOllama(version=version) as fake:
        generate(settings(fake, 1, seed=3, parallel=1), tmp_path / "en.jsonl")
    raw, chat = (exchange.body for exchange in generating(fake))
    stops = ["<|im_end|>", "<|im_start|>"]
    assert raw["options"] == {
        "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, "num_predict": 256,
        "seed": 3, "stop": stops,
    }  # fmt: skip
    assert chat["options"] == {
        "temperature": 0.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repeat_penalty": 1.1, "num_predict": 1024,
        "seed": 3,
    }  # fmt: skip
    assert raw["prompt"].endswith("<|im_start|>user\n"), "the pre-query template"
    assert "SmolLM" in raw["prompt"], "with the model's own system text, as its server renders it"


def test_the_system_message_goes_with_the_response_and_stays_out_of_the_record(tmp_path: Path) -> None:
    spanish = languages.find("es")
    with FakeOllama() as fake:
        made = generate(settings(fake, 3, language="es", steering="system"), tmp_path / "es.jsonl")
    assert made.error is None
    for exchange in generating(fake):
        if exchange.path == "/api/chat":
            system, user = exchange.body["messages"]
            assert system == {"role": "system", "content": spanish.system}
            assert user["role"] == "user"
        else:
            assert exchange.body["prompt"].startswith(f"<|im_start|>system\n{spanish.system}<|im_end|>")
    for record in made.records:
        assert [message["role"] for message in record["messages"]] == ["user", "assistant"]
        assert record["steering"] == "system"
    assert spanish.system in str(made.manifests[0])


def test_exemplars_go_with_the_response_too_and_never_into_the_record(tmp_path: Path) -> None:
    spanish = languages.find("es")
    with FakeOllama() as fake:
        asked = settings(fake, 4, language="es", steering="exemplar+opener", exemplars=2)
        made = generate(asked, tmp_path / "es.jsonl")
    assert made.error is None
    for exchange in generating(fake):
        if exchange.path == "/api/chat":
            roles = [message["role"] for message in exchange.body["messages"]]
            assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    told = {text for exemplar in spanish.exemplars for text in exemplar}
    openers = tuple(opener for group in spanish.openers.values() for opener in group)
    for record in made.records:
        assert len(record["messages"]) == 2
        assert not {message["content"] for message in record["messages"]} & told
        assert record["messages"][0]["content"].startswith(openers), "the opener is part of the instruction"


@pytest.mark.parametrize("parallel", [1, 4])
def test_the_bound_on_attempts(tmp_path: Path, parallel: int) -> None:
    def script(ask: Ask) -> Reply:
        assert ask.seed is not None
        return Reply("Hello there") if ask.seed % 4 else Reply(GERMAN)

    with FakeOllama(script=script) as fake:
        made = generate(settings(fake, 5, seed=0, parallel=parallel, max_attempts=12), tmp_path / "en.jsonl")
    assert isinstance(made.error, ShortOfTarget)
    assert made.error.exit_code == 4
    assert made.error.cause == (
        "Kept 0 of 5 after 12 attempts; rejected: 9 too_short, 3 wrong_language "
        "(too_short: fewer words than --min-words)."
    )
    assert "--max-attempts" in made.error.remedy
    assert len(generating(fake)) == 12
    assert made.manifests[0]["status"] == "short"


@pytest.mark.parametrize(("target", "bound"), [(1, 100), (10, 100), (11, 110), (1000, 10_000)])
def test_the_bound_where_none_is_given(target: int, bound: int) -> None:
    assert settings(FakeOllama(), target).attempt_bound == bound


def test_the_bound_counts_what_this_go_tries_and_the_same_command_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"
    with FakeOllama(script=lambda ask: "Hello there") as fake:
        first = generate(settings(fake, 3, parallel=1, max_attempts=5), path)
        fake.script = default_script
        second = generate(settings(fake, 3, parallel=1, max_attempts=5), path)
    assert isinstance(first.error, ShortOfTarget)
    assert second.error is None
    assert second.outcomes == ["too_short"] * 5 + ["kept"] * 3
    assert second.progress.funnel.attempts == 8
    assert len(second.manifests) == 1


@GENERATIONS
def test_an_instruction_that_is_lost_is_cancelled_while_it_is_written(tmp_path: Path, version: str) -> None:
    sure = "As an AI language model, I would like to tell you a long story. " + "Another sentence comes now. " * 20

    def script(ask: Ask) -> Reply:
        return Reply(sure, fault="endless") if ask.seed == 50 and ask.kind == "raw" else default_script(ask)

    with FakeOllama(version=version, script=script) as fake:
        made = generate(settings(fake, 1, seed=50, parallel=1), tmp_path / "en.jsonl")
        lost = generating(fake)[0]
        fake.wait_until(lambda: lost.cancelled)
    assert made.outcomes == ["not_a_user", "kept"]
    first = made.attempts[0]
    assert 0 < first["instruction_tokens"] < 40, "what was written is counted"
    assert not lost.finished


def test_a_response_that_loops_is_cancelled(tmp_path: Path) -> None:
    def script(ask: Ask) -> Reply:
        looping = ask.seed == 50 and ask.kind == "chat"
        return Reply("And so it goes on, my friend. " * 30, fault="endless") if looping else default_script(ask)

    with FakeOllama(script=script) as fake:
        made = generate(settings(fake, 1, seed=50, parallel=1), tmp_path / "en.jsonl")
        fake.wait_until(lambda: generating(fake)[1].cancelled)
    assert made.outcomes == ["response_repetition", "kept"]
    assert 0 < made.attempts[0]["response_tokens"] < 400


def test_half_a_surrogate_pair_of_a_server_ends_as_utf8_can_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(ask: Ask) -> str:
        return f"{ANSWER} ~" if ask.kind == "chat" else f"{QUESTION} ~"

    # The fake server writes JSON as Go does, which has no such halves: Python's do.
    monkeypatch.setattr(ollama, "decode", lambda line, shape: decode(line.replace(b"~", b"\\ud83d"), shape))
    with FakeOllama(script=script) as fake:
        made = generate(settings(fake, 1, parallel=1), tmp_path / "en.jsonl")
    assert made.error is None
    assert [message["content"] for message in made.records[0]["messages"]] == [f"{QUESTION} \ufffd", f"{ANSWER} \ufffd"]


def test_tokens_are_counted_once(tmp_path: Path) -> None:
    with FakeOllama() as fake:
        made = generate(settings(fake, 6), tmp_path / "en.jsonl")
    by_seed = {record["seed"]: record for record in made.records}
    count = fake.models[0].tokenizer.count
    for record in by_seed.values():
        asked, answered = (message["content"] for message in record["messages"])
        assert record["instruction_tokens"] == count(asked) + 1, "with the end token"
        assert record["response_tokens"] == count(answered) + 1
    assert made.progress.funnel.tokens["kept"] == sum(
        record["instruction_tokens"] + record["response_tokens"] for record in by_seed.values()
    )
    dropped = made.progress.funnel.tokens["dropped"]
    assert made.progress.tokens == made.progress.funnel.tokens["kept"] + dropped


def test_a_prompt_that_does_not_fit_ends_the_run_with_what_to_do(tmp_path: Path) -> None:
    with FakeOllama(models=[FakeModel(template=chatml("word " * 600))]) as fake:
        made = generate(settings(fake, 3, options={"num_ctx": 512}), tmp_path / "en.jsonl")
    assert isinstance(made.error, PromptTooLong)
    assert "--num-ctx" in made.error.remedy
    assert made.records == []


@GENERATIONS
def test_thinking(tmp_path: Path, version: str) -> None:
    model = FakeModel("thinker", capabilities=("completion", "thinking"))

    def script(ask: Ask) -> Reply:
        return Reply(ANSWER, thinking="Let me see.") if ask.kind == "chat" else default_script(ask)

    with FakeOllama(version=version, models=[model], script=script) as fake:
        made = generate(settings(fake, 2, think=True), tmp_path / "en.jsonl")
    assert {exchange.body["think"] for exchange in generating(fake) if exchange.path == "/api/generate"} == {False}
    assert {exchange.body["think"] for exchange in generating(fake) if exchange.path == "/api/chat"} == {True}
    for record in made.records:
        assert record["reasoning"] == "Let me see."
        assert record["messages"][1]["content"] == ANSWER


@pytest.mark.parametrize("parses", [True, False])
def test_a_model_that_cannot_but_reason(tmp_path: Path, parses: bool) -> None:
    """Its template begins the reasoning, so that a server that is not asked for it sends it amid the text."""
    plain = chatml()
    opening = replace(plain, render=lambda messages: f"{plain.render(messages)}<think>\n")
    model = FakeModel("thinker", opening, capabilities=("completion", *(["thinking"] if parses else [])))

    def script(ask: Ask) -> Reply:
        if ask.kind == "raw":
            return Reply(f"{QUESTION} {ask.seed}")
        asked = bool(ask.body.get("think"))
        return Reply(ANSWER if asked else f"I see.\n</think>\n\n{ANSWER}", thinking="I see." if asked else "")

    with FakeOllama(models=[model], script=script) as fake:
        made = generate(settings(fake, 1), tmp_path / "en.jsonl")
    (chat,) = fake.requests_to("/api/chat")[-1:]
    assert chat.body["think"] is parses
    (record,) = made.records
    assert record["reasoning"] == "I see."
    assert record["messages"][1]["content"] == ANSWER
    assert any("reasons before each response" in notice for notice in made.progress.notices)


def test_thinking_where_the_model_cannot(tmp_path: Path) -> None:
    with FakeOllama() as fake:
        made = generate(settings(fake, 2, think=True), tmp_path / "en.jsonl")
    assert made.error is None
    assert [record["reasoning"] for record in made.records] == ["", ""]
    assert any("--think" in notice for notice in made.progress.notices)


def test_what_the_caller_raises_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    class Own(Exception):
        pass

    def keep(record: Record) -> None:
        kept.append(record)
        if len(kept) == 3:
            raise Own

    kept: list[Record] = []
    path = tmp_path / "en.jsonl"
    with FakeOllama() as fake:
        with pytest.raises(Own):
            generate(settings(fake, 8, seed=0), path, keep=keep)
        stopped = Outcome(path)
        # A response that ends in the same turn of the event loop is kept as well.
        assert Counter(stopped.outcomes)["kept"] == len(records(path)) == len(kept) >= 3, "the journal has each"
        made = generate(settings(fake, 8, seed=0), path)
    assert made.error is None
    assert len(made.records) == 8
    assert [record["id"] for record in made.records[: len(kept)]] == [record.id for record in kept]
    assert len({record["seed"] for record in made.records}) == 8
    assert Counter(made.outcomes)["kept"] == 8, "each stands in the journal"


def test_a_weak_model_whose_every_other_response_fails_still_reaches_its_target(tmp_path: Path) -> None:
    """Instructions wait for room near the target; a response that fails gives it back."""

    def script(ask: Ask) -> Reply:
        assert ask.seed is not None
        return Reply("") if ask.kind == "chat" and ask.seed % 2 else default_script(ask)

    with FakeOllama(script=script, parallel=16, delay=0.0005) as fake:
        made = generate(settings(fake, 5, seed=0, parallel=16), tmp_path / "en.jsonl")
    assert made.error is None
    assert len(made.records) == 5


def test_bootstrapped_exemplars_come_from_the_run_and_are_not_copied(tmp_path: Path) -> None:
    with FakeOllama() as fake:
        made = generate(
            settings(fake, 12, steering="exemplar", exemplars=8, bootstrap=True, parallel=1), tmp_path / "en.jsonl"
        )
    assert made.error is None
    own = {record["messages"][0]["content"] for record in made.records}
    shown = {m["content"] for ex in generating(fake) for m in ex.body.get("messages", [])[1:-1] if m["role"] == "user"}
    assert own & shown


def test_nothing_is_left_running_when_it_is_over(tmp_path: Path) -> None:
    def script(ask: Ask) -> Reply:
        assert ask.seed is not None
        slow = ask.kind == "raw" and ask.seed >= 5
        return Reply(question(ask.seed), delay=0.05 if slow else 0.0) if ask.kind == "raw" else default_script(ask)

    with FakeOllama(script=script, parallel=8) as fake:
        made = generate(settings(fake, 5, seed=0, parallel=8), tmp_path / "en.jsonl")
        fake.wait_until(lambda: all(exchange.finished or exchange.cancelled for exchange in generating(fake)))
    assert made.error is None
    assert len(made.records) == 5


def test_defaults_are_the_papers() -> None:
    assert (INSTRUCTION.temperature, INSTRUCTION.top_p, INSTRUCTION.top_k, INSTRUCTION.min_p) == (1.0, 1.0, 0, 0.0)
    assert (INSTRUCTION.repeat_penalty, INSTRUCTION.max_tokens) == (1.0, 256)
    assert (RESPONSE.temperature, RESPONSE.repeat_penalty, RESPONSE.max_tokens) == (0.0, 1.1, 1024)


def test_cancelling_the_task_is_no_error_and_keeps_what_is_written(tmp_path: Path) -> None:
    async def meanwhile(session: Session, task: asyncio.Task[Any]) -> None:
        await until(lambda: session.progress.kept >= 2)
        task.cancel()

    with FakeOllama(delay=0.0005) as fake:
        made = generate(settings(fake, 1000), tmp_path / "en.jsonl", meanwhile)
        fake.wait_until(lambda: all(exchange.finished or exchange.cancelled for exchange in generating(fake)))
    assert isinstance(made.error, asyncio.CancelledError)
    assert len(made.records) >= 2
    assert Counter(made.outcomes)["kept"] == len(made.records)
    assert made.manifests[0]["status"] == "interrupted"
