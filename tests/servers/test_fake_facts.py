"""What the fakes do that no recording of SmolLM2 can show: other models, old servers, faults, their own controls."""

from __future__ import annotations

import json
from typing import Any, get_args

import httpx
import pytest
from fake_ollama import (
    Ask,
    FakeModel,
    FakeOllama,
    FakeOpenAI,
    Fault,
    Reply,
    Template,
    embedder,
    gemma,
    harmony,
    llama3,
    mistral,
)
from fake_ollama.faults import Kind


def post(fake: FakeOllama | FakeOpenAI, path: str, **body: Any) -> httpx.Response:
    body = {"model": fake.models[0].name, "stream": False} | body
    with httpx.Client(base_url=fake.url, trust_env=False, timeout=20, verify=False) as client:
        return client.post(path, json=body)


@pytest.mark.parametrize(
    ("template", "version", "adds_bos", "count"),
    [
        (llama3(), "0.33.0", False, 1),
        (llama3(), "0.33.0", True, 2),
        (gemma(), "0.24.0", True, 2),
        (gemma(), "0.33.0", True, 1),  # the newer server takes a literal <bos> off by itself
        (mistral(), "0.24.0", True, 2),
    ],
)
def test_the_bos_probe(template: Template, version: str, adds_bos: bool, count: int) -> None:
    with FakeOllama(version=version, models=[FakeModel("m", template, adds_bos=adds_bos)]) as fake:
        answer = post(fake, "/api/generate", raw=True, prompt=template.bos, options={"num_predict": 1})
    assert answer.json()["prompt_eval_count"] == count


def test_control_tokens_are_text_on_the_old_engine_and_hidden_on_the_new() -> None:
    shown = {}
    for version in ("0.24.0", "0.33.0"):
        with FakeOllama(version=version, models=[FakeModel("gpt-oss", harmony())]) as fake:
            fake.script = lambda ask: "Why?<|end|><|start|>assistant<|return|>never seen"
            for stops in ([], ["<|end|>"]):
                answer = post(fake, "/api/generate", raw=True, prompt="x", options={"stop": stops})
                shown[version, len(stops)] = answer.json()["response"]
    assert shown == {
        ("0.24.0", 0): "Why?<|end|><|start|>assistant",
        ("0.24.0", 1): "Why?",
        ("0.33.0", 0): "Why?assistant",
        ("0.33.0", 1): "Why?assistant",
    }


def test_an_embedding_model_neither_chats_nor_generates() -> None:
    with FakeOllama(models=[embedder()]) as fake:
        chat = post(fake, "/api/chat", messages=[{"role": "user", "content": "Hi"}])
        raw = post(fake, "/api/generate", raw=True, prompt="Hi")
    assert (chat.status_code, chat.json()) == (400, {"error": '"nomic-embed-text:latest" does not support chat'})
    assert (raw.status_code, raw.json()) == (400, {"error": '"nomic-embed-text:latest" does not support generate'})


def test_a_thinking_model_thinks_unless_told_not_to() -> None:
    model = FakeModel("qwen3:8b", capabilities=("completion", "thinking"))
    messages = [{"role": "user", "content": "Hi"}]
    with FakeOllama(models=[model]) as fake:
        fake.script = lambda ask: Reply("Hello.", thinking="Say hello.")
        for body, thinking in (({}, "Say hello."), ({"think": True}, "Say hello."), ({"think": False}, None)):
            message = post(fake, "/api/chat", messages=messages, **body).json()["message"]
            assert (message["content"], message.get("thinking")) == ("Hello.", thinking)
        lines = post(fake, "/api/chat", messages=messages, stream=True).text.splitlines()
        assert json.loads(lines[0])["message"] == {"role": "assistant", "content": "", "thinking": "Say"}


def test_an_old_server_generates_where_it_should_render() -> None:
    with FakeOllama(version="0.5.0") as fake:
        messages = [{"role": "user", "content": "SENTINEL"}]
        answer = post(fake, "/api/chat", messages=messages, _debug_render_only=True, options={"num_predict": 1})
        assert "_debug_info" not in answer.json() and answer.json()["done_reason"] == "length"
        assert "capabilities" not in post(fake, "/api/show").json()
        assert fake.requests[0].generation == 0


def test_a_changed_runner_option_reloads() -> None:
    with FakeOllama() as fake:
        for options in (
            {"num_ctx": 2048, "seed": 1},
            {"num_ctx": 2048, "seed": 2},
            {"num_ctx": 4096},
            {},
            {"num_gpu": 0},
        ):
            post(fake, "/api/generate", raw=True, prompt="x", options=options)
        assert (fake.loads, fake.reloads) == (3, 2)


def test_a_closed_connection_is_seen_and_frees_the_slot() -> None:
    with FakeOllama(parallel=1) as fake, httpx.Client(base_url=fake.url, trust_env=False) as client:
        fake.script = lambda ask: Reply(["a"] * 9, fault="endless" if ask.index == 0 else None)
        body = {"model": "smollm2:135m", "raw": True, "prompt": "x"}
        with client.stream("POST", "/api/generate", json=body) as stream:
            next(stream.iter_lines())
        fake.wait_until(lambda: fake.requests[0].cancelled)
        assert post(fake, "/api/generate", raw=True, prompt="x").json()["done"]
        fake.wait_until(lambda: fake.requests[1].finished)
        assert not fake.requests[0].finished and not fake.requests[1].cancelled
        assert fake.max_in_flight == 1


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", sorted(set(get_args(Kind)) - {"endless"}))
def test_every_fault_hurts_once_and_then_all_is_well(kind: Kind, stream: bool) -> None:
    with FakeOllama() as fake:
        fake.script = lambda ask: Reply(["word "] * 20)
        fake.fail_next(1, Fault(kind, seconds=0.01))
        first = ask_quickly(fake, stream)
        assert (first is not None) == (kind in ("stall", "slow_load", "huge_line"))
        assert ask_quickly(fake, stream) == "word " * 20


def ask_quickly(fake: FakeOllama, stream: bool) -> str | None:
    """The text of a complete and correct answer, None for all else."""
    try:
        answer = post(fake, "/api/generate", raw=True, prompt="x", stream=stream)
        lines = [json.loads(line.decode()) for line in answer.content.splitlines()]
    except (httpx.HTTPError, ValueError):
        return None
    if answer.status_code != 200 or not lines or not lines[-1].get("done"):
        return None
    return "".join(line["response"] for line in lines)


def test_endless_tokens_come_until_the_client_has_had_enough() -> None:
    with FakeOllama() as fake, httpx.Client(base_url=fake.url, trust_env=False) as client:
        fake.fail_next(1, "endless")
        body = {"model": "smollm2:135m", "raw": True, "prompt": "x", "options": {"num_predict": 5}}
        with client.stream("POST", "/api/generate", json=body) as stream:
            assert sum(1 for _ in zip(stream.iter_lines(), range(100), strict=False)) == 100
        fake.wait_until(lambda: fake.requests[0].cancelled)


def test_a_server_that_stops_comes_back_on_its_port() -> None:
    with FakeOllama() as fake:
        address = fake.url
        fake.stop()
        with pytest.raises(httpx.ConnectError):
            post(fake, "/api/show")
        fake.start()
        assert fake.url == address and post(fake, "/api/show").status_code == 200


def test_a_script_that_fails_fails_the_test() -> None:
    def script(ask: Ask) -> Reply:
        raise LookupError("no reply for this")

    with pytest.raises(LookupError, match="no reply"), FakeOllama(script=script) as fake:
        assert post(fake, "/api/generate", raw=True, prompt="x").status_code == 500


def test_n_samples_are_those_of_the_next_seeds() -> None:
    with FakeOpenAI() as fake:
        four = post(fake, "/v1/completions", prompt="x", max_tokens=64, seed=7, n=4).json()["choices"]
        third = post(fake, "/v1/completions", prompt="x", max_tokens=64, seed=9).json()["choices"][0]
        greedy = post(fake, "/v1/completions", prompt="x", n=2, temperature=0)
    assert four[2]["text"] == third["text"] and len({choice["text"] for choice in four}) == 4
    assert greedy.status_code == 400


def test_vllm_matches_a_special_token_as_stop_string_only_where_it_is_shown() -> None:
    ended = {}
    with FakeOpenAI() as fake:
        fake.script = lambda ask: "Why?<|im_start|>assistant"
        number = fake.models[0].tokenizer.encode("<|im_start|>")[0]
        for name, more in (
            ("hidden", {}),
            ("shown", {"skip_special_tokens": False}),
            ("numbered", {"stop_token_ids": [number]}),
        ):
            body = {"prompt": "x", "max_tokens": 64, "stop": ["<|im_start|>"], **more}
            choice = post(fake, "/v1/completions", **body).json()["choices"][0]
            ended[name] = (choice["text"], choice["stop_reason"])
    assert ended == {
        "hidden": ("Why?assistant", None),
        "shown": ("Why?", "<|im_start|>"),
        "numbered": ("Why?", number),
    }


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", ["drop", "drop_mid", "engine_dies", "incomplete_part", "half_line", "busy"])
def test_the_openai_fakes_break_the_same_steering(kind: Kind, stream: bool) -> None:
    with FakeOpenAI() as fake:
        fake.fail_next(1, kind)
        whole = [complete(fake, stream) for _ in range(2)]
    assert whole == [False, True]


def complete(fake: FakeOpenAI, stream: bool) -> bool:
    try:
        answer = post(fake, "/v1/completions", prompt="x", max_tokens=64, stream=stream)
        if stream:
            return '"finish_reason":"stop"' in answer.text and answer.text.endswith("data: [DONE]\n\n")
        return answer.status_code == 200 and answer.json()["choices"][0]["finish_reason"] == "stop"
    except (httpx.HTTPError, ValueError):
        return False
