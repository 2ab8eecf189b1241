"""What Ollama says, of the right shape and of others: a failed answer or none at all, never nonsense in a record."""

from __future__ import annotations

import asyncio
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from fake_ollama import FakeOllama
from servers.support import MODEL, canned, chat, complete, says, served

from magpie_ollama.errors import MagpieError, TransientError, Unfinished
from magpie_ollama.servers.base import BROKEN, Completion, Model
from magpie_ollama.servers.ollama import OllamaServer

RECORDINGS = Path(__file__).parent.parent / "fake_ollama" / "recordings"


def streamed(*lines: bytes, ask: Any = None) -> Completion:
    answer = b"\n".join(lines) + b"\n"
    with canned({"/api/generate": (200, answer), "/api/chat": (200, answer)}) as url:
        return served(OllamaServer(url), ask or complete())


TEXT = b'{"response":"Hi","done":false,"logprobs":[{"logprob":-0.5}]}'
END = b'{"response":"","done":true,"done_reason":"stop","prompt_eval_count":3,"eval_count":2}'


@pytest.mark.parametrize(
    "line",
    [
        b'{"response":7}',
        b'{"response":["Hi"]}',
        b'{"response":"Hi","done":"yes"}',
        b'{"message":"Hi"}',
        b'{"message":{"content":{"a":1}}}',
        b'{"response":"","done":true,"done_reason":3}',
        b'{"response":"","done":true,"done_reason":"stop","eval_count":1.5}',
        b'{"response":"","done":true,"done_reason":"stop","eval_count":"2"}',
        b'{"response":"","done":true,"done_reason":"stop","eval_count":-2}',
        b'{"response":"","done":true,"done_reason":"stop","eval_count":' + b"9" * 5000 + b"}",
        b'{"response":"","done":true,"done_reason":"stop","prompt_eval_count":true}',
        b'{"response":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'"Hi"',
        b"\xff\xfe",
        b'{"error":{"code":500,"message":"the engine died"}}',
        b'{"error":["odd"]}',
        b'{"error":7}',
    ],
)
def test_a_line_of_another_shape_is_a_failed_answer(line: bytes) -> None:
    with pytest.raises(TransientError) as caught:
        streamed(TEXT, line)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "end",
    [
        b'{"response":null,"done":true,"done_reason":"stop","prompt_eval_count":null,"eval_count":null}',
        b'{"done":true,"done_reason":null,"error":null,"logprobs":null}',
        b'{"done":true,"error":""}',
    ],
)
def test_what_is_null_is_not_told(end: bytes) -> None:
    made = streamed(TEXT, TEXT, end)
    assert (made.text, made.finish_reason, made.tokens, made.prompt_tokens) == ("HiHi", "stop", 2, 0)


@pytest.mark.parametrize("reason", ["unload", "load", "../../x"])
def test_an_end_that_is_none_has_one_name(reason: str) -> None:
    end = b'{"response":"","done":true,"done_reason":"%s","eval_count":1}' % reason.encode()
    assert streamed(TEXT, end).finish_reason == BROKEN


@pytest.mark.parametrize(
    "number", ["NaN", "null", '"-0.5"', "1e308", "-1e308", "1e400", "Infinity", "1.5", "true", "[]"]
)
@pytest.mark.parametrize("shape", ['[{"logprob":%s}]', '[{"logprob":-0.5},{"logprob":%s}]'])
def test_a_log_probability_that_is_none_leaves_the_text_and_no_confidence(number: str, shape: str) -> None:
    odd = f'{{"response":" there","done":false,"logprobs":{shape % number}}}'.encode()
    made = streamed(TEXT, odd, TEXT, END)
    assert (made.text, made.finish_reason, made.logprob) == ("Hi thereHi", "stop", None)


@pytest.mark.parametrize("logprobs", [b"7", b'"x"', b"{}", b"[7]", b'[{"token":"Hi"}]', b"[null]"])
def test_log_probabilities_of_another_shape(logprobs: bytes) -> None:
    made = streamed(b'{"response":"Hi","logprobs":' + logprobs + b"}", END)
    assert (made.text, made.logprob) == ("Hi", None)


def test_a_stream_without_an_end_is_worth_another_seed_only() -> None:
    with pytest.raises(Unfinished):
        streamed(TEXT)
    with pytest.raises(Unfinished):
        streamed(b'{"message":{"content":"Hi"},"done":false}', ask=chat())


# How sure the model is.


def recorded(version: str) -> tuple[Completion, float]:
    """The greedy Japanese text as both generations told it, and the sum of what they told."""
    body = json.loads((RECORDINGS / f"ollama-{version}" / "generate-raw-logprobs-japanese.json").read_bytes())
    lines = body["response"]["ndjson"]
    told = sum(entry["logprob"] for line in lines for entry in json.loads(line).get("logprobs", ()))
    answers = {
        "/api/generate": (200, "\n".join(lines).encode()),
        "/api/version": (200, json.dumps({"version": version}).encode()),
    }

    async def go(server: OllamaServer) -> Completion:
        await server.version()
        made: Completion = await complete()(server)
        return made

    with canned(answers) as url:
        return served(OllamaServer(url), go), told


def test_letters_of_several_tokens_are_measured_where_each_token_is_told() -> None:
    made, told = recorded("0.24.0")
    assert made.logprob == pytest.approx(told)
    made, told = recorded("0.33.0")
    assert told > -5.0, "a third of what it would be"
    assert (made.tokens, made.logprob) == (24, None)


@pytest.mark.parametrize(
    ("text", "parts", "measured"),
    [
        ("Why?", 1, True),
        ("Perché no?", 1, True),
        ("なぜですか", 2, False),
        ("なぜですか", 1, True),
        ("Oh 😀 no", 3, False),
    ],
)
@pytest.mark.parametrize("version", ["0.24.0", "0.33.0"])
def test_confidence_is_left_out_where_pieces_are_missing(version: str, text: str, parts: int, measured: bool) -> None:
    async def go(server: OllamaServer) -> Completion:
        await server.version()
        made: Completion = await complete()(server)
        return made

    with FakeOllama(version=version, script=says(text, parts=parts)) as fake:
        made = served(OllamaServer(fake.url), go)
    assert made.text == text
    assert (made.logprob is not None) is (measured or version == "0.24.0")


@pytest.mark.parametrize("version", ["0.24.0", "0.33.0"])
def test_a_count_that_is_missing_is_not_one(version: str) -> None:
    """Before 0.3 it was left out where the prompt was cached. Of two BOS the server's own is the one to keep."""
    answers = {"/api/generate": (200, b'{"response":"","done":true}'), "/api/version": (200, b'{"version":"0.33.0"}')}

    async def go(server: OllamaServer) -> tuple[bool, bool]:
        await server.version()
        return await server.adds_bos(MODEL, "<s>"), await server.hides(MODEL, "[/INST]")

    with canned(answers) as url:
        assert served(OllamaServer(url), go) == (True, False)


# A long fuzz, in short: OLLAMA_FUZZ=1500 makes it longer.

ODD: list[Any] = [
    None, True, False, -1, 0, 1, 1.5, 1e308, -1e308, float("nan"), float("inf"), 10**30, 2**31, "", "x", "../../x", "7",
    "\ud800", "\u202e\x1b[2J", [], [[]], [None], [7], {}, {"a": {"b": []}}, {"message": 7}, ["stop"], "stop", "length",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inside for found in places(item, (*path, key)))]


def mutated(answer: Any, draw: random.Random) -> bytes:
    """An answer with one or two places of another type, or gone, or bytes that are spoilt."""
    answer = json.loads(json.dumps(answer))
    for _ in range(draw.choice([1, 1, 2])):
        *path, last = draw.choice(places(answer)[1:] or [("x",)])
        inner = answer
        try:
            for key in path:
                inner = inner[key]
            if draw.random() < 0.2 and isinstance(inner, dict):
                inner.pop(last, None)
            else:
                inner[last] = draw.choice(ODD)
        except (KeyError, IndexError, TypeError):
            pass  # the first change took the second one's place away
    data = json.dumps(answer).encode()
    kind = draw.random()
    if kind < 0.05:
        return data[: draw.randrange(len(data))]
    if kind < 0.1:
        return draw.choice([b"", b"[]", b"null", b"<html>", b"\xff", b"[" * 10**5, b'{"a":' * 10**4, b"9" * 5000])
    return data


GOOD: dict[str, list[Any]] = {
    "/api/version": [{"version": "0.33.0"}],
    "/api/tags": [{"models": [{"name": MODEL, "model": MODEL, "digest": "d", "size": 7, "details": {"family": "x"}}]}],
    "/api/ps": [{"models": [{"name": MODEL, "model": MODEL, "size": 7, "size_vram": 3, "context_length": 2048,
                             "details": {"parameter_size": "1M", "quantization_level": "Q4"}}]}],
    "/api/show": [{"parameters": 'stop "x"', "template": "{{ .Prompt }}", "capabilities": ["completion"],
                   "model_info": {"llama.context_length": 2048}, "modelfile": "FROM x"}],
    "/api/chat": [
        {"message": {"role": "assistant", "content": "Hi", "thinking": "So."}, "done": False},
        {"message": {"role": "", "content": ""}, "done": True, "done_reason": "stop", "prompt_eval_count": 3,
         "eval_count": 3, "_debug_info": {"rendered_template": "<|im_start|>user\nHi"}},
    ],
    "/api/generate": [
        {"response": "Hi", "done": False, "logprobs": [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}]},
        {"response": "", "done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2},
    ],
    "/api/pull": [{"status": "pulling", "completed": 1, "total": 2}, {"status": "success"}],
}  # fmt: skip


@pytest.mark.parametrize("block", range(int(os.environ.get("OLLAMA_FUZZ", "300")) // 50))
def test_answers_with_places_of_another_type(block: int) -> None:
    """Of all endpoints: a value of the right types, or an error with a remedy."""

    async def all_calls(server: OllamaServer) -> None:
        for call in (
            server.version, server.models, lambda: server.describe(MODEL), lambda: server.load(MODEL),
            lambda: server.in_memory(MODEL), lambda: server.render(MODEL, []), lambda: server.adds_bos(MODEL, "<s>"),
            lambda: server.hides(MODEL, "[/INST]"), lambda: pulled(server), lambda: complete()(server),
            lambda: chat()(server),
        ):  # fmt: skip
            try:
                check(await asyncio.wait_for(call(), 20))
            except MagpieError as error:
                assert error.cause and error.remedy
                assert len(error.cause) < 2000

    async def pulled(server: OllamaServer) -> list[Any]:
        return [step async for step in server.pull(MODEL)]

    async def go() -> None:
        for server in servers:
            try:
                await all_calls(server)
            finally:
                await server.close()

    answers: dict[str, tuple[int, bytes]] = {}
    with canned(answers) as url:
        for number in range(50 * block, 50 * block + 50):
            draw = random.Random(number)
            target = draw.choice(list(GOOD))
            for path, lines in GOOD.items():
                spoilt = draw.randrange(len(lines)) if path == target else None
                body = b"\n".join(
                    mutated(line, draw) if at == spoilt else json.dumps(line).encode() for at, line in enumerate(lines)
                )
                answers[path] = (draw.choice([200, 200, 200, 200, 400, 500]) if path == target else 200, body)
            servers = [OllamaServer(url)]
            asyncio.run(go())


def check(value: Any) -> None:
    """Of the types that are stated, and within what can be."""
    if isinstance(value, Completion):
        assert isinstance(value.text, str) and isinstance(value.reasoning, str)
        assert value.finish_reason in ("stop", "length", "cancelled", BROKEN)
        assert all(type(n) is int and 0 <= n < 2**31 for n in (value.tokens, value.prompt_tokens, value.unshown))
        assert value.logprob is None or (isinstance(value.logprob, float) and -1e7 < value.logprob <= 0.1)
    elif isinstance(value, Model):
        assert all(isinstance(text, str) for text in (value.name, value.digest, *value.stops))
        assert type(value.context) is int and 0 <= value.context < 2**31
    elif isinstance(value, list):
        assert all(isinstance(item, str | tuple) for item in value)
