"""The main job from Python: an iterator of records, and an async one."""

from __future__ import annotations

import asyncio
import atexit
import functools
import warnings
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import replace
from inspect import signature
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ParamSpec
from weakref import WeakSet

from anyio import create_memory_object_stream
from anyio.from_thread import start_blocking_portal

from magpie_ollama.asking.said import BY_NAME, INSTRUCTION, KEEP_REJECTED, RESPONSE, TRIES, Setting
from magpie_ollama.asking.settings import settings_of
from magpie_ollama.corpus import Corpus, MemoryCorpus
from magpie_ollama.corpus.questions import read
from magpie_ollama.method import languages
from magpie_ollama.method.steering import EXEMPLARS, NONE, default_steering, parse_steering
from magpie_ollama.records import Record
from magpie_ollama.run.answering import Job, answer_language, answer_steering, open_answering
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import Session, open_session
from magpie_ollama.servers.base import ServerChoice

P = ParamSpec("P")


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
    topics: str = "",
    system: str = "",
    difficulty: str = "",
    later_temperature: float | None = None,
    exemplars: int = EXEMPLARS,
    bootstrap: bool = False,
    turns: str | int = "1",
    end_with: str = "assistant",
    include_system: bool = False,
    one_line: bool = False,
    temperature: float | None = None,
    top_p: float = INSTRUCTION.top_p,
    top_k: int = INSTRUCTION.top_k,
    min_p: float = INSTRUCTION.min_p,
    repeat_penalty: float = INSTRUCTION.repeat_penalty,
    max_instruction_tokens: int = INSTRUCTION.max_tokens,
    response_temperature: float = RESPONSE.temperature,
    response_top_p: float = RESPONSE.top_p,
    response_top_k: int = RESPONSE.top_k,
    response_min_p: float = RESPONSE.min_p,
    response_repeat_penalty: float = RESPONSE.repeat_penalty,
    max_response_tokens: int = RESPONSE.max_tokens,
    think: bool = False,
    min_words: int = 3,
    max_words: int = 300,
    min_confidence: float = 0.0,
    keep_truncated: bool = False,
    retries_response: int = 0,
    keep_rejected: int = KEEP_REJECTED,
    seed: int | None = None,
    max_attempts: int | None = None,
    parallel: int = 0,
    response_model: str = "",
    response_server: str = "",
    response_host: str = "",
) -> AsyncGenerator[Record, None]:
    """Makes ``n`` records in ``language`` and yields each one as soon as it is there.

    With ``output``, a path, each record is in that corpus before it is yielded, and an unfinished run of the same
    settings is continued: then only what is missing is made and yielded. The keywords are named as on the command
    line, with its defaults (``magpie-ollama generate --help``); ``options`` are further ones of the server by their own
    names, ``parallel`` 0 is its "auto". What the command notes (the embedded engine steps in, a torn line was mended)
    is a warning here.

    No more is made than is taken: who stops taking records finds the corpus with at most as many more as there are
    attempts in flight. Leave early only inside ``contextlib.aclosing(...)`` (without async ``closing(...)``), which
    ends the work and gives the corpus free at once.

    Raises ``errors.MagpieError``, at once for what is no language or steering, or a value that may not stand there;
    ``errors.ShortOfTarget`` at the end where the bound on attempts came first.
    """
    said = {name: value for name, value in locals().items() if name in BY_NAME}
    for setting, value in ((_N, n), (_PARALLEL, parallel)):
        setting.check(value)
    spoken = languages.find(language)
    choice = ServerChoice(server, host, model, Path(model_path) if model_path else None, template, options or {}, pull)
    chosen = parse_steering(steering) if steering else default_steering(spoken, topics)
    asked = settings_of(choice, spoken, chosen, n, said, parallel)
    if response_model:
        asked = replace(asked, responder=choice.beside(response_model, response_server, response_host))
    return _records(output, lambda corpus: open_session(asked, corpus, Progress(target=asked.target)))


def arespond(
    file: str | Path,
    *,
    output: str | Path | None = None,
    column: str = "",
    blocks: bool | None = None,
    language: str = "",
    model: str = "",
    server: str = "auto",
    host: str = "",
    model_path: str | Path | None = None,
    template: str = "",
    steering: str = "",
    options: Mapping[str, Any] | None = None,
    pull: bool = False,
    tries: int = TRIES,
    retry: bool = False,
    skip_bad: bool = False,
    system: str = "",
    exemplars: int = EXEMPLARS,
    response_temperature: float = RESPONSE.temperature,
    response_top_p: float = RESPONSE.top_p,
    response_top_k: int = RESPONSE.top_k,
    response_min_p: float = RESPONSE.min_p,
    response_repeat_penalty: float = RESPONSE.repeat_penalty,
    max_response_tokens: int = RESPONSE.max_tokens,
    think: bool = False,
    keep_truncated: bool = False,
    keep_rejected: int = KEEP_REJECTED,
    seed: int | None = None,
    parallel: int = 0,
) -> AsyncGenerator[Record, None]:
    """Answers the questions of ``file`` and yields each record as soon as it is there, as ``agenerate`` does.

    The keywords are named as on the command line (``magpie-ollama respond --help``). With ``output``, what that corpus
    answers is neither asked nor yielded. Raises ``errors.MagpieError``, at once for a file that cannot be read;
    ``errors.ShortOfTarget`` at the end where a question is left.
    """
    said = {name: value for name, value in locals().items() if name in BY_NAME}
    for setting, value in ((_TRIES, tries), (_PARALLEL, parallel)):
        setting.check(value)
    spoken, chosen = answer_language(language), answer_steering(steering)
    questions = read(Path(file), column=column, blocks=blocks, skip_bad=skip_bad)
    choice = ServerChoice(server, host, model, Path(model_path) if model_path else None, template, options or {}, pull)
    asked = settings_of(choice, spoken or languages.ANY, chosen or NONE, len(questions.asked), said, parallel)

    def opened(corpus: Corpus) -> AbstractAsyncContextManager[Session] | None:
        job = Job(questions, corpus, spoken, chosen, tries, retry)
        if not job.left:
            if short := job.short():
                raise short
            return None
        return open_answering(asked, job, Progress(target=len(job.left)))

    return _records(output, opened)


_TRIES = Setting("tries", "", TRIES, "Of a question.", 1, 20)
_N = Setting("n", "target", 20, "Records to make.", 1)
_PARALLEL = Setting("parallel", "parallel", 0, "Attempts in flight; 0 is auto.", 0, 1024)


async def _records(
    output: str | Path | None, opened: Callable[[Corpus], AbstractAsyncContextManager[Session] | None]
) -> AsyncGenerator[Record, None]:
    """``opened`` makes the session over the corpus, None where nothing is to be done."""
    give, made = create_memory_object_stream[Record](0)  # nothing is given before somebody takes it
    with give, made, Corpus.open(Path(output)) if output is not None else MemoryCorpus() as corpus:
        if (work := opened(corpus)) is None:
            return
        async with work as session:
            notices, told = session.progress.notices, 0
            job = asyncio.create_task(session.generate(give.send))
            job.add_done_callback(lambda _: give.close())
            try:
                told = _warn(notices, told)
                async for record in made:
                    told = _warn(notices, told)
                    yield record
                await job
            finally:
                job.cancel()
                await asyncio.gather(job, return_exceptions=True)
                _warn(notices, told)


_begun: WeakSet[Generator[Record, None, None]] = WeakSet()


def _without_async(make: Callable[P, AsyncGenerator[Record, None]]) -> Callable[P, Generator[Record, None, None]]:
    @functools.wraps(make)
    def iterate(*args: P.args, **given: P.kwargs) -> Generator[Record, None, None]:
        records = _iterate(make(*args, **given))
        _begun.add(records)
        return records

    # What help() shows is what is called, not what is wrapped.
    shown = signature(make).replace(return_annotation="Generator[Record, None, None]")
    vars(iterate)["__signature__"] = shown
    iterate.__name__ = iterate.__qualname__ = make.__name__.removeprefix("a")
    return iterate


generate = _without_async(agenerate)
respond = _without_async(arespond)
"""``agenerate`` and ``arespond`` without async, in a notebook too: the work goes on in a thread of its own while you
iterate.

A script that leaves early and keeps the iterator gives the corpus free with its ``close()``, or at its end.
"""


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


def _warn(notices: list[str], told: int) -> int:
    """Those behind the first ``told``. Returns how many there are."""
    for notice in notices[told:]:
        warnings.warn(notice, stacklevel=3)
    return len(notices)
