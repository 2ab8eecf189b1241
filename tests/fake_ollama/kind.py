"""A kind of server that the package does not know: in this process, without an address."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Self
from zlib import crc32

from fake_ollama.script import answer, json_by_schema, question

from magpie_ollama.errors import ModelMissing
from magpie_ollama.records import Message
from magpie_ollama.servers.base import Completion, Model, PullProgress, Sampling, Server, ServerChoice, Watch

NAME = "parrot:1b"


class Own(Server):
    kind = "own"
    named = "the parrot"
    more_context = "give the parrot a longer perch"
    more_slots = "buy another parrot"
    more_told = "ask the parrot"

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        self.address = "own://here"
        self.notices: list[str] = []
        self.wanted = wanted
        self._there = False

    @classmethod
    async def begin(cls, choice: ServerChoice, slots: int, on_step: Callable[[str], None]) -> Self:
        return cls(choice.options)

    @staticmethod
    def lacks(version: str) -> str:
        return "it cannot fly"

    def advice(self, slots: int) -> str:
        return f"The parrot has {slots} beaks"

    async def version(self) -> str:
        return "3"

    async def models(self) -> list[str]:
        return [NAME] if self._there else []

    async def describe(self, model: str) -> Model:
        if not self._there:
            raise ModelMissing(f"No {model} is here.", "pull it")
        return Model(NAME, digest="beak", context=512)

    def pull(self, model: str) -> AsyncIterator[PullProgress]:
        return self._pull()

    async def _pull(self) -> AsyncIterator[PullProgress]:
        self._there = True
        yield PullProgress("calling it", 1, 1)

    async def load(self, model: str) -> None: ...

    async def render(self, model: str, messages: Sequence[Message]) -> str:
        turns = (f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in messages)
        return "".join(turns) + "<|im_start|>assistant\n"

    async def adds_bos(self, model: str, bos: str) -> bool:
        return False

    async def complete(
        self, model: str, prompt: str, sampling: Sampling, stops: Sequence[str], watch: Watch
    ) -> Completion:
        return await self._say(question(sampling.seed ^ crc32(prompt.encode())), watch)

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
        about = messages[-1]["content"]
        text = answer(sampling.seed, about) if schema is None else json_by_schema(schema, random.Random(len(about)))
        return await self._say(text, watch)

    async def _say(self, text: str, watch: Watch) -> Completion:
        words = text.split(" ")
        for n in range(1, len(words) + 1):
            await asyncio.sleep(0)
            if watch(" ".join(words[:n])):
                return Completion(" ".join(words[:n]), finish_reason="cancelled", tokens=n)
        return Completion(text, finish_reason="stop", tokens=len(words) + 1)

    def silent_for(self) -> float:
        return 0.0

    async def close(self) -> None: ...
