"""What a reader decided on a corpus' records, beside it: ``it.jsonl.magpie/decisions.jsonl``.

A journal, only ever appended to, whoever reads: a page and a terminal may write to it at once. The corpus itself
changes when the decisions are applied, in one step; a line then says so, and what stands before it is done with.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import msgspec
from filelock import FileLock, Timeout

from magpie_ollama.corpus import files, lines, names, shapes, system
from magpie_ollama.corpus.appender import Appender, failure
from magpie_ollama.corpus.reading import LONGEST, id_of, is_stream, object_of
from magpie_ollama.corpus.rewriting import in_place
from magpie_ollama.decoding import Misshapen, decode
from magpie_ollama.errors import CorpusError, DecidedMeanwhile, UsageError
from magpie_ollama.records import Tags

Action = Literal["keep", "drop", "edit", "tag", "undo", "applied"]

Place = tuple[str | int, ...]
"""Where a text stands in a record: ("messages", 1, "content"), or ("output",)."""

TAGS = tuple(name for name in Tags.__annotations__ if name != "judge")

WAIT = 10.0
"""Seconds that another process may take to write its decision down."""


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the journal. ``id`` is the record's own, or "line 7"; ``mark`` is its text's (``mark``): once that is
    another, nothing was decided on it. ``text`` is what stands at ``place`` after an edit, ``value`` what the tag
    ``name`` is. ``at`` is in UTC (ISO 8601, seconds)."""

    id: str
    action: Action
    mark: str = ""
    place: Place = ()
    text: str = ""
    name: str = ""
    value: str = ""
    at: str = ""


@dataclass(slots=True)
class Decided:
    """What was decided on one record, with everything undone left out. ``version`` counts all lines on it, and is what
    a reader of it has ``seen``."""

    version: int = 0
    standing: list[Decision] = field(default_factory=list)

    @property
    def verdict(self) -> Literal["", "keep", "drop"]:
        return next((one.action for one in reversed(self.standing) if one.action in ("keep", "drop")), "")

    @property
    def edits(self) -> dict[Place, str]:
        return {one.place: one.text for one in self.standing if one.action == "edit"}

    @property
    def tags(self) -> dict[str, str]:
        return {one.name: one.value for one in self.standing if one.action == "tag"}

    def holds_for(self, mark: str) -> bool:
        """Whether the record of this mark is the one that was decided on."""
        return all(one.mark in ("", mark) for one in self.standing)


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of the decisions: how many records of each, and the ids of those that are not there any more, or with
    other texts. ``backup`` is the corpus as it was, None where nothing changed."""

    read: int
    done: Counter[str]
    stale: list[str]
    backup: Path | None


class Decisions:
    """Those on the corpus at ``path``, by the record's id. ``states`` are as of the last look (``refresh``)."""

    def __init__(self, path: Path) -> None:
        """Raises UsageError for a stream, CorpusError for a journal that cannot be read."""
        if is_stream(path):
            raise UsageError(f"{path} is a stream, whose records nobody can change", "give a file")
        self.corpus = path.resolve()
        self._folder = files.folder_beside(self.corpus)
        self.path = self._folder / "decisions.jsonl"
        self.states: dict[str, Decided] = {}
        self._lock = FileLock(self._folder / "decisions.lock", timeout=WAIT)
        self._reading = threading.Lock()
        self._read = 0
        self._order: list[str] = []
        self.refresh()

    def state(self, id: str) -> Decided:
        return self.states.get(id) or Decided()

    @property
    def pending(self) -> Counter[str]:
        """Records with a decision that is not applied yet, by what it is."""
        found: Counter[str] = Counter()
        for one in list(self.states.values()):  # another thread may add to it
            found.update(filter(None, (one.verdict, "edit" if one.edits else "", "tag" if one.tags else "")))
        return found

    @property
    def newest(self) -> str | None:
        """The record whose decision ``undo`` would take back first; None where nothing is left to undo."""
        return self._order[-1] if self._order else None

    def refresh(self) -> None:
        """Read what was added since. Half a line, which is what a crash leaves, is passed over. Raises CorpusError."""
        try:
            with self._reading, os.fdopen(system.open_plain(self.path, os.O_RDONLY), "rb") as file:
                file.seek(self._read)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._read += len(line)
                    try:
                        self._take(decode(line, Decision))
                    except Misshapen:
                        continue
        except FileNotFoundError:
            return
        except OSError as error:
            raise failure(error, self.path) from error

    def decide(self, decision: Decision, *, seen: int | None = None) -> Decided:
        """Write a decision down: it is on the disk when this returns. "undo" takes back the record's newest.

        ``seen`` is the version that whoever decided was shown; None does not ask. Raises DecidedMeanwhile where it is
        another by now, UsageError for what cannot be decided, CorpusError, and then nothing was written.
        """
        if decision.action == "tag" and decision.name not in TAGS:
            raise UsageError(f"There is no tag {decision.name!r}", f"the tags are {', '.join(TAGS)}")
        with self._alone():
            state = self.state(decision.id)
            if seen is not None and seen != state.version:
                raise DecidedMeanwhile(
                    f"Somebody else decided on the record {decision.id} meanwhile", "look at it again, then decide"
                )
            if decision.action == "undo" and not state.standing:
                raise UsageError(f"Nothing was decided on the record {decision.id}", "there is nothing to undo")
            self._append(decision)
            return self.state(decision.id)

    def apply(self) -> Applied:
        """Make the corpus what was decided, in one step: dropped records are gone, edits and tags are in, and the old
        file is kept beside it. Killed in between, the same call does it again.

        Raises CorpusLocked while a run writes to it, CorpusError; then the corpus is as it was.
        """
        with self._alone():
            if not self.states:
                return Applied(0, Counter(), [], None)
            with in_place(self.corpus) as output:
                done, met, read = Counter[str](), set[str](), 0
                for number, line in _numbered(self.corpus):
                    changed, what, id = self._applied(number, line)
                    read += bool(line.strip())
                    done.update(what)
                    met.update([id] if what else [])
                    if changed is not None:
                        output.write_bytes(changed) if not changed.endswith(b"\n") else output.write(changed[:-1])
                output.unchanged = not done.keys() - {"keep"}
            stale = [id for id, state in self.states.items() if id not in met and state.standing]
            self._append(Decision("", "applied"))
            return Applied(read, done, stale, output.backup)

    def _applied(self, number: int, line: bytes) -> tuple[bytes | None, list[str], str]:
        """A line as it becomes, None where it goes; what was done to it; and its id."""
        id = id_of(number, line, object_of(line))
        state = self.states.get(id)
        if state is None or not state.holds_for(mark(line)):
            return line, [], id
        if state.verdict == "drop":
            return None, ["drop"], id
        new = edited(line, state.edits, state.tags)
        what = ["keep"] if state.verdict else []
        if state.edits and new != line:
            what.append("edit")
        if state.tags:
            what.append("tag")
        return new, what, id

    def _take(self, one: Decision) -> None:
        if one.action == "applied":
            self.states.clear()
            self._order.clear()
            return
        state = self.states.setdefault(one.id, Decided())
        state.version += 1
        if one.action != "undo":
            state.standing.append(one)
            self._order.append(one.id)
        elif state.standing:
            state.standing.pop()
            del self._order[len(self._order) - 1 - self._order[::-1].index(one.id)]

    def _append(self, decision: Decision) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = lines.encode(msgspec.to_builtins(msgspec.structs.replace(decision, at=now)))
        try:
            appender = Appender(self.path, create=not self.path.exists(), sync="always")
        except OSError as error:
            raise failure(error, self.path) from error
        try:
            appender.end_line()
            appender.append(line)
        finally:
            appender.close()
        self.refresh()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other process, and no other thread, decides; with all known that was decided so far."""
        try:
            files.make_folder(self._folder)
            self._lock.acquire()
        except Timeout:
            raise CorpusError(
                f"Another program holds the decisions on {self.corpus}", "wait until it is done, then decide again"
            ) from None
        except OSError as error:
            raise failure(error, self.path) from error
        try:
            self.refresh()
            yield
        finally:
            self._lock.release()


def mark(line: bytes) -> str:
    """16 hexadecimal digits, the same for a record with the same texts, whatever else its line holds; of a line that is
    no record, its own."""
    told = places(line)
    digest = blake2b(digest_size=8)
    for one in [text for _, _, text in told] if told else [line.rstrip(b"\r\n").decode("utf-8", "replace")]:
        digest.update(one.encode("utf-8", "replace") + b"\0")
    return digest.hexdigest()


def places(line: bytes) -> list[tuple[str, Place, str]]:
    """The texts of a record that can be edited: who says it (or the name of the column), where it stands, and the text.
    [] where a line is no record, or holds its texts in another way."""
    try:
        data = lines.exact(line) if len(line) < LONGEST else None
    except ValueError:
        return []
    if type(data) is not dict or isinstance(said := shapes.find(data, line), str):
        return []
    found: list[tuple[str, Place, str]] = []
    for number, column in enumerate(said.columns):
        value = data.get(column)
        if isinstance(value, list):
            found += _turns(column, value)
        elif isinstance(value, str) and column not in names.CONVERSATIONS:
            role = ("instruction", "response")[number] if number < 2 and len(said.columns) > 1 else column
            found.append((role, (column,), value))
    return found


def edited(line: bytes, edits: Mapping[Place, str], tags: Mapping[str, str] | None = None) -> bytes:
    """The line with other texts at their places, and with tags. A place that holds no text stays as it is, and
    so does a line that is no object."""
    if not (edits or tags) or not line.lstrip().startswith(b"{"):
        return line
    end = line[len(line.rstrip(b"\r\n")) :]
    try:
        data = lines.exact(line)
    except ValueError:
        return line
    changed = {}
    for place, text in edits.items():
        if _set(data, place, text):
            changed[place[0]] = data[place[0]]
    if tags:
        table = data.get("tags")
        changed["tags"] = (table if isinstance(table, dict) else {}) | dict(tags)
    for key, value in changed.items():
        line = lines.with_value(line, str(key), value)
    return line.rstrip(b"\r\n") + end


def _turns(column: str, turns: list[Any]) -> Iterator[tuple[str, Place, str]]:
    for index, turn in enumerate(turns):
        if isinstance(turn, dict) and (said := names.given(turn, names.SAID)) and isinstance(turn[said], str):
            who = names.given(turn, names.WHO)
            yield names.role(turn[who]) if who else "turn", (column, index, said), turn[said]


def _set(data: Any, place: Place, text: str) -> bool:
    """Put a text where another one stands; whether one stood there."""
    try:
        for key in place[:-1]:
            data = data[key]
        if not isinstance(data[place[-1]], str):
            return False
        data[place[-1]] = text
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        yield from enumerate(file, 1)
