"""Answers of every shape: streams, whole answers, errors, log-probabilities; and thousands that are damaged."""

from __future__ import annotations

import asyncio
import copy
import json
import math
import random
from collections.abc import Iterator
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

COLUMNS = {"tokens": ["Hi"], "token_logprobs": [-1.0], "text_offset": [0]}
TOKENS = {"content": [{"token": "Hi", "bytes": [72], "logprob": -1.0, "top_logprobs": []}]}
COUNTS = {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}
SEEDS: list[list[Any]] = [
    [text("Hi", logprobs=COLUMNS, finish_reason=None), END | {"usage": COUNTS}],
    [text("Hi", logprobs=TOKENS, index=0), END, {"choices": [], "usage": COUNTS}],
    [delta("Hi", role="assistant", reasoning_content="hm"), END | {"usage": COUNTS, "error": None}],
    [delta([{"type": "text", "text": "Hi"}]), END],
    [{"error": {"message": "no", "code": 500, "type": "x", "param": None}}],
    [{"object": "error", "message": "no", "code": 400}],
]
NONSENSE = [None, True, -1, 1.5, 10**400, "x", "", "\ud83d", [], [None], {}, {"a": [1]}, "../../x", "\x1b]52;c;x\x07"]
RAW = ["NaN", "-Infinity", "1e400", "1e308", "9" * 5000, "[" * 3000 + "]" * 3000, '{"a":' * 3000 + "1" + "}" * 3000]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def damaged(rng: random.Random) -> bytes:
    """An answer with one field of another type, missing, huge, nested or no number; whole, as a stream, or cut."""
    events = copy.deepcopy(rng.choice(SEEDS))
    *path, last = rng.choice([place for place in places(events) if place])
    parent = events
    for key in path:
        parent = parent[key]
    mark = "QZmarkQZ"
    if rng.random() < 0.15:
        del parent[last]
    else:
        parent[last] = mark if rng.random() < 0.4 else rng.choice(NONSENSE)
    lines = [json.dumps(one).replace(f'"{mark}"', rng.choice(RAW)) for one in events]
    if rng.random() < 0.2 and lines:
        return rng.choice(lines).encode()
    body = b"".join(
        rng.choice([b"data: ", b"data:", b"error: "][: 2 + (rng.random() < 0.1)]) + one.encode() + b"\n\n"
        for one in lines
    )
    return body[: rng.randrange(len(body) + 1)] if rng.random() < 0.1 else body


def sound(made: Completion) -> bool:
    counts = (made.tokens, made.prompt_tokens, made.cached_tokens, made.unshown)
    return (
        made.finish_reason in ("stop", "length", "cancelled", BROKEN)
        and all(type(count) is int and 0 <= count <= 2**31 for count in counts)
        and (made.logprob is None or (math.isfinite(made.logprob) and -1e5 < made.logprob <= 0))
        and isinstance(made.text, str)
        and isinstance(made.reasoning, str)
    )


def fuzz(seeds: range) -> None:
    """The client's own reading, without a socket for each."""

    async def one(server: OpenAIServer, seed: int) -> None:
        body = damaged(random.Random(seed))

        async def stream(path: str, asked: Any, on_line: Any) -> None:
            for line in body.split(b"\n"):
                if line.strip() and on_line(line.strip()):
                    return

        server._http.stream = stream  # type: ignore[method-assign]
        for call in (
            lambda: server.complete("m", "", SAMPLING, ["<|im_end|>"], never),
            lambda: server.chat("m", ASKED, SAMPLING, False, never),
        ):
            try:
                made = await asyncio.wait_for(call(), 10)
            except MagpieError as error:
                assert error.cause and error.remedy, (seed, body)
            else:
                assert sound(made), (seed, made, body)

    async def go() -> None:
        for seed in seeds:
            await one(OpenAIServer("http://127.0.0.1:9"), seed)

    asyncio.run(go())


def test_damaged_answers() -> None:
    fuzz(range(1500))


GOOD = {
    "/v1/models": {"data": [{"id": "m", "owned_by": "x", "max_model_len": 9, "meta": {"n_ctx": 9}}]},
    "/props": {"total_slots": 1, "role": "x", "build_info": "b1", "default_generation_settings": {"n_ctx": 9}},
    "/version": {"version": "1"},
    "/apply-template": {"prompt": "<|im_start|>"},
    "/tokenize": {"tokens": [1, 2], "count": 2},
    "/detokenize": {"prompt": "<|im_start|>"},
}


async def ask_for_facts(seed: int) -> None:
    """Of a server with one damaged fact: an answer, or an error with a remedy."""
    rng = random.Random(seed)
    facts: Any = copy.deepcopy({path: fact for path, fact in GOOD.items() if path != "/props" or rng.random() < 0.5})
    *path, last = rng.choice([place for place in places(facts) if len(place) > 1])
    parent = facts
    for key in path:
        parent = parent[key]
    parent[last] = "QZmarkQZ" if rng.random() < 0.4 else rng.choice(NONSENSE)
    raw = rng.choice(RAW)
    bodies = {at: json.dumps(fact).replace('"QZmarkQZ"', raw).encode() for at, fact in facts.items()}
    server = OpenAIServer("http://127.0.0.1:9")

    async def read(method: str, at: str, body: Any = None) -> bytes:
        if at not in bodies:
            raise server._failure(404, "")
        return bodies[at]

    server._http.read = read  # type: ignore[method-assign]
    try:
        version, model = await server.version(), await server.describe("m")
        prompt, bos = await server.render("m", ASKED), await server.adds_bos("m", "<s>")
    except MagpieError as error:
        assert error.cause and error.remedy, (seed, bodies)
    else:
        assert isinstance(version, str) and type(model.context) is int and model.context >= 0
        assert prompt is None or isinstance(prompt, str)
        assert type(bos) is bool


def test_damaged_facts() -> None:
    async def go() -> None:
        for seed in range(500):
            await ask_for_facts(seed)

    asyncio.run(go())
