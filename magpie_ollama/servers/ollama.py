"""Ollama: the ``ollama`` client for what it can say, plain HTTP for what it cannot.

The client has fixed signatures and drops unknown reply fields, so the rendering of a template
(``_debug_render_only``) and the streams go through ``Connections``.
Facts are for Ollama 0.24 (its own engine) and 0.30 and later (llama-server's engine), both measured.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import httpx

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
from magpie_ollama.servers.connections import LOOK, Connections, client_settings, json_object

_read_at_import = [name for name in os.environ if name.upper().endswith("_PROXY") or name == "OLLAMA_HOST"]
_held = {name: os.environ.pop(name) for name in _read_at_import}
try:
    import ollama  # makes a client of its own, and fails where these hold what it cannot use
finally:
    os.environ.update(_held)

DEFAULT_PORT = 11434
START = "start it with `ollama serve` (or open the Ollama app), or point --host at it"

REPEATS = 29
"""Ollama ends a text without a last line after some 30 equal pieces (its guard against loops)."""

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

T = TypeVar("T")


class PullProgress(NamedTuple):
    """Bytes of one layer of a model on its way here; 0 of 0 for steps without a size."""

    status: str
    completed: int
    total: int


class Loaded(NamedTuple):
    """A model in memory: its bytes in all, and those of them on a GPU (what is left, the CPU computes). ``parameters``
    and ``quantisation`` are in Ollama's own words ("134.52M", "Q4_1"), "" where it does not tell."""

    size: int
    on_gpu: int
    parameters: str
    quantisation: str


class OllamaServer:
    kind = "ollama"

    def __init__(self, host: str = "", options: Mapping[str, Any] | None = None, api_key: str = "") -> None:
        """``options`` go with every request, by Ollama's own names (``num_ctx``, ``num_thread``, ...)."""
        self.address = base_url(host, DEFAULT_PORT)
        self.notices: list[str] = []
        self._options = dict(options or {})
        # The one setting that Ollama wants beside the options and not among them.
        self._beside = {key: self._options.pop(key) for key in ("keep_alive",) if key in self._options}
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = Connections(self.address, self._refusal, headers)
        self._client = ollama.AsyncClient(self.address, headers=headers, **client_settings(self.address))
        self._model = ""
        self._context = 0
        self._hides_control = False

    async def version(self) -> str:
        try:
            answer = await self._http.json("GET", "/api/version")
        except ConnectionLost as error:
            raise NoServer(f"No Ollama answers at {self.address}.", START) from error
        except Unauthorized:
            raise
        except ServerError as error:  # a proxy's 502 too: an Ollama can always say its version
            raise self._not_ollama() from error
        version = answer.get("version")
        if not isinstance(version, str):
            raise self._not_ollama()
        # Since 0.30 its engine is llama-server's, which leaves control tokens out of the text.
        self._hides_control = tuple(map(int, re.findall(r"\d+", version)[:2])) >= (0, 30)
        return version

    async def models(self) -> list[str]:
        found = await self._ask(self._client.list())
        return [entry.model for entry in found.models if entry.model]

    async def describe(self, model: str) -> Model:
        self._model = model
        shown = await self._ask(self._client.show(model))
        listed = await self._ask(self._client.list())
        capabilities = shown.capabilities
        info = shown.modelinfo or {}
        entry = next((m for m in listed.models if _is_same(m.model, model)), None)
        trained = next((int(v) for k, v in info.items() if k.endswith(".context_length") and v), 0)
        return Model(
            # As it is listed: "smollm2" and "smollm2:latest" are one model, and one run.
            name=(entry and entry.model) or model,
            digest=(entry and entry.digest) or "",
            context=await self._loaded_context(model) or trained,
            stops=_stops(shown.parameters or ""),
            thinks=None if capabilities is None else "thinking" in capabilities,
            generates=capabilities is None or "completion" in capabilities,
        )

    async def load(self, model: str) -> None:
        self._model = model
        await self._http.json("POST", "/api/generate", self._body(model, {}, stream=False))
        self._context = await self._loaded_context(model) or int(self._options.get("num_ctx") or 0)

    async def loaded(self, model: str) -> Loaded | None:
        """What of the model is in memory; None where it is not."""
        running = await self._running(model)
        if running is None:
            return None
        details = running.details
        return Loaded(
            size=int(running.size or 0),
            on_gpu=int(running.size_vram or 0),
            parameters=(details and details.parameter_size) or "",
            quantisation=(details and details.quantization_level) or "",
        )

    def pull(self, model: str) -> AsyncIterator[PullProgress]:
        """Fetches ``model`` from Ollama's registry; ends when it is there."""
        return self._pull(model)

    async def render(self, model: str, messages: Sequence[Message]) -> str | None:
        # Releases before 0.11.5 ignore the unknown field and generate: one token, so that it costs nothing.
        body = self._body(model, {"num_predict": 1}, stream=False)
        body |= {"messages": messages, "think": False, "truncate": False, "_debug_render_only": True}
        try:
            answer = await self._http.json("POST", "/api/chat", body)
        except (Busy, ConnectionLost):
            raise
        except TransientError as error:  # a 500: the template itself fails, and will do so again
            raise RequestRefused(error.cause, "choose another --steering, or give --template") from error
        rendered = (answer.get("_debug_info") or {}).get("rendered_template")
        return rendered if isinstance(rendered, str) else None

    async def adds_bos(self, model: str, bos: str) -> bool:
        return await self._tokens(model, bos) > 1

    async def hides(self, model: str, token: str) -> bool:
        # One token, or two with a BOS: as plain text it would be more, and be seen.
        return self._hides_control and await self._tokens(model, token) <= 2

    async def _tokens(self, model: str, prompt: str) -> int:
        """Tokens of a prompt, with what the server puts in front."""
        body = self._body(model, {"num_predict": 1}, stream=False)
        answer = await self._http.json("POST", "/api/generate", body | {"raw": True, "think": False, "prompt": prompt})
        return int(answer.get("prompt_eval_count", 1))

    async def complete(
        self, model: str, prompt: str, sampling: Sampling, stops: Sequence[str], watch: Watch
    ) -> Completion:
        body = self._body(model, _sampling(sampling) | {"stop": list(stops)})
        body |= {"raw": True, "think": False, "logprobs": True, "truncate": False, "prompt": prompt}
        completion = await self._stream("/api/generate", body, watch, stops)
        if 0 < self._context - 1 <= completion.prompt_tokens:  # before 0.12.11 it is cut, whatever is asked for
            raise self._too_long(completion.prompt_tokens)
        return completion

    async def chat(
        self,
        model: str,
        messages: Sequence[Message],
        sampling: Sampling,
        think: bool,
        watch: Watch,
        schema: Mapping[str, Any] | None = None,
    ) -> Completion:
        body = self._body(model, _sampling(sampling))
        body |= {"messages": messages, "think": think, "truncate": False}
        if schema is not None:
            body["format"] = schema
        return await self._stream("/api/chat", body, watch)

    def silent_for(self) -> float:
        return self._http.silent_for()

    async def close(self) -> None:
        await self._http.close()
        await self._client.close()  # type: ignore[no-untyped-call]

    def _body(self, model: str, options: Mapping[str, Any], stream: bool = True) -> dict[str, Any]:
        return {"model": model, "stream": stream, **self._beside, "options": {**self._options, **options}}

    async def _stream(self, path: str, body: dict[str, Any], watch: Watch, stops: Sequence[str] = ()) -> Completion:
        completion = Completion()
        done = False
        pieces = 0
        last, repeated = "", 0

        def on_line(line: bytes) -> bool:
            nonlocal done, pieces, last, repeated
            piece = _piece(line)
            if "error" in piece:
                raise self._refusal(500, line.decode())
            message = piece.get("message") or piece
            text = message.get("content", "") if "message" in piece else piece.get("response", "")
            completion.reasoning += message.get("thinking") or ""
            for token in piece.get("logprobs") or ():
                completion.logprob = (completion.logprob or 0.0) + token["logprob"]
            if piece.get("done"):
                done = True
                completion.finish_reason = piece.get("done_reason", "stop")
                completion.prompt_tokens = piece.get("prompt_eval_count", 0)
                completion.tokens = piece.get("eval_count", 0)
            elif not done:
                completion.tokens += 1
            if not text:
                return False
            completion.text += text
            pieces += 1
            repeated = repeated + 1 if text == last else 0
            last = text
            if watch(completion.text) and not done:
                completion.finish_reason = "cancelled"
                return True
            return False

        await self._http.stream(path, body, on_line)
        if not completion.finish_reason and repeated >= REPEATS:
            completion.finish_reason = "length"
        if not completion.finish_reason:
            raise TransientError(f"Ollama at {self.address} ended its answer before it was complete.", LOOK)
        if done and completion.finish_reason == "stop":
            completion.unshown = _unshown(completion, pieces, stops)
        return completion

    async def _pull(self, model: str) -> AsyncIterator[PullProgress]:
        try:
            async for step in await self._client.pull(model, stream=True):
                yield PullProgress(step.status or "", step.completed or 0, step.total or 0)
        except ollama.ResponseError as error:
            remedy = "check the name at ollama.com/library and the connection, then run the same command again"
            raise ModelMissing(f"Ollama could not pull {model!r}: {error.error}.", remedy) from error
        except (ConnectionError, httpx.TransportError) as error:
            raise NoServer(f"No Ollama answers at {self.address}.", START) from error

    async def _loaded_context(self, model: str) -> int:
        running = await self._running(model)
        return (running and running.context_length) or 0

    async def _running(self, model: str) -> ollama.ProcessResponse.Model | None:
        running = await self._ask(self._client.ps())
        return next((m for m in running.models if _is_same(m.model, model)), None)

    async def _ask(self, question: Awaitable[T]) -> T:
        try:
            return await question
        except ollama.ResponseError as error:
            raise self._refusal(error.status_code, json.dumps({"error": error.error})) from error
        except (ConnectionError, httpx.TransportError) as error:
            raise NoServer(f"No Ollama answers at {self.address}.", START) from error
        except (AttributeError, TypeError, ValueError) as error:  # what the client makes of JSON of another shape
            raise self._not_ollama() from error

    def _not_ollama(self) -> NotThisServer:
        return NotThisServer(
            f"What answers at {self.address} is not Ollama.",
            "check --host and OLLAMA_HOST; for vLLM, llama-server or LM Studio add --server openai",
        )

    def _too_long(self, tokens: int) -> PromptTooLong:
        return PromptTooLong(
            f"Ollama cut the prompt to {tokens} tokens, since {self._model} is loaded with {self._context} of context.",
            f"give it more, for example --num-ctx {max(4096, 2 * self._context)}",
        )

    def _refusal(self, status: int, body: str) -> MagpieError:
        return refusal(status, body, self.address, self._model)


def refusal(status: int, body: str, address: str, model: str) -> MagpieError:
    """The error that an Ollama's answer means (statuses and texts: recorded; the texts vary between versions)."""
    try:
        answer = json.loads(body)
        text = str(answer["error"])
    except (ValueError, KeyError, TypeError):
        answer, text = {}, ""
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
    if status == 403:
        return Forbidden(f"Ollama at {address} forbids it ({said}).", "check OLLAMA_API_KEY, or choose another model")
    if "context size" in low or "input length exceeds" in low or "context length" in low:
        return PromptTooLong(f"The prompt is longer than the model's context: {said}.", "give it more with --num-ctx")
    if any(words in low.replace(" ", "").replace("-", "") for words in _OUT_OF_MEMORY):
        smaller = "close other programs, choose a smaller model or quantisation, or lower --num-ctx"
        return OutOfMemory(f"There is too little memory for {model!r}: {said}.", smaller)
    if status in (429, 502, 503, 504):
        return Busy(f"Ollama at {address} is busy ({said}).", "wait, then run the same command again")
    if status == 400 or "must be of type" in low:
        return RequestRefused(f"Ollama refused the request: {said}.", "check the options of this command")
    if status >= 500:
        return TransientError(f"Ollama failed: {said}.", LOOK)
    return ServerError(f"Ollama at {address} answered HTTP {status}: {said}.", "check --host and OLLAMA_HOST")


def _piece(line: bytes) -> dict[str, Any]:
    piece = json_object(line)
    if piece is None:
        raise TransientError(f"Ollama sent a line that is no JSON object ({len(line)} bytes).", LOOK)
    return piece


def _sampling(sampling: Sampling) -> dict[str, Any]:
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repeat_penalty,
        "num_predict": sampling.max_tokens,
        "seed": sampling.seed,
    }


def _stops(parameters: str) -> tuple[str, ...]:
    """The stop strings in the text of a Modelfile's parameters, a line each: ``stop   "<|im_end|>"``."""
    found = re.findall(r'^stop\s+("(?:[^"\\]|\\.)*"|\S+)\s*$', parameters, re.MULTILINE)
    return tuple(_unquote(stop) for stop in found)


def _unquote(stop: str) -> str:
    try:
        return str(json.loads(stop)) if stop.startswith('"') else stop
    except ValueError:  # Go's escapes that JSON has not, such as \\x00
        return stop[1:-1].encode("latin-1", "backslashreplace").decode("unicode_escape")


def _is_same(listed: str | None, model: str) -> bool:
    """Whether a listed name is that of ``model``: Ollama ignores case, its registry's name and the tag "latest"."""
    return listed is not None and _plain_name(listed) == _plain_name(model)


def _plain_name(model: str) -> str:
    name = model.lower().removeprefix("registry.ollama.ai/").removeprefix("library/")
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _unshown(completion: Completion, pieces: int, stops: Sequence[str]) -> int:
    """How many tokens were generated beside those that came as ``pieces`` and the one that ended the text.

    0 where that cannot be told: a letter beyond ASCII, and what may begin a stop string, may be several tokens that
    come as one piece.
    """
    text = completion.text
    if not text.isascii() or any(stop[:1] in text for stop in stops if stop):
        return 0
    return max(0, completion.tokens - pieces - 1)
