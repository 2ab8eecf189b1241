"""What OpenAI-compatible servers say, as types: models, renderings, the events of a stream, errors.

Tolerant where real servers differ; what cannot be true is an error. A part that a text can do without (its
log-probabilities, the counts) and that is broken is unknown; any other is ``Misshapen``.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from magpie_ollama.decoding import Misshapen, convert, decode

T = TypeVar("T")

Total = Annotated[int, Meta(ge=0, le=2**31)]
"""A count of tokens that can be true."""

Logprob = Annotated[float, Meta(ge=-1e4, le=0.01)]
"""In nats. vLLM writes -9999 for minus infinity; a rounding error may be above 0."""

WORDS = 400
"""Characters of what a server says that are told."""


class Token(Struct):
    """llama-server's entries, mlx's without ``token`` and OpenAI's. ``token`` is None where it is not told."""

    logprob: Logprob | None = None
    token: object = None
    bytes: object = None
    top_logprobs: object = None


class Logprobs(Struct):
    """Of a piece. ``content`` is llama-server's, mlx's and the chats'; ``token_logprobs`` are the completions' of vLLM,
    SGLang and llama-cpp-python. A None stands for a number that is not known."""

    content: list[Token] | None = None
    token_logprobs: list[Logprob | None] | None = None

    def numbers(self) -> list[float | None]:
        """One a token."""
        if self.content:
            return [token.logprob for token in self.content]
        return list(self.token_logprobs or ())

    def likely(self) -> dict[str, float]:
        """Those that might have stood where the last token does; {} where they are not told."""
        top = optional(self.content[-1].top_logprobs, list[Token]) if self.content else None
        return {one.token: one.logprob for one in top or () if isinstance(one.token, str) and one.logprob is not None}

    def is_empty(self) -> bool:
        """Whether a token without text is among them."""
        return any(token.token == "" and not token.bytes for token in self.content or ())


UNKNOWN = Logprobs(token_logprobs=[None])


class Block(Struct):
    type: object = None
    text: object = None
    thinking: object = None


class Delta(Struct):
    """A piece of a message, or all of it."""

    content: str | list[Block] | None = None
    reasoning_content: object = None
    reasoning: object = None

    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(b.text for b in self.content if isinstance(b.text, str) and b.type != "thinking")
        return self.content or ""

    def thought(self) -> str:
        """The reasoning, under any of its names."""
        for value in (self.reasoning_content, self.reasoning):
            if value and isinstance(value, str):
                return value
        return "".join(map(_thinking, self.content)) if isinstance(self.content, list) else ""


def _thinking(block: Block) -> str:
    if block.type != "thinking":
        return ""
    inner = block.thinking if isinstance(block.thinking, list) else [block]
    found = (part.get("text") if isinstance(part, dict) else block.thinking or block.text for part in inner)
    return "".join(text for text in found if isinstance(text, str))


class Details(Struct):
    cached_tokens: Total | None = None


class Usage(Struct):
    prompt_tokens: Total | None = None
    completion_tokens: Total | None = None
    prompt_tokens_details: Details | None = None

    @property
    def cached(self) -> int:
        return (self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens) or 0


class _Choice(Struct):
    delta: Delta | None = None
    message: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: Any = None


class Choice(_Choice):
    logprobs: Logprobs | None = None

    def said(self) -> Delta | None:
        return self.delta or self.message


class Answer(Struct):
    """What every answer may be instead: an error, in one of the forms that servers have for it."""

    error: object = None
    kind: object = field(default=None, name="object")
    message: object = None
    code: object = None

    def failure(self) -> object:
        """What it says of an error; None where it is none. An error that is null is none."""
        if self.kind == "error":
            return {"message": self.message, "code": self.code}
        return self.error or None


class Vector(Struct):
    index: int
    embedding: list[float]


class Vectors(Answer):
    data: list[Vector] = []


class _Event(Answer):
    choices: list[_Choice] | None = None
    usage: Any = None


class Event(Answer):
    """A piece of a stream, or a whole answer."""

    choices: list[Choice] | None = None
    usage: Usage | None = None


class Entry(Struct):
    """A model that is listed. What it may have of a context is named in as many ways as there are servers."""

    id: str
    owned_by: object = None
    max_model_len: object = None
    max_context_length: object = None
    context_length: object = None
    meta: object = None

    @property
    def context(self) -> int:
        meta = self.meta if isinstance(self.meta, dict) else {}
        told = (self.max_model_len, meta.get("n_ctx"), self.max_context_length, self.context_length)
        return next((value for value in map(total, told) if value), 0)


class Models(Answer):
    data: list[Entry] | None = None


class Properties(Answer):
    """llama-server's. A router, with several models, has a role in place of slots."""

    total_slots: object = None
    role: object = None
    default_generation_settings: object = None
    build_info: object = None

    @property
    def of_llama_server(self) -> bool:
        return self.role == "router" or any((self.total_slots, self.default_generation_settings, self.build_info))

    @property
    def context(self) -> int:
        settings = self.default_generation_settings
        return total(settings.get("n_ctx")) if isinstance(settings, dict) else 0


class Version(Answer):
    version: object = None


class Tokens(Answer):
    tokens: list[int] | None = None


class Scored(Struct):
    score: float


class Scores(Answer):
    """vLLM's, of a model with one label: a reward model, or one that ranks."""

    data: list[Scored] | None = None


class Rendered(Answer):
    """llama-server's and vLLM's ``prompt``, SGLang's ``text``, llama-server's ``content``."""

    prompt: str | None = None
    text: str | None = None
    content: str | None = None


def total(value: object) -> int:
    """A count, 0 where it is none."""
    return optional(value, Total) or 0


def optional(value: object, shape: type[T]) -> T | None:
    """``value`` as a ``shape``; None where it has another."""
    try:
        return convert(value, shape)
    except Misshapen:
        return None


_EVENT = msgspec.json.Decoder(Event)  # made once: a stream's pieces are many


def event(data: bytes) -> Event:
    """An event of a stream or a whole answer. Raises ``Misshapen`` for one whose text cannot be read."""
    try:
        return _EVENT.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass
    loose = decode(data, _Event)
    found = Event(loose.error, loose.kind, loose.message, loose.code, usage=_usage(loose.usage))
    if loose.choices is not None:
        found.choices = [
            Choice(one.delta, one.message, one.text, one.finish_reason, _logprobs(one.logprobs))
            for one in loose.choices
        ]
    return found


def _usage(value: object) -> Usage | None:
    if not isinstance(value, dict):
        return None
    details = optional(value.get("prompt_tokens_details"), Details)
    return Usage(total(value.get("prompt_tokens")), total(value.get("completion_tokens")), details)


def _logprobs(value: object) -> Logprobs | None:
    """With some servers the list stands alone."""
    if isinstance(value, list):
        value = {"content": value} if value and isinstance(value[0], dict) else {"token_logprobs": value}
    return None if value is None else optional(value, Logprobs) or UNKNOWN


def words(value: object, depth: int = 8) -> str:
    """What an error says, out of whatever it is wrapped in: texts, objects, lists, JSON within a text.

    >>> words({"detail": [{"loc": ["body", "top_k"], "msg": "Input should be positive"}]})
    'top_k: Input should be positive'
    >>> words('{"error": {"code": 400, "message": "no"}}'), words("<html>")
    ('no', '')
    """
    found = ""
    if isinstance(value, str):
        found = " ".join(value.split())
        if found.startswith(("{", "[")) and depth:
            found = words(_json(value), depth - 1) or found
        elif found.startswith("<"):
            found = ""  # a proxy's page
    elif isinstance(value, list) and depth:
        found = "; ".join(filter(None, (words(one, depth - 1) for one in value[:3])))
    elif isinstance(value, dict) and depth:
        keys = ("error", "message", "msg", "detail", "errors", "reason")
        found = next((said for key in keys if (said := words(value.get(key), depth - 1))), "")
        place = value.get("loc") or value.get("param")
        name = str(place[-1]) if place and isinstance(place, list) else place
        if found and isinstance(name, str) and name not in found:
            found = f"{name}: {found}"
    return found[:WORDS]


def _json(text: str) -> object:
    try:
        return decode(text, object)
    except Misshapen:
        return None


def status(failure: object) -> int:
    """The HTTP status that an error within an answer would have had as an answer of its own; 500 where none is told."""
    told = failure if isinstance(failure, dict) else {}
    for key in ("code", "status", "status_code", "http_status_code"):
        value = told.get(key)
        if isinstance(value, str) and value.isdecimal() and len(value) == 3:
            value = int(value)
        if isinstance(value, int) and 400 <= value < 600:
            return value
    return 500
