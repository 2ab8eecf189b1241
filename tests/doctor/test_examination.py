"""The doctor's round against fake servers of all kinds, well and ill."""

from __future__ import annotations

import asyncio
import gc
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from fake_ollama import (
    Ask,
    Exchange,
    FakeModel,
    FakeOllama,
    FakeOpenAI,
    Fault,
    Reply,
    Template,
    base_model,
    chatml,
    chunked_script,
    embedder,
    gemma,
    llama3,
    mistral,
    smollm2,
)
from fake_ollama.base import FakeServer
from fake_ollama.server import error
from run.support import impatient, settings

from magpie_ollama.asking import watchdog
from magpie_ollama.doctor import examination as doctor
from magpie_ollama.doctor import speed
from magpie_ollama.doctor.examination import examine
from magpie_ollama.doctor.findings import Diagnosis, Finding
from magpie_ollama.run.choosing import AUTO_STEERINGS
from magpie_ollama.run.progress import Progress
from magpie_ollama.servers import registry

MACHINE = ["environment", "data folder", "disk"]
ASKED = ["template", "BOS", "stops", "system role", "thinking", "slots", "confidence"]
WRITTEN = [*sorted(AUTO_STEERINGS, key=lambda steering: steering != "none"), "response", "language"]
ALL = [*MACHINE, "server", "model", "context", "memory", *ASKED, *WRITTEN, "1,000 records"]


@pytest.fixture(autouse=True)
def few_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many run at once is what tests/doctor/test_speed.py is about."""
    monkeypatch.setattr(speed, "MOST", 2)


def diagnose(fake: FakeServer, **changes: Any) -> Diagnosis:
    """All checks. Whatever comes out, each finding is told as it comes, and no trouble is without its remedy."""
    told: list[Finding] = []
    diagnosis = Diagnosis(told.append, Progress())
    asyncio.run(examine(settings(fake, 1, **changes), diagnosis))
    gc.collect(1)
    assert told == diagnosis.findings
    assert all(finding.remedy for finding in told if finding.verdict != "ok")
    assert diagnosis.exit_code or all(finding.verdict != "error" for finding in told)
    return diagnosis


def of(diagnosis: Diagnosis, name: str) -> Finding:
    return next(finding for finding in diagnosis.findings if finding.name == name)


def names(diagnosis: Diagnosis) -> list[str]:
    return [finding.name for finding in diagnosis.findings]


def troubles(diagnosis: Diagnosis) -> set[str]:
    """All but "slots": how the streams of a fake that writes without pause come is a matter of chance."""
    return {finding.name for finding in diagnosis.findings if finding.verdict != "ok"} - {"slots"}


# All is well.


@pytest.mark.parametrize("version", ["0.24.0", "0.33.0"])
def test_a_healthy_ollama(version: str) -> None:
    with FakeOllama(version=version, script=chunked_script(40)) as fake:
        found = diagnose(fake, options={"num_ctx": 4096})
        assert fake.reloads == 0, "no check changes what the model was loaded with"
    assert names(found) == [*ALL, "variables"]
    assert (troubles(found), found.exit_code) == (set(), 0)
    assert version in of(found, "server").text and fake.url in of(found, "server").text
    assert of(found, "model").text == f"smollm2:135m, 134.52M Q4_1, digest {fake.models[0].digest[:12]}"
    assert of(found, "context").text == "4,096 tokens"
    assert r"<|im_end|>\n<|im_start|>user\n" in of(found, "template").text
    assert '"<|im_end|>"' in of(found, "stops").text
    # 40 tokens and the end token: all samples are accepted, both responses kept.
    assert found.tokens_for_1000 == 1000 * (41 + 41)
    assert found.tokens_per_second is not None and found.tokens_per_second > 0
    assert found.seconds_for_1000 == found.tokens_for_1000 / found.tokens_per_second
    assert "82,000 tokens" in of(found, "1,000 records").text


def test_the_steerings_are_those_of_the_language() -> None:
    with FakeOllama() as fake:
        found = diagnose(fake, language="it")
    assert [name for name in names(found) if name in AUTO_STEERINGS] == list(AUTO_STEERINGS)
    assert "Italian: " in of(found, "language").text
    assert f"By {len(AUTO_STEERINGS)} samples" in of(found, "language").text
    for steering in AUTO_STEERINGS:
        sample = of(found, steering)
        assert sample.text.startswith("accepted, " if sample.verdict == "ok" else "rejected as ")


@pytest.mark.parametrize("flavour", ["vllm", "llama-server"])
def test_other_servers(flavour: Any) -> None:
    with FakeOpenAI(flavour) as fake:
        found = diagnose(fake, kind="openai")
    assert names(found) == [*ALL, "variables"]
    assert troubles(found) <= {*AUTO_STEERINGS, "language"}
    assert flavour in of(found, "server").text
    assert of(found, "template").text.startswith("rendered by openai")


def test_a_server_that_tells_little() -> None:
    with FakeOpenAI("plain", models=[FakeModel("qwen2.5:7b")]) as fake:
        found = diagnose(fake, kind="openai")
    assert of(found, "context").text == "the server does not tell it"
    template = of(found, "template")
    assert (template.verdict, "preset qwen2.5" in template.text) == ("warning", True)
    assert f"--server openai --host {fake.url}" in template.remedy
    assert found.exit_code == 0


# No server, no model.


def test_no_server() -> None:
    with FakeOllama() as fake:
        pass
    found = diagnose(fake)
    assert names(found) == [*MACHINE, "server", "variables"]
    assert (of(found, "server").verdict, found.exit_code) == ("error", 3)
    assert "ollama serve" in of(found, "server").remedy
    assert found.tokens_per_second is found.seconds_for_1000 is None


@pytest.mark.parametrize(
    ("models", "wanted", "code", "remedy"),
    [
        ([smollm2()], "nosuch", 3, "ollama pull nosuch"),
        ([], "", 3, "ollama pull"),
        ([embedder()], "nomic-embed-text", 3, "chat model"),
        ([smollm2(), smollm2("other:1b")], "", 2, "-m other:1b"),
    ],
    ids=["missing", "none", "embedding", "several"],
)
def test_no_usable_model(models: Sequence[FakeModel], wanted: str, code: int, remedy: str) -> None:
    with FakeOllama(models=models) as fake:
        found = diagnose(fake, model=wanted)
    assert names(found) == [*MACHINE, "server", "model", "variables"]
    assert (troubles(found), found.exit_code) == ({"model"}, code)
    assert remedy in of(found, "model").remedy


def test_a_server_that_goes_away() -> None:
    with FakeOllama() as fake, impatient():
        fake.fail_next(2000, "drop", "/api/chat")
        found = diagnose(fake)
    assert names(found)[-2:] == ["template", "variables"], "nothing more is asked of it"
    assert found.exit_code == 3


def test_a_server_that_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "STALLED_SECONDS", 0.6)
    with FakeOllama(script=lambda ask: Reply("Rome, of course.", fault=Fault("stall", after=1, seconds=60))) as fake:
        found = diagnose(fake)
    assert names(found)[-2:] == ["server", "variables"]
    assert "stalled" in found.findings[-2].text
    assert found.exit_code == 3


# The template.


class NoSystem(FakeOllama):
    """Its chat template raises an error where a conversation has a system message, as Gemma's first one does."""

    async def handle(self, exchange: Exchange, request: web.Request) -> web.StreamResponse:
        messages = (exchange.body or {}).get("messages", ())
        if any(message["role"] == "system" for message in messages):
            return error(500, "template: System role not supported")
        return await super().handle(exchange, request)


def test_a_template_that_refuses_a_system_message() -> None:
    with NoSystem(models=[FakeModel("gemma:2b")], script=chunked_script(40)) as fake:
        found = diagnose(fake)
    assert "System role not supported" in of(found, "system role").text
    assert troubles(found) == {
        "system role",
        *(steering for steering in AUTO_STEERINGS if "system" in steering or "exemplar" in steering),
    }
    assert "cannot carry exemplar" in of(found, "exemplar").text
    assert of(found, "opener").text.startswith("accepted")
    assert (found.exit_code, found.tokens_for_1000) == (0, 82_000)


def test_a_template_that_leaves_a_system_message_out() -> None:
    plain = chatml()
    deaf = Template(lambda messages: plain([m for m in messages if m["role"] != "system"]), plain.control, plain.ends)
    with FakeOllama(models=[FakeModel("m:1b", deaf)]) as fake:
        found = diagnose(fake)
    assert (of(found, "system role").verdict, "leaves the text out" in of(found, "system role").text) == (
        "warning",
        True,
    )


def test_a_system_message_within_the_users_turn() -> None:
    with FakeOllama(models=[FakeModel("gemma3:4b", gemma())]) as fake:
        found = diagnose(fake)
    assert "beginning of the user's turn" in of(found, "system role").text
    assert of(found, "BOS").text.startswith("<bos> is written into the prompt")
    assert '"<bos>' in of(found, "template").text


def test_a_bos_that_the_server_adds() -> None:
    with FakeOllama(models=[FakeModel("llama3.2", llama3(), adds_bos=True)]) as fake:
        found = diagnose(fake)
    assert of(found, "BOS").text.startswith("<|begin_of_text|> is added by the server")
    assert "<|begin_of_text|>" not in of(found, "template").text


def test_a_base_model_hides_nothing_else() -> None:
    with FakeOllama(models=[FakeModel("llama3-base", base_model())]) as fake:
        found = diagnose(fake)
    asked = names(found)[len(MACHINE) + 4 :]
    assert asked == ["template", "thinking", "slots", "confidence", "1,000 records", "variables"]
    assert (of(found, "template").verdict, found.exit_code) == ("error", 3)
    assert found.tokens_per_second and found.seconds_for_1000 is None
    assert of(found, "1,000 records").verdict == "warning"


def test_a_template_file_that_is_wrong(tmp_path: Path) -> None:
    with FakeOllama() as fake:
        asked = settings(fake, 1)
        found = Diagnosis(lambda finding: None, Progress())
        asked = replace(asked, server=replace(asked.server, template="nosuch"))
        asyncio.run(examine(asked, found))
    assert names(found)[-2:] == ["template", "variables"]
    assert found.exit_code == 2


# How it answers.


def test_an_old_ollama() -> None:
    with FakeOllama(version="0.6.0", models=[FakeModel("qwen2.5:7b")]) as fake:
        found = diagnose(fake)
    assert {"server", "template", "confidence"} <= troubles(found)
    assert of(found, "server").remedy == "update Ollama"
    assert "switch a model's reasoning off" in of(found, "server").text
    assert "log-probabilities" in of(found, "confidence").text


def test_one_slot_and_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    async def measure(ask: speed.Ask, most: int) -> speed.Speed:
        return speed.Speed({1: 80.0, 2: 78.0}, enough=1, growing=False, tried=2, at_once=1, seen=seen)

    seen = (1, 1, 1)
    monkeypatch.setattr(speed, "measure", measure)
    with FakeOllama(parallel=1) as fake:
        found = diagnose(fake)
        slots = of(found, "slots")
        assert slots.verdict == "warning"
        assert slots.text.startswith("1 of 2 requests run at once, seen 3 times; ")
        assert "OLLAMA_NUM_PARALLEL" in slots.remedy
        assert found.exit_code == 0
        seen = (1, 2, 1)
        slots = of(diagnose(fake), "slots")
    assert (slots.verdict, slots.remedy) == ("ok", ""), "it is not sure"
    assert slots.text.startswith("1 to 2 of 2 requests run at once, seen 3 times; ")


def test_reasoning_amid_the_text() -> None:
    def script(ask: Ask) -> Reply:
        return Reply("Rome.", thinking="Italy's capital is Rome.")

    with FakeOpenAI("plain", models=[FakeModel("qwen3:8b", capabilities=("completion", "thinking"))]) as fake:
        fake.script = script
        found = diagnose(fake, kind="openai")
    assert (of(found, "thinking").verdict, found.exit_code) == ("error", 1)
    assert "prefix" in names(found), "the checks after it go on"


def test_a_turn_whose_end_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.KINDS, "another", registry.KINDS["openai"])
    with FakeOllama(models=[FakeModel("mistral:7b", mistral())]) as fake:
        hidden = of(diagnose(fake), "turn's end")
    assert (hidden.verdict, "[/INST]" in hidden.text) == ("warning", True)
    assert hidden.remedy.count("llama-server") == 1, "kinds that say the same are recommended once"
    with FakeOllama(models=[FakeModel("mistral:7b", mistral())], version="0.24.0") as fake:
        assert "turn's end" not in names(diagnose(fake))


def test_a_template_that_begins_reasoning() -> None:
    plain = chatml()
    opening = replace(plain, render=lambda messages: f"{plain.render(messages)}<think>\n")
    with FakeOllama(models=[FakeModel("thinker", opening, capabilities=("completion", "thinking"))]) as fake:
        thinking = of(diagnose(fake), "thinking")
    assert (thinking.verdict, "begins each response with reasoning" in thinking.text) == ("warning", True)


def test_a_model_that_thinks_does_not() -> None:
    model = FakeModel("qwen3:8b", capabilities=("completion", "thinking"))
    with FakeOllama(models=[model], script=lambda ask: Reply("Rome.", thinking="Italy's capital is Rome.")) as fake:
        thinking = of(diagnose(fake), "thinking")
    assert (thinking.verdict, thinking.text.startswith("this model can reason")) == ("ok", True)


def test_a_model_that_writes_nothing_useful() -> None:
    with FakeOllama(script=lambda ask: Reply("Rome." if ask.kind == "chat" else "")) as fake:
        found = diagnose(fake)
    assert {"none", "exemplar", "1,000 records"} <= troubles(found)
    assert "rejected as empty" in of(found, "none").text
    assert of(found, "1,000 records").text == "no estimate: no sample was answered"
    assert of(found, "1,000 records").remedy.startswith("`magpie-ollama compare -l en -m smollm2:135m --host http")
    assert "response" not in names(found)


def test_responses_that_are_cut() -> None:
    def script(ask: Ask) -> Reply:
        return Reply("Well, it depends on your garden and on the weather there.", done_reason="length")

    def only_chats(ask: Ask) -> Reply:
        return script(ask) if ask.kind == "chat" else Reply(f"How do I grow {ask.seed} tomatoes on a balcony?")

    with FakeOllama(script=only_chats) as fake:
        found = diagnose(fake)
    assert "rejected as response_truncated" in of(found, "response").text
    assert "--keep-truncated" in of(found, "response").remedy
    assert found.tokens_for_1000 is not None


# Memory and context, of a base model: that one is not asked for samples.


@pytest.mark.parametrize(
    ("on_gpu", "verdict", "said"),
    [
        (0.0, "ok", "none of it on a GPU"),
        (0.62, "warning", "62 % of it on the GPU"),
        (1.0, "ok", "all of it on the GPU"),
    ],
)
def test_where_the_model_lies(on_gpu: float, verdict: str, said: str) -> None:
    with FakeOllama(models=[FakeModel("m:1b", base_model(), size=10**9, on_gpu=on_gpu)]) as fake:
        memory = of(diagnose(fake), "memory")
    assert (memory.verdict, "3.0 GB" in memory.text, said in memory.text) == (verdict, True, True)


def test_more_than_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_machine_memory", lambda: 3 * 10**9)
    with FakeOllama(models=[FakeModel("m:1b", base_model(), size=10**9)]) as fake:
        memory = of(diagnose(fake), "memory")
    assert (memory.verdict, "it will swap" in memory.text) == ("warning", True)


def test_a_model_that_is_unloaded_at_once() -> None:
    with FakeOllama(models=[FakeModel("m:1b", base_model())]) as fake:
        memory = of(diagnose(fake, options={"keep_alive": 0}), "memory")
    assert (memory.verdict, "keep_alive=5m" in memory.remedy) == ("warning", True)


def test_a_model_that_is_listed_by_the_name_of_its_weights() -> None:
    with FakeOllama(
        models=[FakeModel("m:1b", base_model()), FakeModel("mine:1b", base_model(), made_of="m:1b")]
    ) as fake:
        found = diagnose(fake, model="mine:1b")
    assert (of(found, "memory").verdict, of(found, "context").text) == ("ok", "4,096 tokens")


def test_little_context() -> None:
    with FakeOllama(models=[FakeModel("m:1b", base_model())]) as fake:
        context = of(diagnose(fake, options={"num_ctx": 1024}), "context")
    assert (context.verdict, context.text.startswith("1,024 tokens")) == ("warning", True)
    assert "--num-ctx 4096" in context.remedy


# This machine.


def test_folders_and_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MAGPIE_OLLAMA_DATA_DIR", str(tmp_path / "file" / "data"))
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=4 * 10**8))
    with FakeOllama() as fake:
        pass
    found = diagnose(fake)
    assert "cannot be written" in of(found, "data folder").text
    assert "MAGPIE_OLLAMA_DATA_DIR" in of(found, "data folder").remedy
    assert of(found, "disk").text == "0.4 GB free here"
    assert {"data folder", "disk"} <= troubles(found)
    assert "MAGPIE_OLLAMA_DATA_DIR" in of(found, "variables").text


def test_proxies_and_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("OLLAMA_NUM_PARALLEL", "4")
    with FakeOllama() as fake:
        found = diagnose(fake, model="nosuch")
    assert of(found, "proxy").text == "HTTP_PROXY is set, and never used for a server on this machine"
    assert of(found, "variables").text.startswith("of no effect here")
    assert "OLLAMA_NUM_PARALLEL" in of(found, "variables").text
