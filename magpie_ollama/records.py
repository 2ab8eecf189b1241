"""What every room speaks in: the record that is kept, the outcome of each attempt, and what all of them came to."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta

from magpie_ollama.decoding import Count

SCHEMA = 1
"""Version of the record's keys. A reader that meets a higher one must be newer than this tool."""


class Message(TypedDict):
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a corpus. Every line has the same keys with values of the same types, and no nulls:
    ``datasets`` takes its columns from the first lines it reads and fails where later ones vary.

    ``messages`` is TRL's conversational form, one user turn and one assistant turn.
    ``instruction_tokens`` and ``response_tokens`` are what the server counted as generated, ``finish_reason`` is the
    response's: "stop" or "length". ``created_at`` is in UTC (ISO 8601, seconds), ``reasoning`` what a model thought
    before it answered. Imported records have "" and 0 for what the other tool did not tell.
    ``confidence`` is exp(mean log-probability per UTF-8 byte of the instruction that the model itself wrote);
    0.0 means "not measured".
    """

    id: str
    messages: list[Message]
    language: str
    model: str
    server: str
    steering: str
    seed: int
    run: str
    created_at: str
    instruction_tokens: int
    response_tokens: int
    finish_reason: str
    reasoning: str
    confidence: float
    schema: int = SCHEMA

    @property
    def instruction(self) -> str:
        return next((m["content"] for m in self.messages if m["role"] == "user"), "")

    @property
    def response(self) -> str:
        return next((m["content"] for m in self.messages if m["role"] == "assistant"), "")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


KEYS = frozenset(field.name for field in fields(Record))


Name = Annotated[str, Meta(pattern=r"\A[a-z_+]{0,100}\Z")]
"""Of an outcome or a way, as this tool writes it."""

Index = Annotated[int, Meta(ge=0, le=10**9)]
"""Behind the highest seed that may be given there is room for as many attempts."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one attempt: one line of a run's journal, and one count in its funnel.

    ``outcome`` is ``"kept"``, ``"dropped"`` (in flight as the run ended), or the name of the reason it was rejected
    for (``method.reasons.Reason``).
    ``index`` counts the run's attempts from 0 and gives the attempt its seed. ``language`` is the
    screen's word on the instruction: "yes", "no", "unknown", or "" where it was not asked.
    """

    index: Index
    outcome: Name
    steering: Name
    instruction_tokens: Count = 0
    response_tokens: Count = 0
    language: Name = ""

    @property
    def tokens(self) -> int:
        return self.instruction_tokens + self.response_tokens


KEPT = "kept"
DROPPED = "dropped"
"""In flight when the target was reached or the run interrupted."""


@dataclass(slots=True)
class Funnel:
    """Counts and generated tokens of attempts, by outcome: "kept", a ``Reason``, or "dropped". ``ways`` counts those
    that came to an end."""

    outcomes: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    unknown_language: int = 0

    @classmethod
    def of(cls, attempts: Iterable[Attempt]) -> Funnel:
        funnel = cls()
        for attempt in attempts:
            funnel.count(attempt)
        return funnel

    def count(self, attempt: Attempt) -> None:
        self.outcomes[attempt.outcome] += 1
        self.tokens[attempt.outcome] += attempt.tokens
        self.ways[attempt.steering] += attempt.outcome != DROPPED
        if attempt.outcome == KEPT and attempt.language == "unknown":
            self.unknown_language += 1

    @property
    def attempts(self) -> int:
        """Those that came to an end: what was dropped in flight is told apart."""
        return self.outcomes.total() - self.outcomes[DROPPED]

    @property
    def kept(self) -> int:
        return self.outcomes[KEPT]

    @property
    def all_tokens(self) -> int:
        return self.tokens.total()

    def rejected(self) -> list[tuple[str, int]]:
        """Reasons and their counts, the most frequent first."""
        return [(name, count) for name, count in self.outcomes.most_common() if name not in (KEPT, DROPPED)]

    def to_dict(self) -> dict[str, object]:
        return {
            "attempts": self.attempts,
            "kept": self.kept,
            "outcomes": dict(self.outcomes.most_common()),
            "tokens": dict(self.tokens.most_common()),
            "ways": dict(self.ways.most_common()),
            "unknown_language": self.unknown_language,
        }


def new_id() -> str:
    """A random identifier: 32 hexadecimal digits (UUID 4)."""
    return uuid.uuid4().hex
