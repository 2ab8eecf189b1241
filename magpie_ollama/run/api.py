"""The main job from Python: an iterator of records, and an async one."""

from __future__ import annotations

import asyncio
import atexit
import warnings
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, SupportsIndex, TypedDict, Unpack
from weakref import WeakSet

from anyio import create_memory_object_stream
from anyio.from_thread import start_blocking_portal

from magpie_ollama.asking.settings import Settings
from magpie_ollama.corpus import Corpus, MemoryCorpus
from magpie_ollama.errors import UsageError
from magpie_ollama.method import languages
from magpie_ollama.method.screening import Rules
from magpie_ollama.method.steering import default_steering, parse_steering
from magpie_ollama.records import Record
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import open_session
from magpie_ollama.servers.base import Sampling, ServerChoice

_LEAST = {"n": 1, "exemplars": 1, "parallel": 0, "max_attempts": 0}


class Further(TypedDict, total=False):
    """The fields of ``asking.settings.Settings`` that have a default."""

    system: str
    exemplars: int
    bootstrap: bool
    instruction: Sampling
    response: Sampling
    rules: Rules | None
    think: bool
    seed: int | None
    parallel: int
    max_attempts: int


class Keywords(Further, total=False):
    """What ``agenerate`` takes by name."""

    output: str | Path | None
    model: str
    server: str
    host: str
    model_path: str | Path | None
    template: str
    steering: str
    options: Mapping[str, Any] | None
    pull: bool


def agenerate(
    language: str = "en",
    n: int = 20,
    *,
    output: str | Path | None = None,
    model: str = "",
    server: str = "auto",
    host: str = "",
    model_path: str | Path | None = None,
    template: str = "",
    steering: str = "",
    options: Mapping[str, Any] | None = None,
    pull: bool = False,
    **settings: Unpack[Further],
) -> AsyncGenerator[Record, None]:
    """Makes ``n`` records in ``language`` and yields each one as soon as it is there.

    With ``output``, a path, each record is in that corpus before it is yielded, and an unfinished run of the same
    settings is continued: then only what is missing is made and yielded. ``model``, ``server`` ("auto", "ollama",
    "openai", "embedded"), ``host``, ``model_path``, ``template``, ``steering``, ``options`` and ``pull`` are those of
    the command line; what it notes (the embedded engine steps in, a torn line was mended) is a warning here;
    ``settings`` are further fields of ``asking.settings.Settings`` (``parallel``, ``seed``, ``system``, ...).

    No more is made than is taken: who stops taking records finds the corpus with at most as many more as there are
    attempts in flight. Leave early only inside ``contextlib.aclosing(...)``, which ends the work and gives the corpus
    free at once.

    Raises ``errors.MagpieError``, at once for what is no language or steering, or too small a number;
    ``errors.ShortOfTarget`` at the end where the bound on attempts came first.
    """
    for name, value in {"n": n, **settings}.items():
        least = _LEAST.get(name)
        if least is not None and not (isinstance(value, SupportsIndex) and value.__index__() >= least):
            raise UsageError(
                f"{name} must be a whole number, {least} or more, not {value!r:.40}.", f"mend it, or leave out {name}"
            )
    spoken = languages.find(language)
    choice = ServerChoice(server, host, model, Path(model_path) if model_path else None, template, options or {}, pull)
    asked = Settings(choice, spoken, parse_steering(steering) if steering else default_steering(spoken), n, **settings)
    return _records(asked, None if output is None else Path(output))


async def _records(asked: Settings, output: Path | None) -> AsyncGenerator[Record, None]:
    give, made = create_memory_object_stream[Record](0)  # nothing is given before somebody takes it
    with give, made, Corpus.open(output) if output is not None else MemoryCorpus() as corpus:
        async with open_session(asked, corpus, Progress(target=asked.target)) as session:
            notices = session.progress.notices
            job = asyncio.create_task(session.generate(give.send))
            job.add_done_callback(lambda _: give.close())
            try:
                _warn(notices)
                async for record in made:
                    _warn(notices)
                    yield record
                await job
            finally:
                job.cancel()
                await asyncio.gather(job, return_exceptions=True)
                _warn(notices)


def generate(language: str = "en", n: int = 20, **settings: Unpack[Keywords]) -> Generator[Record, None, None]:
    """``agenerate`` without async, in a notebook too: the work goes on in a thread of its own while you iterate.

    A script that leaves early and keeps the iterator gives the corpus free with its ``close()``, or at its end.
    """
    records = _iterate(agenerate(language, n, **settings))
    _begun.add(records)
    return records


_begun: WeakSet[Generator[Record, None, None]] = WeakSet()


@atexit.register
def _close() -> None:
    # Later, with the modules' variables, it would wait for a thread that runs no more.
    for records in list(_begun):
        with suppress(ValueError):  # a daemon thread is amid it, and ends with the process
            records.close()


def _iterate(records: AsyncGenerator[Record, None]) -> Generator[Record, None, None]:
    made: SimpleQueue[Record | None] = SimpleQueue()
    wanted = asyncio.Semaphore(0)

    async def work() -> None:
        async with aclosing(records):
            await wanted.acquire()
            async for record in records:
                made.put(record)
                await wanted.acquire()

    async def begin() -> asyncio.Task[None]:
        job = asyncio.create_task(work())
        job.add_done_callback(lambda _: made.put(None))
        return job

    async def end(job: asyncio.Task[None]) -> None:
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)

    with start_blocking_portal() as portal:
        job = portal.call(begin)
        try:
            portal.call(wanted.release)
            while (record := made.get()) is not None:  # here Ctrl-C comes, and the work still has to end well
                yield record
                portal.call(wanted.release)
            job.result()
        finally:
            portal.call(end, job)


def _warn(notices: list[str]) -> None:
    while notices:
        warnings.warn(notices.pop(0), stacklevel=3)
