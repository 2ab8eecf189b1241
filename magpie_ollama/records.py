"""What every room speaks in: the record that is kept, and the outcome of each attempt."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, fields
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


def new_id() -> str:
    """A random identifier: 32 hexadecimal digits (UUID 4)."""
    return uuid.uuid4().hex
