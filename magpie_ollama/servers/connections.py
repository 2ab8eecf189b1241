"""HTTP to one server: a connection for each request in flight, lines as they arrive, one way to fail.

Streams are read with httpx itself and not with the ``ollama`` client: building and validating a model object
for each of a stream's pieces costs more than reading it, and the OpenAI-compatible servers need the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import httpx
import orjson

from magpie_ollama.errors import (
    ConnectionLost,
    MagpieError,
    NotThisServer,
    ServerError,
    Stalled,
    TransientError,
    UsageError,
)
from magpie_ollama.servers.address import is_loopback

LONGEST_LINE = 64 * 2**20
"""Bytes. No server writes such a line; one that does is not to fill this machine's memory."""

LONGEST_ANSWER = 8 * 2**20
"""Bytes of an answer that is read as a whole: one with a thousand models has half a megabyte."""

LONGEST_ERROR = 2**16
"""Bytes of an error that are read: what it says stands at its beginning."""

CONNECT_SECONDS = 10.0

BODY_SECONDS = 60.0
"""For the rest of an answer that is read as a whole, once it has begun. Before it begins, a model may be loaded."""

QUESTION_SECONDS = 120.0
"""For an answer to a GET, for which no server has to load or to generate anything."""

QUIET_SECONDS = 600.0
"""For the next word of a stream in which lines that say nothing keep the connection open."""

OTHER_FILES = 128
"""Files that are open beside the connections, generously."""

START = "start the server, or check --host; then run the same command again"
LOOK = "look into the server's log, then run the same command again"
"""Next actions, for errors that outlast all tries."""

Refusal = Callable[[int, str], MagpieError]
"""Makes an error of an HTTP status and the text of the answer's body."""


def client_settings(base_url: str) -> dict[str, Any]:
    """What every HTTP client of this project has in common. ``UsageError`` for proxies that no client can have."""
    local = is_loopback(base_url)
    if not local:
        _check_proxies()
    return {
        # No limit but on connecting: a request that is only slow or queued is not an error.
        "timeout": httpx.Timeout(None, connect=CONNECT_SECONDS),
        # HTTP_PROXY must not capture a server on this machine.
        "trust_env": not local,
        "verify": _tls(needed=not (local and base_url.startswith("http://"))),
    }


@cache
def _check_proxies() -> None:
    try:
        httpx.Client(verify=_tls(needed=False)).close()
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        why = type(error).__name__ if "@" in str(error) else error  # which may quote its password
        raise UsageError(
            f"The proxy in the environment cannot be used: {why}",
            "mend or unset HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in capitals and small letters",
        ) from error


@cache
def _tls(needed: bool) -> ssl.SSLContext:
    """Reading the certificates costs 50 ms: once, and only where there is something to verify."""
    return httpx.create_ssl_context() if needed else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def json_object(data: bytes) -> dict[str, Any] | None:
    """The JSON object in ``data``, None where there is none."""
    try:
        value = orjson.loads(data)  # a fifth of the time of the standard library ...
    except ValueError:
        try:
            value = json.loads(data)  # ... which takes what Python's servers may write: NaN, halves of surrogate pairs
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


class Connections:
    """Requests to ``base_url``. ``refusal`` turns an answer that is no success into this server's error.

    Each request in flight has a client of its own, with one connection that the next request uses again: httpcore walks
    its whole pool for every request, so that 64 requests with one client cost three times the CPU (a client: 0.1 ms).
    """

    def __init__(self, base_url: str, refusal: Refusal, headers: Mapping[str, str] | None = None) -> None:
        self.base_url = base_url
        self._refusal = refusal
        self._headers = dict(headers or {})
        self._clients: list[httpx.AsyncClient] = []
        self._free: list[httpx.AsyncClient] = []
        self.reuses = True
        """Whether connections serve several requests. Not with llama-server: of the requests that came on a connection
        right after a stream on it, 12 of 40 were dropped (measured); with a connection each, none."""
        self._last_byte = time.monotonic()

    def silent_for(self) -> float:
        return time.monotonic() - self._last_byte

    async def json(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The answer's JSON object. Raises as ``read``, and ``NotThisServer`` for an answer that is no JSON object."""
        content = await self.read(method, path, body)
        value = json_object(content)
        if value is None:
            raise self.unreadable(path, content)
        return value

    async def read(self, method: str, path: str, body: Any = None) -> bytes:
        """The whole answer. Raises this server's ``refusal``, ``ConnectionLost``, and ``Stalled`` for a GET that is not
        answered."""
        limit = asyncio.timeout(QUESTION_SECONDS if method == "GET" else None)
        try:
            async with limit, self._answer(method, path, body) as response:
                return await self._read(response)
        except TimeoutError as error:
            raise Stalled(
                f"{self.base_url} does not answer {method} {path}: waited {QUESTION_SECONDS:.0f} s.",
                "restart the server, or check --host; then run the same command again",
            ) from error

    async def stream(self, path: str, body: Any, on_line: Callable[[bytes], bool | None]) -> None:
        """POSTs ``body`` and calls ``on_line`` with each line of the answer, without its end; empty ones are left out.

        Returns at the answer's end, or as soon as ``on_line`` says True: that closes the connection, which
        makes the server stop generating (measured: a slot is free again within 0.1 to 0.2 s). None says that a line
        holds nothing: such lines do not count as an answer, and are not waited on without end.
        """
        async with self._answer("POST", path, body) as response:
            rest: list[bytes] = []
            size = 0
            heard = time.monotonic()
            async for piece in response.aiter_bytes():
                head, *others = piece.split(b"\n")
                rest.append(head)
                size += len(head)
                if size > LONGEST_LINE:
                    raise TransientError(f"{self.base_url} sent a line without an end.", LOOK)
                news = False
                for other in others:
                    line = b"".join(rest).strip()
                    rest, size = [other], len(other)
                    if not line:
                        continue
                    wanted = on_line(line)
                    if wanted:
                        return
                    news = news or wanted is not None
                now = time.monotonic()
                if news:
                    heard = self._last_byte = now
                elif now - heard > QUIET_SECONDS:
                    raise TransientError(f"{self.base_url} keeps a connection open and says nothing on it.", LOOK)
            if tail := b"".join(rest).strip():
                on_line(tail)

    def unreadable(self, path: str, content: bytes, why: str = "") -> NotThisServer:
        start = " ".join(content[:200].decode("utf-8", "replace").split())[:60]
        what = why or f"something that is no JSON object: {start!r}"
        return NotThisServer(f"{self.base_url}{path} answered with {what}.", "check --host, OLLAMA_HOST and --server")

    async def close(self) -> None:
        self._free.clear()
        while self._clients:
            await self._clients.pop().aclose()

    @asynccontextmanager
    async def _answer(self, method: str, path: str, body: Any) -> AsyncIterator[httpx.Response]:
        client = self._free.pop() if self._free else self._another()
        self._last_byte = time.monotonic()
        try:
            headers = {} if self.reuses else {"Connection": "close"}
            async with client.stream(method, path, json=body, headers=headers) as response:
                self._last_byte = time.monotonic()
                if response.status_code >= 300:
                    said = await self._read_error(response)
                    raise self._refusal(response.status_code, said.decode("utf-8", "replace"))
                if _compressed_twice(response):
                    raise TransientError(f"{self.base_url} sent an answer that is compressed twice.", LOOK)
                yield response
        except httpx.TransportError as error:
            raise self._lost(error) from error
        except httpx.DecodingError as error:  # compressed, although that was not asked for, and broken
            raise TransientError(f"{self.base_url} sent an answer that cannot be read ({error}).", LOOK) from error
        finally:
            self._free.append(client)

    def _another(self) -> httpx.AsyncClient:
        if len(self._clients) % OTHER_FILES == 0:
            _allow_files(len(self._clients) + 2 * OTHER_FILES)
        client = httpx.AsyncClient(
            base_url=self.base_url,
            headers={"Accept-Encoding": "identity", **self._headers},
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=1),
            **client_settings(self.base_url),
        )
        self._clients.append(client)
        return client

    async def _read(self, response: httpx.Response) -> bytes:
        pieces = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for piece in response.aiter_bytes():
                    self._last_byte = time.monotonic()
                    pieces.append(piece)
                    size += len(piece)
                    if size > LONGEST_ANSWER:
                        raise TransientError(f"{self.base_url} sent an endless answer.", LOOK)
        except TimeoutError as error:
            raise TransientError(f"{self.base_url} does not end its answer.", LOOK) from error
        return b"".join(pieces)

    async def _read_error(self, response: httpx.Response) -> bytes:
        """What there is of it: its beginning, or nothing."""
        said = b""
        with contextlib.suppress(TimeoutError, httpx.TransportError, httpx.DecodingError):
            async with asyncio.timeout(BODY_SECONDS / 6):
                async for piece in response.aiter_raw() if _compressed_twice(response) else response.aiter_bytes():
                    said += piece
                    if len(said) > LONGEST_ERROR:
                        break
        return said[:LONGEST_ERROR]

    def _lost(self, error: httpx.TransportError) -> MagpieError:
        if _is_for_want_of_files(error):
            return ServerError(
                f"This process may open no more than {len(self._clients)} connections.",
                "allow more with `ulimit -n 4096`, or lower --parallel",
            )
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return ConnectionLost(f"Nothing answers at {self.base_url}.", START)
        return ConnectionLost(f"{self.base_url} dropped the connection ({type(error).__name__}).", LOOK)


def _allow_files(count: int) -> None:
    """So many open files, as far as the system lets a process raise its own limit: macOS begins at 256."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows, which has no such limit

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < count:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count if hard < 0 else min(count, hard), hard))


def _is_for_want_of_files(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return True
        if isinstance(error, BaseExceptionGroup):
            return any(map(_is_for_want_of_files, error.exceptions))
        error = error.__cause__ or error.__context__
    return False


def _compressed_twice(response: httpx.Response) -> bool:
    """Once makes at most a thousand bytes of one, twice a million."""
    return "," in response.headers.get("Content-Encoding", "")
