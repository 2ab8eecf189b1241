"""Any OpenAI-compatible server: vLLM, SGLang, llama-server, LM Studio.

What goes beyond the common API is asked of the server and used where it answers: llama-server renders a
template at ``/apply-template``, vLLM by ``/tokenize`` of messages and ``/detokenize`` of the result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

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
    TransientError,
    Unauthorized,
)
from magpie_ollama.records import Message
from magpie_ollama.servers.address import base_url
from magpie_ollama.servers.base import Completion, Model, Sampling, Watch
from magpie_ollama.servers.connections import LOOK, Connections, json_object

DEFAULT_PORT = 8000


class OpenAIServer:
    kind = "openai"

    def __init__(self, host: str = "", options: Mapping[str, Any] | None = None, api_key: str = "") -> None:
        """``options`` go into every request's body, by the server's own names."""
        self._options = dict(options or {})
        self._engine = ""
        self._connect(base_url(host, DEFAULT_PORT).removesuffix("/v1"), api_key)

    async def version(self) -> str:
        """Name and version of the engine, as far as it tells ("vllm 0.32.0", "llama-server")."""
        try:
            await self._http.json("GET", "/v1/models")
        except ConnectionLost as error:
            raise NoServer(
                f"No OpenAI-compatible server answers at {self.address}.",
                "start it, or give its address with --host http://HOST:PORT",
            ) from error
        properties = await self._optional("GET", "/props")
        if "total_slots" in properties:
            self._engine = "llama-server"
            self._http.reuses = False
            return " ".join(("llama-server", str(properties.get("build_info", "")))).strip()
        version = (await self._optional("GET", "/version")).get("version", "")
        if version:
            self._engine = "vllm"
        return f"vllm {version}".strip() if version else ""

    async def models(self) -> list[str]:
        return [entry["id"] for entry in await self._listed()]

    async def describe(self, model: str) -> Model:
        entry = next((entry for entry in await self._listed() if entry["id"] == model), None)
        if entry is None:
            raise self._missing(model)
        properties = await self._optional("GET", "/props") if self._engine == "llama-server" else {}
        slot = (properties.get("default_generation_settings") or {}).get("n_ctx")
        return Model(name=model, context=int(slot or entry.get("max_model_len") or 0))

    async def load(self, model: str) -> None:
        """Nothing to do: these servers listen once their model is loaded."""

    async def render(self, model: str, messages: Sequence[Message]) -> str | None:
        if self._engine == "llama-server":
            body = {"messages": messages, "chat_template_kwargs": {"enable_thinking": False}}
            answer = await self._optional("POST", "/apply-template", body)
        elif self._engine == "vllm":
            tokens = await self._optional(
                "POST", "/tokenize", {"model": model, "messages": messages, "add_generation_prompt": True}
            )
            if "tokens" not in tokens:
                return None
            answer = await self._optional("POST", "/detokenize", {"model": model, "tokens": tokens["tokens"]})
        else:
            return None
        prompt = answer.get("prompt")
        return prompt if isinstance(prompt, str) else None

    async def adds_bos(self, model: str, bos: str) -> bool:
        if self._engine == "vllm":
            return False  # requests say add_special_tokens: false, since the rendering has the token
        if self._engine == "llama-server":
            body = {"content": bos, "add_special": True, "parse_special": True}
            return len((await self._optional("POST", "/tokenize", body)).get("tokens", ())) > 1
        return True  # the completions API of other servers tokenises as for a document, with BOS in front

    async def hides(self, model: str, token: str) -> bool:
        return False  # vLLM shows it, llama-server's log-probabilities do; of others nothing is known

    async def complete(
        self, model: str, prompt: str, sampling: Sampling, stops: Sequence[str], watch: Watch
    ) -> Completion:
        body = self._body(model, sampling) | {"prompt": prompt, "stop": list(stops), "logprobs": 1}
        if self._engine == "vllm":
            # Stop strings that are control tokens match only where they are not skipped.
            body |= {"add_special_tokens": False, "skip_special_tokens": False}
        return await self._stream("/v1/completions", body, watch, stops)

    async def chat(
        self,
        model: str,
        messages: Sequence[Message],
        sampling: Sampling,
        think: bool,
        watch: Watch,
        schema: Mapping[str, Any] | None = None,
    ) -> Completion:
        body = self._body(model, sampling) | {"messages": messages}
        if schema is not None:
            wanted = {"name": "answer", "schema": schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": wanted}
        if self._engine or think:
            body["chat_template_kwargs"] = {"enable_thinking": think}
        return await self._stream("/v1/chat/completions", body, watch)

    def silent_for(self) -> float:
        return self._http.silent_for()

    async def close(self) -> None:
        await self._http.close()

    def _body(self, model: str, sampling: Sampling) -> dict[str, Any]:
        penalty = "repeat_penalty" if self._engine == "llama-server" else "repetition_penalty"
        return {
            "model": model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k or -1,
            "min_p": sampling.min_p,
            penalty: sampling.repeat_penalty,
            "max_tokens": sampling.max_tokens,
            "seed": sampling.seed,
            **self._options,
        }

    async def _stream(
        self, path: str, body: dict[str, Any], watch: Watch, stops: Sequence[str] | None = None
    ) -> Completion:
        """With ``stops`` (raw mode), a control token that the server does not show ends the text too.

        llama-server's engine leaves such a token out of the text, so that no stop string can match it, and what follows
        would be glued to what came before.
        """
        completion = Completion()
        usage: dict[str, Any] = {}
        empty: list[float] = []  # log-probabilities of the tokens without text since the last one with text

        def on_line(line: bytes) -> bool:
            nonlocal usage
            data = line[5:].strip()
            if not line.startswith(b"data:") or data == b"[DONE]":
                return False  # comments that keep the connection open, and the end
            event = _event(data)
            if "error" in event:
                raise self._refusal(_code(event["error"]), data.decode())
            usage = event.get("usage") or usage
            if not event.get("choices"):
                return False
            choice = event["choices"][0]
            delta = choice.get("delta") or {}
            completion.reasoning += delta.get("reasoning_content") or delta.get("reasoning") or ""
            if choice.get("finish_reason"):
                completion.finish_reason = choice["finish_reason"]
            text = delta.get("content") or choice.get("text") or ""
            logprobs = _logprobs(choice.get("logprobs"))
            unshown = stops is not None and _is_empty(choice.get("logprobs"))
            empty.extend(logprobs if unshown else ())
            if empty and _is_hidden(len(empty), text, stops or ()):
                completion.finish_reason = "stop"
                return True
            if unshown:
                return False
            if text:
                logprobs = [*empty, *logprobs]
                empty.clear()
            if logprobs:
                completion.logprob = (completion.logprob or 0.0) + sum(logprobs)
            if not text:
                return False
            completion.tokens += len(logprobs) or 1
            completion.text += text
            if watch(completion.text) and not completion.finish_reason:
                completion.finish_reason = "cancelled"
                return True
            return False

        await self._http.stream(path, body, on_line)
        if not completion.finish_reason:
            raise TransientError(f"{self.address} ended its answer before it was complete.", LOOK)
        completion.prompt_tokens = usage.get("prompt_tokens", 0)
        completion.tokens = usage.get("completion_tokens", completion.tokens)
        completion.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return completion

    def _connect(self, address: str, api_key: str) -> None:
        self.address = address
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = Connections(address, self._refusal, headers)

    async def _listed(self) -> list[dict[str, Any]]:
        answer = await self._http.json("GET", "/v1/models")
        entries = answer.get("data")
        if not isinstance(entries, list) or not all(isinstance(e, dict) and "id" in e for e in entries):
            raise NotThisServer(
                f"What answers at {self.address} is not OpenAI-compatible: /v1/models has no data.", "check --host"
            )
        return entries

    async def _optional(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The answer of an endpoint that not every such server has; {} where it has none.

        A question with a body is refused aloud where the endpoint is there: a template may raise an error of its own.
        """
        try:
            return await self._http.json(method, path, body)
        except (ModelMissing, NotThisServer, Forbidden):
            return {}
        except (Busy, ConnectionLost, Unauthorized):
            raise
        except ServerError as error:
            if body is not None:
                raise RequestRefused(error.cause, error.remedy) from error
            return {}

    def _missing(self, model: str) -> ModelMissing:
        return ModelMissing(f"{self.address} has no model {model!r}.", "choose one of those it lists at /v1/models")

    def _refusal(self, status: int, body: str) -> MagpieError:
        said = _message(body) or f"HTTP {status}"
        low = said.lower()
        if status in (401, 403):
            kind = Forbidden if status == 403 else Unauthorized
            return kind(f"{self.address} wants a key ({said}).", "set OPENAI_API_KEY")
        if status == 404:
            return ModelMissing(f"{self.address} answered: {said}.", "check -m, and --host for a wrong path")
        if "context size" in low or "context length" in low:
            return PromptTooLong(f"The prompt is longer than the model's context: {said}", "start it with more context")
        if "out of memory" in low:
            return OutOfMemory(f"{self.address} ran out of memory: {said}", "start it with a smaller model")
        if status in (429, 502, 503, 504):
            return Busy(f"{self.address} is busy ({said}).", "wait, then run the same command again")
        if status in (408, 409, 425) or status >= 500:
            return TransientError(f"{self.address} failed for now ({said}).", LOOK)
        return RequestRefused(f"{self.address} refused the request: {said}", "check the options of this command")


def _event(data: bytes) -> dict[str, Any]:
    event = json_object(data)
    if event is None:
        raise TransientError(f"The server sent an event that is no JSON object ({len(data)} bytes).", LOOK)
    return event


def _code(error: Any) -> int:
    """The status that an error amid a stream would have had as an answer of its own."""
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and code >= 400 else 500


def _logprobs(value: Any) -> list[float]:
    """One number a token: vLLM's completions have ``token_logprobs``, llama-server's ``content``."""
    if not value:
        return []
    if value.get("content"):
        return [token["logprob"] for token in value["content"]]
    return [number for number in value.get("token_logprobs") or () if number is not None]


def _is_empty(value: Any) -> bool:
    """Whether llama-server's list has a token without text."""
    return any(not token.get("token") and not token.get("bytes") for token in (value or {}).get("content") or ())


def _is_hidden(empty: int, text: str, stops: Sequence[str]) -> bool:
    """Whether ``empty`` tokens without text, with ``text`` behind them if any came, are control tokens.

    Text that may begin a stop string is held back, and its tokens come empty too, until the next one decides.
    """
    if text:
        return not any(stop[0] in text for stop in stops)
    return empty > max(map(len, stops), default=0)


def _message(body: str) -> str:
    try:
        error = json.loads(body).get("error")
    except (ValueError, AttributeError):
        return ""
    return str(error.get("message", "")) if isinstance(error, dict) else str(error or "")
