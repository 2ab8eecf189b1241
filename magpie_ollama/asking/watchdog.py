"""The watchdog on a whole server: no limit on a request that is slow or queued, but one on silence everywhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from magpie_ollama.errors import Stalled
from magpie_ollama.servers.base import Server

STALLED_SECONDS = 300.0
"""No byte on any stream for so long, with requests in flight: the server hangs. One that is only slow sends some."""


@asynccontextmanager
async def watched(server: Server, in_flight: Callable[[], int], *others: Server) -> AsyncIterator[asyncio.TaskGroup]:
    """A task group for requests to ``server``, and to ``others``. The first failure in it ends all and is raised;
    so does ``Stalled``.

    What the block leaves running in the group, but for the watchdog, is waited for.
    """
    try:
        async with asyncio.TaskGroup() as group:
            watchdog = group.create_task(watch(server, in_flight, *others))
            yield group
            watchdog.cancel()
    except BaseExceptionGroup as failures:
        first = failures.exceptions[0]
        raise first from first.__cause__  # which --debug shows


async def watch(server: Server, in_flight: Callable[[], int], *others: Server) -> None:
    """Never returns; raises ``Stalled``."""
    awake = time.monotonic()
    while True:
        before = time.monotonic()
        await asyncio.sleep(STALLED_SECONDS / 60)
        if time.monotonic() - before > STALLED_SECONDS / 6:
            awake = time.monotonic()  # this machine slept, which Windows counts: the server slept too, or needs a while
        silent = min(one.silent_for() for one in (server, *others))
        if in_flight() and min(silent, time.monotonic() - awake) > STALLED_SECONDS:
            raise Stalled(
                f"The server at {server.address} is stalled: not a byte for {STALLED_SECONDS / 60:.0f} minutes, "
                f"with {in_flight()} requests in flight.",
                "restart the server, then run the same command: it continues where it stopped",
            )
