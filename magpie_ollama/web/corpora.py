"""The corpus room: a file's records chosen, ordered, searched, decided on; and what is decided applied."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from magpie_ollama.corpus import decisions, sniffing
from magpie_ollama.corpus.decisions import Decision, Decisions
from magpie_ollama.corpus.history import history
from magpie_ollama.corpus.reading import row_of
from magpie_ollama.curation import statistics
from magpie_ollama.curation.provenance import Operation, note
from magpie_ollama.errors import UsageError
from magpie_ollama.web import charts
from magpie_ollama.web.index import FACETS, Index
from magpie_ollama.web.pages import Shown, shown

PAGE = 20
"""Records on a page."""

OPEN = 4
"""Files whose index is held in memory: of a million records, 50 MB each."""

SECONDS = 2.0
"""That a search may take before the page shows what it has found so far."""

COUNTED = 0.5
"""Seconds in which a search that looks through all records tells how many there are, and of which kinds."""

SAMPLE = 5000
"""Records that the charts are drawn from, where there are more: a share is then right to 1.4 points (95 %)."""

SORTS = {
    "": "as it stands",
    "newest": "newest first",
    "confidence": "least confident first",
    "known_words": "fewest known words first",
    "response_known_words": "fewest known words in the response",
    "quality": "worst judged first",
}
STATES = {
    "": "all",
    "undecided": "undecided",
    "decided": "decided",
    "keep": "kept",
    "drop": "dropped",
    "edit": "edited",
    "tag": "tagged",
}


@dataclass(frozen=True, slots=True)
class Query:
    """What the address asks for. ``at`` is where in the order the page begins."""

    text: str = ""
    sort: str = ""
    state: str = ""
    at: int = 0
    facets: Mapping[str, str] | None = None

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Query:
        at = given.get("at", "")
        return cls(
            given.get("q", "")[:200],
            given.get("sort", "") if given.get("sort") in SORTS else "",
            given.get("state", "") if given.get("state") in STATES else "",
            int(at) if at.isdecimal() and len(at) < 12 else 0,
            {name: given[name] for name in FACETS if given.get(name)},
        )

    def to(self, **changes: Any) -> str:
        """The address of this query with other parts; a facet by its name, "" for none. Begins again at the top."""
        facets = dict(self.facets or {}) | changes.pop("facet", {})
        new = replace(self, **{"at": 0, **changes})
        told = {"q": new.text, "sort": new.sort, "state": new.state, "at": new.at or "", **facets}
        return "?" + urlencode({name: value for name, value in told.items() if value not in ("", None)})


class Opened:
    """A file that is looked at."""

    def __init__(self, name: str, path: Path) -> None:
        """Raises UsageError for what holds no JSON objects line by line."""
        try:
            with path.open("rb") as file:
                form = sniffing.kind(file.read(sniffing.HEAD))
        except OSError as error:
            raise _unread(path, error) from error
        if form:
            raise UsageError(f"{name} is {form}", "choose a file of one JSON object a line")
        self.name = name
        self.path = path
        self.index = Index(path)
        self.decisions = Decisions(path)
        self._charted: tuple[tuple[int, int], list[charts.Chart]] | None = None

    def list(self, query: Query) -> dict[str, Any]:
        """What the page of a query shows."""
        self.look()
        index, states = self.index, self.decisions.states
        ids = None
        if query.state:
            wanted = {"undecided": "decided"}.get(query.state, query.state)
            ids = [
                id
                for id, one in list(states.items())
                if one.standing and wanted in ("decided", one.verdict, *_more(one))
            ]
        text = query.text.strip()
        held = index.holding(text, COUNTED) if text else None
        mask, facets = index.choose(query.facets or {}, ids, query.state != "undecided", held)
        order = index.order(mask, query.sort)
        start = min(query.at, max(0, len(order) - 1))
        found, end = index.search(order, start, text if held is None else "", PAGE, SECONDS)
        return {
            "records": [self.record(entry) for entry in found],
            "counted": held is not None or not text,
            "tags": decisions.TAGS,
            "facets": {name: facets[name] for name in FACETS if name in facets},
            "chosen": len(order),
            "start": start,
            "end": end,
            **self.news(),
        }

    def look(self) -> None:
        """Takes note of what others wrote: to the corpus, and of decisions."""
        try:
            self.index.look(0.5)
        except OSError as error:
            raise _unread(self.path, error) from error
        self.decisions.refresh()

    def news(self) -> dict[str, Any]:
        """What changes while a page is open."""
        return {
            "count": len(self.index),
            "generation": self.index.generation,
            "share": self.index.share if self.index.busy else 1.0,
            "seconds": self.index.seconds,
            "pending": dict(self.decisions.pending),
            "newest": self.decisions.newest,
        }

    def record(self, entry: int) -> Shown:
        """Raises UsageError."""
        try:
            number, line = self.index.line(entry)
        except (IndexError, OSError):
            raise UsageError("There is no such record (any more)", "load the page again") from None
        return shown(entry, number, line, self.decisions)

    def decide(self, given: Mapping[str, Any]) -> Shown:
        """Raises DecidedMeanwhile, UsageError, CorpusError."""
        record = self.record(_whole(given, "entry"))
        if record.mark != given.get("mark"):
            raise UsageError("The file has another record there by now", "load the page again")
        action, place = given.get("action"), given.get("place") or []
        if action not in ("keep", "drop", "edit", "tag", "undo"):
            raise UsageError(f"{action!r} is nothing that can be decided", "load the page again")
        if action == "edit" and tuple(place) not in [one.place for one in record.texts if one.place]:
            raise UsageError("That text cannot be edited", "mend it in the file itself")
        if action == "tag" and (record.wrong or not str(given.get("value", "")).strip()):
            raise UsageError("That tag cannot be given", "write a value, on a line that is a record")
        texts = {name: str(given.get(name, "")) for name in ("text", "name", "value")}
        one = Decision(record.id, action, record.mark, tuple(place), **texts)
        self.decisions.decide(one, seen=_whole(given, "seen"))
        return self.record(record.entry)

    def undo(self) -> None:
        """Takes back the newest decision, on whatever record."""
        self.decisions.refresh()
        if (id := self.decisions.newest) is None:
            raise UsageError("Nothing is left to undo", "decide first")
        self.decisions.decide(Decision(id, "undo"))

    def apply(self) -> str:
        """In words, what was done. Raises CorpusError."""
        done = self.decisions.apply()
        dropped = done.done["drop"]
        if done.backup is not None:
            note(self.path, Operation.now("serve", "", done.read, done.read - dropped, {"dropped": dropped}))
        told = [f"{done.done[name]:,} {word}" for name, word in _DONE.items() if done.done[name]]
        stale = f" {len(done.stale):,} had changed since, and were left alone." if done.stale else ""
        kept = f" The file as it was is kept as {done.backup.name}." if done.backup else ""
        return f"Applied: {', '.join(told) or 'nothing'}.{kept}{stale}"

    def charts(self) -> dict[str, Any]:
        """Of all records, or of a sample of them where there are many."""
        self.look()
        state = (self.index.generation, len(self.index))
        if self._charted is None or self._charted[0] != state:
            rows = (made for number, line in self.index.sample(SAMPLE) if (made := row_of(number, line)) is not None)
            found = statistics.of(rows)
            runs, _ = history(self.path, found.kinds["runs"])
            self._charted = (state, charts.of(found, runs))
        return {"charts": self._charted[1], "count": state[1], "sample": min(SAMPLE, state[1])}


class Corpora:
    """The files that are looked at, the last ``OPEN`` of them."""

    def __init__(self) -> None:
        self._opened: OrderedDict[Path, Opened] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, name: str, path: Path) -> Opened:
        """Raises UsageError, CorpusError."""
        with self._lock:
            one = self._opened.pop(path, None) or Opened(name, path)
            self._opened[path] = one
            while len(self._opened) > OPEN:
                self._opened.popitem(last=False)[1].index.close()
            return one

    def close(self) -> None:
        for one in self._opened.values():
            one.index.close()


_DONE = {"drop": "dropped", "edit": "edited", "tag": "tagged", "keep": "kept"}


def _unread(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path} cannot be read: {error.strerror}", "look at another file")


def _more(one: decisions.Decided) -> tuple[str, str]:
    return "edit" if one.edits else "", "tag" if one.tags else ""


def _whole(given: Mapping[str, Any], name: str) -> int:
    value = given.get(name)
    if type(value) is not int or value < 0:
        raise UsageError(f"The request lacks {name!r}", "load the page again")
    return value
