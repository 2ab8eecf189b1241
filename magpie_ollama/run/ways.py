"""Which way of steering the next attempt takes."""

from __future__ import annotations

from typing import Protocol

from magpie_ollama.records import Attempt


class Ways(Protocol):
    """Chooses a way for each attempt, and learns from what became of it."""

    def choose(self, index: int) -> str: ...

    def learn(self, attempt: Attempt) -> None: ...

    def shares(self) -> dict[str, float]:
        """The share of the coming draws that each way would get now; {} where there is no choice."""


class FixedWay:
    def __init__(self, way: str) -> None:
        self._way = way

    def choose(self, index: int) -> str:
        return self._way

    def learn(self, attempt: Attempt) -> None: ...

    def shares(self) -> dict[str, float]:
        return {}
