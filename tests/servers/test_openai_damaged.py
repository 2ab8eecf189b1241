"""Answers of OpenAI-compatible servers with damage of any kind: an error of this tool's own, or a sound text."""

from __future__ import annotations

import asyncio
import copy
import json
import math
import random
from collections.abc import Iterator
from typing import Any

from servers.support import ASKED, SAMPLING, never
from servers.test_openai_answers import END, delta, text

from magpie_ollama.errors import MagpieError
from magpie_ollama.servers.base import BROKEN, Completion
from magpie_ollama.servers.openai import OpenAIServer

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
