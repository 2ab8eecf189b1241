"""What every room speaks in: the record that is kept, the outcome of each attempt, and what all of them came to."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, Literal, TypedDict

import msgspec
from msgspec import Meta

from magpie_ollama.decoding import Count

BROUGHT = {
    2: (
        *("response_model", "temperature", "source", "topic", "opener"),
        *("fluency", "known_words", "response_known_words", "tags", "reward"),
    )
}
"""The keys, with defaults, that each schema brought: a corpus of an older one goes on without them, or is upgraded."""

SCHEMA = max(BROUGHT)
"""Version of the record's keys. A reader that meets a higher one must be newer than this tool."""


MAX_SEED = 2**30
"""The highest seed a run may be given: servers take 31 bits, and each attempt adds one to it."""


class Message(TypedDict):
    role: Literal["system", "user", "assistant"]
    content: str


class Tags(TypedDict):
    """What a judge says of a record, and who it is; "" where nobody was asked."""

    quality: str
    difficulty: str
    category: str
    safety: str
    intent: str
    language: str
    judge: str


def tags(given: Mapping[str, str] | None = None) -> Tags:
    """All of them, those that are not given as ""."""
    given = given or {}
    made: Any = {name: given.get(name, "") for name in Tags.__annotations__}
    return made  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of a corpus. Every line has the same keys with values of the same types, and no nulls:
    ``datasets`` takes its columns from the first lines it reads and fails where later ones vary. What differs from
    record to record in its form (alternatives, rejected responses) has files of its own beside the corpus.

    ``messages`` is TRL's conversational form. ``response_model`` wrote the responses, "" where ``model`` did.
    ``temperature`` is the instruction's. ``source`` is the row, document or topic file that the record came from,
    ``opener`` the first words of the instruction, where they were given to the model and not written by it.
    ``instruction_tokens`` and ``response_tokens`` are what the server counted as generated, ``finish_reason`` is the
    response's: "stop" or "length". ``created_at`` is in UTC (ISO 8601, seconds), ``reasoning`` what a model thought
    before it answered. Imported records have "" and 0 for what the other tool did not tell.
    ``confidence`` is exp(mean log-probability per UTF-8 byte of the instruction that the model itself wrote).
    In ``confidence``, ``fluency``, ``known_words`` and ``response_known_words`` 0.0 means "not measured".
    """

    id: str
    messages: list[Message]
    language: str
    model: str
    response_model: str = ""
    server: str
    steering: str
    temperature: float = 0.0
    seed: int
    run: str
    source: str = ""
    topic: str = ""
    opener: str = ""
    created_at: str
    instruction_tokens: int
    response_tokens: int
    finish_reason: str
    reasoning: str
    confidence: float
    fluency: float = 0.0
    known_words: float = 0.0
    response_known_words: float = 0.0
    tags: Tags = field(default_factory=tags)
    reward: float = 0.0
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


def keys_of(schema: object) -> tuple[str, ...]:
    """The keys of a schema, in their order; () of what is none that this tool knows."""
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        return ()
    later = {key for brought, keys in BROUGHT.items() if brought > schema for key in keys}
    return tuple(one.name for one in fields(Record) if one.name not in later)


FIRST = keys_of(1)
"""Those that a record of any schema has."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a line of a corpus, as ``record.schema.json`` has it."""
    made = msgspec.json.schema(Record)
    record = made["$defs"]["Record"]
    record["required"] = [one.name for one in fields(Record)]
    record["properties"] = {name: record["properties"][name] for name in record["required"]}
    for value in record["properties"].values():
        value.pop("default", None)  # a line has every key
    record["properties"]["schema"] = {"const": SCHEMA}
    return made


Name = Annotated[str, Meta(pattern=r"\A[a-z_+]{0,100}\Z")]
"""Of an outcome or a steering, as this tool writes it."""

TopicName = Annotated[str, Meta(pattern=r"\A[a-z0-9_-]{0,60}\Z")]

Index = Annotated[int, Meta(ge=0, le=10**9)]
"""Behind the highest seed that may be given there is room for as many attempts."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one attempt: one line of a run's journal, and one count in its funnel.

    ``outcome`` is ``"kept"``, ``"dropped"`` (in flight as the run ended), or the name of the reason it was rejected
    for (``method.reasons.Reason``).
    ``index`` counts the run's attempts from 0 and gives the attempt its seed. ``language`` is the
    screen's word on the instruction: "yes", "no", "unknown", or "" where it was not asked. ``known_words`` and
    ``fluency`` are the instruction's, 0.0 where they are not measured, and so is ``temperature``. ``prompt_tokens`` are
    those that the server had to read, without what its cache held. ``worth`` says how little of the instruction a
    reader has seen before (``method.variety``), 1.0 where that was not asked. ``retried_tokens`` are those of responses
    that were rejected and tried again.
    """

    index: Index
    outcome: Name
    steering: Name
    instruction_tokens: Count = 0
    response_tokens: Count = 0
    language: Name = ""
    known_words: float = 0.0
    fluency: float = 0.0
    temperature: Annotated[float, Meta(ge=0, le=100)] = 0.0
    prompt_tokens: Count = 0
    worth: Annotated[float, Meta(ge=0, le=1)] = 1.0
    topic: TopicName = ""
    retried_tokens: Count = 0

    @property
    def tokens(self) -> int:
        return self.instruction_tokens + self.response_tokens

    @property
    def ended(self) -> bool:
        return self.outcome != DROPPED


KEPT = "kept"
DROPPED = "dropped"
"""In flight when the target was reached or the run interrupted."""

UNWANTED = "unwanted"
"""The record is whole, and its tags are not those that are wanted (``--where``)."""

RETRIED = "retried"
"""No outcome: the tokens of responses that were rejected and tried again, whatever came of it."""


@dataclass(slots=True)
class Funnel:
    """Counts and generated tokens of attempts, by outcome: "kept", a ``Reason``, or "dropped". ``steerings``
    counts those that came to an end, and ``topics`` has their outcomes."""

    outcomes: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    steerings: Counter[str] = field(default_factory=Counter)
    unknown_language: int = 0
    unjudged_words: int = 0
    topics: dict[str, Counter[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, attempts: Iterable[Attempt]) -> Funnel:
        funnel = cls()
        for attempt in attempts:
            funnel.count(attempt)
        return funnel

    def count(self, attempt: Attempt) -> None:
        self.outcomes[attempt.outcome] += 1
        self.tokens[attempt.outcome] += attempt.tokens
        if attempt.retried_tokens:
            self.tokens[RETRIED] += attempt.retried_tokens
        self.steerings[attempt.steering] += attempt.ended
        if attempt.topic and attempt.ended:
            self.topics.setdefault(attempt.topic, Counter())[attempt.outcome] += 1
        if attempt.outcome == KEPT and attempt.language == "unknown":
            self.unknown_language += 1
        if attempt.outcome == KEPT and not attempt.known_words and not attempt.fluency:
            self.unjudged_words += 1

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
            "steerings": dict(self.steerings.most_common()),
            "unknown_language": self.unknown_language,
            "unjudged_words": self.unjudged_words,
        }


def new_id() -> str:
    """A random identifier: 32 hexadecimal digits (UUID 4)."""
    return uuid.uuid4().hex
