"""An attempt's two questions to the model: write a user's turn; then answer it. Watched, retried, screened."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from magpie_ollama.asking.caching import PromptCache
from magpie_ollama.asking.drafts import OTHER_SEEDS, Draft, Turn
from magpie_ollama.asking.ending import Endings, reseed
from magpie_ollama.asking.retrying import NO_ANSWERS, broken, retrying
from magpie_ollama.asking.settings import Settings, hotter
from magpie_ollama.asking.templates import Prompter
from magpie_ollama.corpus.lines import whole_text
from magpie_ollama.errors import Busy, PromptTooLong, TransientError, Unfinished
from magpie_ollama.method.checks import SAMPLED
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.method.extraction import ending, extract
from magpie_ollama.method.fluency import fluency
from magpie_ollama.method.followups import Phrases, screen_follow_up
from magpie_ollama.method.languages import Language
from magpie_ollama.method.reasoning import split_reasoning
from magpie_ollama.method.reasons import Reason
from magpie_ollama.method.screening import InstructionWatch, ResponseWatch, Rules, screen_instruction, screen_response
from magpie_ollama.method.turns import without_end
from magpie_ollama.method.unseen import clean, forbidden
from magpie_ollama.method.variety import Recent, subjects_of
from magpie_ollama.method.vocabulary import known
from magpie_ollama.servers.base import Completion, Sampling, Watch
from magpie_ollama.servers.loaded import LoadedModel


class Asker:
    """Asks one model. ``on_tokens`` is called with each change of the number of tokens generated so far, ``on_busy``
    each time that the server refuses a request for want of room. ``own`` is the model's own confidence per letter by
    temperature, as far as it is measured. ``answering`` is who gives the responses, where that is another model."""

    def __init__(
        self,
        settings: Settings,
        model: LoadedModel,
        prompter: Prompter,
        seen: DuplicateIndex,
        on_tokens: Callable[[int], None],
        on_busy: Callable[[], None] = lambda: None,
        own: Mapping[float, float] = MappingProxyType({}),
        answering: tuple[LoadedModel, Prompter] | None = None,
        phrases: Phrases | None = None,
    ) -> None:
        """``phrases`` are the later turns of the user that the corpus has."""
        self._settings = settings
        self._rules = settings.screening
        self._model = model
        self._prompter = prompter
        self._seen = seen
        self._phrases = phrases or Phrases()
        self._on_tokens = on_tokens
        self._on_busy = on_busy
        self._own = own
        self._recent = Recent(subjects_of(settings.language))
        self._cache = PromptCache()
        self._responder, self._replies = answering or (model, prompter)
        self._endings = Endings()
        self._answers = 0
        self._no_answers = 0

    async def instruction(self, draft: Draft) -> Reason | None:
        """Has the user's turn written into ``draft``. None: it is accepted, and counts as seen from here on."""
        rules, first = draft.rules or self._rules, not draft.turns
        steered = draft.steered("" if first else self._opener(draft, rules.language))
        template = draft.template = await self._prompter.template(draft.before(), keep=first)
        stops = (*template.stops, "\n") if self._settings.one_line else template.stops
        turn = Turn("user", seed=draft.seed, passage=steered.passage)
        draft.turns.append(turn)
        watch = InstructionWatch(rules, template, steered.opener)

        later = self._settings.later_temperature
        temperature = draft.drawn.temperature if later is None or not draft.is_later else later

        def go_on(text: str, sampling: Sampling, look: Watch) -> Awaitable[Completion]:
            return self._model.complete(steered.prompt(template.prefix) + text, sampling, stops, look)

        async def ask(seed: int) -> Completion:
            nonlocal watch
            watch = InstructionWatch(rules, template, steered.opener)
            look = self._counting(turn, watch)
            sampling = replace(self._settings.instruction, temperature=temperature, seed=seed)
            if not template.silent:
                return await go_on("", sampling, look)
            made = await self._endings.write(go_on, sampling, look)
            if made.finish_reason == "stop":  # what was found wrong may stand behind its end
                watch = InstructionWatch(rules, template, steered.opener)
            return made

        try:
            completion = await self._answer(draft, ask)
        except PromptTooLong:
            if first:  # so it would be of each attempt
                raise
            return Reason.FOLLOW_UP_NO_ROOM
        if completion is None:
            return Reason.NO_ANSWER
        turn.text = (steered.opener + completion.text).strip()
        turn.confidence = confidence_of(completion)
        turn.complete = completion.finish_reason == "stop"
        self._measure(turn, rules, completion.text, draft.drawn.temperature)
        if watch.reason is not None:
            return watch.reason
        if template.silent and completion.unshown:
            return Reason.RUN_ON
        extracted = extract(completion.text, completion.finish_reason, template, steered.opener)
        if extracted.reason is not None:
            return extracted.reason
        turn.text = extracted.text
        sure = turn.confidence, self._own.get(draft.drawn.temperature, 0.0)
        if first:
            verdict = screen_instruction(turn.text, rules, steered, self._seen, *sure)
        else:
            verdict = screen_follow_up(turn.text, rules, steered, self._phrases, *sure)
        turn.language = verdict.language
        if verdict.reason is not None:
            return verdict.reason
        if first:
            self._seen.add(turn.text)
            draft.worth = self._recent.add(turn.text, steered.opener)
        else:
            self._phrases.add(turn.text)
        return None

    async def response(self, draft: Draft) -> Reason | None:
        """Has the user's last turn answered, or says why the answer is rejected.

        What stood in front of the instruction goes with it, so that the answer comes in the language too.
        """
        rules, steered, asked = draft.rules or self._rules, draft.steered(), draft.turns[-1]
        messages = draft.before()
        turn = Turn("assistant", seed=draft.seed)
        draft.turns.append(turn)
        template = draft.template if self._replies is self._prompter else None
        template = template or await self._replies.template(messages[:-1], keep=len(draft.turns) == 2)
        # Of a model that reasons anyway, a server takes the reasoning out of the text only where it is asked for.
        think = (self._settings.think or template.opens_reasoning) and self._responder.thinks is not False
        watch = ResponseWatch(rules, template, asked=asked.text)
        sampling = hotter(self._settings.response, draft.trial)
        raw = self._replies.raw is not None

        def ask(seed: int) -> Awaitable[Completion]:
            nonlocal watch
            watch = ResponseWatch(rules, template, asked=asked.text)
            look = _behind_reasoning(watch, template.opens_reasoning) if raw else watch
            return self._replies.reply(messages, sampling.seeded(seed), think, self._counting(turn, look))

        try:
            completion = await self._answer(draft, ask)
        except PromptTooLong:
            return Reason.RESPONSE_TOO_LONG
        if completion is None:
            return Reason.RESPONSE_NO_ANSWER
        turn.finish_reason = completion.finish_reason
        turn.complete = completion.finish_reason == "stop"
        told, text = clean(completion.reasoning), clean(completion.text)
        # A server that tells reasoning has a parser for it.
        reasoning, text = (told, text) if told else split_reasoning(text, template.opens_reasoning)
        turn.reasoning, turn.text = reasoning.strip(), without_end(text).strip()
        self._measure(turn, rules)
        if watch.reason is not None:
            return watch.reason
        reason = screen_response(turn.text, turn.finish_reason, asked.text, rules, steered, template, told)
        if reason is None and forbidden(reasoning):
            reason = Reason.RESPONSE_CONTROL_CHARACTERS
        return reason

    def _measure(self, turn: Turn, rules: Rules, written: str = "", temperature: float = 0.0) -> None:
        """``written`` is what of a user's turn the model itself wrote."""
        turn.known_words = round(known(turn.text[:SAMPLED], rules.language.code) or 0.0, 4)
        turn.fluency = fluency(turn.confidence, self._own.get(temperature, 0.0), written)

    async def _answer(
        self, draft: Draft, ask: Callable[[int], Awaitable[Completion]], number: int = 0
    ) -> Completion | None:
        """The completion of the draft's last turn, after retries; None where the server is there but gives no complete
        one. ``ask`` takes the seed: one whose text breaks off is likely to do so again, and another one is tried."""
        turn = draft.turns[-1]

        async def again() -> Completion:
            turn.tokens = 0  # what an attempt that failed generated is nobody's
            try:
                return await ask(reseed(turn.seed, number))
            except Busy:
                self._on_busy()
                raise

        before = self._answers
        try:
            asked = self._model if turn.role == "user" else self._responder
            completion = await retrying(again, asked.address)
        except TransientError as error:
            if isinstance(error, Unfinished) and number < OTHER_SEEDS:
                return await self._answer(draft, ask, number + 1)
            if self._answers > before:  # others were answered meanwhile: one that only was too busy is asked again
                return await self._answer(draft, ask, number) if isinstance(error, Busy) else None
            self._no_answers += 1
            if self._no_answers >= NO_ANSWERS:
                raise broken(error) from error
            return None
        self._answers += 1
        self._no_answers = 0
        self._on_tokens(completion.tokens - turn.tokens)
        turn.tokens = completion.tokens
        turn.prompt_tokens = self._cache.read("\n".join(said["content"] for said in draft.before()), completion)
        # As the record will hold it: what is asked next cannot be sent with half a surrogate pair.
        text, reasoning = whole_text(completion.text), whole_text(completion.reasoning)
        return replace(completion, text=text, reasoning=reasoning, finish_reason=ending(completion.finish_reason))

    @staticmethod
    def _opener(draft: Draft, language: Language) -> str:
        """The first words of a later turn of the user; "" where it begins by itself."""
        wanted = draft.again or "opener" in draft.drawn.steered.steering
        return random.Random(draft.seed).choice(language.follow_ups) if wanted and language.follow_ups else ""

    def _counting(self, turn: Turn, watch: Watch) -> Watch:
        """``watch``, with each piece that comes counted as a token until the server's own count is there."""

        def look(text: str) -> bool:
            self._on_tokens(1)
            turn.tokens += 1
            return watch(text)

        return look


def _behind_reasoning(watch: Watch, opened: bool) -> Watch:
    """``watch``, of what is written behind the reasoning. ``opened``: the prompt began it."""

    def look(text: str) -> bool:
        if not opened and not text.lstrip().startswith("<think>"):
            return watch(text)
        _, end, answer = text.partition("</think>")
        return watch(answer) if end else False

    return look


def confidence_of(completion: Completion) -> float:
    """exp(mean log-probability per UTF-8 byte), 0.0 where the server tells none."""
    size = len(completion.text.encode("utf-8", "replace"))
    if completion.logprob is None or not size or not math.isfinite(completion.logprob):
        return 0.0
    return round(math.exp(min(0.0, completion.logprob / size)), 4)
