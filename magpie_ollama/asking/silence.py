"""Servers that do not answer just now, and since when: for whoever shows a run that waits for one."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple, TypeVar

from magpie_ollama.errors import ConnectionLost

T = TypeVar("T")

STALE_SECONDS = 60.0
"""So long after the last failed try nobody tries any more: between two tries there are 25 s at most."""


WORTH_SECONDS = 3.0
"""A connection that was dropped once, and is there again at the next try, is not worth a word."""


class _Silence(NamedTuple):
    since: datetime
    first: float
    last: float


_silent: dict[str, _Silence] = {}


def noted(call: Callable[[], Awaitable[T]], address: str) -> Callable[[], Awaitable[T]]:
    """``call`` to the server at ``address``, which takes note of whether that answers."""

    async def made() -> T:
        try:
            result = await call()
        except ConnectionLost:
            now = time.monotonic()
            before = _silent.get(address) or _Silence(datetime.now(), now, now)
            _silent[address] = before._replace(last=now)
            raise
        except Exception:
            _silent.pop(address, None)
            raise
        _silent.pop(address, None)
        return result

    return made


def told() -> str:
    """In words, "" where all servers answer."""
    now = time.monotonic()
    return "; ".join(
        f"no answer from {address} since {one.since:%H:%M:%S}, trying again"
        for address, one in _silent.items()
        if now - one.first >= WORTH_SECONDS and now - one.last < STALE_SECONDS
    )
