"""The embedded engine: llama.cpp's own server in a process of its own, on loopback (package ``xllamacpp``).

So it is the OpenAI-compatible server with a life cycle. It serves machines without Ollama, and tests. Why it has a
process: ``servers.engine``.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import importlib.util
import json
import secrets
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from magpie_ollama.errors import ConnectionLost, ModelMissing, NoServer, OutOfMemory, TemplateError, UsageError
from magpie_ollama.records import Message
from magpie_ollama.servers import engine, gguf, processors, weights
from magpie_ollama.servers.base import Completion, Model, OnStep, ServerChoice, Watch
from magpie_ollama.servers.connections import LOOK, json_object
from magpie_ollama.servers.openai import OpenAIServer

CONTEXT = 4096
"""Tokens a slot, where --num-ctx does not say: an exemplar, an instruction and a response of 1024 fit well."""

SLOTS = 8
"""At most so many requests run at once, since each slot's context takes memory; more wait inside the engine."""

USUAL_SLOTS = 4
"""Where none are asked for: they are set, and their memory taken, before anything can be measured."""

START_SECONDS, START_RATE = 120.0, 20e6
"""The engine has begun after so long, and a second for so many bytes of the model: its template is looked at by then,
and may loop. 94 MB took 3 s on a quiet machine and 41 s on one with a load of ten."""

RENDER_SECONDS = 60.0
"""A conversation is rendered in milliseconds."""

LOOKS, LOOK_SECONDS = 3, 3.0
CROWDED = 0.2
"""A machine is too busy for the engine's threads where they wait for so much of their time in each of the looks."""

LEAVE_SECONDS = 30.0
"""So long is waited for the next piece of each request before the engine is ended to begin anew."""


class EmbeddedServer(OpenAIServer):
    kind = "embedded"
    named = "the embedded engine"
    has_weights = True
    shown_by = "the embedded engine"
    more_context = "add --num-ctx 4096"

    def __init__(self, weights: Path, slots: int, options: Mapping[str, Any] | None = None) -> None:
        """``slots`` requests run at once (0: ``USUAL_SLOTS``), ``SLOTS`` at most; each has the whole context.
        ``options`` as for ``OpenAIServer``, and ``num_ctx`` and ``num_thread`` by Ollama's names. Raises UsageError."""
        rest = dict(options or {})
        self._weights = weights
        self._embeds = False
        self.slots = min(slots or USUAL_SLOTS, SLOTS)
        self._context = _whole(rest, "num_ctx", CONTEXT)
        self._own_threads = _whole(rest, "num_thread", 0)
        self._threads = self._own_threads or processors.threads()
        self._key = secrets.token_hex(16)  # other programs on this machine have no business with it
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._leaving = False
        super().__init__("", rest)

    @classmethod
    async def begin(cls, choice: ServerChoice, slots: int, on_step: OnStep) -> Self:
        if choice.host:
            raise UsageError(
                "The embedded engine is begun by the command and has no --host.", "leave out one of the two"
            )
        if choice.model_path is not None:
            weights.find_weights("", choice.model_path)  # a wrong path is told before a missing engine
        weights.require()
        fetching = f"Fetching {choice.model} from the Hugging Face Hub"
        if "/" in choice.model and choice.model_path is None:
            on_step(fetching)

        def on_bytes(done: int, total: int) -> None:
            on_step(fetching, "", done, total)

        server = cls(await weights.found(choice.model, choice.model_path, on_bytes), slots, choice.options)
        server._embeds = choice.embeds
        return server

    def advice(self, slots: int) -> str:
        if slots >= SLOTS:
            return ""
        return (
            f"The embedded engine gained up to its {slots} slots: --parallel {min(2 * slots, SLOTS)} "
            "gives it more, each with its own context memory"
        )

    async def version(self) -> str:
        await self._start()
        return "xllamacpp " + importlib.metadata.version("xllamacpp")

    async def models(self) -> list[str]:
        return [self._weights.stem]

    async def describe(self, model: str) -> Model:
        if model != self._weights.stem:
            raise ModelMissing(f"The embedded engine runs {self._weights.stem}, not {model!r}.", "leave out -m")
        await self._start()
        embeds = await asyncio.to_thread(gguf.embeds, self._weights)
        return Model(name=model, digest=_fingerprint(self._weights), context=self._context, embeds=embeds)

    async def load(self, model: str) -> None:
        await self._start()

    async def render(self, model: str, messages: Sequence[Message]) -> str | None:
        await self._start()
        try:
            async with asyncio.timeout(RENDER_SECONDS):
                return await super().render(model, messages)
        except TimeoutError:
            async with self._starting:
                await self._stop()  # the thread that renders would never come back
            raise TemplateError(
                f"The chat template in {self._weights.name} comes to no end.", "choose another model"
            ) from None

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        await self._start()
        return await super().embed(model, texts)

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._stop()

    async def _ask(
        self, path: str, body: dict[str, Any], watch: Watch, stops: Sequence[str] | None = None
    ) -> Completion:
        """With the engine begun where it is not there. One that ends meanwhile, to begin with fewer threads, ends its
        requests as a connection that was lost: they are asked again."""
        await self._start()
        self._in_flight += 1
        self._idle.clear()
        try:
            completion = await super()._ask(path, body, lambda text: self._leaving or watch(text), stops)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
        if self._leaving and completion.finish_reason == "cancelled":
            raise ConnectionLost("The embedded engine begins anew.", LOOK)
        return completion

    async def _start(self) -> None:
        async with self._starting:
            if self._process is not None and self._process.returncode is None:
                return
            await self._stop()  # what is left of one that died
            self._process, address = await self._open()
            self._connect(address, self._key)
            await super().version()
        if self._watching is None and not self._own_threads:
            self._watching = asyncio.create_task(self._watch_threads())

    async def _stop(self) -> None:
        await super().close()
        process, self._process = self._process, None
        if process is not None:
            await _end(process)

    async def _open(self) -> tuple[asyncio.subprocess.Process, str]:
        """A process of the engine's own, and its address. Raises NoServer, OutOfMemory, UsageError."""
        path = self._weights.resolve()
        size = await asyncio.to_thread(gguf.check, path)
        asked = {
            "path": str(path),
            "alias": self._weights.stem,
            "key": self._key,
            "slots": self.slots,
            "context": self._context * self.slots,
            "threads": self._threads,
            "embeds": self._embeds,
        }
        # Ctrl-C in a terminal reaches all processes of its group: this one is to finish its responses.
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", engine.__file__, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            async with asyncio.timeout(START_SECONDS + size / START_RATE):
                line = await process.stdout.readline()
        except BaseException as error:
            await _end(process)
            if isinstance(error, TimeoutError):
                why = f"it had not begun after {START_SECONDS + size / START_RATE:.0f} seconds"
                raise self._unfit(f"{why}, as with a chat template that comes to no end") from None
            raise
        told = json_object(line)
        if told is None:
            await _end(process)
            raise self._unfit(f"its process ended ({_status(process.returncode)}), as by a template that calls itself")
        if "address" in told:
            return process, str(told["address"])
        await _end(process)
        if told.get("memory"):
            raise OutOfMemory(f"Too little memory for {self._weights.name}.", "choose a smaller one")
        raise self._unfit(str(told.get("error")).rstrip("."))

    def _unfit(self, why: str) -> NoServer:
        return NoServer(
            f"The embedded engine could not load {self._weights}: {why}.",
            "check that it is a GGUF model, or take another",
        )

    async def _watch_threads(self) -> None:
        """Begins the engine anew with fewer threads where those that it has wait for the machine's processors."""
        while self._threads > 1:
            waiting = processors.Waiting(self._process.pid) if self._process is not None else None
            shares = []
            for _ in range(LOOKS):
                await asyncio.sleep(LOOK_SECONDS)
                shares.append(waiting.share() if waiting is not None else 0.0)
            if min(shares) > CROWDED:
                await self._begin_anew(max(1, int(self._threads * (1 - min(shares)))))

    async def _begin_anew(self, threads: int) -> None:
        async with self._starting:
            self._leaving = True
            try:
                if self._in_flight:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._idle.wait(), LEAVE_SECONDS)
                self._threads = threads
                await self._stop()  # the next request begins it
            finally:
                self._leaving = False
        count = f"{threads} thread{'s' if threads > 1 else ''}"
        self.notices.append(
            f"This machine is busy: the embedded engine goes on with {count}; --option num_thread=N fixes them."
        )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
    if process.stdin is not None:
        process.stdin.close()
    await process.wait()


def _status(code: int | None) -> str:
    try:
        return signal.Signals(-(code or 0)).name
    except ValueError:
        return f"exit code {code}"


def _whole(options: dict[str, Any], name: str, default: int) -> int:
    """The whole number that an option is, taken out of ``options``."""
    value = options.pop(name, default)
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        remedy = f"give one, for example {name}={default or 4}"
        raise UsageError(f"The option {name} takes a whole number, not {value!r}.", remedy) from None


def _fingerprint(weights: Path) -> str:
    """SHA-256 over the size and the first and last mebibyte: enough to tell models apart, quick for 40 GB."""
    size = weights.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with weights.open("rb") as file:
        digest.update(file.read(2**20))
        file.seek(max(0, size - 2**20))
        digest.update(file.read(2**20))
    return f"partial-{digest.hexdigest()}"
