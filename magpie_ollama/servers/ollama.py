"""Ollama: its answers and streams by plain HTTP, each as a type; the ``ollama`` client for pulling a model.

The client has fixed signatures, drops unknown reply fields (the rendering of a template, ``_debug_render_only``, is
one), and reads an answer whole, however long.
Facts are for Ollama 0.24 (its own engine) and 0.30 and later (llama-server's engine), both measured.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from types import ModuleType
from typing import Any, Self, TypeVar

import httpx

from magpie_ollama.decoding import Misshapen, convert, decode
from magpie_ollama.errors import (
    Busy,
    ConnectionLost,
    MagpieError,
    ModelMissing,
    NoServer,
    NotThisServer,
    PromptTooLong,
    RequestRefused,
    ServerError,
    TransientError,
    Unauthorized,
    Unfinished,
)
from magpie_ollama.loading import loading
from magpie_ollama.records import Message
from magpie_ollama.servers.address import base_url
from magpie_ollama.servers.base import (
    BROKEN,
    Completion,
    InMemory,
    Model,
    OnStep,
    PullProgress,
    Sampling,
    Server,
    ServerChoice,
    Watch,
)
from magpie_ollama.servers.connections import LOOK, Connections, client_settings
from magpie_ollama.servers.ollama_errors import refusal
from magpie_ollama.servers.ollama_shapes import (
    Answered,
    Embedded,
    Measured,
    Piece,
    Processes,
    Running,
    Shown,
    Tags,
    Version,
    is_same,
)

DEFAULT_PORT = 11434
START = "start it with `ollama serve` (or open the Ollama app), or point --host at it"

REPEATS = 29
"""Ollama ends a text without a last line after some 30 equal pieces (its guard against loops)."""

OLD = (
    ((0, 9), "it cannot switch a model's reasoning off"),
    ((0, 11, 5), "it does not tell how it renders a chat template, so that a preset stands in"),
    ((0, 12, 11), "it tells no log-probabilities, and cuts a conversation that is too long without a word"),
)
"""What a version before each of these lacks."""

T = TypeVar("T")


class OllamaServer(Server):
    kind = "ollama"
    named = "Ollama"
    more_context = "add --num-ctx 4096, or start Ollama with OLLAMA_CONTEXT_LENGTH=4096"
    more_slots = "start Ollama itself with OLLAMA_NUM_PARALLEL=4: `OLLAMA_NUM_PARALLEL=4 ollama serve`"
    more_told = "update Ollama"
    stay_loaded = "add --option keep_alive=5m, or start Ollama without OLLAMA_KEEP_ALIVE=0"

    def __init__(self, host: str = "", options: Mapping[str, Any] | None = None, api_key: str = "") -> None:
        """``options`` go with every request, by Ollama's own names (``num_ctx``, ``num_thread``, ...)."""
        self.address = base_url(host, DEFAULT_PORT)
        self.notices: list[str] = []
        self._options = dict(options or {})
        # The one setting that Ollama wants beside the options and not among them.
        self._beside = {key: self._options.pop(key) for key in ("keep_alive",) if key in self._options}
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = Connections(self.address, self._refusal, headers)
        self._headers = headers
        self._model = ""
        self._context = 0
        self._weights = ""
        self._is_new = False

    @classmethod
    async def begin(cls, choice: ServerChoice, slots: int, on_step: OnStep) -> Self:
        host = choice.host or os.environ.get("OLLAMA_HOST", "")
        return cls(host, choice.options, os.environ.get("OLLAMA_API_KEY", ""))

    @staticmethod
    def lacks(version: str) -> str:
        """0.0.0 is what one built from source calls itself.

        >>> lacks = OllamaServer.lacks
        >>> lacks("0.33.0-rc2"), lacks("0.0.0"), lacks("0.12.3")
        ('', '', 'it tells no log-probabilities, and cuts a conversation that is too long without a word')
        """
        numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
        if not any(numbers):
            return ""
        return "; ".join(words for before, words in OLD if numbers < before)

    def advice(self, slots: int) -> str:
        return (
            f"This server runs {slots} at once; OLLAMA_NUM_PARALLEL={2 * slots} in its environment would let it run "
            "more, each with its own context memory. Whether this machine is quicker then, the next run shows"
        )

    async def version(self) -> str:
        try:
            version = (await self._ask("GET", "/api/version", Version)).version
        except (NoServer, Unauthorized):
            raise
        except ServerError as error:  # a proxy's 502 too: an Ollama can always say its version
            raise self._not_ollama() from error
        # Since 0.30 its engine is llama-server's, which leaves control tokens out of the text.
        self._is_new = tuple(map(int, re.findall(r"\d{1,9}", version)[:2])) >= (0, 30)
        return version

    async def models(self) -> list[str]:
        return list((await self._ask("GET", "/api/tags", Tags)).named)

    async def describe(self, model: str) -> Model:
        self._model = model
        shown = await self._ask("POST", "/api/show", Shown, {"model": model})
        self._weights = shown.weights
        listed = (await self._ask("GET", "/api/tags", Tags)).named
        name = next((name for name in listed if is_same(name, model)), "")
        try:
            trained = shown.context
        except Misshapen:
            trained = 0
        return Model(
            # As it is listed: "smollm2" and "smollm2:latest" are one model, and one run.
            name=name or model,
            digest=(listed[name].digest if name else "") or "",
            context=await self._loaded_context(model) or trained,
            stops=shown.stops,
            thinks=None if shown.capabilities is None else "thinking" in shown.capabilities,
            generates=shown.capabilities is None or "completion" in shown.capabilities,
            embeds=None if shown.capabilities is None else "embedding" in shown.capabilities,
            untold=self._is_new and not shown.has_template,
        )

    async def load(self, model: str) -> None:
        self._model = model
        await self._http.json("POST", "/api/generate", self._body(model, {}, stream=False))
        self._context = await self._loaded_context(model) or int(self._options.get("num_ctx") or 0)

    async def in_memory(self, model: str) -> InMemory | None:
        running = await self._running(model)
        if running is None:
            return None
        details = running.details
        return InMemory(
            size=running.size or 0,
            on_gpu=running.size_vram or 0,
            parameters=(details and details.parameter_size) or "",
            quantisation=(details and details.quantization_level) or "",
        )

    async def pull(self, model: str) -> AsyncIterator[PullProgress]:
        ollama = _package()
        client = ollama.AsyncClient(self.address, headers=self._headers, **client_settings(self.address))
        try:
            async for step in await client.pull(model, stream=True):
                yield PullProgress(step.status or "", max(0, step.completed or 0), max(0, step.total or 0))
        except ollama.ResponseError as error:
            remedy = "check the name at ollama.com/library and the connection, then run the same command again"
            raise ModelMissing(f"Ollama could not pull {model!r}: {error.error}.", remedy) from error
        except (ConnectionError, httpx.TransportError) as error:
            raise NoServer(f"No Ollama answers at {self.address}.", START) from error
        except (AttributeError, TypeError, ValueError, RecursionError) as error:  # its JSON has another shape
            raise self._not_ollama() from error
        finally:
            await client.close()

    async def render(self, model: str, messages: Sequence[Message]) -> str | None:
        # Releases before 0.11.5 ignore the unknown field and generate: one token, so that it costs nothing.
        body = self._body(model, {"num_predict": 1}, stream=False)
        body |= {"messages": messages, "think": False, "truncate": False, "_debug_render_only": True}
        try:
            answer = self._shaped("/api/chat", await self._http.json("POST", "/api/chat", body), Answered)
        except (Busy, ConnectionLost):
            raise
        except TransientError as error:  # a 500: the template itself fails, and will do so again
            raise RequestRefused(error.cause, "choose another --steering, or give --template") from error
        return answer.debug.rendered_template if answer.debug else None

    async def adds_bos(self, model: str, bos: str) -> bool:
        # Not told, as before 0.3 where the prompt was cached: it is taken for granted. Two of them are worse than none.
        return await self._tokens(model, bos) != 1

    async def hides(self, model: str, token: str) -> bool:
        # One token, or two with a BOS: as plain text it would be more, and be seen.
        return self._is_new and await self._tokens(model, token) in (1, 2)

    async def _tokens(self, model: str, prompt: str) -> int | None:
        """Tokens of a prompt, with what the server puts in front; None where it does not tell."""
        body = self._body(model, {"num_predict": 1}, stream=False) | {"raw": True, "think": False, "prompt": prompt}
        answer = await self._http.json("POST", "/api/generate", body)
        return self._shaped("/api/generate", answer, Answered).prompt_eval_count

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
        top: int = 0,
    ) -> Completion:
        body = self._body(model, _sampling(sampling))
        body |= {"messages": messages, "think": think, "truncate": False}
        if schema is not None:
            body["format"] = schema
        if top:
            body |= {"logprobs": True, "top_logprobs": top}
        return await self._stream("/api/chat", body, watch)

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        body = self._body(model, {}, stream=False) | {"input": list(texts)}
        answer = await self._http.json("POST", "/api/embed", body)
        return self._shaped("/api/embed", answer, Embedded).embeddings

    def silent_for(self) -> float:
        return self._http.silent_for()

    async def close(self) -> None:
        await self._http.close()

    def _body(self, model: str, options: Mapping[str, Any], stream: bool = True) -> dict[str, Any]:
        return {"model": model, "stream": stream, **self._beside, "options": {**self._options, **options}}

    async def _stream(self, path: str, body: dict[str, Any], watch: Watch, stops: Sequence[str] = ()) -> Completion:
        completion = Completion()
        done: Piece | None = None
        pieces = measured = 0
        last, repeated, spoiled = "", 0, False

        def on_line(line: bytes) -> bool:
            nonlocal done, pieces, measured, last, repeated, spoiled
            piece = _piece(line)
            if piece.error:
                raise self._refusal(500, line.decode("utf-8", "replace"))
            if not isinstance(piece, Measured):  # what is wrong with it is its log-probabilities
                spoiled = True
            elif piece.logprobs:
                measured += len(piece.logprobs)
                completion.logprob = sum([token.logprob for token in piece.logprobs], completion.logprob or 0.0)
            said = piece.message
            if said is not None and said.thinking:
                completion.reasoning += said.thinking
            text = (piece.response if said is None else said.content) or ""
            if text.strip() and not completion.text.strip() and isinstance(piece, Measured) and piece.logprobs:
                completion.first = {one.token: one.logprob for one in piece.logprobs[-1].top_logprobs or ()}
            if piece.done:
                done = piece
            elif done is None:
                completion.tokens += 1
            if not text:
                return False
            completion.text += text
            pieces += 1
            repeated = repeated + 1 if text == last else 0
            last = text
            if watch(completion.text) and done is None:
                completion.finish_reason = "cancelled"
                return True
            return False

        await self._http.stream(path, body, on_line)
        if done is not None:
            completion.finish_reason = done.done_reason or "stop"
            completion.prompt_tokens = done.prompt_eval_count or 0
            completion.tokens = completion.tokens if done.eval_count is None else done.eval_count
        elif not completion.finish_reason and repeated >= REPEATS:
            completion.finish_reason = "length"
        if not completion.finish_reason:
            raise Unfinished(f"Ollama at {self.address} ended its answer before it was complete.", LOOK)
        if completion.finish_reason not in ("stop", "length", "cancelled"):  # "load", "unload"
            completion.finish_reason = BROKEN
        if done is not None and completion.finish_reason == "stop":
            completion.unshown = _unshown(completion, pieces, stops)
        if spoiled or (self._is_new and _lacks(completion, measured, done)):
            completion.logprob = None
        return completion

    async def _loaded_context(self, model: str) -> int:
        running = await self._running(model)
        return (running and running.context_length) or 0

    async def _running(self, model: str) -> Running | None:
        running = (await self._ask("GET", "/api/ps", Processes)).models or []
        named = next((entry for entry in running if is_same(entry.model or entry.name, model)), None)
        if named or not self._weights:
            return named
        # Models made of the same weights share a runner, which is listed by the name that was asked for first.
        for entry in running:
            shown = await self._ask("POST", "/api/show", Shown, {"model": entry.model or entry.name})
            if shown.weights == self._weights:
                return entry
        return None

    async def _ask(self, method: str, path: str, shape: type[T], body: Any = None) -> T:
        """What it says of itself. That it is not there is told at once: nothing is under way yet."""
        try:
            return self._shaped(path, await self._http.json(method, path, body), shape)
        except ConnectionLost as error:
            raise NoServer(f"No Ollama answers at {self.address}.", START) from error

    def _shaped(self, path: str, answer: dict[str, Any], shape: type[T]) -> T:
        try:
            return convert(answer, shape)
        except Misshapen as error:
            raise NotThisServer(
                f"{self.address}{path} does not answer as Ollama does: {error}.",
                "check --host and OLLAMA_HOST, and what stands between; for other servers add --server openai",
            ) from error

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


def _piece(line: bytes) -> Piece:
    """A line of a stream. Where only its log-probabilities are of another shape, it is no ``Measured``."""
    try:
        return decode(line, Measured)
    except Misshapen:
        try:
            return decode(line, Piece)
        except Misshapen as error:
            raise TransientError(f"Ollama sent a line of another shape ({len(line)} bytes: {error}).", LOOK) from error


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


def _unshown(completion: Completion, pieces: int, stops: Sequence[str]) -> int:
    """How many tokens were generated beside those that came as ``pieces`` and the one that ended the text.

    0 where that cannot be told: a letter beyond ASCII, and what may begin a stop string, may be several tokens that
    come as one piece.
    """
    text = completion.text
    if not text.isascii() or any(stop[:1] in text for stop in stops if stop):
        return 0
    return max(0, completion.tokens - pieces - 1)


def _lacks(completion: Completion, measured: int, done: Piece | None) -> bool:
    """Whether log-probabilities may be missing amid the text. Since 0.30 a letter of several tokens has only that of
    its last one: of one greedy Japanese text, 15 for 24 tokens, so that it looks surer than before (.91 for .80)."""
    if completion.text.isascii():
        return False
    return done is None or done.eval_count is None or measured + (completion.finish_reason == "stop") < done.eval_count


def _package() -> ModuleType:
    """The client that pulls, imported when it is to: half a second of CPU, of which each start of a run is spared."""
    read_at_import = [name for name in os.environ if name.upper().endswith("_PROXY") or name == "OLLAMA_HOST"]
    held = {name: os.environ.pop(name) for name in read_at_import}
    try:
        with loading():
            import ollama  # makes a client of its own, and fails where these hold what it cannot use
    finally:
        os.environ.update(held)
    return ollama
