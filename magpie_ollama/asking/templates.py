"""From a server and a steering's messages to the prompt that is sent: the true template, cut and cached."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from magpie_ollama.asking.ending import reseed
from magpie_ollama.asking.retrying import retrying
from magpie_ollama.errors import RequestRefused, TemplateError, TransientError
from magpie_ollama.method.template import (
    SENTINELS,
    Preset,
    Template,
    cut,
    leading_bos,
    left_out,
    load_preset,
    preset_for,
)
from magpie_ollama.records import Message
from magpie_ollama.servers.base import Completion, Sampling, Watch
from magpie_ollama.servers.loaded import LoadedModel

KEPT = 512
"""Templates that are kept, some kilobytes each: exemplars of the run itself (--bootstrap) make ever new ones."""

RESPONSE_SEED = 65
"""Of the seeds that an attempt may take in place of its own (``reseed``), the one of a response in raw mode."""

_CLOSED_THOUGHT = re.compile(r"<think>\s*</think>\s*\Z")
"""How a template has a model answer without reasoning."""


class Prompter:
    """The templates of one model. ``override`` is --template's preset or file, "" for none.

    ``raw`` is the preset by which responses are asked for as well, in raw mode: that of an override, and of a model
    whose template the server does not know. None: the server's chat renders them.
    """

    def __init__(self, model: LoadedModel, override: str = "") -> None:
        self._model = model
        self.raw: Preset | None = load_preset(override) if override else None
        self._bos_added: dict[str, bool] = {}
        self._hidden: dict[str, bool] = {}
        self._cut: dict[tuple[tuple[str, str], ...], Template] = {}
        self._carried: set[tuple[str, ...]] = set()

    async def template(self, before: Sequence[Message] = (), keep: bool = True) -> Template:
        """The template behind the messages ``before`` the user's turn, without a BOS that the server adds itself.
        ``keep``: it is asked for again, as no conversation is.

        Raises ``TemplateError`` where the model has none, or leaves no open user turn.
        """
        key = tuple((message["role"], message["content"]) for message in before)
        if key not in self._cut:
            template = await self._make(before)
            if not keep:
                return template
            if len(self._cut) >= KEPT:
                del self._cut[next(iter(self._cut))]
            self._cut[key] = template
        return self._cut[key]

    async def carries(self, before: Sequence[Message]) -> None:
        """Raises ``RequestRefused``, or what ``template`` raises, where the template does not carry these messages: it
        may leave them out without an error."""
        missing = left_out((await self.template(before)).prefix, before)
        if missing:
            raise RequestRefused(f"it leaves out {missing}")

    async def reply(self, messages: Sequence[Message], sampling: Sampling, think: bool, watch: Watch) -> Completion:
        """The assistant's next turn. In raw mode the reasoning is amid the text, and ``watch`` sees both."""
        if self.raw is None:
            return await self._model.chat(messages, sampling, think, watch)
        prompt = self.raw.render(messages)
        if think:
            prompt = _CLOSED_THOUGHT.sub("", prompt)
        bos = leading_bos(prompt)
        if bos and await self._adds(bos):
            prompt = prompt.removeprefix(bos)
        stops = self.raw.answer_stops(self._model.stops)
        # Another one than the instruction's, which was raw too: the same would draw alike.
        sampling = sampling.seeded(reseed(sampling.seed, RESPONSE_SEED))
        return await self._model.complete(prompt, sampling, stops, watch)

    async def _make(self, before: Sequence[Message]) -> Template:
        conversations: list[list[Message]] = [[*before, {"role": "user", "content": text}] for text in SENTINELS]
        rendered: list[str] = []
        source = f"rendered by {self._model.server.kind}"
        preset = self.raw
        if preset is None:
            try:
                for conversation in conversations:
                    text = await self._rendered(conversation)
                    if text is None:
                        preset = self._find_preset()
                        break
                    rendered.append(text)
            except TemplateError:  # the server does not know this model's template: its chat would fail as well
                preset = self.raw = preset_for(self._model.name)
                if preset is None:
                    raise
        if preset is not None:
            rendered = [preset.render(conversation) for conversation in conversations]
            source = f"preset {preset.name}"
        template = cut(rendered, source, self._model.name, self._model.stops)
        if preset is None and self._model.untold and template.is_chatml:
            template = replace(template, guessed=True, source=f"{source}, perhaps as a guess")
        bos = leading_bos(template.prefix)
        if bos and await self._adds(bos):
            template = replace(template, prefix=template.prefix.removeprefix(bos))
        # Whether another template's first token is an end token of this model, as of a base model's, is not known.
        end = template.first_end if self.raw is not None else template.lone_end
        return replace(template, silent=True) if end and await self._hides(end) else template

    async def _rendered(self, conversation: Sequence[Message]) -> str | None:
        roles = tuple(message["role"] for message in conversation)

        async def ask() -> str | None:
            try:
                return await self._model.render(conversation)
            except RequestRefused as error:
                if roles in self._carried:  # then it is not the template that failed, but the server, for now
                    raise TransientError(error.cause, error.remedy) from error
                raise

        text = await retrying(ask, self._model.address)
        self._carried.add(roles)
        return text

    def _find_preset(self) -> Preset:
        preset = preset_for(self._model.name)
        if preset is None:
            raise TemplateError(
                f"{self._model.address} cannot render the template of {self._model.name}, and no preset fits it.",
                "give it with --template NAME|FILE; `magpie-ollama template list` shows the presets",
            )
        return preset

    async def _adds(self, bos: str) -> bool:
        if bos not in self._bos_added:
            ask = partial(self._model.adds_bos, bos)
            self._bos_added[bos] = await retrying(ask, self._model.address)
        return self._bos_added[bos]

    async def _hides(self, token: str) -> bool:
        if token not in self._hidden:
            ask = partial(self._model.hides, token)
            self._hidden[token] = await retrying(ask, self._model.address)
        return self._hidden[token]
