"""From a server and a steering's messages to the prompt that is sent: the true template, cut and cached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from magpie_ollama.errors import RequestRefused, TemplateError, TransientError
from magpie_ollama.method.template import SENTINELS, Preset, Template, cut, leading_bos, load_preset, preset_for
from magpie_ollama.records import Message
from magpie_ollama.run.retrying import retrying
from magpie_ollama.servers.base import Model, Server

KEPT = 512
"""Templates that are kept, some kilobytes each: exemplars of the run itself (--bootstrap) make ever new ones."""


class Prompter:
    """The templates of one model on one server. ``override`` is --template's preset or file, "" for none."""

    def __init__(self, server: Server, model: Model, override: str = "") -> None:
        self._server = server
        self._model = model
        self._preset: Preset | None = load_preset(override) if override else None
        self._bos_added: dict[str, bool] = {}
        self._hidden: dict[str, bool] = {}
        self._cut: dict[tuple[tuple[str, str], ...], Template] = {}
        self._carried: set[tuple[str, ...]] = set()

    async def template(self, before: Sequence[Message] = ()) -> Template:
        """The template behind the messages ``before`` the user's turn, without a BOS that the server adds itself.

        Raises ``TemplateError`` where the model has none, or leaves no open user turn.
        """
        key = tuple((message["role"], message["content"]) for message in before)
        if key not in self._cut:
            template = await self._make(before)
            if len(self._cut) >= KEPT:
                del self._cut[next(iter(self._cut))]
            self._cut[key] = template
        return self._cut[key]

    async def _make(self, before: Sequence[Message]) -> Template:
        conversations: list[list[Message]] = [[*before, {"role": "user", "content": text}] for text in SENTINELS]
        rendered: list[str] = []
        source = f"rendered by {self._server.kind}"
        preset = self._preset
        if preset is None:
            for conversation in conversations:
                text = await self._rendered(conversation)
                if text is None:
                    preset = self._find_preset()
                    break
                rendered.append(text)
        if preset is not None:
            rendered = [preset.render(conversation) for conversation in conversations]
            source = f"preset {preset.name}"
        template = cut(rendered, source, self._model.name, self._model.stops)
        bos = leading_bos(template.prefix)
        if bos and await self._adds(bos):
            template = replace(template, prefix=template.prefix.removeprefix(bos))
        end = template.lone_end
        return replace(template, silent=True) if end and await self._hides(end) else template

    async def _rendered(self, conversation: Sequence[Message]) -> str | None:
        roles = tuple(message["role"] for message in conversation)

        async def ask() -> str | None:
            try:
                return await self._server.render(self._model.name, conversation)
            except RequestRefused as error:
                if roles in self._carried:  # then it is not the template that failed, but the server, for now
                    raise TransientError(error.cause, error.remedy) from error
                raise

        text = await retrying(ask, self._server.address)
        self._carried.add(roles)
        return text

    def _find_preset(self) -> Preset:
        preset = preset_for(self._model.name)
        if preset is None:
            raise TemplateError(
                f"{self._server.address} cannot render the template of {self._model.name}, and no preset fits it.",
                "give it with --template NAME|FILE; `magpie-ollama template list` shows the presets",
            )
        return preset

    async def _adds(self, bos: str) -> bool:
        if bos not in self._bos_added:
            ask = partial(self._server.adds_bos, self._model.name, bos)
            self._bos_added[bos] = await retrying(ask, self._server.address)
        return self._bos_added[bos]

    async def _hides(self, token: str) -> bool:
        if token not in self._hidden:
            ask = partial(self._server.hides, self._model.name, token)
            self._hidden[token] = await retrying(ask, self._server.address)
        return self._hidden[token]
