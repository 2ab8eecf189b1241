"""An attempt under way: what its seed drew, and the turns that are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from magpie_ollama.asking.ending import reseed
from magpie_ollama.asking.settings import Settings
from magpie_ollama.corpus.questions import Question
from magpie_ollama.method.checks import Rules
from magpie_ollama.method.languages import Exemplar
from magpie_ollama.method.reasons import NO_ROOM, Reason, Stage
from magpie_ollama.method.steering import Steered, steer
from magpie_ollama.method.template import Template
from magpie_ollama.records import Attempt, Message

Role = Literal["user", "assistant"]

SEEDS = 128
"""So many that ``reseed`` gives may one exchange take ..."""

OTHER_SEEDS = 2
"""... of which so many are tried where an answer breaks off. Ollama 0.33's does so at a token that is one byte of no
letter, each time with the same seed."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """All that an attempt draws, by its seed. ``index`` counts the run's attempts from 0; ``temperature`` is that of
    the instruction; ``turns`` are the user's, of which ``least`` are enough; ``end_with`` is the role of the last."""

    index: int
    seed: int
    steered: Steered
    temperature: float
    turns: int = 1
    least: int = 1
    end_with: str = "assistant"
    topic: str = ""
    source: str = ""


def draw(
    settings: Settings, index: int, seed: int, steering: str, temperature: float, pool: Sequence[Exemplar] = ()
) -> Drawn:
    """What attempt ``index`` draws; ``pool`` are further exemplars. A user's own system messages and passages are taken
    in turn, so that each is asked as often as the others."""
    system, persona = settings.system, ""
    if settings.own.systems:
        piece = settings.own.systems[index % len(settings.own.systems)]
        system, persona = piece.text, piece.source
    if settings.difficulty:
        system = settings.how_hard(system or settings.language.system)
    steered = steer(steering, settings.language, seed, system=system, exemplars=settings.exemplars, pool=tuple(pool))
    source = ""
    if settings.own.passages:
        piece = settings.own.passages[index % len(settings.own.passages)]
        steered, source = replace(steered, passage=piece.text), piece.source
    source = " ".join(filter(None, (persona, source)))
    turns = settings.turns.draw(seed), settings.turns.least, settings.end_with
    return Drawn(index, seed, steered, temperature, *turns, topic=settings.topic, source=source)


@dataclass(slots=True)
class Turn:
    """One turn, of the user or of the assistant, accepted or not; a user's with its opener. ``seed`` is its own.

    ``complete`` says that it ended by itself, ``tokens`` counts those generated, ``prompt_tokens`` those that the
    server had to read for it. ``confidence`` is exp(mean log-probability per UTF-8 byte); ``known_words`` is the share
    of its words that a list of the language has, and ``fluency`` its confidence against the model's own: all three 0.0
    where they are not measured. ``language`` is the detector's verdict, "" where it was not asked.
    """

    role: Role
    text: str = ""
    tokens: int = 0
    prompt_tokens: int = 0
    complete: bool = False
    confidence: float = 0.0
    language: str = ""
    known_words: float = 0.0
    fluency: float = 0.0
    passage: str = ""
    reasoning: str = ""
    finish_reason: str = ""
    seed: int = 0

    @property
    def message(self) -> Message:
        content = f"{self.passage}\n\n{self.text}" if self.passage else self.text
        return {"role": self.role, "content": content}


@dataclass(frozen=True, slots=True)
class Rejection:
    """A response that was not taken: the last of the ``turns``, of which the others were written before it."""

    reason: Reason
    turns: list[Turn]
    trial: int


@dataclass(slots=True)
class Draft:
    """An attempt under way. The last of its ``turns`` is being written, unless it is ``waiting`` to go on. ``worth`` is
    that of its instruction (``method.variety``).

    ``rules`` stand in place of the run's. One may begin with a user's own ``question``; ``trial`` counts from 0 how
    often it was tried before. The first ``given`` turns were there before.

    Of a conversation of several turns, ``front`` stands in front from the first response on; None is what the steering
    has. ``dropped`` are turns that were written for nothing; ``again``: the newest exchange is tried once more;
    ``closed``: nothing more is to be written.
    ``template`` is the one that the user's last turn was cut behind.

    A response may be tried again ``retries`` times, and was ``retried`` so often; ``rejected`` are all that were not
    taken, ``given_up`` the turns of those that were tried again.
    """

    drawn: Drawn
    turns: list[Turn] = field(default_factory=list)
    waiting: bool = True
    question: Question | None = None
    rules: Rules | None = None
    trial: int = 0
    worth: float = 1.0
    front: tuple[Message, ...] | None = None
    given: int = field(init=False)
    dropped: list[Turn] = field(default_factory=list)
    again: bool = False
    closed: bool = False
    template: Template | None = None
    retries: int = 0
    retried: int = 0
    rejected: list[Rejection] = field(default_factory=list)
    given_up: list[Turn] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.given = len(self.turns)

    @property
    def lacks(self) -> Stage | None:
        """What is to be written next."""
        if self.closed:
            return None
        enough = self._count("user") >= self.drawn.turns
        if self.turns and self.turns[-1].role == "user":
            return None if enough and self.drawn.end_with == "user" else Stage.RESPONSE
        return None if enough else Stage.INSTRUCTION

    def steered(self, opener: str = "") -> Steered:
        """What steers the turn that comes next. Where a conversation goes on, the exchanges it has are its exemplars;
        ``opener`` is that of the user's turn."""
        if self.front is None or not self.turns:
            return self.drawn.steered
        pairs = zip(self.turns[::2], self.turns[1::2], strict=False)
        shown = tuple(Exemplar(asked.text, answered.text) for asked, answered in pairs)
        passage = self.turns[-1].passage
        return Steered(self.drawn.steered.steering, self.front, opener=opener, exemplars=shown, passage=passage)

    def before(self) -> list[Message]:
        """What stands in front of the turn that comes next: the steering's messages, and what was said."""
        return [*self.steered().messages, *(turn.message for turn in self.turns)]

    @property
    def seed(self) -> int:
        """Of the turn that comes next: both turns of an exchange have the same one."""
        exchange = (len(self.turns) - self.given) // 2
        return reseed(self.drawn.seed, SEEDS * (2 * exchange + self.again) + (1 + OTHER_SEEDS) * self.trial)

    @property
    def is_later(self) -> bool:
        """Whether the newest turn is of an exchange behind the first, or behind those that were given."""
        return len(self.turns) > max(2, self.given + self.given % 2)

    @property
    def finished(self) -> list[Turn]:
        """The turns up to the last one that may end a record."""
        ends = [place for place, turn in enumerate(self.turns, 1) if turn.role == self.drawn.end_with]
        return self.turns[: max(ends, default=0)]

    @property
    def suffices(self) -> bool:
        """Whether what is finished may be kept as it is."""
        finished = self.finished
        return len(finished) > self.given and sum(turn.role == "user" for turn in finished) >= self.drawn.least

    def closes(self) -> bool:
        """Ends the conversation here; whether it suffices."""
        self.closed = True
        return self.suffices

    def accept(self, stage: Stage) -> None:
        """Takes the newest turn, which is of that stage."""
        self.again = self.again and stage is Stage.INSTRUCTION  # behind a response another exchange begins
        self._cool()

    def retry(self, reason: Reason) -> bool:
        """Sets the newest response aside, which was rejected. Whether it is to be tried again."""
        self.rejected.append(Rejection(reason, self.turns[self.given :], self.trial))
        if self.retried >= self.retries or reason in NO_ROOM or reason is Reason.RESPONSE_NO_ANSWER:
            return False
        self.retried += 1
        self.trial += 1
        self.given_up.append(self.turns.pop())
        return True

    def _cool(self) -> None:
        self.trial -= self.retried
        self.retried = 0

    def goes_back(self, reason: Reason) -> bool:
        """Takes away the newest turn, which was rejected. Whether its exchange is to be tried once more."""
        self._cool()
        self.dropped.append(self.turns.pop())
        if self.again or reason in NO_ROOM or (reason is Reason.FOLLOW_UP_CLOSING and self.suffices):
            return False
        if (
            len(self.turns) > self.given and self.turns[-1].role == "user"
        ):  # it was a response: the same question would get it again
            self.dropped.append(self.turns.pop())
        self.again = True
        return True

    @property
    def instruction(self) -> Turn:
        """The first turn of the user."""
        return self.turns[0]

    @property
    def response(self) -> Turn:
        """The first turn of the assistant."""
        return self.turns[1]

    def end(self, outcome: str) -> Attempt:
        first, drawn = next(iter(self.turns[self.given :]), Turn("user")), self.drawn  # what was given says nothing
        written = [*self.turns, *self.dropped]
        return Attempt(
            drawn.index,
            outcome,
            drawn.steered.steering,
            tokens(written, "user"),
            tokens(written, "assistant"),
            first.language,
            first.known_words,
            first.fluency,
            drawn.temperature,
            sum(turn.prompt_tokens for turn in [*written, *self.given_up]),
            self.worth,
            drawn.topic,
            tokens(self.given_up, "assistant"),
        )

    def _count(self, role: str) -> int:
        return sum(turn.role == role for turn in self.turns)


def tokens(turns: Iterable[Turn], role: Role) -> int:
    """Generated for all turns of the role."""
    return sum(turn.tokens for turn in turns if turn.role == role)
