"""What a trainer would make of a file: its rows by that trainer's own rules, and what no trainer tells.

An error is what a trainer refuses, drops without a word or takes for something else; a warning is what it trains on,
to an end that nobody may want.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from math import sqrt
from typing import Any, NamedTuple

from magpie_ollama.corpus import names
from magpie_ollama.corpus.reading import Row
from magpie_ollama.curation.preferences import Kind
from magpie_ollama.curation.trainers import KINDS, SHAPES, Shape, Trainer, shapes_of

ERRORS = {
    "unreadable": "no JSON object with anything to learn in it",
    "keys": "has not the keys that this trainer takes",
    "two_forms": "has messages and a prompt: it is taken as prompt and completion",
    "columns": "has other keys, or values of other types, than the first row: `datasets` refuses such a file",
    "turns": "holds turns where a text is wanted, a text where turns are, or a list where one turn is",
    "roles": "somebody speaks whom the trainer does not know, or in another order than system, user, assistant",
    "odd_turns": "its number of turns is not the one that the trainer takes: it is skipped",
    "empty": "an instruction or an answer is empty",
    "label": "its label is neither true nor false",
    "labelled_bad": "is labelled as an answer that is not wanted, and would be trained on as one that is",
    "same": "chosen and rejected are the same",
    "one_label": "no row has the other label",
    "across": "an instruction of an earlier split",
    "benchmark": "eight words in a row of a benchmark's",
}

WARNINGS = {
    "doubled": "an earlier row once more",
    "too_long": "longer than --max-tokens, at four characters a token: it is cut or left out",
    "length": "the lengths alone tell the wanted answers from the others",
}

FINDINGS = ERRORS | WARNINGS

GRAM = 8
"""Words in a row by which PaLM's authors tell what a model has seen of a benchmark (arXiv 2204.02311)."""

LARGE_EFFECT = 0.8
"""Cohen's word for a difference of means in standard deviations."""

ONE_SIDED = 0.7
"""Share of pairs with the longer answer on one side: a judge alone has 68 % (arXiv 2606.14278)."""

SHOWN = 5
"""Rows named of a finding."""

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
"""A Chinese, Japanese or Korean sign is one by itself."""


@dataclass(slots=True)
class Found:
    """``counts`` of the findings, with the first rows of each as "FILE:line"."""

    rows: int = 0
    kind: Kind | None = None
    counts: Counter[str] = field(default_factory=Counter)
    where: dict[str, list[str]] = field(default_factory=dict)

    def add(self, finding: str, place: str) -> None:
        self.counts[finding] += 1
        shown = self.where.setdefault(finding, [])
        if len(shown) < SHOWN:
            shown.append(place)

    @property
    def errors(self) -> int:
        return sum(count for finding, count in self.counts.items() if finding in ERRORS)


class Lengths(NamedTuple):
    """Of wanted and other answers, in characters: means, Cohen's d, and of pairs the share where the wanted one is the
    longer (equal ones count half); None where there are no pairs."""

    wanted: float
    other: float
    effect: float
    longer: float | None

    @property
    def tell(self) -> bool:
        sided = self.longer is not None and max(self.longer, 1 - self.longer) >= ONE_SIDED
        return sided or abs(self.effect) >= LARGE_EFFECT


class Check:
    """Takes the rows of one file after another, which are the splits of one data set."""

    def __init__(
        self, trainer: Trainer, kind: Kind | None = None, max_tokens: int = 0, benchmark: frozenset[int] = frozenset()
    ) -> None:
        """With ``kind`` None, the first row's keys tell it. ``benchmark`` are ``grams``."""
        self.found = Found(kind=kind)
        self._shapes = SHAPES[trainer]
        self._odd_is_skipped = trainer == "llama-factory"
        self._max_tokens = max_tokens
        self._benchmark = benchmark
        self._columns: Any = None
        self._rows: set[bytes] = set()
        self._asked: dict[bytes, str] = {}
        self._labels: Counter[bool] = Counter()
        self._lengths: dict[bool, _Moments] = {True: _Moments(), False: _Moments()}
        self._longer = 0.0
        self._pairs = 0

    def file(self, name: str, rows: Iterable[Row]) -> None:
        self._columns = None
        for row in rows:
            self.found.rows += 1
            for finding in dict.fromkeys(self._row(row, name)):
                self.found.add(finding, f"{name}:{row.number}")

    def end(self) -> Lengths | None:
        """What all rows say together; None where there is only one sort of answers."""
        if len(self._labels) == 1 and self.found.kind == "kto":
            self.found.add("one_label", "all rows")
        wanted, other = self._lengths[True], self._lengths[False]
        if not wanted.count or not other.count:
            return None
        longer = round(self._longer / self._pairs, 3) if self._pairs else None
        lengths = Lengths(round(wanted.mean, 1), round(other.mean, 1), round(_effect(wanted, other), 2), longer)
        if lengths.tell and wanted.count + other.count >= 2 * GRAM:
            self.found.add("length", "all rows")
        return lengths

    def _row(self, row: Row, name: str) -> Iterator[str]:
        data = row.data
        if self._columns is None:
            self._columns = _types(data)
        elif not _fit(self._columns, _types(data)):
            yield "columns"
        digest = _digest(row.line)
        if digest in self._rows:
            yield "doubled"
        self._rows.add(digest)
        shapes = self._candidates(set(data))
        if not shapes:
            yield "keys"
            return
        held = ((shape, read(shape, data)) for shape in shapes)
        shape, sides = next(((shape, sides) for shape, sides in held if sides is not None), (shapes[0], None))
        if {"messages", "prompt"} <= data.keys():
            yield "two_forms"
        if shape.label and type(data[shape.label]) is not bool:
            yield "label"
        if not shape.label and not set(names.REJECTED) & set(shape.answers) and names.unwanted(data):
            yield "labelled_bad"
        if sides is None:
            yield "turns"
            return
        yield from self._sides(shape, sides)
        yield from self._texts(name, sides, data.get(shape.label) if shape.label else None)

    def _candidates(self, keys: set[str]) -> list[Shape]:
        fitting = {kind: shapes_of(keys, self._shapes[kind]) for kind in KINDS}
        if self.found.kind is not None:
            return fitting[self.found.kind]
        likely: Kind = max(KINDS, key=lambda kind: max((len(one.keys) for one in fitting[kind]), default=0))
        self.found.kind = likely if fitting[likely] else None
        return fitting[likely]

    def _sides(self, shape: Shape, sides: Sides) -> Iterator[str]:
        if any(not text.strip() for turns in (sides.asked, *sides.answers) for role, text in turns if role != "system"):
            yield "empty"
        roles = [role for role, _ in sides.asked]
        spoken = roles[roles[:1] == ["system"] :]
        if not _alternate(spoken, "user"):
            yield "roles"
        elif len(spoken) % 2 == 0:  # nobody asks what is answered, or nobody answers
            yield "odd_turns" if self._odd_is_skipped else "roles"
        elif not all(_alternate([role for role, _ in one], "assistant") and len(one) % 2 for one in sides.answers):
            yield "roles"
        if len(sides.answers) == 2 and sides.answers[0] == sides.answers[1]:
            yield "same"

    def _texts(self, name: str, sides: Sides, label: Any) -> Iterator[str]:
        asked = "\n".join(text for _, text in sides.asked)
        answers = ["\n".join(text for _, text in answer) for answer in sides.answers]
        words = " ".join(_WORD.findall(asked.casefold()))
        split = self._asked.setdefault(_digest(words.encode("utf-8", "replace")), name)
        if split != name:
            yield "across"
        if self._max_tokens and len(asked) + max(map(len, answers), default=0) > 4 * self._max_tokens:
            yield "too_long"
        if self._benchmark and any(not self._benchmark.isdisjoint(grams(text)) for text in (asked, *answers)):
            yield "benchmark"
        if len(answers) == 2:
            chosen, rejected = map(len, answers)
            self._lengths[True].add(chosen)
            self._lengths[False].add(rejected)
            self._pairs += 1
            self._longer += (chosen > rejected) + 0.5 * (chosen == rejected)
        elif type(label) is bool and answers:
            self._labels[label] += 1
            self._lengths[label].add(len(answers[0]))


def _alternate(roles: list[str], first: str) -> bool:
    second = "assistant" if first == "user" else "user"
    return all(role == (second if at % 2 else first) for at, role in enumerate(roles))


class Sides(NamedTuple):
    """Turns as (role, text): what is asked, and each answer to it."""

    asked: list[tuple[str, str]]
    answers: list[list[tuple[str, str]]]


def read(shape: Shape, data: Mapping[str, Any]) -> Sides | None:
    """The sides of a row; None where it does not hold them in that shape. A role that is none of the shape's stays as
    it is."""
    roles = {name: role for role, name in shape.speakers.items()}

    def turns(value: Any) -> list[tuple[str, str]] | None:
        if type(value) is not list or not value:
            return None
        if not all(type(one) is dict and type(one.get(shape.said)) is str for one in value):
            return None
        return [(roles.get(str(one.get(shape.role)), f"?{one.get(shape.role)}"), one[shape.said]) for one in value]

    def answer(value: Any) -> list[tuple[str, str]] | None:
        if shape.answered == "text":
            return [("assistant", value)] if type(value) is str else None
        return turns([value]) if shape.answered == "turn" else turns(value)

    answers = [answer(data[key]) for key in shape.answers]
    if any(one is None for one in answers):
        return None
    said = [one for one in answers if one is not None]
    if not shape.prompt:  # what both begin with is the prompt
        common = 0
        while all(len(one) > common + 1 for one in said) and said[0][common] == said[1][common]:
            common += 1
        return Sides(said[0][:common], [one[common:] for one in said])
    if shape.asked == "text":
        text = data[shape.prompt]
        return Sides([("user", text)], said) if type(text) is str else None
    asked = turns(data[shape.prompt])
    if asked is None:
        return None
    if not shape.answers and shape.answered:
        return Sides(asked[:-1], [asked[-1:]])
    return Sides(asked, said)


def grams(text: str) -> Iterator[int]:
    """The runs of eight words in a text, in any case and without punctuation."""
    words = _WORD.findall(text.casefold())
    for at in range(len(words) - GRAM + 1):
        yield hash(tuple(words[at : at + GRAM]))


@dataclass(slots=True)
class _Moments:
    """Of numbers, in one pass (Welford)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        off = value - self.mean
        self.mean += off / self.count
        self.squares += off * (value - self.mean)


def _effect(one: _Moments, other: _Moments) -> float:
    """Cohen's d, with the pooled standard deviation."""
    freedom = one.count + other.count - 2
    pooled = sqrt((one.squares + other.squares) / freedom) if freedom > 0 else 0.0
    return (one.mean - other.mean) / pooled if pooled else 0.0


def _types(value: Any) -> Any:
    """What ``datasets`` makes of a value: keys and types, those of a list's first element for all."""
    if type(value) is dict:
        return {key: _types(one) for key, one in value.items()}
    if type(value) is list:
        return [_types(value[0])] if value else []
    return "number" if type(value) in (int, float) else type(value)


def _fit(first: Any, other: Any) -> bool:
    """Whether a column of the first can hold the other: an empty list and a null go with anything."""
    if first in ([], type(None)) or other in ([], type(None)):
        return True
    if type(first) is dict and type(other) is dict:
        return first.keys() == other.keys() and all(_fit(first[key], other[key]) for key in first)
    if type(first) is list and type(other) is list:
        return _fit(first[0], other[0])
    return bool(first == other)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=12).digest()
