"""The main job from Python: an iterator of records, and an async one."""

from __future__ import annotations

import asyncio
import atexit
import functools
import warnings
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from inspect import signature
from pathlib import Path
from queue import SimpleQueue
from typing import ParamSpec, Unpack
from weakref import WeakSet

from anyio import create_memory_object_stream
from anyio.from_thread import start_blocking_portal

from magpie_ollama import plugins
from magpie_ollama.api.keywords import Conversing, File, Generating, Responding, choice_of, explicit
from magpie_ollama.api.wanting import open_wanting
from magpie_ollama.asking.said import Turns
from magpie_ollama.asking.settings import settings_of
from magpie_ollama.corpus import Corpus, MemoryCorpus
from magpie_ollama.corpus.questions import read
from magpie_ollama.method import languages
from magpie_ollama.method.languages import ANY
from magpie_ollama.method.steering import NONE
from magpie_ollama.records import Record
from magpie_ollama.run import extending
from magpie_ollama.run.answering import Job, answer_language, answer_steering, open_answering
from magpie_ollama.run.asked import generating
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import Session
from magpie_ollama.tagging.wanted import conditions

P = ParamSpec("P")


@explicit(Generating)
def agenerate(language: str = "en", n: int = 20, **given: Unpack[Generating]) -> AsyncGenerator[Record, None]:
    """Makes ``n`` records in ``language`` and yields each one as soon as it is there.

    With ``output``, a path, each record is in that corpus before it is yielded, and an unfinished run of the same
    settings is continued: then only what is missing is made and yielded. What the command notes (the embedded engine
    steps in, a torn line was mended) is a warning here.

    No more is made than is taken: who stops taking records finds the corpus with at most as many more as there are
    attempts in flight. Leave early only inside ``contextlib.aclosing(...)`` (without async ``closing(...)``), which
    ends the work and gives the corpus free at once.

    Raises ``errors.MagpieError``, at once for what is no language or steering, or a value that may not stand there;
    ``errors.ShortOfTarget`` at the end where the bound on attempts came first.

    >>> for record in generate("it", 10, model="llama3.2", topics="maths"):   # doctest: +SKIP
    ...     print(record.instruction, "->", record.response)
    """
    asked = generating(choice_of(given), given["total"] or n, {**given, "language": language})
    wanted = conditions(given["where"], "where")
    return _records(
        given["output"],
        lambda corpus: open_wanting(asked, corpus, Progress(target=asked.target), wanted, given),
    )


@explicit(Responding)
def arespond(file: str | Path, **given: Unpack[Responding]) -> AsyncGenerator[Record, None]:
    """Answers the questions of ``file`` and yields each record as soon as it is there, as ``agenerate`` does.

    With ``output``, what that corpus answers is neither asked nor yielded. Raises ``errors.MagpieError``, at once for a
    file that cannot be read; ``errors.ShortOfTarget`` at the end where a question is left.

    >>> for record in respond("questions.csv", column="frage", language="de"):   # doctest: +SKIP
    ...     print(record.source, record.response)
    """
    spoken, chosen = answer_language(given["language"]), answer_steering(given["steering"])
    questions = read(Path(file), column=given["column"], blocks=given["blocks"], skip_bad=given["skip_bad"])
    asked = settings_of(choice_of(given), spoken or ANY, chosen or NONE, len(questions.asked), given, given["parallel"])

    def opened(corpus: Corpus) -> AbstractAsyncContextManager[Session] | None:
        job = Job(questions, corpus, spoken, chosen, given["tries"], given["retry"])
        if not job.left:
            if short := job.short():
                raise short
            return None
        return open_answering(asked, job, Progress(target=len(job.left)))

    return _records(given["output"], opened)


@explicit(Conversing)
def aconverse(file: str | Path, turns: str | int = "2-3", **given: Unpack[Conversing]) -> AsyncGenerator[Record, None]:
    """Goes on with the conversations of ``file`` up to ``turns`` of the user (N, or "A-B"), and yields each as soon as
    it is there, as ``agenerate`` does.

    With ``output``, those that are in that corpus are left as they are. Raises ``errors.MagpieError``, at once for a
    file that cannot be read or has none to go on with; ``errors.ShortOfTarget`` at the end where one could not go on.

    >>> for record in converse("en.jsonl", "2-4", output="long.jsonl"):   # doctest: +SKIP
    ...     print(len(record.messages), record.source)
    """
    spoken = languages.find(given["language"]) if given["language"] else None
    found = extending.read(Path(file), Turns.read(turns), spoken, skip_bad=given["skip_bad"])
    choice, steering = choice_of(given), "opener" if given["openers"] else NONE
    said = {**given, "turns": turns}
    asked = settings_of(choice, found.languages[0], steering, len(found.found), said, given["parallel"])

    def opened(corpus: Corpus) -> AbstractAsyncContextManager[Session] | None:
        found.leave_out_those_of(corpus)
        if not found.found:
            return None
        return extending.open_extending(asked, corpus, Progress(target=len(found.found)), found, given["tries"])

    return _records(given["output"], opened)


async def _records(
    output: File, opened: Callable[[Corpus], AbstractAsyncContextManager[Session] | None]
) -> AsyncGenerator[Record, None]:
    """``opened`` makes the session over the corpus, None where nothing is to be done."""
    give, made = create_memory_object_stream[Record](0)  # nothing is given before somebody takes it
    with give, made, Corpus.open(Path(output)) if output is not None else MemoryCorpus() as corpus:
        if (work := opened(corpus)) is None:
            return
        async with work as session:
            if not session.settings.target:
                return
            notices, told = session.progress.notices, 0
            job = asyncio.create_task(session.generate(give.send))
            job.add_done_callback(lambda _: give.close())
            try:
                told = warn(notices, told)
                async for record in made:
                    told = warn(notices, told)
                    yield record
                await job
            finally:
                job.cancel()
                await asyncio.gather(job, return_exceptions=True)
                warn([*notices, *plugins.take_notices()], told)


_begun: WeakSet[Generator[Record, None, None]] = WeakSet()


def without_async(make: Callable[P, AsyncGenerator[Record, None]]) -> Callable[P, Generator[Record, None, None]]:
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


generate = without_async(agenerate)
respond = without_async(arespond)
converse = without_async(aconverse)
"""``agenerate``, ``arespond`` and ``aconverse`` without async, in a notebook too: the work goes on in a thread of its
own while you iterate.

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


def warn(notices: list[str], told: int) -> int:
    """Those behind the first ``told``. Returns how many there are."""
    for notice in notices[told:]:
        warnings.warn(notice, stacklevel=3)
    return len(notices)
