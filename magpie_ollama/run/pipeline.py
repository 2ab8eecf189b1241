"""The pipeline: attempts in flight side by side, each instruction followed by its response as soon as it passes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from magpie_ollama.corpus.corpus import Corpus
from magpie_ollama.corpus.runs import Run
from magpie_ollama.errors import ShortOfTarget
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.method.extraction import EXPLANATIONS, Reason
from magpie_ollama.method.languages import Exemplar
from magpie_ollama.method.screening import count_words
from magpie_ollama.records import Attempt, Record, new_id
from magpie_ollama.run.asking import Asker, Draft
from magpie_ollama.run.funnel import DROPPED, KEPT, Progress
from magpie_ollama.run.prompting import Prompter
from magpie_ollama.run.settings import Settings
from magpie_ollama.run.watchdog import watch_server
from magpie_ollama.run.ways import Ways
from magpie_ollama.servers.base import Model, Server

POOL = 32
"""Accepted pairs of the run that may serve as exemplars (--bootstrap): the newest."""


class Pipeline:
    """Makes records until the run has its target, the bound on attempts is reached, or ``stop`` is called.

    ``keep`` is called with each record once it is in the corpus.
    """

    def __init__(
        self,
        settings: Settings,
        server: Server,
        model: Model,
        prompter: Prompter,
        ways: Ways,
        corpus: Corpus,
        run: Run,
        seen: DuplicateIndex,
        progress: Progress,
        keep: Callable[[Record], None] = lambda record: None,
    ) -> None:
        self._settings = settings
        self._server = server
        self._model = model
        self._ways = ways
        self._corpus = corpus
        self._run = run
        self._progress = progress
        self._asker = Asker(settings, server, model, prompter, seen, self._count_tokens)
        self._keep = keep
        self._next_index = run.next_index
        self._attempts_left = settings.attempt_bound
        self._stopping = False
        self._changed = asyncio.Event()
        self._asking: set[asyncio.Task[None]] = set()
        self._pool: deque[Exemplar] = deque(maxlen=POOL)

    async def run(self) -> None:
        """Raises ``ShortOfTarget`` at the bound on attempts, or the ``MagpieError`` that ended the run."""
        self._progress.begin()
        if self._settings.think and self._model.thinks is False:
            self._progress.notices.append(f"{self._model.name} cannot reason before it answers: --think has no effect.")
        try:
            async with asyncio.TaskGroup() as group:
                watchdog = group.create_task(watch_server(self._server, lambda: self._progress.in_flight))
                workers = [group.create_task(self._work()) for _ in range(self._settings.parallel)]
                await asyncio.wait(workers)
                watchdog.cancel()
        except BaseExceptionGroup as failures:
            first = failures.exceptions[0]
            raise first from first.__cause__  # which --debug shows
        if not self._stopping and self._run.kept < self._run.target:
            raise self._short()

    def stop(self) -> int:
        """Begins no more attempts and drops the instructions in flight. Returns how many responses are waited for."""
        self._stopping = True
        self._drop_instructions()
        return self._progress.responding

    async def _work(self) -> None:
        while True:
            await self._until(lambda: self._over or self._has_room)
            if self._over or not self._attempts_left:
                return
            self._attempts_left -= 1
            index, self._next_index = self._next_index, self._next_index + 1
            way = self._ways.choose(index)
            await self._attempt(self._asker.draft(index, self._run.seed + index, way, self._pool))

    async def _attempt(self, draft: Draft) -> None:
        self._progress.in_flight += 1
        try:
            made = await self._make(draft)
        except asyncio.CancelledError:
            self._end(draft.end(DROPPED))
            raise
        finally:
            self._progress.in_flight -= 1
            self._signal()
        if isinstance(made, Record):
            self._corpus.append(made)
            self._end(draft.end(KEPT))
            self._remember(made)  # after all is written: ``keep`` is not ours, and may raise
        else:
            self._end(draft.end(made))

    async def _make(self, draft: Draft) -> Record | str:
        """A record, or the reason why there is none."""
        with self._droppable():
            reason = await self._asker.instruction(draft)
        if reason is not None:
            return reason
        self._progress.newest = draft.text
        await self._until(lambda: self._over or self._has_room)
        if self._over:
            return DROPPED
        self._progress.responding += 1
        try:
            answered = await self._asker.response(draft)
        finally:
            self._progress.responding -= 1
        if isinstance(answered, Reason):
            return answered
        return Record(
            id=new_id(),
            messages=[
                {"role": "user", "content": draft.text},
                {"role": "assistant", "content": answered.text.strip()},
            ],
            language=self._settings.language.code,
            model=self._model.name,
            server=self._server.kind,
            steering=draft.way,
            seed=draft.seed,
            run=self._run.id,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            instruction_tokens=draft.instruction_tokens,
            response_tokens=draft.response_tokens,
            finish_reason=answered.finish_reason,
            reasoning=answered.reasoning.strip(),
            confidence=draft.confidence,
        )

    @property
    def _over(self) -> bool:
        return self._stopping or self._run.kept >= self._run.target

    @property
    def _has_room(self) -> bool:
        """Whether the responses in flight leave the run short of its target: more would be made for nothing."""
        return self._run.kept + self._progress.responding < self._run.target

    def _end(self, attempt: Attempt) -> None:
        self._run.journal(attempt)
        self._ways.learn(attempt)
        progress = self._progress
        progress.funnel.count(attempt)
        progress.kept = self._run.kept
        progress.attempts_here += attempt.outcome != DROPPED
        progress.kept_here += attempt.outcome == KEPT
        progress.shares = self._ways.shares()
        if self._over:
            self._drop_instructions()

    @contextmanager
    def _droppable(self) -> Iterator[None]:
        """The current attempt is dropped if the run is over before the block ends."""
        task = asyncio.current_task()
        assert task is not None
        self._asking.add(task)
        try:
            yield
        finally:
            self._asking.discard(task)

    def _drop_instructions(self) -> None:
        for task in self._asking:
            task.cancel()
        self._signal()

    def _remember(self, record: Record) -> None:
        self._keep(record)
        short = count_words(record.instruction) <= 40 and count_words(record.response) <= 80
        if self._settings.bootstrap and short:
            self._pool.append(Exemplar(record.instruction, record.response))

    def _count_tokens(self, more: int) -> None:
        self._progress.tokens += more

    def _signal(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()

    def _short(self) -> ShortOfTarget:
        reasons = self._progress.funnel.rejected()
        told = ""
        if reasons:
            first = reasons[0][0]
            known = {str(reason): why for reason, why in EXPLANATIONS.items()}
            told = f"; rejected: {', '.join(f'{count} {name}' for name, count in reasons)}"
            told += f" ({first}: {known[first]})" if first in known else ""  # a newer tool may have counted others
        return ShortOfTarget(
            f"Kept {self._run.kept} of {self._run.target} after {self._progress.attempts_here} attempts{told}.",
            "run the same command again to go on, raise --max-attempts, or try another --steering or model",
        )
