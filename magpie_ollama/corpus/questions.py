"""The questions of a file of any form: what is asked, what was said before it, and what else its row has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from magpie_ollama.corpus import forms, lines, names
from magpie_ollama.corpus.reading import Row, Rows
from magpie_ollama.errors import NotACorpus
from magpie_ollama.records import FIRST, KEYS, Message

PREFIX = "row_"
"""In front of a column whose name is a key of the record's own."""

REASONS = {
    "empty": "nothing is asked",
    "duplicate": "an earlier row asks the same, behind the same turns",
    "tool_call": "a tool has a part in it",
    "other_speaker": "somebody speaks who is neither user nor assistant",
    "no_text": "what is asked is no text",
}
"""Why a row is passed over."""


@dataclass(frozen=True, slots=True)
class Question:
    """``messages`` end with the user's turn that is to be answered. ``source`` is the row's own id, or FILE#row, with
    ``row`` as ``corpus.reading`` counts; ``language``, ``model`` and ``topic`` are what the row names, ``further`` its
    other columns as texts, under the names that they have in the record."""

    row: int
    source: str
    messages: tuple[Message, ...]
    further: Mapping[str, str] = field(default_factory=dict)
    language: str = ""
    model: str = ""
    topic: str = ""

    @property
    def text(self) -> str:
        return self.messages[-1]["content"]

    @property
    def system(self) -> str:
        """The row's own system message."""
        first = self.messages[0]
        return first["content"] if first["role"] == "system" else ""

    @property
    def key(self) -> bytes:
        return key(self.messages)


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A row that is not asked, and why: one of ``REASONS``, and for a duplicate the source of the first."""

    row: int
    source: str
    reason: str
    first: str = ""


@dataclass(slots=True)
class Questions:
    """All of a file, in its order. ``further`` are the columns that any row has beside them."""

    path: Path
    asked: list[Question] = field(default_factory=list)
    passed_over: list[PassedOver] = field(default_factory=list)
    further: tuple[str, ...] = ()
    notice: str = ""


def key(messages: Iterable[Mapping[str, Any]]) -> bytes:
    """Tells two conversations apart; spaces at the ends of turns do not count."""
    turns = [[message.get("role"), str(message.get("content")).strip()] for message in messages]
    return hashlib.blake2b(lines.encode({"": turns}), digest_size=16).digest()


def answered(line: bytes) -> bytes:
    """The key of what a line of a corpus answers last, b"" where it answers nothing."""
    try:
        messages = orjson.loads(line).get("messages")
        turns = messages[: max(at for at, one in enumerate(messages) if one["role"] == "assistant")]
        return key(turns)
    except (ValueError, TypeError, KeyError, AttributeError):
        return b""


def read(
    path: Path,
    *,
    column: str = "",
    blocks: bool | None = None,
    skip_bad: bool = False,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Questions:
    """``column`` is where the questions are, "" for the usual names; ``blocks`` says how a plain text is parted (see
    ``corpus.forms``). All are held in memory, about 1 kB each.

    Raises UsageError, NotACorpus and CorpusError as ``Rows`` does, NotACorpus where nothing is asked at all.
    """
    wanted = forms.Wanted(text=True, blocks=blocks, table=bool(column))
    rows = Rows(path, skip_bad=skip_bad, on_progress=on_progress, wanted=wanted, asked=column)
    found = Questions(path)
    columns: dict[str, str] = {}
    seen: dict[bytes, str] = {}
    ids: set[str] = set()
    for row in rows:
        question, reason = _question(row, path.name, columns, ids)
        first = "" if reason else seen.get(question.key, "")
        if reason or first:
            found.passed_over.append(PassedOver(row.number, question.source, reason or "duplicate", first))
        else:
            seen[question.key] = question.source
            found.asked.append(question)
    found.further = tuple(columns.values())
    found.notice = rows.notice()
    if not found.asked:
        what = "nothing that can be asked" if found.passed_over else "no questions"
        raise NotACorpus(f"{path} holds {what}", "give a text with a question a line, CSV, JSONL or Parquet")
    return found


def stem(path: Path) -> str:
    """A file's name without what says its form.

    >>> stem(Path("my.questions.csv.gz"))
    'my.questions'
    """
    return Path(path.stem).stem if path.suffix.lower() in forms.PACKED else path.stem


def _question(row: Row, name: str, columns: dict[str, str], ids: set[str]) -> tuple[Question, str]:
    said, data = row.said, row.data
    own_id = row.id if data.get("id") not in (None, "") else ""
    if own_id in ids:  # no id of its own, then
        own_id = ""
    ids.add(own_id)
    reason = {"no_instruction": "empty", "no_response": "", "labelled_bad": ""}.get(said.reason, said.reason)
    turns = [Message(role=turn.role, content=turn.text) for turn in said.asked]  # type: ignore[typeddict-item]
    if not reason and (not turns or not turns[-1]["content"].strip()):
        reason = "empty"
    used = set(said.columns) - {*names.ANSWERS, *names.REJECTED} | {said.shape}
    used |= KEYS if data.keys() >= set(FIRST) else {"id"} if own_id else set()
    further = {}
    for key_, value in data.items():
        if key_ not in used:
            further[_renamed(str(key_), columns)] = value if type(value) is str else _shown(value)
    source = own_id or f"{name}#{row.number}"
    model = row.text("model") if data.keys() >= set(FIRST) else ""
    return Question(row.number, source, tuple(turns), further, row.text("language"), model), reason


def _renamed(column: str, columns: dict[str, str]) -> str:
    """The key that a column has in the record, the same in every row."""
    if column not in columns:
        name = column
        while not name or name in KEYS or name in columns.values():
            name = PREFIX + name
        columns[column] = name
    return columns[column]


def _shown(value: Any) -> str:
    return "" if value is None else lines.shown(value)
