"""A loaded model, ready to be asked in a language and by a steering: its templates, and which steerings they carry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from magpie_ollama.asking.asker import Asker
from magpie_ollama.asking.drafts import draw
from magpie_ollama.asking.settings import Settings
from magpie_ollama.asking.templates import Prompter
from magpie_ollama.errors import RequestRefused, TemplateError, TransientError
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.method.followups import Phrases
from magpie_ollama.method.languages import Language
from magpie_ollama.method.steering import AUTO, Steered
from magpie_ollama.records import Message
from magpie_ollama.run.choosing import AUTO_STEERINGS, Arm
from magpie_ollama.run.own import own_confidence
from magpie_ollama.run.progress import Progress
from magpie_ollama.servers.loaded import LoadedModel

_WITH_A_MESSAGE = [steering for steering in AUTO_STEERINGS if "system" in steering or "exemplar" in steering]
"""With a topic's message in front of all, each of the others is one of these."""


class Prepared:
    """``settings`` say in which language and by which steering; ``progress`` counts the tokens and gets the notices."""

    judges = True
    """Whether its attempts tell how well the model writes the settings' language."""

    def __init__(
        self, settings: Settings, model: LoadedModel, progress: Progress, prompter: Prompter | None = None
    ) -> None:
        self.settings = settings
        self.model = model
        self.progress = progress
        self.prompter = prompter or Prompter(model, settings.server.template)
        self.own: dict[float, float] = {}
        self.responder = model
        self.replies = self.prompter

    def answered_by(self, responder: LoadedModel) -> None:
        """Has the responses written by another model."""
        self.responder, self.replies = responder, Prompter(responder)

    def speaking(self, language: Language, steering: str, temperature: float | None = None) -> Prepared:
        """The same model and templates for another language, steering and temperature of the instructions."""
        rules = replace(self.settings.screening, language=language)
        instruction = self.settings.instruction
        if temperature is not None:
            instruction = replace(instruction, temperature=temperature)
        settings = replace(self.settings, language=language, steering=steering, rules=rules, instruction=instruction)
        prepared = Prepared(settings, self.model, self.progress, self.prompter)
        prepared.own = self.own
        return prepared

    async def measure_own(self) -> None:
        """How sure the model is of what it writes unsteered, at the temperatures of the instructions."""
        settings = self.settings
        temperatures = settings.temperatures if settings.steering == AUTO else (settings.instruction.temperature,)
        for temperature in temperatures:
            if temperature not in self.own:
                sampling = replace(settings.instruction, temperature=temperature)
                self.progress.enter("Measuring how the model writes unsteered")
                self.own[temperature] = await own_confidence(self.model, self.prompter, sampling)
                self.progress.enter("")

    def topics(self) -> dict[str, Prepared]:
        """The same for each topic, by its name; itself, by "", where there are none."""
        if (mixture := self.settings.mixture) is None:
            return {"": self}
        return {
            name: Prepared(self.settings.on(topic), self.model, self.progress, self.prompter)
            for name, topic in mixture.topics.items()
        }

    def asker(
        self, seen: DuplicateIndex, on_busy: Callable[[], None] = lambda: None, phrases: Phrases | None = None
    ) -> Asker:
        """``on_busy`` is called each time that the server refuses a request for want of room."""

        def on_tokens(more: int) -> None:
            self.progress.tokens += more

        answering = self.responder, self.replies
        return Asker(self.settings, self.model, self.prompter, seen, on_tokens, on_busy, self.own, answering, phrases)

    async def steerings(self) -> list[str]:
        """The steerings that the run may take. Auto leaves out, with a notice, those that the template cannot carry."""
        if self.settings.steering != AUTO:
            await self._carry(self.steer(self.settings.steering, 0))
            return [self.settings.steering]
        await self.prompter.template()  # a model without any template is refused for that
        carried = []
        refused = None
        for steering in _WITH_A_MESSAGE if self.settings.topic else AUTO_STEERINGS:
            try:
                await self._carry(self.steer(steering, 0))
            except TemplateError as error:
                refused = error
                self.progress.notices.append(f"Auto leaves out {steering}: {error.cause}")
            else:
                carried.append(steering)
        if not carried and refused is not None:
            raise refused
        return carried

    def arms(self, steerings: Sequence[str]) -> list[Arm]:
        """What auto chooses between, with these steerings."""
        return [Arm(steering, temperature) for steering in steerings for temperature in self.settings.temperatures]

    def steer(self, steering: str, seed: int) -> Steered:
        """What an attempt's steering draws by its seed."""
        return draw(self.settings, 0, seed, steering, 0.0).steered

    async def front(self) -> tuple[Message, ...] | None:
        """What stands in front of a conversation of several turns: one system message for both sides, if the template
        carries it, so that each prompt begins as the one before. None where there are no conversations."""
        language, own = self.settings.language, self.settings.system
        if self.settings.turns.most == 1:
            return None
        shown = language.exemplars[0]
        system = Message(role="system", content=self.settings.how_hard(own or language.system_multi_turn))
        turns = (Message(role="user", content=shown.instruction), Message(role="assistant", content=shown.response))
        try:
            await self._carry(Steered("conversations", (system, *turns)))
        except TemplateError as error:
            if own:
                raise
            try:
                await self._carry(Steered("conversations", turns))
            except TemplateError as other:
                raise TemplateError(other.cause, "give --template, for one that carries several turns") from other
            self.progress.notices.append(f"Conversations go on without a system message: {error.cause}")
            return ()
        return (system,)

    async def _carry(self, steered: Steered) -> None:
        model = self.model
        try:
            await self.prompter.carries(steered.messages)
            if self.replies is not self.prompter and steered.messages:
                model = self.responder
                await self.replies.carries(steered.messages)
        except (RequestRefused, TransientError) as error:
            # Templates without a system role raise an error when they are rendered with one.
            raise TemplateError(
                f"The chat template of {model.name} cannot carry {steered.steering} ({error.cause})",
                "leave out --system, or give --template"
                if self.settings.system
                else "choose another --steering, for example opener, or auto",
            ) from error
