"""The pipeline: attempts in flight side by side, each instruction followed by its response as soon as it passes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from magpie_ollama.asking.attempt import Asker, Draft
from magpie_ollama.asking.settings import Settings
from magpie_ollama.asking.templates import Prompter
from magpie_ollama.asking.watchdog import watched
from magpie_ollama.corpus.corpus import Corpus
from magpie_ollama.corpus.runs import Run
from magpie_ollama.errors import ShortOfTarget
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.method.languages import Exemplar
from magpie_ollama.method.reasons import Reason
from magpie_ollama.method.screening import count_words
from magpie_ollama.records import DROPPED, KEPT, Attempt, Record, new_id
from magpie_ollama.run.choosing import Steerings
from magpie_ollama.run.parallel import TICK, Throttle, throttle_for
from magpie_ollama.run.progress import Progress
from magpie_ollama.servers.loaded import LoadedModel

POOL = 32
"""Accepted pairs of the run that may serve as exemplars (--bootstrap): the newest."""

Keep = Callable[[Record], Awaitable[None] | None]


class Pipeline:
    """Makes records until the run has its target, the bound on attempts is reached, or ``stop`` is called.

    ``keep`` is called with each record once it is in the corpus. What it returns is awaited before another attempt
    takes the record's place: a caller who has not taken a record yet holds up the next.
    """

    def __init__(
        self,
        settings: Settings,
        model: LoadedModel,
        prompter: Prompter,
        steerings: Steerings,
        corpus: Corpus,
        run: Run,
        seen: DuplicateIndex,
        progress: Progress,
        keep: Keep = lambda record: None,
    ) -> None:
        self._settings = settings
        self._server = model.server
        self._model = model
        self._steerings = steerings
        self._corpus = corpus
        self._run = run
        self._progress = progress
        self._asker = Asker(settings, model, prompter, seen, self._count_tokens, self._refused)
        self._keep = keep
        self._next_index = run.next_index
        self._attempts_left = settings.attempt_bound
        self._stopping = False
        self._changed = asyncio.Event()
        self._asking: dict[asyncio.Task[None], Draft] = {}
        self._responding: dict[int, Draft] = {}
        self._pool: deque[Exemplar] = deque(maxlen=POOL)
        self._throttle: Throttle | None = None
        if not settings.parallel:
            self._throttle = throttle_for(
                model.server, run.target - run.kept, settings.think and model.thinks is not False
            )
        self._level = self._throttle.level if self._throttle else settings.parallel
        self._workers = 0

    async def run(self) -> None:
        """Raises ``ShortOfTarget`` at the bound on attempts, or the ``MagpieError`` that ended the run."""
        self._progress.begin()
        if self._settings.think and self._model.thinks is False:
            self._progress.notices.append(f"{self._model.name} cannot reason before it answers: --think has no effect.")
        try:
            async with watched(self._server, lambda: self._progress.in_flight) as group:
                self._fill(group)
                gauge = group.create_task(self._gauge(group, self._throttle)) if self._throttle else None
                await self._until(lambda: not self._workers)
                if gauge is not None:
                    gauge.cancel()
        finally:
            self._tell_level()
        if not self._stopping and self._run.kept < self._run.target:
            raise self._short()

    def stop(self) -> int:
        """Begins no more attempts and drops the instructions in flight. Returns how many responses are waited for."""
        self._stopping = True
        self._drop_instructions()
        return self._progress.responding

    def _fill(self, group: asyncio.TaskGroup) -> None:
        for _ in range(self._level - self._workers):
            self._workers += 1
            group.create_task(self._work())

    async def _work(self) -> None:
        """Attempts, one after another, for as long as there are no more workers than the level has."""
        try:
            while self._workers <= self._level:
                await self._until(lambda: self._over or self._has_room)
                if self._over or not self._attempts_left:
                    return
                self._attempts_left -= 1
                index, self._next_index = self._next_index, self._next_index + 1
                steering = self._steerings.choose()
                await self._attempt(self._asker.draft(index, self._run.seed + index, steering, self._pool))
        finally:
            self._workers -= 1
            self._signal()

    async def _gauge(self, group: asyncio.TaskGroup, throttle: Throttle) -> None:
        """Never returns; sets the level by what the throttle finds. When it falls, attempts in flight are let end."""
        while True:
            await asyncio.sleep(TICK)
            asked = len(self._asking) + len(self._responding)
            writing = sum(draft.instruction_tokens > 0 for draft in self._asking.values())
            writing += sum(draft.response_tokens > 0 for draft in self._responding.values())
            self._level = throttle.look(asked, writing, self._progress.tokens, self._progress.attempts_here)
            self._fill(group)

    def _refused(self) -> None:
        if self._throttle is not None:
            self._level = self._throttle.refuse()

    def _tell_level(self) -> None:
        self._progress.level = self._level
        if self._throttle is not None:
            self._progress.rates = self._throttle.found()
            if advice := self._throttle.advice(self._server):
                self._progress.notices.append(advice)

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
            await self._remember(made)  # after all is written: ``keep`` is not ours, and may raise
        else:
            self._end(draft.end(made))

    async def _make(self, draft: Draft) -> Record | str:
        """A record, or the reason why there is none."""
        with self._droppable(draft):
            reason = await self._asker.instruction(draft)
        if reason is not None:
            return reason
        self._progress.newest = draft.text
        await self._until(lambda: self._over or self._has_room)
        if self._over:
            return DROPPED
        self._responding[draft.index] = draft
        self._progress.responding = len(self._responding)
        try:
            answered = await self._asker.response(draft)
        finally:
            del self._responding[draft.index]
            self._progress.responding = len(self._responding)
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
            steering=draft.steering,
            temperature=self._settings.instruction.temperature,
            seed=draft.seed,
            run=self._run.id,
            opener=draft.steered.opener.strip(),
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
        self._steerings.learn(attempt)
        progress = self._progress
        progress.funnel.count(attempt)
        progress.kept = self._run.kept
        progress.attempts_here += attempt.outcome != DROPPED
        progress.kept_here += attempt.outcome == KEPT
        progress.shares = self._steerings.shares()
        if self._over:
            self._drop_instructions()

    @contextmanager
    def _droppable(self, draft: Draft) -> Iterator[None]:
        """The current attempt is dropped if the run is over before the block ends."""
        task = asyncio.current_task()
        assert task is not None
        self._asking[task] = draft
        try:
            yield
        finally:
            del self._asking[task]

    def _drop_instructions(self) -> None:
        for task in self._asking:
            task.cancel()
        self._signal()

    async def _remember(self, record: Record) -> None:
        taken = self._keep(record)
        if taken is not None:
            await taken
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
        told, remedy = (
            "",
            "run the same command again to go on, raise --max-attempts, or try another --steering or model",
        )
        if reasons:
            # A newer tool may have counted others.
            first = next((reason for reason in Reason if reason == reasons[0][0]), None)
            told = f"; rejected: {', '.join(f'{count} {name}' for name, count in reasons)}"
            told += f" ({first}: {first.words})" if first else ""
            remedy = first.remedy + ", then run the same command again" if first and first.remedy else remedy
        return ShortOfTarget(
            f"Kept {self._run.kept} of {self._run.target} after {self._progress.funnel.attempts} attempts{told}.",
            remedy,
        )
