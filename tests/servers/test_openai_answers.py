"""Answers of every shape: streams, whole answers, errors, log-probabilities; and thousands that are damaged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from servers.support import ASKED, SAMPLING, canned, never, served

from magpie_ollama.errors import MagpieError, NotThisServer, RequestRefused, TransientError
from magpie_ollama.servers import openai_stream
from magpie_ollama.servers.base import BROKEN, Completion
from magpie_ollama.servers.openai import OpenAIServer
from magpie_ollama.servers.openai_shapes import words

MODELS = (200, b'{"data": [{"id": "m"}]}')


def data(*values: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)


def text(piece: str, **more: Any) -> dict[str, Any]:
    return {"choices": [{"text": piece, **more}]}


def delta(piece: Any, **more: Any) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": piece, **more}}]}


END = {"choices": [{"text": "", "delta": {}, "finish_reason": "stop"}]}


def complete(body: bytes) -> Completion:
    with canned({"/v1/models": MODELS, "/v1/completions": (200, body)}) as url:
        return served(OpenAIServer(url), lambda server: server.complete("m", "", SAMPLING, ["<|im_end|>"], never))


def chat(body: bytes, think: bool = False) -> Completion:
    with canned({"/v1/models": MODELS, "/v1/chat/completions": (200, body)}) as url:
        return served(OpenAIServer(url), lambda server: server.chat("m", ASKED, SAMPLING, think, never))


@pytest.mark.parametrize(
    ("reason", "ended"),
    [
        *[(one, "stop") for one in ("stop", "eos_token", "stop_sequence", "end_turn", "STOP")],
        *[(one, "length") for one in ("length", "max_tokens", "model_length")],
        *[(one, BROKEN) for one in ("abort", "error", "content_filter", "tool_calls", "unload", "../../x", "\x1b[2J")],
    ],
)
def test_what_ended_a_text(reason: str, ended: str) -> None:
    assert chat(data(delta("Half a"), {"choices": [{"delta": {}, "finish_reason": reason}]})).finish_reason == ended


LOGPROBS: dict[str, tuple[Any, float | None]] = {
    "vllm, sglang, llama-cpp-python": ({"tokens": ["a", "b"], "token_logprobs": [-1, -0.5], "text_offset": [0]}, -1.5),
    "llama-server": ({"content": [{"id": 1, "token": "ab", "bytes": [97, 98], "logprob": -1.5}]}, -1.5),
    "mlx": ({"content": [{"id": 5, "logprob": -1.5}]}, -1.5),
    "a list alone": ([-1.0, -0.5], -1.5),
    "a list of tokens alone": ([{"token": "ab", "logprob": -1.5}], -1.5),
    "vllm's least": ({"token_logprobs": [-9999.0]}, -9999.0),
    "a rounding error": ({"token_logprobs": [1e-7]}, 0.0),
    "none": (None, None),
    "null": ({"token_logprobs": [None]}, None),
    "null in a token": ({"content": [{"token": "ab", "logprob": None}]}, None),
    "no number": ({"content": [{"token": "ab"}]}, None),
    "a text": ({"token_logprobs": ["-1.5"]}, None),
    "above 0": ({"token_logprobs": [0.5]}, None),
    "huge": ({"token_logprobs": [-1e308]}, None),
    "another shape": ({"content": {"logprob": -1}}, None),
    "a word": ("yes", None),
}


@pytest.mark.parametrize("shape", LOGPROBS)
def test_log_probabilities(shape: str) -> None:
    value, logprob = LOGPROBS[shape]
    made = complete(data(text("ab", logprobs=value), END))
    assert (made.text, made.finish_reason) == ("ab", "stop")
    assert made.logprob == logprob


@pytest.mark.parametrize("number", ["NaN", "1e308", "1e400", "-1e400", "-Infinity", '"x"', "null", "[]", "true"])
def test_a_number_that_is_none_leaves_the_confidence_unmeasured(number: str) -> None:
    odd = b'data: {"choices": [{"text": "b", "logprobs": {"token_logprobs": [%s]}}]}\n\n' % number.encode()
    good = data(text("a", logprobs={"token_logprobs": [-1]}))
    made = complete(good + odd + good + data(END))
    assert (made.text, made.logprob) == ("aba", None)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        5,
        {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
        {"prompt_tokens": -3, "completion_tokens": 1.5, "prompt_tokens_details": {"cached_tokens": "x"}},
        {"prompt_tokens": 10**400, "completion_tokens": [7], "prompt_tokens_details": 1},
    ],
)
def test_counts_that_are_none_are_unknown(usage: Any) -> None:
    made = chat(data(delta("one "), delta("two"), END | {"usage": usage}))
    assert (made.text, made.tokens, made.prompt_tokens, made.cached_tokens) == ("one two", 2, 0, 0)


@pytest.mark.parametrize(
    ("content", "more", "told"),
    [
        ([{"type": "text", "text": "Hi"}, {"type": "text", "text": "!"}], {}, ("Hi!", "")),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"text": "Hi"}], {}, ("Hi", "hm")),
        ([{"type": "thinking", "thinking": "hm"}], {"reasoning": None}, ("", "hm")),
        ("Hi", {"reasoning_content": "hm"}, ("Hi", "hm")),
        (None, {"reasoning": "hm"}, ("", "hm")),
        ("Hi", {"reasoning": {"text": "hm"}, "reasoning_content": 5}, ("Hi", "")),
    ],
)
def test_content_in_blocks_and_reasoning_by_any_name(content: Any, more: Any, told: tuple[str, str]) -> None:
    made = chat(data(delta(content, **more), END))
    assert (made.text, made.reasoning) == told


def test_a_null_error_is_none() -> None:
    assert chat(data(delta("Hi") | {"error": None}, END | {"error": None})).text == "Hi"


@pytest.mark.parametrize("indent", [None, 2])
def test_a_whole_answer_where_a_stream_was_asked_for(indent: int | None) -> None:
    message = {"role": "assistant", "content": "Hi!", "reasoning_content": "hm"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = {"object": "chat.completion", "choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 9}}
    made = chat(json.dumps(whole, indent=indent).encode())
    assert made == Completion("Hi!", "hm", "stop", 3, 0, 9)


def test_a_whole_completion_with_a_hidden_end() -> None:
    content = [{"token": "Hi", "bytes": [72], "logprob": -1}, {"token": "", "bytes": [], "logprob": -1}]
    made = complete(json.dumps(text("Hi", finish_reason="stop", logprobs={"content": content})).encode())
    assert (made.text, made.finish_reason, made.logprob) == ("Hi", "stop", -2)


@pytest.mark.parametrize("choices", [5, "x", [7], [{"delta": 3}], [{"delta": {"content": {"a": 1}}}], [{"text": 1}]])
def test_a_broken_text_is_a_failed_answer(choices: Any) -> None:
    with pytest.raises(TransientError, match="another shape") as caught:
        chat(data({"choices": choices}))
    assert caught.value.remedy


def test_deep_nesting_is_a_failed_answer() -> None:
    with pytest.raises(TransientError):
        chat(b'data: {"choices": ' + b"[" * 100_000 + b"\n\n")
    with pytest.raises(MagpieError):
        chat(b'data: {"error": ' + b'{"error":' * 500 + b'"x"' + b"}" * 500 + b"}\n\n")


def test_answers_that_are_never_readable_end_soon() -> None:
    async def go(server: OpenAIServer) -> int:
        for number in range(1, 100):
            try:
                await server.chat("m", ASKED, SAMPLING, False, never)
            except TransientError:
                continue
            except RequestRefused as error:
                assert "another shape" in error.cause
                return number
        raise AssertionError

    with canned({"/v1/models": MODELS, "/v1/chat/completions": (200, data({"choices": 5}))}) as url:
        assert served(OpenAIServer(url), go) == 12


def test_a_text_without_an_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_stream, "LONGEST_TEXT", 100)
    for event in (delta("word "), delta(None, reasoning="hm ")):
        made = chat(data(*[event] * 1000))
        assert made.finish_reason == "length"
        assert len(made.text + made.reasoning) < 120


def test_answers_in_the_reasoning_are_named() -> None:
    body = data(delta(None, reasoning_content="It is so."), END)

    async def thrice(server: OpenAIServer) -> None:
        for _ in range(3):
            await server.chat("m", ASKED, SAMPLING, False, never)

    with canned({"/v1/models": MODELS, "/v1/chat/completions": (200, body)}) as url:
        server = OpenAIServer(url)
        served(server, thrice)
    (notice,) = server.notices
    assert "reasoning parser" in notice and "--think" in notice


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": "no"}, "no"),
        ({"error": {"message": "no", "code": 5}}, "no"),
        ({"error": {"message": '{"error":{"code":400,"message":"no"}}'}}, "no"),
        ({"detail": [{"loc": ["body", "top_k"], "msg": "no"}, {"msg": "never"}]}, "top_k: no; never"),
        ({"detail": "no"}, "no"),
        ({"object": "error", "message": "no", "param": "seed"}, "seed: no"),
        ({"status": "failed"}, '{"status": "failed"}'),
        ({"error": [[[["no"]]]]}, "no"),
    ],
)
def test_what_an_error_says(body: Any, said: str) -> None:
    assert words(json.dumps(body)) == said


@pytest.mark.parametrize(
    "listed",
    [
        b'{"error": "Unexpected endpoint"}',
        b'{"data": 3}',
        b'{"data": [{"id": 5}]}',
        b'{"data": [[]]}',
        b'{"data": null}',
        b'{"data": "x"}',
        b"NaN",
        b"[" * 50_000,
    ],
)
def test_lists_that_are_none(listed: bytes) -> None:
    with canned({"/v1/models": (200, listed)}) as url, pytest.raises(NotThisServer) as caught:
        served(OpenAIServer(url), lambda server: server.version())
    assert caught.value.remedy


def test_facts_of_another_shape_are_not_told() -> None:
    listed = {"data": [{"id": "m", "max_model_len": "many", "meta": {"n_ctx": -1}, "context_length": 4096}]}
    props = {"total_slots": "x", "default_generation_settings": [1], "build_info": {"a": 1}}
    routes = {"/v1/models": (200, json.dumps(listed).encode()), "/props": (200, json.dumps(props).encode())}

    async def go(server: OpenAIServer) -> Any:
        return await server.version(), await server.describe("m")

    with canned(routes) as url:
        version, model = served(OpenAIServer(url), go)
    assert (version, model.context) == ("llama-server", 4096)


def test_a_router_is_a_llama_server() -> None:
    settings = {"role": "router", "default_generation_settings": {"n_ctx": 0}, "model_path": "none"}
    props = {"total_slots": 1, "default_generation_settings": {"n_ctx": 4096}}
    routes = {
        "/v1/models": MODELS,
        "/props": (200, json.dumps(settings).encode()),
        "/props?model=m": (200, json.dumps(props).encode()),
        "/apply-template": (200, b'{"prompt": "<|im_start|>"}'),
        "/tokenize": (200, b'{"tokens": [1, 2]}'),
    }

    async def go(server: OpenAIServer) -> Any:
        version, model = await server.version(), await server.describe("m")
        return version, model.context, await server.render("m", ASKED), await server.adds_bos("m", "<s>")

    with canned(routes) as url:
        assert served(OpenAIServer(url), go) == ("llama-server", 4096, "<|im_start|>", True)


@pytest.mark.parametrize("owner", ["sglang", "somebody"])
def test_others_render_where_they_can(owner: str) -> None:
    routes = {
        "/v1/models": (200, json.dumps({"data": [{"id": "m", "owned_by": owner}]}).encode()),
        "/apply-template": (400, b'{"error": "no"}'),
        "/tokenize": (200, b'{"tokens": [1, 2], "count": 2}'),
        "/detokenize": (200, b'{"text": "<|im_start|>"}'),
    }

    async def go(server: OpenAIServer) -> Any:
        await server.version()
        return await server.render("m", ASKED)

    with canned(routes) as url:
        assert served(OpenAIServer(url), go) == "<|im_start|>"
    refusing = routes | {"/tokenize": (400, b'{"error": "1 validation error: prompt: Field required"}')}
    with canned(refusing) as url:
        assert served(OpenAIServer(url), go) is None


def test_where_no_count_is_told_a_bos_is_taken_to_be_added() -> None:
    async def go(server: OpenAIServer) -> bool:
        await server.version()
        return await server.adds_bos("m", "<s>")

    for tokens in (b"{}", b'{"tokens": null}', b'{"tokens": []}', b'{"tokens": "x"}', b"[]"):
        routes = {"/v1/models": MODELS, "/props": (200, b'{"total_slots": 1}'), "/tokenize": (200, tokens)}
        with canned(routes) as url:
            assert served(OpenAIServer(url), go) is True


# Damaged answers: one place of a good one is something else.
