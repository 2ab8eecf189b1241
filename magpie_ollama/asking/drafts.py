"""An attempt under way: what its seed drew, and the turns that are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from magpie_ollama.asking.settings import Settings
from magpie_ollama.corpus.questions import Question
from magpie_ollama.method.languages import Exemplar
from magpie_ollama.method.reasons import Stage
from magpie_ollama.method.screening import Rules
from magpie_ollama.method.steering import Steered, steer
from magpie_ollama.records import Attempt, Message


@dataclass(frozen=True, slots=True)
class Drawn:
    """All that an attempt draws, by its seed. ``index`` counts the run's attempts from 0; ``temperature`` is that of
    the instruction; ``turns`` are the user's."""

    index: int
    seed: int
    steered: Steered
    temperature: float
    turns: int = 1


def draw(
    settings: Settings, index: int, seed: int, steering: str, temperature: float, pool: Sequence[Exemplar] = ()
) -> Drawn:
    """What attempt ``index`` draws; ``pool`` are further exemplars."""
    steered = steer(
        steering, settings.language, seed, system=settings.system, exemplars=settings.exemplars, pool=tuple(pool)
    )
    return Drawn(index, seed, steered, temperature)


@dataclass(slots=True)
class Turn:
    """One turn, of the user or of the assistant, accepted or not; a user's with its opener.

    ``complete`` says that it ended by itself, ``tokens`` counts those generated, ``prompt_tokens`` those that the
    server had to read for it. ``confidence`` is exp(mean log-probability per UTF-8 byte); ``known_words`` is the share
    of its words that a list of the language has, and ``fluency`` its confidence against the model's own: all three 0.0
    where they are not measured. ``language`` is the detector's verdict, "" where it was not asked.
    """

    role: Literal["user", "assistant"]
    text: str = ""
    tokens: int = 0
    prompt_tokens: int = 0
    complete: bool = False
    confidence: float = 0.0
    language: str = ""
    known_words: float = 0.0
    fluency: float = 0.0
    reasoning: str = ""
    finish_reason: str = ""

    @property
    def message(self) -> Message:
        return {"role": self.role, "content": self.text}


@dataclass(slots=True)
class Draft:
    """An attempt under way. The last of its ``turns`` is being written, unless it is ``waiting`` to go on. ``worth`` is
    that of its instruction (``method.variety``).

    One that begins with a user's own ``question`` has its ``rules`` in place of the run's; ``trial`` counts from 0 how
    often it was tried before.
    """

    drawn: Drawn
    turns: list[Turn] = field(default_factory=list)
    waiting: bool = True
    question: Question | None = None
    rules: Rules | None = None
    trial: int = 0
    worth: float = 1.0

    @property
    def lacks(self) -> Stage | None:
        """What is to be written next."""
        if self.turns and self.turns[-1].role == "user":
            return Stage.RESPONSE
        return Stage.INSTRUCTION if self._count("user") < self.drawn.turns else None

    def before(self) -> list[Message]:
        """What stands in front of the turn that comes next: the steering's messages, and what was said."""
        return [*self.drawn.steered.messages, *(turn.message for turn in self.turns)]

    @property
    def instruction(self) -> Turn:
        """The first turn of the user."""
        return self.turns[0]

    @property
    def response(self) -> Turn:
        """The first turn of the assistant."""
        return self.turns[1]

    def tokens(self, role: Literal["user", "assistant"]) -> int:
        """Generated for all turns of the role."""
        return sum(turn.tokens for turn in self.turns if turn.role == role)

    def end(self, outcome: str) -> Attempt:
        first = self.turns[0] if self.turns else Turn("user")
        return Attempt(
            self.drawn.index,
            outcome,
            self.drawn.steered.steering,
            self.tokens("user"),
            self.tokens("assistant"),
            first.language,
            first.known_words,
            first.fluency,
            self.drawn.temperature,
            sum(turn.prompt_tokens for turn in self.turns),
            self.worth,
        )

    def _count(self, role: str) -> int:
        return sum(turn.role == role for turn in self.turns)
