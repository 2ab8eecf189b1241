"""A template of one's own, and those that a server does not know, guesses, or that leave something out."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_ollama import Ask, FakeModel, FakeOllama, FakeOpenAI, FakeServer, Reply, base_model, chatml, goes_on, mistral
from run.support import ANSWER, QUESTION, Outcome, generate, generating, impatient, settings

from magpie_ollama.asking.ending import reseed
from magpie_ollama.asking.settings import Settings
from magpie_ollama.asking.templates import RESPONSE_SEED
from magpie_ollama.doctor import speed
from magpie_ollama.doctor.examination import examine
from magpie_ollama.doctor.findings import Diagnosis
from magpie_ollama.errors import TemplateError
from magpie_ollama.method import languages
from magpie_ollama.method.steering import steer
from magpie_ollama.run.progress import Progress
from magpie_ollama.servers.ollama import OllamaServer

OPTIONS = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repeat_penalty": 1.1, "num_predict": 1024}


def own(fake: FakeServer, template: str, **changes: Any) -> Settings:
    asked = settings(fake, 1, parallel=1, **changes)
    return replace(asked, server=replace(asked.server, template=template))


def script(ask: Ask) -> Reply:
    """What is asked raw with an open assistant's turn is answered."""
    answers = ask.kind == "chat" or ask.prompt.endswith(("assistant\n", "</think>\n\n", "[/INST]", "<think>\n"))
    return Reply(ANSWER if answers else QUESTION)


def replied(fake: FakeServer) -> dict[str, Any]:
    body: dict[str, Any] = generating(fake)[-1].body
    return body


@pytest.mark.parametrize("version", ["0.24.0", "0.33.0"])
def test_the_response_is_asked_by_the_same_template(tmp_path: Path, version: str) -> None:
    with FakeOllama(version=version, models=[FakeModel("base", base_model())], script=script) as fake:
        asked = own(fake, "chatml", steering="exemplar", exemplars=1, seed=4)
        made = generate(asked, tmp_path / "en.jsonl")
    assert made.error is None
    assert not [one for one in fake.requests_to("/api/chat") if one.generation >= 0]
    shot = made_of(asked)
    prompt = (
        f"<|im_start|>system\n{asked.language.system}<|im_end|>\n"
        f"<|im_start|>user\n{shot.instruction}<|im_end|>\n<|im_start|>assistant\n{shot.response}<|im_end|>\n"
        f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert replied(fake) == {
        "model": "base:latest",
        "stream": True,
        "raw": True,
        "think": False,
        "logprobs": True,
        "truncate": False,
        "prompt": prompt,
        "options": {**OPTIONS, "seed": reseed(4, RESPONSE_SEED), "stop": ["<|im_end|>", "<|im_start|>"]},
    }
    assert [message["content"] for message in made.records[0]["messages"]] == [QUESTION, ANSWER]


def made_of(asked: Settings) -> languages.Exemplar:
    return steer("exemplar", asked.language, 4, exemplars=1).exemplars[0]


@pytest.mark.parametrize("kind", ["vllm", "llama-server", "plain"])
def test_on_every_kind_of_server(tmp_path: Path, kind: Any) -> None:
    with FakeOpenAI(kind, script=script) as fake:
        made = generate(own(fake, "chatml", kind="openai", steering="none", system="Be brief."), tmp_path / "en.jsonl")
    assert made.error is None
    assert generating(fake)[-1].path == "/v1/completions"
    body = replied(fake)
    assert body["prompt"] == (
        f"<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert body["stop"] == ["<|im_end|>", "<|im_start|>"]
    assert made.records[0]["messages"][1]["content"] == ANSWER


def test_a_bos_that_the_server_adds_is_left_out_of_the_response_too(tmp_path: Path) -> None:
    for adds in (True, False):
        with FakeOllama(models=[FakeModel("m", mistral(), adds_bos=adds)], version="0.24.0", script=script) as fake:
            made = generate(own(fake, "mistral"), tmp_path / f"{adds}.jsonl")
        assert made.error is None
        assert replied(fake)["prompt"] == f"{'' if adds else '<s>'}[INST] {QUESTION}[/INST]"
        assert replied(fake)["options"]["stop"] == ["</s>", "[INST]"], "<think> would cut a model that reasons"


@pytest.mark.parametrize("think", [True, False])
def test_reasoning_is_split_off_as_in_a_chat(tmp_path: Path, think: bool) -> None:
    """And not screened: its language is its own."""
    thought = "Der Nutzer fragt nach Tomaten. Ich sollte von großen Töpfen und guter Erde sprechen, dann von der Sonne."

    def thinks(ask: Ask) -> Reply:
        said = script(ask)
        return said if said.text == QUESTION else Reply(f"<think>\n{thought * 3}\n</think>\n\n{ANSWER}")

    model = FakeModel("m", base_model(), capabilities=("completion", "thinking"))
    with FakeOllama(models=[model], script=thinks) as fake:
        made = generate(own(fake, "qwen3", think=think), tmp_path / "en.jsonl")
    assert replied(fake)["prompt"].endswith("<|im_start|>assistant\n" + ("" if think else "<think>\n\n</think>\n\n"))
    (record,) = made.records
    assert record["messages"][1]["content"] == ANSWER
    assert record["reasoning"].startswith(thought)


def test_a_response_is_watched_and_screened_as_in_a_chat(tmp_path: Path) -> None:
    def loops(ask: Ask) -> Reply:
        said = script(ask)
        return said if said.text == QUESTION else Reply("I see. I see what you mean. " * 200)

    with FakeOllama(models=[FakeModel("base", base_model())], version="0.24.0", script=loops) as fake:
        made = generate(own(fake, "chatml", max_attempts=1), tmp_path / "en.jsonl")
    assert made.outcomes == ["response_repetition"]
    assert made.attempts[0]["response_tokens"] < 400


def test_a_base_model_that_hides_the_end_of_another_template(tmp_path: Path) -> None:
    """<|im_end|> is no end token of a base model's: Ollama since 0.30 goes on behind it without a word."""
    template = replace(base_model(), control=("<|im_start|>", "<|im_end|>", "<|endoftext|>"))
    text = f"{QUESTION}<|im_end|>\n<|im_start|>assistant\n{ANSWER}<|im_end|>"
    with FakeOllama(models=[FakeModel("base", template)]) as fake:
        turns = goes_on(text.replace("<|im_start|>", ""), "<|im_end|>", ANSWER)
        fake.script = lambda ask: Reply(ANSWER) if ask.prompt.endswith("<|im_start|>assistant\n") else turns(ask)
        made = generate(own(fake, "chatml"), tmp_path / "en.jsonl")
    assert made.records[0]["messages"][0]["content"] == QUESTION
    assert any("hides <|im_end|>" in notice for notice in made.progress.notices)


# A renderer that the server does not know.


def test_an_unknown_renderer_has_its_remedy(tmp_path: Path) -> None:
    with FakeOllama(models=[FakeModel("glm", renderer="glm-4.6")], script=script) as fake, impatient():
        for steering in ("none", "auto", "system"):
            made = generate(settings(fake, 1, steering=steering), tmp_path / "en.jsonl")
            assert isinstance(made.error, TemplateError)
            assert 'unknown renderer "glm-4.6"' in made.error.cause
            assert "too old or too new" in made.error.remedy and "--template" in made.error.remedy
        assert not [one for one in generating(fake) if one.body.get("raw")]
        made = generate(own(fake, "chatml"), tmp_path / "en.jsonl")
    assert made.outcomes == ["kept"], "with --template it goes on, responses too"


def test_where_a_preset_fits_it_serves_for_both(tmp_path: Path) -> None:
    with FakeOllama(models=[FakeModel("qwen3-vl", renderer="qwen3-vl")], script=script) as fake, impatient():
        made = generate(settings(fake, 1, parallel=1), tmp_path / "en.jsonl")
    assert made.outcomes == ["kept"]
    assert replied(fake)["prompt"] == (
        f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


# What a template leaves out.


def without_turns() -> Any:
    """Shows the last user's words alone, as Go templates of one prompt do."""
    plain = chatml()
    return replace(plain, render=lambda messages: plain.render([messages[-1]]))


@pytest.mark.parametrize(
    ("template", "steering", "missing"),
    [
        (chatml(drops_system=True), "system", "it leaves out the system message"),
        (chatml(drops_system=True), "exemplar+opener", "it leaves out the system message"),
        (without_turns(), "prefix+system", "it leaves out the system message"),
    ],
)
@pytest.mark.parametrize("kind", ["ollama", "openai"])
def test_a_steering_that_the_template_does_not_carry_is_refused_by_name(
    tmp_path: Path, template: Any, steering: str, missing: str, kind: str
) -> None:
    model = FakeModel("m", template)
    server: FakeServer = FakeOllama(models=[model]) if kind == "ollama" else FakeOpenAI("llama-server", models=[model])
    with server as fake:
        made = generate(settings(fake, 1, steering=steering, kind=kind), tmp_path / "en.jsonl")
    assert isinstance(made.error, TemplateError)
    assert made.error.cause == f"The chat template of {model.name} cannot carry {steering} ({missing})"
    assert "--steering" in made.error.remedy
    assert not [one for one in generating(fake) if one.body.get("raw")]


def test_auto_leaves_out_what_is_not_carried_and_says_so(tmp_path: Path) -> None:
    with FakeOllama(models=[FakeModel("m", chatml(drops_system=True))]) as fake:
        made = generate(settings(fake, 2, steering="auto", parallel=1), tmp_path / "en.jsonl")
    told = [notice for notice in made.progress.notices if notice.startswith("Auto leaves out")]
    assert [notice.split()[3].rstrip(":") for notice in told] == [
        "exemplar+opener", "exemplar", "system+opener", "prefix+system", "system"
    ]  # fmt: skip
    assert {attempt["steering"] for attempt in made.attempts} <= {"none", "opener", "prefix"}


def test_a_system_message_of_ones_own_is_not_lost_silently(tmp_path: Path) -> None:
    with FakeOllama(models=[FakeModel("m", chatml(drops_system=True))]) as fake:
        made = generate(settings(fake, 1, system="Ask about the sea."), tmp_path / "en.jsonl")
    assert isinstance(made.error, TemplateError)
    assert "--system" in made.error.remedy


# A template that is a guess.


def test_a_model_that_brings_no_template(tmp_path: Path) -> None:
    with FakeOllama(models=[FakeModel("m", base_model(), bare=True)], version="0.33.0") as fake:
        made = generate(settings(fake, 1), tmp_path / "new.jsonl")
    assert made.outcomes[0] == "kept"
    assert any("perhaps as a guess" in notice for notice in made.progress.notices)
    assert made.manifests[0]["template"]["source"] == "rendered by ollama, perhaps as a guess"
    with FakeOllama(models=[FakeModel("m", base_model(), bare=True)], version="0.24.0") as fake:
        made = generate(settings(fake, 1), tmp_path / "old.jsonl")
    assert isinstance(made.error, TemplateError)


@pytest.mark.parametrize(
    "model", [FakeModel("m"), FakeModel("m", replace(chatml(), text="{{ .Prompt }}"), renderer="")]
)
def test_a_template_that_is_told_is_no_guess(tmp_path: Path, model: FakeModel) -> None:
    with FakeOllama(models=[model]) as fake:
        made: Outcome = generate(settings(fake, 1), tmp_path / "en.jsonl")
    told = any("guess" in notice for notice in made.progress.notices)
    assert told is (model.template.text == "{{ .Prompt }}"), "a template within the weights shows nowhere"


# What the doctor says of them.


def diagnosed(asked: Settings) -> dict[str, tuple[str, str]]:
    """Of each finding its verdict, and its words with the remedy."""
    diagnosis = Diagnosis(lambda finding: None, Progress())
    asyncio.run(examine(asked, diagnosis))
    return {found.name: (found.verdict, f"{found.text} {found.remedy}") for found in diagnosis.findings}


def test_the_doctor_on_an_unknown_renderer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def loaded(server: OllamaServer, model: str) -> None:
        return None

    monkeypatch.setattr(OllamaServer, "in_memory", loaded)
    monkeypatch.setattr(speed, "MOST", 1)
    with FakeOllama(models=[FakeModel("glm", renderer="glm-4.6")], script=script) as fake, impatient():
        found = diagnosed(settings(fake, 1))
        with_template = diagnosed(own(fake, "chatml"))
    assert not [text for _, text in found.values() if "KEEP_ALIVE" in text], "that is not why it is not loaded"
    assert found["template"][0] == "error"
    assert 'unknown renderer "glm-4.6"' in found["template"][1] and "too old or too new" in found["template"][1]
    assert with_template["thinking"][0] == "ok", "asked as a response is"


def test_the_doctor_on_a_template_that_may_be_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "MOST", 1)
    with FakeOllama(models=[FakeModel("m", base_model(), bare=True)]) as fake:
        verdict, text = diagnosed(settings(fake, 1))["template"]
    assert (verdict, "perhaps as a guess" in text) == ("warning", True)
