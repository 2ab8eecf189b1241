"""A model in memory: what is asked of it needs no name."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from magpie_ollama.records import Message
from magpie_ollama.servers.base import Completion, InMemory, Model, Sampling, Server, Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel(Model):
    """The facts of a model as it is loaded, the server that has it, and that one's ``version``. What its methods do is
    told at those of ``Server``."""

    server: Server
    version: str

    @classmethod
    def of(cls, server: Server, version: str, model: Model) -> Self:
        return cls(**asdict(model), server=server, version=version)

    @property
    def address(self) -> str:
        return self.server.address

    def in_memory(self) -> Awaitable[InMemory | None]:
        return self.server.in_memory(self.name)

    def render(self, messages: Sequence[Message]) -> Awaitable[str | None]:
        return self.server.render(self.name, messages)

    def adds_bos(self, bos: str) -> Awaitable[bool]:
        return self.server.adds_bos(self.name, bos)

    def hides(self, token: str) -> Awaitable[bool]:
        return self.server.hides(self.name, token)

    def score(self, asked: str, said: str) -> Awaitable[float | None]:
        return self.server.score(self.name, asked, said)

    def complete(self, prompt: str, sampling: Sampling, stops: Sequence[str], watch: Watch) -> Awaitable[Completion]:
        return self.server.complete(self.name, prompt, sampling, stops, watch)

    def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        think: bool,
        watch: Watch,
        schema: Mapping[str, Any] | None = None,
        top: int = 0,
    ) -> Awaitable[Completion]:
        return self.server.chat(self.name, messages, sampling, think, watch, schema, top)

    def embed(self, texts: Sequence[str]) -> Awaitable[list[list[float]]]:
        return self.server.embed(self.name, texts)
