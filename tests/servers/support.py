"""What the tests of servers share: a call on a server that is closed afterwards, and a server of fixed answers."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, TypeVar

import pytest
from fake_ollama import Reply

from magpie_ollama.records import Message
from magpie_ollama.servers.base import Sampling, Server, Watch

S = TypeVar("S", bound=Server)
T = TypeVar("T")

SAMPLING = Sampling(temperature=1.0, max_tokens=64, seed=7)
MODEL = "smollm2:135m"
OPTIONS = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
    "num_predict": 64,
    "seed": 7,
}
GENERATIONS = pytest.mark.parametrize("version", ["0.24.0", "0.33.0"])
ASKED: list[Message] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]


def never(text: str) -> bool:
    return False


def complete(prompt: str = "<|im_start|>user\n", watch: Watch = never, stops: tuple[str, ...] = ()) -> Any:
    return lambda server: server.complete(MODEL, prompt, SAMPLING, stops, watch)


def chat(think: bool = False, watch: Watch = never) -> Any:
    return lambda server: server.chat(MODEL, ASKED, SAMPLING, think, watch)


def says(text: str | list[str], **more: Any) -> Callable[[object], Reply]:
    return lambda ask: Reply(text, **more)


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
