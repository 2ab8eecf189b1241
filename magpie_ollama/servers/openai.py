"""Any OpenAI-compatible server: vLLM, SGLang, llama-server, LM Studio, llama-cpp-python, mlx.

What goes beyond the common API is asked of the server and used where it answers: llama-server renders a
template at ``/apply-template``, vLLM and SGLang by ``/tokenize`` of messages and ``/detokenize`` of the result.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar, cast
from urllib.parse import quote

from magpie_ollama.decoding import Misshapen, decode
from magpie_ollama.errors import (
    Busy,
    ConnectionLost,
    Forbidden,
    MagpieError,
    ModelMissing,
    NoServer,
    NotThisServer,
    OutOfMemory,
    PromptTooLong,
    RequestRefused,
    ServerError,
    Stalled,
    TransientError,
    Unauthorized,
    UsageError,
)
from magpie_ollama.records import Message
from magpie_ollama.servers.address import base_url
from magpie_ollama.servers.base import Completion, Model, OnStep, Sampling, Server, ServerChoice, Watch
from magpie_ollama.servers.connections import LOOK, Connections
from magpie_ollama.servers.openai_dialect import Dialect
from magpie_ollama.servers.openai_shapes import (
    Answer,
    Entry,
    Models,
    Properties,
    Rendered,
    Scores,
    Tokens,
    Vectors,
    Version,
    words,
)
from magpie_ollama.servers.openai_stream import Reading

OTHER_OWNERS = {"sglang", "llamacpp", "tabbyAPI", "mlx"}
"""Whom models are listed as owned by, where not vLLM's."""

SWALLOWED = 2
"""So many responses in reasoning alone, and not one in text, are no chance."""

TOO_LONG = (
    "context size",
    "context length",
    "context window",
    "context overflow",
    "inputs` tokens",
    "large to process",
)
BUSY = ("rate limit", "too many requests", "overloaded", "queue is full", "is loading", "loading model")

ABSENT = re.compile(r"prompt\b.*(required|missing)|(required|missing)\b.*prompt", re.IGNORECASE)
"""Of a ``/tokenize`` that takes texts only."""

T = TypeVar("T")
Renderer = Callable[[str, Sequence[Message]], Awaitable[str | None]]


class OpenAIServer(Server):
    kind = "openai"
    default_port: ClassVar[int] = 8000
    # vLLM shows control tokens, llama-server's log-probabilities do; of others nothing is known
    shown_by = "llama-server and vLLM (--server openai)"
    _renderers: list[Renderer]

    def __init__(self, host: str = "", options: Mapping[str, Any] | None = None, api_key: str = "") -> None:
        """``options`` go into every request's body, by the server's own names; one that is None leaves that parameter
        out."""
        self._options = dict(options or {})
        self._engine = ""
        self.notices: list[str] = []
        self._connect(base_url(host, self.default_port).removesuffix("/v1"), api_key)

    @classmethod
    async def begin(cls, choice: ServerChoice, slots: int, on_step: OnStep) -> Self:
        if "num_ctx" in choice.options:
            raise UsageError(
                "--num-ctx has no effect on an OpenAI-compatible server.", "start that server with the context you want"
            )
        return cls(choice.host, choice.options, os.environ.get("OPENAI_API_KEY", ""))

    async def version(self) -> str:
        """Name and version of the engine, as far as it tells ("vllm 0.32.0", "llama-server")."""
        try:
            listed = await self._listed()
        except ConnectionLost as error:
            raise NoServer(
                f"No OpenAI-compatible server answers at {self.address}.",
                "start it, or give its address with --host http://HOST:PORT",
            ) from error
        properties = await self._optional("GET", "/props", Properties)
        if properties is not None and properties.of_llama_server:
            self._engine = "llama-server"
            self._router = properties.role == "router"
            self._http.reuses = False
            build = properties.build_info
            return f"llama-server {build}" if build and isinstance(build, str) else "llama-server"
        told = await self._optional("GET", "/version", Version)
        version = told.version if told is not None and isinstance(told.version, str) else ""
        owner = next((entry.owned_by for entry in listed if isinstance(entry.owned_by, str)), "")
        if version and owner in OTHER_OWNERS:
            return f"{owner} {version}"
        if version or owner == "vllm":
            self._engine = "vllm"
            self._renderers.reverse()
            return f"vllm {version}".strip()
        return owner if owner in OTHER_OWNERS else ""

    async def models(self) -> list[str]:
        return [entry.id for entry in await self._listed()]

    async def describe(self, model: str) -> Model:
        entry = next((entry for entry in await self._listed() if entry.id == model), None)
        if entry is None:
            raise ModelMissing(f"{self.address} has no model {model!r}.", "choose one of those it lists at /v1/models")
        properties = None
        if self._engine == "llama-server":
            path = f"/props?model={quote(model, safe='')}" if self._router else "/props"
            properties = await self._optional("GET", path, Properties)
        return Model(name=model, context=(properties and properties.context) or entry.context)

    async def load(self, model: str) -> None:
        """Nothing to do: these servers listen once their model is loaded, or load it when it is asked."""

    async def render(self, model: str, messages: Sequence[Message]) -> str | None:
        for renderer in tuple(self._renderers):
            prompt = await renderer(model, messages)
            if prompt is not None:
                self._renderers = [renderer]
                self._renders = True
                return prompt
            if not self._renders and renderer in self._renderers:
                self._renderers.remove(renderer)  # it has no such thing
        return None

    async def _by_template(self, model: str, messages: Sequence[Message]) -> str | None:
        body = {"model": model, "messages": messages, "chat_template_kwargs": {"enable_thinking": False}}
        told = await self._optional("POST", "/apply-template", Rendered, body, self._engine == "llama-server")
        return told.prompt if told is not None else None

    async def _by_tokens(self, model: str, messages: Sequence[Message]) -> str | None:
        body = {"model": model, "messages": messages, "add_generation_prompt": True}
        tokens = await self._optional("POST", "/tokenize", Tokens, body, self._engine == "vllm")
        if tokens is None or not tokens.tokens:
            return None
        back: dict[str, Any] = {"model": model, "tokens": tokens.tokens}
        if self._engine != "vllm":
            back["skip_special_tokens"] = False  # SGLang leaves them out
        told = await self._optional("POST", "/detokenize", Rendered, back)
        return (told.prompt or told.text) if told is not None else None

    async def adds_bos(self, model: str, bos: str) -> bool:
        if self._engine == "vllm":
            return False  # requests say add_special_tokens: false, since the rendering has the token
        body = {"model": model, "content": bos, "add_special": True, "parse_special": True}
        if self._engine != "llama-server":
            body |= {"prompt": bos, "add_special_tokens": True}
        told = await self._optional("POST", "/tokenize", Tokens, body, aloud=False)
        # Where no count is told: the completions API tokenises as for a document, with BOS in front.
        return told is None or not told.tokens or len(told.tokens) > 1

    async def complete(
        self, model: str, prompt: str, sampling: Sampling, stops: Sequence[str], watch: Watch
    ) -> Completion:
        body = self._body(model, sampling) | {"prompt": prompt, "stop": list(stops), "logprobs": 1}
        if self._engine == "vllm":
            # Stop strings that are control tokens match only where they are not skipped.
            body |= {"add_special_tokens": False, "skip_special_tokens": False}
        return await self._ask("/v1/completions", body, watch, stops)

    async def chat(
        self,
        model: str,
        messages: Sequence[Message],
        sampling: Sampling,
        think: bool,
        watch: Watch,
        schema: Mapping[str, Any] | None = None,
        top: int = 0,
    ) -> Completion:
        body = self._body(model, sampling) | {"messages": messages}
        if top:
            body |= {"logprobs": True, "top_logprobs": top}
        if schema is not None:
            wanted = {"name": "answer", "schema": schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": wanted}
        body["chat_template_kwargs"] = {"enable_thinking": think}
        completion = await self._ask("/v1/chat/completions", body, watch)
        self._look_for_answers(completion, think)
        return completion

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        body = {"model": model, "input": list(texts)} | self._options
        told = await self._told("POST", "/v1/embeddings", Vectors, body)
        return [vector.embedding for vector in sorted(told.data, key=lambda vector: vector.index)]

    async def score(self, model: str, asked: str, said: str) -> float | None:
        body = {"model": model, "text_1": asked, "text_2": said}
        told = await self._optional("POST", "/score", Scores, body, self._engine == "vllm")
        return told.data[0].score if told is not None and told.data else None

    def silent_for(self) -> float:
        return self._http.silent_for()

    async def close(self) -> None:
        await self._http.close()

    def _body(self, model: str, sampling: Sampling) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k or -1,
            "min_p": sampling.min_p,
        }
        # llama-server, llama-cpp-python and LM Studio have the one name, all others the other.
        if self._engine != "vllm":
            body["repeat_penalty"] = sampling.repeat_penalty
        if self._engine != "llama-server":
            body["repetition_penalty"] = sampling.repeat_penalty
        return body | {"max_tokens": sampling.max_tokens, "seed": sampling.seed}

    async def _ask(
        self, path: str, body: dict[str, Any], watch: Watch, stops: Sequence[str] | None = None
    ) -> Completion:
        body |= self._options
        if None in self._options.values():
            body = {name: value for name, value in body.items() if value is not None}

        async def ask(fitted: dict[str, Any], completion: Completion) -> None:
            reading = Reading(self.address, completion, watch, stops, self._failure)
            await self._http.stream(path, fitted, reading.line)
            reading.end()

        return await self._dialect.ask(path, body, ask)

    def _look_for_answers(self, completion: Completion, think: bool) -> None:
        """Says, once, that all texts so far are in the reasoning, though none was asked for."""
        if think or completion.finish_reason != "stop":
            return
        if completion.text.strip():
            self._swallowed = -1
        elif completion.reasoning.strip() and self._swallowed >= 0:
            self._swallowed += 1
            if self._swallowed == SWALLOWED:
                self.notices.append(
                    f"{self.address} tells every response as reasoning, and none as text: its reasoning parser takes "
                    "them. Add --think, or start the server with another --reasoning-parser, or without one."
                )

    def _connect(self, address: str, api_key: str) -> None:
        self.address = address
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = Connections(address, self._failure, headers)
        self._dialect = Dialect(address, lambda notice: self.notices.append(notice))
        self._router = False
        self._renderers = [self._by_template, self._by_tokens]
        self._renders = False
        self._swallowed = 0

    async def _listed(self) -> list[Entry]:
        # Some list their models without anything around the list.
        models = await self._told("GET", "/v1/models", Models | list[Entry])
        entries = (models or None) if isinstance(models, list) else models.data
        if entries is None:
            raise NotThisServer(
                f"What answers at {self.address} is not OpenAI-compatible: /v1/models has no data.", "check --host"
            )
        return entries

    async def _told(self, method: str, path: str, shape: Any, body: Any = None) -> Any:
        """The answer as a ``shape``. Raises ``NotThisServer`` for one of another shape, and for an error in a 200."""
        content = await self._http.read(method, path, body)
        try:
            told = decode(content, shape)
        except Misshapen as error:
            raise self._http.unreadable(path, content, f"what is not expected ({error})") from error
        if isinstance(told, Answer) and (failure := told.failure()) is not None:
            raise NotThisServer(f"{self.address}{path} answered: {words(failure)}.", "check --host and --server")
        return told

    async def _optional(
        self, method: str, path: str, shape: type[T], body: Any = None, aloud: bool = False
    ) -> T | None:
        """The answer of an endpoint that not every such server has; None where it has none.

        ``aloud``, and once the server has rendered anything, a question is refused aloud: a template may raise an error
        of its own.
        """
        try:
            return cast(T, await self._told(method, path, shape, body))
        except (ModelMissing, NotThisServer, Forbidden):
            return None
        except (Busy, ConnectionLost, Unauthorized, Stalled):
            raise
        except ServerError as error:
            if body is not None and (aloud or self._renders) and not ABSENT.search(error.cause):
                raise RequestRefused(error.cause, error.remedy) from error
            return None

    def _failure(self, status: int, failure: object) -> MagpieError:
        """The error that an HTTP status means, with what the server says of it, as text or as decoded JSON."""
        said = words(failure) or f"HTTP {status}"
        low = said.lower()
        if status in (401, 403):
            kind = Forbidden if status == 403 else Unauthorized
            return kind(f"{self.address} wants a key ({said}).", "set OPENAI_API_KEY")
        if status == 404:
            return ModelMissing(f"{self.address} answered: {said}.", "check -m, and --host for a wrong path")
        if any(sign in low for sign in TOO_LONG):
            return PromptTooLong(f"The prompt is longer than the model's context: {said}", "start it with more context")
        if "out of memory" in low:
            return OutOfMemory(f"{self.address} ran out of memory: {said}", "start it with a smaller model")
        if status in (429, 502, 503, 504, 529) or (status >= 500 and any(sign in low for sign in BUSY)):
            return Busy(f"{self.address} is busy ({said}).", "wait, then run the same command again")
        if status in (408, 409, 425) or (status >= 500 and status not in (501, 505)):
            return TransientError(f"{self.address} failed: {said}", LOOK)
        return RequestRefused(
            f"{self.address} refused the request: {said}",
            "check the options of this command; --option NAME=null leaves a parameter out",
        )
