"""The machinery under both fake servers: a real socket in a thread of its own, a log of requests, faults."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from . import faults
from .faults import Fault, Kind
from .generation import Ask, Reply, Script


@dataclass
class Exchange:
    """One request as it came, and what became of it. The flags change while it runs.

    `body` is the parsed JSON (None where there is none), `started` says that it has left the queue,
    `finished` that the whole answer is out, `cancelled` that the client closed the connection before that.
    `sent` counts the lines of a stream that are out.
    """

    index: int
    method: str
    path: str
    headers: dict[str, str]
    raw: bytes = b""
    body: Any = None
    arrived: float = field(default_factory=time.monotonic)
    started: bool = False
    finished: bool = False
    cancelled: bool = False
    status: int = 0
    sent: int = 0
    fault: Fault | None = None
    generation: int = -1
    """Which of the generating requests this is, counted from 0; -1 for all others."""


class Dropped(Exception):
    """The connection was broken on purpose: nothing more is to be answered."""


Answer = web.StreamResponse


class _Stream(web.StreamResponse):
    """Sends its headers with the first line, as Go's servers do; an aiohttp that cannot sends them before."""

    _send_headers_immediately = False


class FakeServer:
    """What a test sees of a fake server. Subclasses answer in `handle`.

    An exception inside the fake (a script that fails, a bug) is raised again when the `with` block ends, so
    that a test cannot pass on a server that broke.
    """

    generating_paths: frozenset[str] = frozenset()

    def __init__(self, *, parallel: int, max_queue: int, delay: float, script: Script, port: int = 0) -> None:
        self.script = script
        self.delay = delay
        self.parallel = parallel
        self.max_queue = max_queue
        self.port = port
        self.max_in_flight = 0
        self.keeps_log = True  # a benchmark of a million requests does without
        self._in_flight = 0
        self._waiting = 0
        self._generations = 0
        self._exchanges: list[Exchange] = []
        self._plan: list[tuple[Fault, str | None]] = []
        self._broken: list[BaseException] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner: web.AppRunner | None = None
        self._stopping = False

    # What tests use.

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[Exchange]:
        """Every request so far, oldest first."""
        with self._lock:
            return list(self._exchanges)

    def requests_to(self, path: str) -> list[Exchange]:
        return [exchange for exchange in self.requests if exchange.path == path]

    def fail_next(self, n: int, fault: Fault | Kind, path: str | None = None) -> None:
        """The next `n` requests to `path` (None: that generate) fail so; plans are used up in order."""
        planned = faults.as_fault(fault)
        assert planned is not None
        with self._lock:
            self._plan += [(planned, path)] * n

    def wait_until(self, condition: Callable[[], object], timeout: float = 60.0) -> None:
        """For what the server notices only a moment later, such as a connection that was closed."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("the fake server waited in vain")
            time.sleep(0.002)

    def start(self) -> Self:
        ready = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait(10)
        if self._runner is None:
            cause = self._broken[-1] if self._broken else None
            raise RuntimeError("the fake server did not start") from cause
        return self

    def stop(self) -> None:
        """Closes every connection and the port; the log stays."""
        self._stopping = True
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
        self._loop = self._thread = self._runner = None

    def restart(self) -> None:
        """On the same port, as after a crash."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.stop()
        if self._broken and kind is None:
            raise self._broken[0]

    # The thread.

    def _run(self, ready: threading.Event) -> None:
        loop = self._loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(self._serve())
            ready.set()
            loop.run_forever()
            loop.run_until_complete(self._close())
        except BaseException as error:
            self._broken.append(error)
        finally:
            ready.set()
            loop.close()

    async def _serve(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._enter)
        self._slots = asyncio.Semaphore(self.parallel)
        self._in_flight = self._waiting = 0
        # Cancelling a handler whose client has gone is what makes `cancelled` true at once.
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True, backlog=1024)
        await site.start()
        self.port = runner.addresses[0][1]
        self._runner = runner

    async def _close(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    # One request.

    async def _enter(self, request: web.Request) -> Answer:
        exchange = Exchange(-1, request.method, request.path, dict(request.headers))
        generating = request.path in self.generating_paths
        if generating:
            self._in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self._in_flight)
        try:
            exchange.raw = await request.read()
            with contextlib.suppress(ValueError):
                exchange.body = json.loads(exchange.raw) if exchange.raw else None
            with self._lock:  # only now: of one that was broken off in mid-body nobody knows what it asked
                exchange.index = len(self._exchanges)
                if self.keeps_log:
                    self._exchanges.append(exchange)
            exchange.fault = self._planned(exchange)
            answer = await self._answer(exchange, request)
            if not answer.prepared:
                exchange.status = answer.status
                await answer.prepare(request)
            await answer.write_eof()
            exchange.finished = True
            return answer
        except Dropped:
            return web.Response(status=500)
        except (asyncio.CancelledError, ConnectionError):
            exchange.cancelled = not self._stopping
            raise
        except Exception as error:
            self._broken.append(error)
            raise
        finally:
            if generating:
                self._in_flight -= 1

    def _planned(self, exchange: Exchange) -> Fault | None:
        with self._lock:
            for n, (fault, path) in enumerate(self._plan):
                if path == exchange.path or (path is None and exchange.path in self.generating_paths):
                    del self._plan[n]
                    return fault
        return None

    async def _answer(self, exchange: Exchange, request: web.Request) -> Answer:
        early = await self.fail_early(exchange, request)
        return early if early is not None else await self.handle(exchange, request)

    async def fail_early(self, exchange: Exchange, request: web.Request) -> Answer | None:
        """The answer of a fault that stands in place of the real one, if that is what the fault does."""
        fault = exchange.fault
        if fault is None:
            return None
        if fault.kind == "slow_load":
            await asyncio.sleep(fault.seconds)
        if fault.kind not in faults.INSTEAD:
            return None
        if fault.kind in ("drop", "reset"):
            self._break(request, reset=fault.kind == "reset")
        if fault.kind in ("html_200", "html_502"):
            status = 200 if fault.kind == "html_200" else 502
            return web.Response(status=status, text=faults.PAGE, content_type="text/html")
        return self.failure(fault)

    def failure(self, fault: Fault) -> Answer:
        """The server's own answer for busy, out of memory, load crash and any status."""
        raise NotImplementedError

    async def handle(self, exchange: Exchange, request: web.Request) -> Answer:
        raise NotImplementedError

    def ask(self, ask: Ask) -> Reply:
        reply = self.script(ask)
        return Reply(reply) if isinstance(reply, str) else reply

    def take_number(self, exchange: Exchange) -> int:
        exchange.generation = self._generations
        self._generations += 1
        return exchange.generation

    @contextlib.asynccontextmanager
    async def slot(self, exchange: Exchange) -> AsyncIterator[bool]:
        """One of the places that generate; False where even the queue is full."""
        if self._slots.locked() and self._waiting >= self.max_queue:
            yield False
            return
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        exchange.started = True
        try:
            yield True
        finally:
            self._slots.release()

    def _break(self, request: web.Request, reset: bool) -> None:
        transport = request.transport
        if transport is not None:
            if reset:  # without linger, closing sends RST in place of FIN
                transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            transport.abort() if reset else transport.close()
        raise Dropped

    # Bodies.

    async def stream(
        self,
        exchange: Exchange,
        request: web.Request,
        content_type: str,
        lines: list[bytes],
        delay: float,
        error_line: bytes,
    ) -> Answer:
        """`lines`, each in a chunk of its own and after `delay` seconds, with the request's fault in them."""
        response = _Stream(headers={"Content-Type": content_type})
        response.enable_chunked_encoding()
        exchange.status = 200
        await response.prepare(request)
        fault = exchange.fault
        if fault is None and not delay and request.transport is not None:
            # Three writes in all, yet each line in a chunk of its own as a client would get it: a benchmark is
            # to measure the client, and a write for each line costs more than all else here.
            first, *middle, last = lines if len(lines) > 1 else [lines[0], b""]
            await response.write(first)
            if middle:
                request.transport.write(b"".join([b"%x\r\n%b\r\n" % (len(line), line) for line in middle]))
            await response.write_eof(last)
            exchange.sent = len(lines)
            return response
        steps: Iterable[faults.Step] = lines if fault is None else faults.steps(lines, fault, error_line)
        for step in steps:
            if isinstance(step, bytes):
                if delay:
                    await asyncio.sleep(delay)
                await response.write(step)
                exchange.sent += 1
            elif isinstance(step, faults.Break):
                self._break(request, reset=False)
            else:
                await asyncio.sleep(step)
        return response

    async def whole(
        self, exchange: Exchange, request: web.Request, content_type: str, body: bytes, failed: Answer
    ) -> Answer:
        """A body in one piece; `failed` answers in its place where the fault is an error amid generation."""
        fault = exchange.fault
        headers = {"Content-Type": content_type}
        match fault.kind if fault else None:
            case "engine_dies" | "error_mid":
                return failed
            case "stall":
                assert fault is not None
                await asyncio.sleep(fault.seconds)
            case "endless":
                await asyncio.Event().wait()  # until the client has had enough
            case "half_line":
                body = body[: len(body) // 2]
            case "bad_utf8" | "huge_line":
                assert fault is not None
                body = faults.spoiled(body, fault)
            case "drop_mid":
                response = web.StreamResponse(headers=headers | {"Content-Length": str(len(body))})
                await response.prepare(request)
                await response.write(body[: len(body) // 2])
                self._break(request, reset=False)
        return web.Response(body=body, headers=headers)
