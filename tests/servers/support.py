"""What the tests of servers share: a call on a server that is closed afterwards, and a server of fixed answers."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, TypeVar

from magpie_ollama.servers.base import Sampling, Server

S = TypeVar("S", bound=Server)
T = TypeVar("T")

SAMPLING = Sampling(temperature=1.0, max_tokens=64, seed=7)


def never(text: str) -> bool:
    return False


def served(server: S, call: Callable[[S], Awaitable[T]]) -> T:
    """What ``call`` gives. The server is closed, and whatever it leaks is a warning, which is an error."""

    async def go() -> T:
        try:
            return await call(server)
        finally:
            await server.close()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, "no task is left behind"

    try:
        return asyncio.run(go())
    finally:
        gc.collect(1)  # what is younger than the test; a whole collection takes 80 ms


@contextmanager
def canned(answers: Mapping[str, tuple[int, bytes] | tuple[int, bytes, Mapping[str, str]]]) -> Iterator[str]:
    """A server that gives the same answer whenever a path is asked for; its URL. For what the fakes never say."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body, *headers = answers.get(self.path, (404, b"404 page not found"))
            self.send_response(status)
            for name, value in (headers[0] if headers else {}).items():  # type: ignore[union-attr, attr-defined]
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
