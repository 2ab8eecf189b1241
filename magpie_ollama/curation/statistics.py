"""What is in a corpus, counted in one pass."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Literal

from magpie_ollama.corpus.reading import Row
from magpie_ollama.curation.filters import language_code
from magpie_ollama.method import languages, topics
from magpie_ollama.method.variety import LATELY, Variety, repeats, shipped_subjects, spaceless

if TYPE_CHECKING:
    from magpie_ollama.curation.neighbours import Neighbours  # NumPy takes its time

Unit = Literal["words", "characters"]

EDGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
"""Where the bins of lengths begin; below the first is what is empty."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

MOST_VALUES = 1000
"""Different values of a field that are told apart: a file whose every record names another model fills no memory."""

OTHERS = "(others)"

TAGS = ("quality", "difficulty", "category", "safety", "input_quality", "task_category", "llama_guard_2")
"""Fields that hold tags, beside the table ``tags``: those of Magpie's own data sets too."""

_FIELDS = {
    "responders": "response_model",
    "topics": "topic",
    "steerings": "steering",
    "servers": "server",
    "finish_reasons": "finish_reason",
    "runs": "run",
}
_KEYS = ("language", *_FIELDS.values())
_TAG_KEYS = frozenset(("tags", *TAGS))


@dataclass(slots=True)
class Part:
    """The records of one language. Lengths in ``unit`` and confidences in thousandths are counts by value: exact below
    1,000, and three digits of those above, so that their number is bounded."""

    language: str
    unit: Unit
    instruction: Counter[int] = field(default_factory=Counter)
    response: Counter[int] = field(default_factory=Counter)
    confidence: Counter[int] = field(default_factory=Counter)

    @property
    def records(self) -> int:
        return self.instruction.total()


@dataclass(slots=True)
class _Group:
    """Records with the same fields. ``part`` is None where each one's text has to tell its unit."""

    values: dict[str, str]
    part: Part | None
    records: int = 0


class Statistics:
    """Counts of all rows given to ``count``. ``parts`` are by language and unit; ``tags`` by the tag's name, and so is
    ``judged``: of the tables ``tags`` alone that name their judge; ``turns`` are counts by the user's turns.
    ``recognised`` counts by topic whether a record was given its topic's category."""

    def __init__(self) -> None:
        self.without_response = 0
        self.unwanted = 0
        self.with_system = 0
        self.turns: Counter[int] = Counter()
        self.parts: dict[tuple[str, Unit], Part] = {}
        self.tags: dict[str, Counter[str]] = {}
        self.judged: dict[str, Counter[str]] = {}
        self.recognised: dict[str, Counter[bool]] = {}
        self._kinds: dict[str, Counter[str]] = {name: Counter() for name in ("forms", "models", "answered", *_FIELDS)}
        self._groups: dict[Hashable, _Group] = {}
        self._hashes = array("q")
        self._repeated: int | None = None
        self.neighbours: Neighbours | None = None
        self.variety = Variety()
        self._newest: deque[str] = deque(maxlen=2 * LATELY)

    def count(self, row: Row) -> None:
        data, instruction, response = row.data, row.instruction, row.response
        key: Hashable = (row.shape, data.get("model") or data.get("model_name"), *map(data.get, _KEYS))
        try:
            group = self._groups.get(key)
        except TypeError:  # a foreign file may hold lists there
            group = self._groups.get(key := repr(key))
        if group is None:
            group = self._group(key, row)
        part = group.part or self._part(
            language_code(row.text("language")), "characters" if spaceless(instruction) else "words"
        )
        words = instruction.split()
        if part.unit == "words":
            asked, answered = len(words), _words(response)
        else:
            asked, answered = sum(map(len, words)), sum(map(len, response.split()))
        group.records += 1
        part.instruction[asked if asked < 1000 else _rounded(asked)] += 1
        part.response[answered if answered < 1000 else _rounded(answered)] += 1
        if 0 < (confidence := row.confidence) <= 1:
            part.confidence[round(1000 * confidence)] += 1
        if not answered:
            self.without_response += 1
        self.unwanted += row.unwanted
        self.turns[row.said.asks] += 1
        self.with_system += any(turn.role == "system" for turn in row.said.turns[:1])
        if not _TAG_KEYS.isdisjoint(data):
            self._count_tags(row)
        self.variety.count(instruction, row.text("steering"), shipped_subjects(part.language))
        self._newest.append(instruction)
        self._hashes.append(hash(" ".join(words).casefold()))

    def look_back(self) -> None:
        """Counts the repeats among the last rows."""
        self.variety.repeats.extend(repeats(self._newest))

    @property
    def records(self) -> int:
        return len(self._hashes)

    @property
    def kinds(self) -> dict[str, Counter[str]]:
        """Counts of the values of "forms" (keys that the pairs stand under), "models", "responders", "topics",
        "steerings", "servers", "finish_reasons" and "runs"; "answered": the responders of a run to what no model
        wrote."""
        for group in self._groups.values():
            for name, value in group.values.items():
                _add(self._kinds[name], value, group.records)
            group.records = 0
        return self._kinds

    @property
    def duplicates(self) -> int:
        """Records whose instruction stands before already, but for case and spaces; 8 bytes of memory a record."""
        import numpy as np

        hashes = np.sort(np.array(self._hashes, np.int64))
        return int(np.count_nonzero(hashes[1:] == hashes[:-1]))

    @property
    def near_duplicates(self) -> int | None:
        """Further records that are nearly one before them; None where that was not asked for."""
        return None if self._repeated is None else max(0, self._repeated - self.duplicates)

    def lengths(self, of: Literal["instruction", "response"], unit: Unit) -> Counter[int]:
        """Of all languages that are measured in ``unit``."""
        total: Counter[int] = Counter()
        for part in self.parts.values():
            if part.unit == unit:
                total.update(part.instruction if of == "instruction" else part.response)
        return total

    def to_dict(self) -> dict[str, Any]:
        parts = sorted(self.parts.values(), key=lambda part: -part.records)
        units: tuple[Unit, ...] = ("words", "characters")
        return {
            "records": self.records,
            "without_response": self.without_response,
            "labelled_bad": self.unwanted,
            "with_system": self.with_system,
            "turns": {str(turns): count for turns, count in sorted(self.turns.items())},
            "duplicates": self.duplicates,
            "near_duplicates": self.near_duplicates,
            "neighbours": self.neighbours and self.neighbours.to_dict(),
            "variety": self.variety.to_dict(),
            "languages": [
                {
                    "language": part.language,
                    "records": part.records,
                    "unit": part.unit,
                    "instruction": _named(part.instruction),
                    "response": _named(part.response),
                    "confidence": {name: value / 1000 for name, value in _named(part.confidence).items()},
                }
                for part in parts
            ],
            **{name: dict(counts.most_common()) for name, counts in self.kinds.items()},
            "tags": {name: dict(counts.most_common()) for name, counts in self.tags.items()},
            "recognised": {name: [counts[True], counts.total()] for name, counts in self.recognised.items()},
            "lengths": {
                unit: {
                    of: [{"from": low, "below": high, "records": n} for low, high, n in bins(self.lengths(of, unit))]
                    for of in ("instruction", "response")
                }
                for unit in units
                if any(part.unit == unit for part in parts)
            },
        }

    def _group(self, key: Hashable, row: Row) -> _Group:
        if len(self._groups) >= MOST_VALUES:
            _ = self.kinds  # has them all counted
            self._groups.clear()
        language = language_code(row.text("language"))
        unit = _unit(language)
        values = {"forms": row.shape, "models": row.model} | {name: row.text(key) for name, key in _FIELDS.items()}
        values["answered"] = values["responders"] if values["runs"] and not row.model else ""
        group = _Group({k: v for k, v in values.items() if v}, self._part(language, unit) if unit else None)
        self._groups[key] = group
        return group

    def _part(self, language: str, unit: Unit) -> Part:
        part = self.parts.get((language, unit))
        if part is None:
            if len(self.parts) >= MOST_VALUES:
                language = OTHERS
            part = self.parts.setdefault((language, unit), Part(language, unit))
        return part

    def _count_tags(self, row: Row) -> None:
        table = {name: value for name, value in row.tags.items() if name != "intent"}  # each is another sentence
        for name, value in (*table.items(), *_columns(row.data)):
            _add_tag(self.tags, name, value)
        if (wanted := _category(row.text("topic"))) and (given := table.get("category")):
            self.recognised.setdefault(row.text("topic"), Counter())[given == wanted] += 1
        if "judge" in table:
            for name, value in table.items():
                _add_tag(self.judged, name, value)


def of(rows: Iterable[Row], *, near: bool = False) -> Statistics:
    """The statistics of all rows. With ``near``, near-duplicates are counted as ``dedup`` finds them."""
    found = Statistics()
    if not near:
        for row in rows:
            found.count(row)
        found.look_back()
        return found
    from magpie_ollama.curation.deduplication import Deduplicator, deduplicated  # here: NumPy takes its time

    found._repeated = 0
    for row, twin in deduplicated(((row.instruction, row) for row in rows), Deduplicator()):
        found.count(row)
        found._repeated += twin is not None
    found.look_back()
    return found


def quantiles(counts: Mapping[int, int], shares: Sequence[float] = QUANTILES) -> list[int]:
    """The smallest values that so large a share of all are not above; [] of none."""
    total, below = sum(counts.values()), 0
    found: list[int] = []
    for value in sorted(counts):
        below += counts[value]
        while len(found) < len(shares) and below >= shares[len(found)] * total:
            found.append(value)
    return found


def bins(counts: Mapping[int, int]) -> list[tuple[int, int | None, int]]:
    """(from, below, how many) between the bins that hold the least and the greatest; the last bin has no end."""
    filled = Counter[int]()
    for value, n in counts.items():
        filled[bisect_right(EDGES, value)] += n
    if not filled:
        return []
    edges = (0, *EDGES, None)
    return [(edges[at] or 0, edges[at + 1], filled[at]) for at in range(min(filled), max(filled) + 1)]


def _named(counts: Mapping[int, int]) -> dict[str, int]:
    return {f"p{round(100 * share)}": value for share, value in zip(QUANTILES, quantiles(counts), strict=False)}


def _rounded(length: int) -> int:
    return length if length < 1000 else length - length % 10 ** (len(str(length)) - 3)


@lru_cache(MOST_VALUES)
def _unit(language: str) -> Unit | None:
    """None for a language that we know nothing of."""
    if language not in languages.codes():
        return None
    return "words" if languages.load(language).spaces else "characters"


@cache
def _category(topic: str) -> str:
    """The category that records of a topic of this package should be given."""
    known = topics.shipped(topic)
    return known.category if known else ""


def _words(text: str) -> int:
    """As ``len(text.split())`` but for rare kinds of spaces, in an eighth of its time: responses are the bulk."""
    words = 0
    for line in text.splitlines():
        if "  " in line or "\t" in line:
            words += len(line.split())
        elif line := line.strip():
            words += line.count(" ") + 1
    return words


def _columns(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in TAGS:
        if isinstance(value := data.get(name), str) and value:
            yield name, value


def _add_tag(tags: dict[str, Counter[str]], name: str, value: str) -> None:
    if name in tags or len(tags) < MOST_VALUES:
        _add(tags.setdefault(name, Counter()), value)


def _add(counts: Counter[str], value: str, times: int = 1) -> None:
    counts[value if value in counts or len(counts) < MOST_VALUES else OTHERS] += times
