"""The error that an Ollama's refusal means. Statuses and texts are recorded; the texts vary between versions."""

from __future__ import annotations

import json
import re
from typing import Any

from magpie_ollama.errors import (
    Busy,
    Forbidden,
    MagpieError,
    ModelMissing,
    NotThisServer,
    OutOfMemory,
    PromptTooLong,
    RequestRefused,
    ServerError,
    TemplateError,
    TransientError,
    Unauthorized,
)
from magpie_ollama.servers.connections import LOOK

LONGEST = 500
"""Letters of a server's words that are told."""

_OUT_OF_MEMORY = (
    "systemmemory",
    "outofmemory",
    "outofdevicememory",
    "outofhostmemory",
    "notenoughmemory",
    "insufficientmemory",
    "failedtoallocate",
    "allocationfailed",
    "mallocfailed",
)
"""How Ollama and the engines below it say that a model is too large: in small letters, without blanks and hyphens."""

_UNREACHED = re.compile(
    r"\bdial tcp\b|\blookup \S+ on\b|no such host|network is unreachable|i/o timeout|tls handshake|"
    r"connection re(?:fused|set)|\b(?:post|get|head) \"https?://"
)
"""How Go says that a host was not reached."""

_UNKNOWN = re.compile(r"unknown (?:renderer|parser)|unknown model architecture|unsupported model architecture")

OTHER_VERSION = "this Ollama is too old or too new for the model: update it, or pull the model again"


def refusal(status: int, body: str, address: str, model: str) -> MagpieError:
    answer = _object(body)
    text = _said(answer.get("error")).strip()[:LONGEST].rstrip(".")
    low = text.lower()
    said = text or f"HTTP {status}"
    if status == 404:
        if not text:
            return NotThisServer(f"{address} answered 404: it is not Ollama.", "check --host and OLLAMA_HOST")
        pull = f"fetch it with `ollama pull {model}`, or run the same command with --pull"
        return ModelMissing(f"Ollama has no model {model!r}.", pull)
    if status == 401 and "signin_url" in answer:
        return Unauthorized(f"{model} runs in Ollama's cloud, which knows nobody here.", "sign in with `ollama signin`")
    if status == 401:
        return Unauthorized(f"Ollama at {address} wants a key ({said}).", "set OLLAMA_API_KEY")
    if status == 403 and "cloud is disabled" in low:
        remedy = "start Ollama without OLLAMA_NO_CLOUD, or choose a model that is on this machine"
        return Forbidden(f"{model} runs in Ollama's cloud, which is switched off ({said}).", remedy)
    if status == 403:
        return Forbidden(f"Ollama at {address} forbids it ({said}).", "check OLLAMA_API_KEY, or choose another model")
    if "context size" in low or "input length exceeds" in low or "context length" in low:
        return PromptTooLong(f"The prompt is longer than the model's context: {said}.", "give it more with --num-ctx")
    if any(words in low.replace(" ", "").replace("-", "") for words in _OUT_OF_MEMORY):
        smaller = "close other programs, choose a smaller model or quantisation, or lower --num-ctx"
        return OutOfMemory(f"There is too little memory for {model!r}: {said}.", smaller)
    if _UNKNOWN.search(low):
        if "architecture" in low:
            return RequestRefused(f"Ollama cannot run {model}: {said}.", f"{OTHER_VERSION}, or choose another model")
        remedy = f"{OTHER_VERSION}; or give its template with --template NAME|FILE"
        return TemplateError(f"Ollama cannot render the chat template of {model}: {said}.", remedy)
    if status >= 500 and _UNREACHED.search(low) and ("ollama.com" in low or model.endswith("cloud")):
        remedy = "check the network, or choose a model that is on this machine"
        return TransientError(f"{model} runs in Ollama's cloud, which was not reached ({said}).", remedy)
    if status in (429, 502, 503, 504):
        return Busy(f"Ollama at {address} is busy ({said}).", "wait, then run the same command again")
    if low == "invalid model name":
        return ModelMissing(f"{model!r} is no name of a model.", "check -m; `ollama list` shows what is there")
    if status in (400, 501) or "must be of type" in low:
        return RequestRefused(f"Ollama refused the request: {said}.", "check the options of this command")
    if status >= 500:
        return TransientError(f"Ollama failed: {said}.", LOOK)
    return ServerError(f"Ollama at {address} answered HTTP {status}: {said}.", "check --host and OLLAMA_HOST")


def _said(error: Any, depth: int = 4) -> str:
    """The words of an error: a text, an object with a message, or either as JSON within a text, with words in front
    ("llama-server: {"error":{"code":400,"message":...}}")."""
    if isinstance(error, dict):
        return _said(error.get("message") or error.get("error") or error.get("detail"), depth - 1) if depth else ""
    if not isinstance(error, str):
        return "" if error is None else json.dumps(error, ensure_ascii=False, default=str)[:LONGEST]
    lead, brace, _ = error.partition("{")
    inner = _said(_object(error[len(lead) :]), depth - 1) if brace and depth else ""
    return f"{lead}{inner}" if inner else error


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
