"""One attempt's two questions to the model: write a user's instruction; then answer it. Watched, retried, screened."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from magpie_ollama.corpus.lines import whole_text
from magpie_ollama.errors import Busy, PromptTooLong, TransientError
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.method.extraction import Reason, extract, split_reasoning
from magpie_ollama.method.languages import Exemplar
from magpie_ollama.method.screening import InstructionWatch, ResponseWatch, screen_instruction, screen_response
from magpie_ollama.method.steering import Steered, steer
from magpie_ollama.records import Attempt, Message
from magpie_ollama.run.prompting import Prompter
from magpie_ollama.run.retrying import NO_ANSWERS, broken, retrying
from magpie_ollama.run.settings import Settings
from magpie_ollama.servers.base import Completion, Model, Server, Watch


@dataclass(slots=True)
class Draft:
    """An attempt under way. ``text`` is what the model wrote as the instruction, accepted or not (with its opener);
    ``complete`` says that it ended by itself; ``confidence`` is exp(mean log-probability per UTF-8 byte), 0.0 where
    it is not measured; ``language`` is the detector's verdict, "" where it was not asked.
    """

    index: int
    seed: int
    way: str
    steered: Steered
    text: str = ""
    complete: bool = False
    confidence: float = 0.0
    language: str = ""
    instruction_tokens: int = 0
    response_tokens: int = 0

    def end(self, outcome: str) -> Attempt:
        return Attempt(self.index, outcome, self.way, self.instruction_tokens, self.response_tokens, self.language)


class Asker:
    """Asks one model. ``on_tokens`` is called with each change of the number of tokens generated so far, ``on_busy``
    each time that the server refuses a request for want of room."""

    def __init__(
        self,
        settings: Settings,
        server: Server,
        model: Model,
        prompter: Prompter,
        seen: DuplicateIndex,
        on_tokens: Callable[[int], None],
        on_busy: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._rules = settings.screening
        self._server = server
        self._model = model
        self._prompter = prompter
        self._seen = seen
        self._on_tokens = on_tokens
        self._on_busy = on_busy
        self._answers = 0
        self._no_answers = 0

    def draft(self, index: int, seed: int, way: str, pool: Sequence[Exemplar] = ()) -> Draft:
        """Attempt ``index``, with what its way draws by ``seed``."""
        settings = self._settings
        steered = steer(
            way, settings.language, seed, system=settings.system, exemplars=settings.exemplars, pool=tuple(pool)
        )
        return Draft(index, seed, way, steered)

    async def instruction(self, draft: Draft) -> Reason | None:
        """Has the instruction written into ``draft``. None: it is accepted, and counts as seen from here on."""
        template = await self._prompter.template(draft.steered.messages)
        watch = InstructionWatch(self._rules, template, draft.steered.opener)

        def ask() -> Awaitable[Completion]:
            nonlocal watch
            watch = InstructionWatch(self._rules, template, draft.steered.opener)
            return self._server.complete(
                self._model.name,
                template.prefix + draft.steered.tail,
                self._settings.instruction.seeded(draft.seed),
                template.stops,
                self._counting(draft, "instruction_tokens", watch),
            )

        completion = await self._answer(draft, "instruction_tokens", ask)
        if completion is None:
            return Reason.NO_ANSWER
        draft.text = (draft.steered.opener + completion.text).strip()
        draft.confidence = _confidence(completion)
        draft.complete = completion.finish_reason == "stop"
        if watch.reason is not None:
            return watch.reason
        if template.silent and completion.unshown:
            return Reason.RUN_ON
        extracted = extract(completion.text, completion.finish_reason, template, draft.steered.opener)
        if extracted.reason is not None:
            return extracted.reason
        draft.text = extracted.text
        verdict = screen_instruction(extracted.text, self._rules, draft.steered, self._seen)
        draft.language = verdict.language
        if verdict.reason is not None:
            return verdict.reason
        if 0.0 < draft.confidence < self._rules.min_confidence:
            return Reason.LOW_CONFIDENCE
        self._seen.add(extracted.text)
        return None

    async def response(self, draft: Draft) -> Completion | Reason:
        """The response to the draft's instruction, or the reason why it is rejected.

        The steering's messages go with it, so that the answer comes in the language too.
        """
        messages: list[Message] = [*draft.steered.messages, {"role": "user", "content": draft.text}]
        template = await self._prompter.template(draft.steered.messages)
        # Of a model that reasons anyway, a server takes the reasoning out of the text only where it is asked for.
        think = (self._settings.think or template.opens_reasoning) and self._model.thinks is not False
        watch = ResponseWatch(self._rules)

        def ask() -> Awaitable[Completion]:
            nonlocal watch
            watch = ResponseWatch(self._rules)
            return self._server.chat(
                self._model.name,
                messages,
                self._settings.response.seeded(draft.seed),
                think,
                self._counting(draft, "response_tokens", watch),
            )

        try:
            completion = await self._answer(draft, "response_tokens", ask)
        except PromptTooLong:
            return Reason.RESPONSE_TOO_LONG
        if completion is None:
            return Reason.NO_ANSWER
        if watch.reason is not None:
            return watch.reason
        if not completion.reasoning:  # else the server has a parser for it
            reasoning, text = split_reasoning(completion.text, template.opens_reasoning)
            completion = replace(completion, reasoning=reasoning, text=text)
        reason = screen_response(completion.text, completion.finish_reason, draft.text, self._rules, draft.steered)
        return reason or completion

    async def _answer(self, draft: Draft, stage: str, ask: Callable[[], Awaitable[Completion]]) -> Completion | None:
        """The completion, after retries; None where the server is there but gives no complete one."""

        async def again() -> Completion:
            setattr(draft, stage, 0)  # what an attempt that failed generated is nobody's
            try:
                return await ask()
            except Busy:
                self._on_busy()
                raise

        before = self._answers
        try:
            completion = await retrying(again, self._server.address)
        except TransientError as error:
            if self._answers > before:  # others were answered meanwhile: one that only was too busy is asked again
                return await self._answer(draft, stage, ask) if isinstance(error, Busy) else None
            self._no_answers += 1
            if self._no_answers >= NO_ANSWERS:
                raise broken(error) from error
            return None
        self._answers += 1
        self._no_answers = 0
        self._on_tokens(completion.tokens - getattr(draft, stage))
        setattr(draft, stage, completion.tokens)
        # As the record will hold it: what is asked next cannot be sent with half a surrogate pair.
        return replace(completion, text=whole_text(completion.text))

    def _counting(self, draft: Draft, stage: str, watch: Watch) -> Watch:
        """``watch``, with each piece that comes counted as a token until the server's own count is there."""

        def look(text: str) -> bool:
            self._on_tokens(1)
            setattr(draft, stage, getattr(draft, stage) + 1)
            return watch(text)

        return look


def _confidence(completion: Completion) -> float:
    size = len(completion.text.encode("utf-8", "replace"))
    if completion.logprob is None or not size:
        return 0.0
    return round(math.exp(completion.logprob / size), 4)
