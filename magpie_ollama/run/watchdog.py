"""The watchdog on a whole server: no limit on a request that is slow or queued, but one on silence everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from magpie_ollama.errors import Stalled
from magpie_ollama.servers.base import Server

STALLED_SECONDS = 300.0
"""No byte on any stream for so long, with requests in flight: the server hangs. One that is only slow sends some."""


async def watch_server(server: Server, in_flight: Callable[[], int]) -> None:
    """Never returns; raises ``Stalled``. To run beside the requests, in their task group."""
    while True:
        await asyncio.sleep(STALLED_SECONDS / 60)
        if in_flight() and server.silent_for() > STALLED_SECONDS:
            raise Stalled(
                f"The server at {server.address} is stalled: not a byte for {STALLED_SECONDS / 60:.0f} minutes, "
                f"with {in_flight()} requests in flight.",
                "restart the server, then run the same command: it continues where it stopped",
            )
