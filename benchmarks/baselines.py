"""The two ways that others make Magpie data, written small and honest, and the tool's own: what useful.py compares.

All of them ask one engine through one client, with the model's true template and the same sampling and limits. Where
an original is weaker than it need be, it is helped: see each class.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from magpie_ollama.asking.retrying import retrying
from magpie_ollama.asking.settings import Settings
from magpie_ollama.asking.templates import Prompter
from magpie_ollama.corpus import Corpus
from magpie_ollama.method.languages import Language
from magpie_ollama.records import Message, Record
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import Session
from magpie_ollama.servers.base import Completion
from magpie_ollama.servers.loaded import LoadedModel


@dataclass(frozen=True, slots=True)
class Pair:
    """What a system keeps of one attempt. ``ended`` says that the instruction was not cut by its limit, ``tokens`` is
    what both texts took to generate."""

    instruction: str
    ended: bool
    response: str
    finish_reason: str
    tokens: int


@dataclass(slots=True)
class Round:
    """What one system made in one round: ``seconds`` until its last answer was there, all ``tokens`` generated."""

    seconds: float = 0.0
    attempts: int = 0
    tokens: int = 0
    pairs: list[Pair] = field(default_factory=list)


class Baseline(ABC):
    """What both baselines share: the questions, without watching, screening or cutting anything."""

    def __init__(self, model: LoadedModel, language: Language, settings: Settings) -> None:
        self._model = model
        self._language = language
        self._settings = settings
        self._prompter = Prompter(model)
        self._seed = 0
        self._round = Round()

    async def run(self, seconds: float) -> Round:
        """Works until ``seconds`` are over, and ends what it has begun: the round is as much longer."""
        self._round = Round()
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            await self._step()
        self._round.seconds = time.monotonic() - begun
        return self._round

    @abstractmethod
    async def _step(self) -> None: ...

    async def _instruction(self, before: list[Message], tail: str) -> tuple[Completion, int]:
        """What the model writes behind ``before`` and ``tail``, and the attempt's seed."""
        seed, self._seed = self._seed, self._seed + 1
        template = await self._prompter.template(before)
        sampling = self._settings.instruction.seeded(seed)
        self._round.attempts += 1
        prompt = template.prefix + tail
        ask = lambda: self._model.complete(prompt, sampling, template.stops, _never)  # noqa: E731
        return await self._counted(ask), seed

    async def _response(self, messages: list[Message], seed: int) -> Completion:
        sampling = self._settings.response.seeded(seed)
        return await self._counted(lambda: self._model.chat(messages, sampling, False, _never))

    async def _counted(self, ask: Callable[[], Awaitable[Completion]]) -> Completion:
        completion = await retrying(ask, self._model.address)
        self._round.tokens += completion.tokens
        return completion

    def _keep(self, instruction: str, ended: bool, asked: Completion, answered: Completion) -> None:
        self._round.pairs.append(
            Pair(instruction, ended, answered.text, answered.finish_reason, asked.tokens + answered.tokens)
        )


class Sequential(Baseline):
    """One request at a time, as magpie-ollama-datagen does it: the language's name behind the user's header (nothing
    for English), the first line that is not empty is the instruction, the response is asked for right after.

    Its own template goes through the chat API as an assistant's message, and its seed and temperature do not arrive:
    here the template is the true one and raw, and they do. An empty instruction costs it no response.
    """

    async def _step(self) -> None:
        tail = "" if self._language.code == "en" else self._language.prefix
        asked, seed = await self._instruction([], tail)
        written = asked.text.strip()
        instruction = written.split("\n", 1)[0].strip()
        if instruction:
            answered = await self._response([{"role": "user", "content": instruction}], seed)
            self._keep(instruction, "\n" in written or asked.finish_reason == "stop", asked, answered)


class TwoPhases(Baseline):
    """A batch of instructions, and when the last of them is there, all their responses, as distilabel's
    MagpieGenerator does it: the system message in front of both, whatever was written is the instruction.

    Its template puts the assistant's header in front of the user's where there is a system message: here it is the
    true one. ``parallel`` requests are in flight at once. An empty instruction costs it no response.
    """

    def __init__(self, model: LoadedModel, language: Language, settings: Settings, parallel: int, batch: int) -> None:
        super().__init__(model, language, settings)
        self._before: list[Message] = [{"role": "system", "content": language.system}]
        self._batch = batch
        self._room = asyncio.Semaphore(parallel)

    async def _step(self) -> None:
        asked = await asyncio.gather(*(self._ask() for _ in range(self._batch)))
        await asyncio.gather(*(self._answer(*one) for one in asked if one[0].text.strip()))

    async def _ask(self) -> tuple[Completion, int]:
        async with self._room:
            return await self._instruction(self._before, "")

    async def _answer(self, asked: Completion, seed: int) -> None:
        instruction = asked.text.strip()
        async with self._room:
            answered = await self._response([*self._before, {"role": "user", "content": instruction}], seed)
        self._keep(instruction, asked.finish_reason == "stop", asked, answered)


class Tool:
    """magpie-ollama as it is: a run into ``corpus``, interrupted after each round and continued in the next one."""

    def __init__(self, model: LoadedModel, corpus: Corpus, settings: Settings) -> None:
        self._model = model
        self._corpus = corpus
        self._settings = settings

    async def run(self, seconds: float) -> Round:
        progress = Progress(target=self._settings.target)
        session = Session(self._settings, self._model, self._corpus, progress)
        kept: list[Record] = []
        begun = time.monotonic()
        timer = asyncio.get_running_loop().call_later(seconds, session.stop)
        try:
            await session.generate(kept.append)
        finally:
            timer.cancel()
        made = Round(time.monotonic() - begun, progress.attempts_here, progress.tokens)
        for record in kept:
            tokens = record.instruction_tokens + record.response_tokens
            made.pairs.append(Pair(record.instruction, True, record.response, record.finish_reason, tokens))
        return made


def _never(text: str) -> bool:
    return False
