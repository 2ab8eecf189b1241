"""A judge's answers: asked for as a JSON schema has them, and again where they are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from magpie_ollama.asking.retrying import NO_ANSWERS, broken, retrying
from magpie_ollama.errors import PromptTooLong, RequestRefused, TransientError, Unfinished
from magpie_ollama.records import Message
from magpie_ollama.servers.base import Completion, Sampling
from magpie_ollama.servers.loaded import LoadedModel

TRIES = 4
"""The first greedy; the others at ``AGAIN``, each with its seed: a greedy judge would only repeat itself."""

FIRST = Sampling(temperature=0.0, max_tokens=200)
AGAIN = Sampling(temperature=0.7, max_tokens=200)
"""A judgement has some 40 tokens; the rest is room for the blanks that some servers let a model write in JSON."""

THOUGHT = 2000
"""Tokens of a further try where an answer was cut: some models think before they answer, whatever they are asked."""

T = TypeVar("T")


class Answers:
    """What one model answers. ``valid`` says whether any answer was, ``invalid`` counts those that were not; ``said``
    is the last of these, ``failure`` what the last request failed with. ``notices`` gets sentences for the user."""

    def __init__(self, model: LoadedModel, notices: list[str]) -> None:
        self.valid = False
        self.invalid = 0
        self.said = ""
        self.failure: TransientError | None = None
        self._model = model
        self._notices = notices
        self._takes_schema = True
        self._no_answers = 0

    async def get(
        self,
        request: Callable[[int], list[Message]],
        longest: int,
        schema: dict[str, Any] | None,
        parse: Callable[[str], T | None],
        room: int = FIRST.max_tokens,
    ) -> T | None:
        """What ``parse`` makes of an answer; None where it makes nothing of ``TRIES`` of them.

        ``request`` gives the messages, with texts of so many characters at most: fewer than ``longest`` where they do
        not fit the context; ``room`` is an answer's in tokens. Raises ``RequestRefused`` for one
        that is refused without a schema too, and ServerError for a server that answers nothing any more.
        """
        refused: RequestRefused | None = None
        for number in range(TRIES):
            sampling = replace(AGAIN.seeded(number) if number else FIRST, max_tokens=room)
            held = None if refused or not self._takes_schema else schema
            try:
                completion = await self.ask(request(longest), sampling, held)
            except PromptTooLong:
                longest //= 2
                continue
            except RequestRefused as error:
                if self.valid or held is None:
                    raise
                refused = error
                continue
            except TransientError as error:
                if isinstance(error, Unfinished) and number + 1 < TRIES:
                    continue
                self._failed(error)
                return None
            if refused and self._takes_schema:
                self._takes_schema = False
                self._notices.append(
                    f"The server refuses a JSON schema ({refused.cause}): the judge is asked without one."
                )
            self._no_answers = 0
            found = parse(completion.text)
            if found is not None:
                self.valid = True
                return found
            self.invalid += 1
            self.said = completion.text
            if completion.finish_reason == "length":
                room = THOUGHT
        return None

    async def ask(
        self, messages: list[Message], sampling: Sampling, schema: dict[str, Any] | None = None, top: int = 0
    ) -> Completion:
        """One answer, whatever it is."""
        ask = partial(self._model.chat, messages, sampling, think=False, watch=_never, schema=schema, top=top)
        return await retrying(ask, self._model.address)

    def _failed(self, error: TransientError) -> None:
        self._no_answers += 1
        self.failure = error
        if self._no_answers >= NO_ANSWERS:
            raise broken(error) from error


def _never(text: str) -> bool:
    return False
