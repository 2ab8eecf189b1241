"""What the engine's prompt cache saves: the share of prompt tokens that were there already.

    python benchmarks/cache.py [-l es] [-s exemplar+opener] [--parallel 1,4,8] [--records 12] [--pin] [--json]

A response's prompt begins with the very tokens of its instruction's raw prompt and of the instruction itself; only
the end of the user's turn and the assistant's header are new. The tool makes records on the embedded engine, with a
slot for each request in flight or with ``--slots``, and the engine tells of each prompt how much of it was cached.
``--pin`` sends an attempt's two requests to one slot by its number, to see what the engine's own choice of slots costs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

from magpie_ollama.asking.said import RESPONSE
from magpie_ollama.asking.settings import Settings
from magpie_ollama.corpus import MemoryCorpus
from magpie_ollama.method import languages
from magpie_ollama.method.screening import Rules
from magpie_ollama.method.steering import parse_steering
from magpie_ollama.records import Message
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import Session
from magpie_ollama.servers import weights
from magpie_ollama.servers.base import Completion, Sampling, ServerChoice, Watch
from magpie_ollama.servers.embedded import EmbeddedServer
from magpie_ollama.servers.loaded import LoadedModel

_slot: ContextVar[int] = ContextVar("slot")


@dataclass(slots=True)
class Sums:
    """Over requests of one kind: tokens of their prompts, those of them that were cached, seconds to the first piece of
    text, and seconds in all. Of responses also ``sharable``: tokens of the instruction's prompt and of its text."""

    requests: int = 0
    prompt: int = 0
    cached: int = 0
    sharable: int = 0
    first: float = 0.0
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "prompt_tokens": self.prompt,
            "cached_share": round(self.cached / max(1, self.prompt), 3),
            "sharable_share": round(self.sharable / max(1, self.prompt), 3),
            "first_piece_share_of_time": round(self.first / max(0.001, self.seconds), 3),
        }


class Recording(EmbeddedServer):
    """The embedded engine, with what it says of its cache written down. A worker of the pipeline is a task of its own:
    the response that one asks for belongs to the instruction before."""

    def __init__(self, weights: Path, slots: int, options: Mapping[str, Any], pin: bool) -> None:
        super().__init__(weights, slots, options)
        self.instructions = Sums()
        self.responses = Sums()
        self._pin = pin
        self._workers = count()
        self._written: dict[object, Completion] = {}

    async def complete(
        self, model: str, prompt: str, sampling: Sampling, stops: Sequence[str], watch: Watch
    ) -> Completion:
        timed = _Timed(watch)
        completion = await super().complete(model, prompt, sampling, stops, timed)
        self._written[asyncio.current_task()] = completion
        _enter(self.instructions, completion, timed)
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
        timed = _Timed(watch)
        completion = await super().chat(model, messages, sampling, think, timed, schema, top)
        written = self._written[asyncio.current_task()]
        if written.prompt_tokens:
            _enter(self.responses, completion, timed, written.prompt_tokens + written.tokens)
        return completion

    def _body(self, model: str, sampling: Sampling) -> dict[str, Any]:
        body = super()._body(model, sampling)
        if not self._pin:
            return body
        if _slot.get(-1) < 0:
            _slot.set(next(self._workers) % self.slots)
        return body | {"id_slot": _slot.get()}


class _Timed:
    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.begun = time.monotonic()
        self.first = 0.0

    def __call__(self, text: str) -> bool:
        self.first = self.first or time.monotonic()
        return self._watch(text)


def _enter(sums: Sums, completion: Completion, timed: _Timed, sharable: int = 0) -> None:
    """A request that was cut off is left out: the engine tells of its prompt only at the end."""
    if completion.prompt_tokens:
        sums.requests += 1
        sums.prompt += completion.prompt_tokens
        sums.cached += completion.cached_tokens
        sums.sharable += sharable
        sums.first += (timed.first or time.monotonic()) - timed.begun
        sums.seconds += time.monotonic() - timed.begun


async def measure(given: argparse.Namespace, parallel: int) -> tuple[Sums, Sums]:
    options = {"num_thread": given.threads} if given.threads else {}
    server = Recording(weights.find_weights("", given.model_path), given.slots or parallel, options, given.pin)
    choice = ServerChoice(kind="embedded", options=options)
    language, steering = languages.find(given.language), parse_steering(given.steering)
    settings = Settings(
        choice,
        language,
        steering,
        given.records,
        seed=0,
        parallel=parallel,
        response=replace(RESPONSE, max_tokens=given.response_tokens),
        rules=Rules(language, keep_truncated=True),
    )
    try:
        version = await server.version()
        facts = await server.describe((await server.models())[0])
        model = LoadedModel.of(server, version, facts)
        session = Session(settings, model, MemoryCorpus(), Progress(target=given.records))
        # The client closes the stream at the end of a user's turn, before its last event, which tells of the cache.
        with mock.patch("magpie_ollama.servers.openai_stream._is_hidden", return_value=False):
            await session.generate()
    finally:
        await server.close()
    return server.instructions, server.responses


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-l", "--language", default="es")
    parser.add_argument("-s", "--steering", default="exemplar+opener")
    parser.add_argument("--parallel", default="1,4,8")
    parser.add_argument("--records", type=int, default=12)
    parser.add_argument(
        "--slots", type=int, default=0, help="of the engine (default: one for each in flight, 8 at most)"
    )
    parser.add_argument("--response-tokens", type=int, default=128, help="limit: what follows the prompt is no matter")
    parser.add_argument("--pin", action="store_true", help="both requests of an attempt to one slot")
    parser.add_argument("--threads", type=int, default=0, help="of the engine (default: all)")
    parser.add_argument("--model-path", type=Path, help="a GGUF file instead of the packaged SmolLM2-135M-Instruct")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MAGPIE_OLLAMA_DATA_DIR"] = folder
        for parallel in map(int, given.parallel.split(",")):
            found[parallel] = asyncio.run(measure(given, parallel))
    if given.json:
        both = {n: {"instructions": one.to_dict(), "responses": two.to_dict()} for n, (one, two) in found.items()}
        print(json.dumps(both, indent=2))
        return
    print(f"{given.language}, {given.steering}{', pinned to slots' if given.pin else ''}")
    print("in flight  of           requests  prompt tokens  cached  could be  time before the first piece")
    for parallel, pair in found.items():
        for name, sums in zip(("instructions", "responses"), pair, strict=True):
            told = sums.to_dict()
            could = f"{told['sharable_share']:8.0%}" if sums.sharable else "       -"
            print(
                f"{parallel:9}  {name:12} {sums.requests:8,} {sums.prompt:14,} {told['cached_share']:7.0%}  {could} "
                f"{told['first_piece_share_of_time']:8.0%}"
            )


if __name__ == "__main__":
    main()
