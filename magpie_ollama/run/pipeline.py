"""The pipeline: attempts in flight side by side, each instruction followed by its response as soon as it passes."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from magpie_ollama.corpus.corpus import Corpus
from magpie_ollama.corpus.runs import Run
from magpie_ollama.errors import (
    PromptTooLong,
    ServerError,
    ShortOfTarget,
    Stalled,
    TransientError,
)
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.method.extraction import EXPLANATIONS, Reason, extract
from magpie_ollama.method.languages import Exemplar
from magpie_ollama.method.screening import (
    InstructionWatch,
    ResponseWatch,
    count_words,
    screen_instruction,
    screen_response,
)
from magpie_ollama.method.steering import Steered, steer
from magpie_ollama.method.template import Template
from magpie_ollama.records import Attempt, Message, Record, new_id
from magpie_ollama.run.funnel import DROPPED, KEPT, Progress
from magpie_ollama.run.prompting import Prompter
from magpie_ollama.run.retrying import retrying
from magpie_ollama.run.settings import Settings
from magpie_ollama.run.ways import Ways
from magpie_ollama.servers.base import Completion, Model, Server, Watch

STALLED_SECONDS = 300.0
"""No byte on any stream for so long, with requests in flight: the server hangs. One that is only slow sends some."""

NO_ANSWERS = 8
"""So many attempts in a row without a complete answer, each in several tries: the server is broken."""

POOL = 32
"""Accepted pairs of the run that may serve as exemplars (--bootstrap): the newest."""


@dataclass(slots=True)
class _Draft:
    """An attempt under way."""

    index: int
    seed: int
    way: str
    instruction_tokens: int = 0
    response_tokens: int = 0
    language: str = ""

    def end(self, outcome: str) -> Attempt:
        return Attempt(
            self.index, outcome, self.way, self.instruction_tokens, self.response_tokens, self.language
        )


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
        self._rules = settings.screening
        self._server = server
        self._model = model
        self._prompter = prompter
        self._ways = ways
        self._corpus = corpus
        self._run = run
        self._seen = seen
        self._progress = progress
        self._keep = keep
        self._next_index = run.next_index
        self._attempts_left = settings.attempt_bound
        self._no_answers = 0
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
                watchdog = group.create_task(self._watch_server())
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
            await self._attempt(_Draft(index, self._run.seed + index, self._ways.choose(index)))

    async def _attempt(self, draft: _Draft) -> None:
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

    async def _make(self, draft: _Draft) -> Record | str:
        """A record, or the reason why there is none."""
        settings = self._settings
        steered = steer(
            draft.way,
            settings.language,
            draft.seed,
            system=settings.system,
            exemplars=settings.exemplars,
            pool=tuple(self._pool),
        )
        template = await self._prompter.template(steered.messages)
        written = await self._instruction(draft, steered, template)
        if isinstance(written, Reason):
            return written
        instruction, confidence = written
        await self._until(lambda: self._over or self._has_room)
        if self._over:
            return DROPPED
        answered = await self._response(draft, steered, instruction)
        if isinstance(answered, Reason):
            return answered
        return Record(
            id=new_id(),
            messages=[
                {"role": "user", "content": instruction},
                {"role": "assistant", "content": answered.text.strip()},
            ],
            language=settings.language.code,
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
            confidence=confidence,
        )

    async def _instruction(
        self, draft: _Draft, steered: Steered, template: Template
    ) -> tuple[str, float] | Reason:
        """The accepted instruction and the model's confidence in it; it counts as seen from here on."""
        task = asyncio.current_task()
        assert task is not None
        self._asking.add(task)
        watch = InstructionWatch(self._rules, template, steered.opener)

        async def ask() -> Completion:
            nonlocal watch
            watch = InstructionWatch(self._rules, template, steered.opener)
            draft.instruction_tokens = 0
            return await self._server.complete(
                self._model.name,
                template.prefix + steered.tail,
                self._settings.instruction.seeded(draft.seed),
                template.stops,
                self._counting(draft, "instruction_tokens", watch),
            )

        try:
            completion = await self._answer(ask)
        finally:
            self._asking.discard(task)
        if completion is None:
            return Reason.NO_ANSWER
        self._settle(draft, "instruction_tokens", completion)
        if watch.reason is not None:
            return watch.reason
        extracted = extract(completion.text, completion.finish_reason, template, steered.opener)
        if extracted.reason is not None:
            return extracted.reason
        verdict = screen_instruction(extracted.text, self._rules, steered, self._seen)
        draft.language = verdict.language
        if verdict.reason is not None:
            return verdict.reason
        confidence = _confidence(completion)
        if 0.0 < confidence < self._rules.min_confidence:
            return Reason.LOW_CONFIDENCE
        self._seen.add(extracted.text)
        self._progress.newest = extracted.text
        return extracted.text, confidence

    async def _response(self, draft: _Draft, steered: Steered, instruction: str) -> Completion | Reason:
        messages: list[Message] = [*steered.messages, {"role": "user", "content": instruction}]
        watch = ResponseWatch(self._rules)

        async def ask() -> Completion:
            nonlocal watch
            watch = ResponseWatch(self._rules)
            draft.response_tokens = 0
            return await self._server.chat(
                self._model.name,
                messages,
                self._settings.response.seeded(draft.seed),
                self._settings.think and self._model.thinks is not False,
                self._counting(draft, "response_tokens", watch),
            )

        self._progress.responding += 1
        try:
            completion = await self._answer(ask)
        except PromptTooLong:
            return Reason.RESPONSE_TOO_LONG
        finally:
            self._progress.responding -= 1
        if completion is None:
            return Reason.NO_ANSWER
        self._settle(draft, "response_tokens", completion)
        if watch.reason is not None:
            return watch.reason
        reason = screen_response(completion.text, completion.finish_reason, instruction, self._rules, steered)
        return reason or completion

    async def _answer(self, ask: Callable[[], Awaitable[Completion]]) -> Completion | None:
        """The completion, after retries; None where the server is there but gives no complete one."""
        try:
            completion = await retrying(ask, self._server.address)
        except TransientError as error:
            self._no_answers += 1
            if self._no_answers >= NO_ANSWERS:
                raise ServerError(
                    f"The server fails again and again: {error.cause}", "look into its log, then run the same command"
                ) from error
            return None
        self._no_answers = 0
        return completion

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
        progress.attempts_here += 1
        progress.kept_here += attempt.outcome == KEPT
        progress.shares = self._ways.shares()
        if self._over:
            self._drop_instructions()

    def _drop_instructions(self) -> None:
        for task in self._asking:
            task.cancel()
        self._signal()

    def _remember(self, record: Record) -> None:
        self._keep(record)
        short = count_words(record.instruction) <= 40 and count_words(record.response) <= 80
        if self._settings.bootstrap and short:
            self._pool.append(Exemplar(record.instruction, record.response))

    def _counting(self, draft: _Draft, stage: str, watch: Watch) -> Watch:
        """``watch``, with each piece that comes counted as a token until the server's own count is there."""

        def look(text: str) -> bool:
            self._progress.tokens += 1
            setattr(draft, stage, getattr(draft, stage) + 1)
            return watch(text)

        return look

    def _settle(self, draft: _Draft, stage: str, completion: Completion) -> None:
        self._progress.tokens += completion.tokens - getattr(draft, stage)
        setattr(draft, stage, completion.tokens)

    def _signal(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()

    async def _watch_server(self) -> None:
        while True:
            await asyncio.sleep(STALLED_SECONDS / 60)
            if self._progress.in_flight and self._server.silent_for() > STALLED_SECONDS:
                raise Stalled(
                    f"The server at {self._server.address} is stalled: not a byte for "
                    f"{STALLED_SECONDS / 60:.0f} minutes, with {self._progress.in_flight} requests in flight.",
                    "restart the server, then run the same command: it continues where it stopped",
                )

    def _short(self) -> ShortOfTarget:
        reasons = self._progress.funnel.rejected()
        told = ""
        if reasons:
            most = EXPLANATIONS.get(Reason(reasons[0][0]), "") if reasons[0][0] in set(Reason) else ""
            told = f"; rejected: {', '.join(f'{count} {name}' for name, count in reasons)}"
            told += f" ({reasons[0][0]}: {most})" if most else ""
        return ShortOfTarget(
            f"Kept {self._run.kept} of {self._run.target} after {self._progress.attempts_here} attempts{told}.",
            "run the same command again to go on, raise --max-attempts, or try another --steering or model",
        )


def _confidence(completion: Completion) -> float:
    """exp(mean log-probability per UTF-8 byte) of what the model wrote; 0.0 where it was not measured."""
    size = len(completion.text.encode("utf-8", "replace"))
    if completion.logprob is None or not size:
        return 0.0
    return round(math.exp(completion.logprob / size), 4)
