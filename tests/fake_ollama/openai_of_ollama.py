"""Ollama's own /v1 endpoints, as far as the recordings show them: never streamed here, templates applied."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from .base import Answer, Exchange
from .generation import Ask, generate

if TYPE_CHECKING:
    from .server import FakeOllama


async def handle(fake: FakeOllama, exchange: Exchange, request: web.Request) -> Answer | None:
    """None where the path is not one of them."""
    match f"{request.method} {request.path}":
        case "GET /v1/models":
            entries = [
                {"id": model.name, "object": "model", "created": int(time.time()), "owned_by": "library"}
                for model in fake.models
            ]
            return _json({"object": "list", "data": entries})
        case "POST /v1/chat/completions":
            return _complete(fake, exchange, chat=True)
        case "POST /v1/completions":
            return _complete(fake, exchange, chat=False)
    return None


def _json(value: object, status: int = 200) -> Answer:
    # These endpoints end their JSON with a line feed, and name no charset.
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"
    return web.Response(status=status, body=body.encode(), headers={"Content-Type": "application/json"})


def _complete(fake: FakeOllama, exchange: Exchange, chat: bool) -> Answer:
    body: dict[str, Any] = exchange.body or {}
    model = fake.find(body.get("model", ""))
    if model is None:
        text = f"model '{body.get('model', '')}' not found"
        error = {"message": text, "type": "not_found_error", "param": None, "code": None}
        return _json({"error": error}, 404)
    messages = body.get("messages") if chat else [{"role": "user", "content": body.get("prompt", "")}]
    messages = list(messages or [])
    if model.system and (not messages or messages[0]["role"] != "system"):
        messages.insert(0, {"role": "system", "content": model.system})
    prompt = model.template(messages)
    seed, index = body.get("seed"), fake.take_number(exchange)
    exchange.started = True
    reply = fake.ask(Ask("chat", model.name, prompt, messages, body, seed, index, body))
    limit = int(body.get("max_tokens") or -1)
    made = generate(reply, model, body.get("stop") or [], limit, fake.shows_control_tokens)
    asked, told = model.tokenizer.count(prompt), {"role": "assistant", "content": made.text}
    choice: dict[str, Any] = {"index": 0, "message": told} if chat else {"text": made.text, "index": 0}
    return _json(
        {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{index}",
            "object": "chat.completion" if chat else "text_completion",
            "created": int(time.time()),
            "model": body["model"],
            "system_fingerprint": "fp_ollama",
            "choices": [{**choice, "finish_reason": made.reason}],
            "usage": {
                "prompt_tokens": asked,
                "completion_tokens": made.tokens,
                "total_tokens": asked + made.tokens,
            },
        }
    )
