"""The pipeline: attempts in flight side by side, each instruction followed by its response as soon as it passes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from magpie_ollama.asking.attempt import attempt
from magpie_ollama.asking.drafts import Draft, Turn, tokens
from magpie_ollama.asking.watchdog import watched
from magpie_ollama.corpus import lines, rejections
from magpie_ollama.corpus.corpus import Corpus
from magpie_ollama.corpus.rejections import Aside, Rejected
from magpie_ollama.corpus.runs import Run
from magpie_ollama.method.ability import ENOUGH, Writes, ability
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.method.followups import Phrases
from magpie_ollama.method.reasons import Reason, Stage
from magpie_ollama.method.variety import subjects_of
from magpie_ollama.records import DROPPED, KEPT, UNWANTED, Attempt, Message, Record, new_id
from magpie_ollama.run.parallel import TICK, USUAL, Throttle, throttle_for
from magpie_ollama.run.phases import Phases
from magpie_ollama.run.prepared import Prepared
from magpie_ollama.run.sources import Source
from magpie_ollama.servers.base import Server

JUDGED = 200
"""The newest attempts, by which the model's ability is told."""

FIRST = 20
"""Records after which it is told what a gate will cost."""

Keep = Callable[[Record], Awaitable[None] | None]


class Gate(Protocol):
    """Says which whole records count: ``words`` are what it asks of them, ``server`` is the one that it asks."""

    @property
    def words(self) -> str: ...

    @property
    def server(self) -> Server: ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """What two runs have in common whose gate is the same."""

    async def judged(self, record: Record) -> tuple[Record, bool]:
        """The record as it is to be written, and whether it counts. Raises the ``MagpieError`` that ends the run."""


class Pipeline:
    """Makes records until the run has its target, the source has no more, or ``stop`` is called.

    ``keep`` is called with each record once it is in the corpus. What it returns is awaited before another attempt
    takes the record's place: a caller who has not taken a record yet holds up the next.
    """

    def __init__(
        self,
        prepared: Prepared,
        source: Source,
        corpus: Corpus,
        run: Run,
        seen: DuplicateIndex,
        keep: Keep = lambda record: None,
        reasons: bool = False,
        phased: bool = False,
        phrases: Phrases | None = None,
        gate: Gate | None = None,
    ) -> None:
        """``reasons``: the model does so before it answers, and much of a response is not seen. ``phased``: the model
        and the one that answers are not in memory together (``run.phases``). Records that do not pass the ``gate``
        are kept beside the corpus."""
        self._settings = settings = prepared.settings
        self._model = prepared.model
        self._responder = prepared.responder
        self._phases = Phases(source) if phased else None
        self._source = source
        self._corpus = corpus
        self._run = run
        self._progress = prepared.progress
        self._asker = prepared.asker(seen, self._refused, phrases)
        self._judges = prepared.judges
        self._keep = keep
        self._stopping = False
        self._changed = asyncio.Event()
        self._drafts: dict[asyncio.Task[None], Draft] = {}
        self._responding: set[int] = set()
        self._throttle: Throttle | None = None
        if not settings.parallel and not phased:  # which a throttle would take for a slow server
            self._throttle = throttle_for(self._model.server, run.target - run.kept, reasons)
        self._level = self._throttle.level if self._throttle else settings.parallel or USUAL
        self._workers = 0
        self._newest: deque[Attempt] = deque(maxlen=JUDGED)
        self._subjects = subjects_of(settings.language)
        path = corpus.path
        beside = rejections.path_beside(path) if path else None
        self._rejections = Aside(beside, "rejected response", settings.keep_rejected)
        self._unwanted = Aside(rejections.unwanted_beside(path) if path else None, "unwanted record")
        self._gate = gate
        self._judged: list[bool] = []

    async def run(self) -> None:
        """Raises the ``MagpieError`` that ended the run."""
        self._progress.begin()
        if self._settings.think and self._responder.thinks is False:
            name = self._responder.name
            self._progress.notices.append(f"{name} cannot reason before it answers: --think has no effect.")
        try:
            others = [self._responder.server, *([self._gate.server] if self._gate else [])]
            async with watched(self._model.server, lambda: len(self._drafts), *others) as group:
                self._fill(group)
                gauge = group.create_task(self._gauge(group, self._throttle)) if self._throttle else None
                await self._until(lambda: not self._workers)
                if gauge is not None:
                    gauge.cancel()
            for draft in self._phases.left if self._phases else ():
                self._end(draft.end(DROPPED))
        finally:
            self._tell_level()
            self._progress.notices += [*self._rejections.close(), *self._unwanted.close()]

    def stop(self) -> int:
        """Begins no more attempts and drops the instructions in flight. Returns how many responses are waited for."""
        self._stopping = True
        self._drop_instructions()
        return len(self._responding)

    def _fill(self, group: asyncio.TaskGroup) -> None:
        for _ in range(self._level - self._workers):
            self._workers += 1
            group.create_task(self._work())

    async def _work(self) -> None:
        """Attempts, one after another, for as long as there are no more workers than the level has."""
        try:
            while self._workers <= self._level:
                await self._until(lambda: self._over or self._is_ready)
                if self._over:
                    return
                draft = self._phases.take() if self._phases else self._source.next()
                if draft is not None:
                    await self._attempt(draft)
                elif self._phases is None or self._phases.is_done:
                    return
        finally:
            self._workers -= 1
            self._signal()

    async def _gauge(self, group: asyncio.TaskGroup, throttle: Throttle) -> None:
        """Never returns; sets the level by what the throttle finds. When it falls, attempts in flight are let end."""
        while True:
            await asyncio.sleep(TICK)
            asked = [draft for draft in self._drafts.values() if not draft.waiting]
            writing = sum(bool(draft.turns) and draft.turns[-1].tokens > 0 for draft in asked)
            self._level = throttle.look(len(asked), writing, self._progress.tokens, self._progress.attempts_here)
            self._fill(group)

    def _refused(self) -> None:
        if self._throttle is not None:
            self._level = self._throttle.refuse()

    def _tell_level(self) -> None:
        self._progress.level = self._level
        if self._throttle is not None:
            self._progress.rates = self._throttle.found()
            if advice := self._throttle.advice(self._model.server):
                self._progress.notices.append(advice)

    async def _attempt(self, draft: Draft) -> None:
        task = asyncio.current_task()
        assert task is not None
        until = draft.lacks if self._phases else None
        parks = False
        self._drafts[task] = draft
        self._show()
        try:
            outcome = await attempt(self._asker, draft, self._may_go_on, until)
            parks = outcome == KEPT and draft.lacks is not None
            if outcome == KEPT and not parks:
                record, outcome = await self._whole(draft)
        except asyncio.CancelledError:
            self._end(draft.end(DROPPED))
            raise
        finally:
            del self._drafts[task]
            self._keep_rejected(draft)
            self._responding.discard(draft.drawn.index)
            if self._phases is not None:
                self._phases.give_back(draft, again=parks)
            self._show()
            self._signal()
        if parks:
            return
        if outcome == UNWANTED:
            self._unwanted.add(lines.values(record))
        if outcome == KEPT and not self._has_all:
            if not draft.given:
                self._progress.variety.count(record.instruction, record.steering, self._subjects)
            self._corpus.append(record, **(draft.question.further if draft.question else {}))
            self._end(draft.end(KEPT))
            self._source.remember(record)
            if (taken := self._keep(record)) is not None:  # after all is written: it is not ours, and may raise
                await taken
        else:
            self._end(draft.end(DROPPED if outcome == KEPT else outcome))

    async def _may_go_on(self, draft: Draft) -> bool:
        """Waits until a response would not be one too many. What is once responded to has its place."""
        if draft.drawn.index in self._responding:
            return not self._stopping
        if draft.lacks is Stage.RESPONSE:
            self._progress.newest = draft.turns[-1].text
            await self._until(lambda: self._over or self._has_room)
            if not self._over:
                self._responding.add(draft.drawn.index)
                self._show()
        return not self._over

    async def _whole(self, draft: Draft) -> tuple[Record, str]:
        """The record of an attempt that nothing was found against, and what becomes of it."""
        record = self._record(draft)
        if self._gate is None:
            return record, KEPT
        record, passes = await self._gate.judged(record)
        self._judged.append(passes)
        if len(self._judged) == FIRST and not self._has_all:
            self._estimate(self._gate.words)
        return record, KEPT if passes else UNWANTED

    def _estimate(self, wanted: str) -> None:
        """Tells, by the first records, what those that are left will cost."""
        progress, passed = self._progress, sum(self._judged)
        told = f"{passed or 'None'} of the first {FIRST} records {'are' if passed > 1 else 'is'} {wanted}: "
        if not passed:
            told += "no end can be told. Another model or judge, or less in --where, may help; Ctrl-C ends the run."
        else:
            times = (self._run.target - self._run.kept) / passed
            minutes = times * progress.seconds / 60
            told += (
                f"the {self._run.target - self._run.kept:,} that are left will take about {times * FIRST:,.0f} records "
                f"and as many judgements, {times * progress.tokens:,.0f} tokens and {max(1, minutes):,.0f} min."
            )
        progress.notices.append(told)

    def _record(self, draft: Draft) -> Record:
        """Of an attempt that was kept."""
        drawn, turns, question, name = draft.drawn, draft.finished, draft.question, self._model.name
        asked, written = draft.instruction, turns[draft.given :]
        answers = written[0].role == "assistant"  # a question of somebody else's
        answered = next((turn for turn in written if turn.role == "assistant"), Turn("assistant"))
        return Record(
            id=new_id(),
            messages=self._messages(draft, written),
            language=(draft.rules or self._settings.screening).language.code,
            model=question.model if question and answers else name,
            response_model=self._responder.name if answers or self._responder is not self._model else "",
            source=question.source if question else drawn.source,
            server=self._model.server.kind,
            steering=drawn.steered.steering,
            temperature=drawn.temperature,
            seed=drawn.seed,
            run=self._run.id,
            topic=drawn.topic,
            opener="" if draft.given else drawn.steered.opener.strip(),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            instruction_tokens=tokens(turns, "user"),
            response_tokens=tokens(turns, "assistant"),
            finish_reason=answered.finish_reason,
            reasoning=answered.reasoning,
            confidence=asked.confidence,
            fluency=asked.fluency,
            known_words=asked.known_words,
            response_known_words=answered.known_words,
        )

    def _keep_rejected(self, draft: Draft) -> None:
        """Those since it was last asked for."""
        rejected, draft.rejected = draft.rejected, []
        sent = (message["content"] for message in draft.steered().messages if message["role"] == "system")
        system = next(sent, "")
        for one in rejected:
            answer = one.turns[-1]
            if answer.text and one.reason is not Reason.RESPONSE_BROKEN_OFF:  # which is the server's doing
                kept = Rejected(
                    messages=self._messages(draft, one.turns),
                    reason=one.reason,
                    language=(draft.rules or self._settings.screening).language.code,
                    model=self._responder.name,
                    run=self._run.id,
                    seed=draft.drawn.seed,
                    trial=one.trial,
                    steering=draft.drawn.steered.steering,
                    system=system,
                    tokens=answer.tokens,
                    finish_reason=answer.finish_reason,
                    reasoning=answer.reasoning,
                )
                self._rejections.add(msgspec.structs.asdict(kept))

    def _messages(self, draft: Draft, written: list[Turn]) -> list[Message]:
        """A record's, of the turns that were written."""
        if not self._settings.keep_passage:
            written = [replace(turn, passage="") for turn in written]
        return [*self._front(draft), *(turn.message for turn in written)]

    def _front(self, draft: Draft) -> list[Message]:
        """What was there before, behind the system message that was used, where that is wanted."""
        given = list(draft.question.messages) if draft.question else []
        used = draft.steered().messages[:1] if self._settings.include_system else ()
        has_own = any(message["role"] == "system" for message in given)
        return [*(message for message in used if message["role"] == "system" and not has_own), *given]

    def _show(self) -> None:
        self._progress.in_flight, self._progress.responding = len(self._drafts), len(self._responding)

    @property
    def _has_all(self) -> bool:
        return self._run.kept >= self._run.target

    @property
    def _over(self) -> bool:
        return self._stopping or self._has_all

    @property
    def _has_room(self) -> bool:
        """Whether the responses in flight leave the run short of its target: more would be made for nothing."""
        return self._run.kept + len(self._responding) < self._run.target

    @property
    def _is_ready(self) -> bool:
        """Whether there may be something to begin now."""
        return self._phases.ready(self._run.target - self._run.kept) if self._phases else self._has_room

    def _end(self, attempt: Attempt) -> None:
        self._run.journal(attempt)
        self._source.learn(attempt)
        progress = self._progress
        progress.funnel.count(attempt)
        progress.variety.judge(attempt.outcome)
        progress.kept = self._run.kept
        progress.attempts_here += attempt.outcome != DROPPED
        progress.kept_here += attempt.outcome == KEPT
        progress.shares = self._source.shares()
        if self._judges:
            self._judge(attempt)
        if self._over:
            self._drop_instructions()

    def _judge(self, attempt: Attempt) -> None:
        """Says once, as soon as it is known, that the model does not write the language well."""
        self._newest.append(attempt)
        language, progress, before = self._settings.language, self._progress, self._progress.ability
        if before is None or progress.attempts_here % ENOUGH == 0 or self._over:
            found = progress.ability = ability(self._newest, unsteered=language.code == "en") or before
            if found and found.writes is not Writes.YES and (before is None or before.writes is Writes.YES):
                compare = f"`magpie-ollama compare -l {language.code} --temperature 0.5,0.7,1.0`"
                told = found.told(self._model.name, language.english)
                progress.notices.append(
                    f"{told} A larger model may; {compare} tells which temperature and steering help this one."
                )

    def _drop_instructions(self) -> None:
        for task, draft in self._drafts.items():
            if not draft.waiting and draft.drawn.index not in self._responding:
                task.cancel()
        self._signal()

    def _signal(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()
