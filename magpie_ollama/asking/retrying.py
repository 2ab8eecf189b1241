"""Another try for what failed only for now: a busy server, a dropped connection, an engine that died, a restart."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina

from magpie_ollama.asking import silence
from magpie_ollama.errors import Busy, ConnectionLost, NoServer, ServerError, TransientError, Unfinished
from magpie_ollama.servers.connections import LOOK

T = TypeVar("T")

# stamina logs every retry; without a handler Python would print that over the display.
logging.getLogger("stamina").addHandler(logging.NullHandler())

ATTEMPTS = 14
"""With waits that double from 0.25 s to 15 s: about two minutes, in which a server can restart."""

FAILURES = 6
"""So often an answer may fail with the server being there: some eight seconds. An answer that fails each time
(the same seed may run into the same fault) is then given up."""

NO_ANSWERS = 8
"""So many requests in a row without a complete answer, each in several tries: the server is ``broken``."""


def broken(error: TransientError) -> ServerError:
    return ServerError(
        f"The server fails again and again: {error.cause}", "look into its log, then run the same command"
    )


async def retrying(call: Callable[[], Awaitable[T]], address: str) -> T:
    """The result of ``call`` to the server at ``address``, tried again after each ``TransientError``.

    The last one is raised; in place of ``ConnectionLost`` a ``NoServer``. ``Unfinished`` is raised at once: only
    another seed helps.
    """
    failures = 0
    call = silence.noted(call, address)

    def again(error: Exception) -> bool:
        nonlocal failures
        if not isinstance(error, TransientError) or isinstance(error, Unfinished):
            return False
        failures += not isinstance(error, ConnectionLost | Busy)
        return failures < FAILURES

    failed: TransientError | None = None
    try:
        return await call()
    except TransientError as error:
        failed = error
    # Made only now: for each call it would cost 2 % of the client's CPU, and leave 50 objects in circles behind.
    tries = stamina.retry_context(
        on=again, attempts=ATTEMPTS, timeout=None, wait_initial=0.25, wait_max=15.0, wait_jitter=0.25
    )
    try:
        async for attempt in tries:
            with attempt:
                if failed is not None:
                    first, failed = failed, None
                    raise first
                return await call()
    except ConnectionLost as error:
        if error.remedy == LOOK:  # something is there, and drops each request
            told = broken(error)
            raise NoServer(told.cause, told.remedy) from error
        raise NoServer(
            f"The server at {address} has stopped answering.",
            "start it again, then run the same command: it continues where it stopped",
        ) from error
    raise AssertionError("unreachable: the last attempt returns or raises")
