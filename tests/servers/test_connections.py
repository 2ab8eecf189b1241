"""Connections: one for each request in flight, reused, closed; lines whole however they arrive."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from fake_ollama import Exchange, FakeOllama, Reply
from servers.support import canned, served

from magpie_ollama.errors import ConnectionLost, NotThisServer, RequestRefused, Stalled, TransientError
from magpie_ollama.servers import connections
from magpie_ollama.servers.connections import Connections, json_object
from magpie_ollama.servers.ollama import OllamaServer
from magpie_ollama.servers.ollama_errors import refusal

BODY = {"model": "smollm2:135m", "messages": [{"role": "user", "content": "Why?"}]}


def connect(url: str) -> Connections:
    return Connections(url, lambda status, text: refusal(status, text, url, "m"))


async def lines(pool: Connections, enough: Callable[[bytes], bool] = lambda line: False) -> list[bytes]:
    found: list[bytes] = []

    def on_line(line: bytes) -> bool:
        found.append(line)
        return enough(line)

    await pool.stream("/api/chat", BODY, on_line)
    return found


CROWD = """
import asyncio, resource, sys
from magpie_ollama.servers.connections import Connections
from magpie_ollama.servers.ollama_errors import refusal

async def go(url):
    pool = Connections(url, lambda status, text: refusal(status, text, url, "m"))
    started = [pool.stream("/api/chat", {body}, lambda line: False) for _ in range(200)]
    print(*{{str(error) for error in await asyncio.gather(*started, return_exceptions=True)}})

resource.setrlimit(resource.RLIMIT_NOFILE, (64, int(sys.argv[2])))
asyncio.run(go(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of open files")
@pytest.mark.parametrize(("hard", "said"), [(4096, "None"), (64, "may open no more than")])
def test_more_connections_than_a_process_may_open_at_first(hard: int, said: str) -> None:
    with FakeOllama() as fake:
        script = CROWD.format(body=BODY)
        done = subprocess.run(
            [sys.executable, "-c", script, fake.url, str(hard)], capture_output=True, text=True, check=True
        )
    assert said in done.stdout
    assert (done.stdout.strip() == "None") == (hard > 64)


def test_connections_are_reused() -> None:
    """The fake has no other way to tell than its sockets: a second one would mean a second connection."""
    opened: list[Any] = []

    async def go() -> None:
        pool = connect(fake.url)
        for _ in range(5):
            await lines(pool)
            opened.append({id(one) for one in pool._clients[0]._transport._pool.connections})  # type: ignore[attr-defined]
        assert len(pool._clients) == 1
        await pool.close()

    with FakeOllama() as fake:
        asyncio.run(go())
    assert all(len(one) == 1 for one in opened)
    assert len(set(map(frozenset, opened))) == 1


def test_a_connection_for_each_request_in_flight_and_none_waits_for_one() -> None:
    count = 25

    async def go() -> None:
        pool = connect(fake.url)
        tasks = [asyncio.create_task(lines(pool)) for _ in range(count)]
        await asyncio.to_thread(fake.wait_until, lambda: fake.max_in_flight == count)
        assert len(pool._clients) == count and not pool._free
        gate.set()
        answers = await asyncio.gather(*tasks)
        assert all(json.loads(answer[-1])["done"] for answer in answers)
        await lines(pool)
        assert len(pool._clients) == len(pool._free) == count, "used again"
        await pool.close()

    gate = threading.Event()

    class Gated(FakeOllama):
        async def handle(self, exchange: Exchange, request: web.Request) -> web.StreamResponse:
            while not gate.is_set():  # noqa: ASYNC110 (set in another thread)
                await asyncio.sleep(0.002)
            return await super().handle(exchange, request)

    with Gated(parallel=count) as fake:
        asyncio.run(go())


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1}\n{"b": 2}\n',
        b'{"a": 1}\r\n{"b": 2}',
        b'\n\n{"a": 1}\n\n  \n{"b": 2}\n\n',
    ],
)
def test_lines_whole_whatever_ends_them(body: bytes) -> None:
    async def go(url: str) -> list[bytes]:
        pool = connect(url)
        try:
            return await lines(pool)
        finally:
            await pool.close()

    with canned({"/api/chat": (200, body)}) as url:
        assert asyncio.run(go(url)) == [b'{"a": 1}', b'{"b": 2}']


def test_lines_whole_however_they_are_cut() -> None:
    text = '{"a": "è una città, 日本語"}\n{"b": 2}\n'.encode()

    async def go(size: int) -> list[bytes]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, len(text), size):
                piece = text[start : start + size]
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
                await asyncio.sleep(0)
            writer.write(b"0\r\n\r\n")
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            pool = connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            try:
                return await lines(pool)
            finally:
                await pool.close()

    for size in (1, 2, 7, 1000):
        assert asyncio.run(go(size)) == text.splitlines()


def test_a_line_without_an_end_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LONGEST_LINE", 100_000)
    monkeypatch.setattr(connections, "LONGEST_ANSWER", 100_000)

    async def go(url: str) -> None:
        pool = connect(url)
        try:
            with pytest.raises(TransientError, match="a line without an end"):
                await lines(pool)
            with pytest.raises(TransientError, match="an endless answer"):
                await pool.json("POST", "/api/chat", BODY)
        finally:
            await pool.close()

    with canned({"/api/chat": (200, b"x" * 3_000_000)}) as url:
        asyncio.run(go(url))


def test_stopping_early_frees_the_server_and_leaves_the_pool_usable() -> None:
    async def go(server: OllamaServer) -> None:
        pool = server._http
        assert len(await lines(pool, lambda line: True)) == 1
        fake.script = lambda ask: "short"
        assert json.loads((await lines(pool))[-1])["done"]

    with FakeOllama(parallel=1, script=lambda ask: Reply("word " * 20, fault="endless")) as fake:
        served(OllamaServer(fake.url), go)
        fake.wait_until(lambda: fake.requests[0].cancelled)
    assert fake.requests[1].finished


def test_a_cancelled_task_closes_its_connection() -> None:
    async def go(server: OllamaServer) -> None:
        task = asyncio.create_task(lines(server._http))
        await asyncio.to_thread(fake.wait_until, lambda: fake.requests and fake.requests[0].sent)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(server._http._free) == 1

    with FakeOllama(script=lambda ask: Reply("word " * 20, fault="endless")) as fake:
        served(OllamaServer(fake.url), go)
        fake.wait_until(lambda: fake.requests[0].cancelled)


def test_an_error_of_the_reader_closes_the_connection_too() -> None:
    class Own(Exception):
        pass

    def on_line(line: bytes) -> bool:
        raise Own

    async def go(server: OllamaServer) -> None:
        with pytest.raises(Own):
            await server._http.stream("/api/chat", BODY, on_line)

    with FakeOllama(script=lambda ask: Reply("word " * 20, fault="endless")) as fake:
        served(OllamaServer(fake.url), go)
        fake.wait_until(lambda: fake.requests[0].cancelled)


def test_silence_is_measured_from_the_last_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr(connections, "time", SimpleNamespace(monotonic=lambda: clock))

    async def go(server: OllamaServer) -> None:
        nonlocal clock
        clock += 5
        assert server.silent_for() == 5
        await lines(server._http)
        assert server.silent_for() == 0
        clock += 7
        assert server.silent_for() == 7

    with FakeOllama() as fake:
        served(OllamaServer(fake.url), go)


def test_json_that_is_no_object() -> None:
    async def go(url: str) -> None:
        pool = connect(url)
        try:
            with pytest.raises(NotThisServer, match=r"'<html> <b>a page</b>'"):
                await pool.json("GET", "/")
        finally:
            await pool.close()

    with canned({"/": (200, b"<html>\n <b>a page</b>")}) as url:
        asyncio.run(go(url))


def test_refused() -> None:
    async def go(url: str) -> None:
        pool = connect(url)
        try:
            with pytest.raises(ConnectionLost, match="Nothing answers at") as caught:
                await pool.json("GET", "/")
            assert caught.value.remedy
        finally:
            await pool.close()

    with canned({}) as url:
        pass
    asyncio.run(go(url))


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"a": "\\ud83d"}', {"a": "\ud83d"}),  # half a pair, and infinity: Python's servers may write them
        (b'{"a": -Infinity}', {"a": float("-inf")}),
        (b'{"a": "\xff"}', None),
        (b"[1]", None),
        (b"{", None),
        (b'{"a":' * 100_000, None),
        (b"", None),
    ],
)
def test_what_is_a_json_object(data: bytes, value: object) -> None:
    assert json_object(data) == value


@contextmanager
def dribbling(head: bytes, again: bytes, status: int = 200) -> Iterator[str]:
    """A server that says ``head`` and then ``again`` without end; its URL."""
    start = f"HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n".encode() if head else b""

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.recv(65536)
                client.sendall(start + head)
                while not over.wait(0.01):
                    client.sendall(again)

    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()


def test_answers_that_do_not_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.3)
    monkeypatch.setattr(connections, "QUESTION_SECONDS", 2.0)

    async def go(url: str) -> None:
        pool = connect(url)
        try:
            await pool.read("GET", "/")
        finally:
            await pool.close()

    with dribbling(b'{"a":', b" ") as url, pytest.raises(TransientError, match="does not end its answer"):
        asyncio.run(go(url))
    with (
        dribbling(b'{"error": "no such thing"}', b" ", 400) as url,
        pytest.raises(RequestRefused, match="no such thing"),
    ):
        asyncio.run(go(url))
    with dribbling(b'{"error": "' + b"x" * 10**6, b"x" * 10**6, 400) as url, pytest.raises(RequestRefused):
        asyncio.run(go(url))
    monkeypatch.setattr(connections, "QUESTION_SECONDS", 0.3)
    with dribbling(b"", b"") as url, pytest.raises(Stalled, match="does not answer GET /"):
        asyncio.run(go(url))


def test_heartbeats_are_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "QUIET_SECONDS", 0.3)

    async def go(url: str) -> None:
        pool = connect(url)
        try:
            await pool.stream("/", BODY, lambda line: None if line.startswith(b":") else False)
        finally:
            assert pool.silent_for() > 0.2, "the watchdog sees it too"
            await pool.close()

    with dribbling(b"data: 1\n\n", b": ping\n\n") as url, pytest.raises(TransientError, match="says nothing on it"):
        asyncio.run(go(url))


def test_a_bomb_is_not_unpacked() -> None:
    once = gzip.compress(bytes(20 * 2**20))
    answers = {
        "/once": (200, once, {"Content-Encoding": "gzip"}),
        "/twice": (200, gzip.compress(once), {"Content-Encoding": "gzip, gzip"}),
        "/error": (400, gzip.compress(once), {"Content-Encoding": "gzip, gzip"}),
    }

    async def go(url: str) -> None:
        pool = connect(url)
        try:
            for path in answers:
                with pytest.raises((TransientError, RequestRefused)):
                    await pool.read("GET", path)
            with pytest.raises(TransientError, match="compressed twice"):
                await pool.stream("/twice", BODY, lambda line: False)
        finally:
            await pool.close()

    with canned(answers) as url:
        asyncio.run(go(url))
