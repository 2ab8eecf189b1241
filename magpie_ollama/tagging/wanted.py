"""Which records are wanted, by their tags, and the judge that says so while a run makes them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from magpie_ollama.corpus import shapes
from magpie_ollama.corpus.reading import Row, Rows
from magpie_ollama.errors import UsageError
from magpie_ollama.records import Record, tags
from magpie_ollama.servers.base import Server
from magpie_ollama.tagging import scales
from magpie_ollama.tagging.judgements import Judgements
from magpie_ollama.tagging.judging import Judging
from magpie_ollama.tagging.scales import Judgement

Condition = tuple[str, tuple[str, ...]]
"""A tag, and the values that are wanted of it, in lower case."""


def condition(text: str, option: str, names: Collection[str] = scales.KEYS) -> Condition:
    """Of "quality=good,excellent". Raises UsageError, with the name of the option that has it.

    >>> condition("quality=Good, excellent", "--tag")
    ('quality', ('good', 'excellent'))
    """
    name, _, values = text.partition("=")
    name = name.strip().lower()
    wanted = tuple(value.strip().lower() for value in values.split(",") if value.strip())
    if not name or not wanted:
        raise UsageError(f"{option} {text!r} is no NAME=VALUES", f"write for example {option} quality=good,excellent")
    if name not in names:
        raise UsageError(f"{option} {text!r}: there is no tag {name!r}", f"use one of {', '.join(names)}")
    return name, wanted


def conditions(texts: Iterable[str], option: str) -> tuple[Condition, ...]:
    """The same of several, whose values are all on the scales: a judge of ours gives no others."""
    found = tuple(condition(text, option) for text in texts)
    for name, values in found:
        scale = scales.load().scales[name]
        if strange := {*values} - {value.lower() for value in scale}:
            raise UsageError(f"{option} {name}: {min(strange)!r} is not on the scale", f"give {', '.join(scale)}")
    return found


class Gate:
    """Lets those records pass that ``wanted`` says; each of its conditions has to hold."""

    def __init__(self, judging: Judging, judgements: Judgements, wanted: Iterable[Condition]) -> None:
        self._judging = judging
        self._judgements = judgements
        self._wanted = tuple(wanted)

    @property
    def words(self) -> str:
        return " ".join(f"{name}={','.join(values)}" for name, values in self._wanted)

    @property
    def identity(self) -> Mapping[str, str]:
        """What a run has in common with another of the same gate."""
        return {"where": self.words, "judge": self._judging.model}

    @property
    def server(self) -> Server:
        return self._judging.server

    async def judged(self, record: Record) -> tuple[Record, bool]:
        """The record with its tags, which are written down by then, and whether it passes. One without a valid
        judgement does not. Raises as ``Judging.run`` does."""
        said = shapes.find(data := {"messages": record.messages, "language": record.language})
        assert isinstance(said, shapes.Said)
        row = Row(0, b"", data, said)
        found = self._judgements.tags(scales.key(row)) or await self._judging.tags(row, self._judgements)
        given = found or scales.unjudged(self._judging.model)
        return replace(record, tags=tags(given)), self._passes(found)

    async def there(self, path: Path) -> int:
        """How many of a file's records pass. Those that this judge has not judged are judged first."""
        await self._judging.run(lambda: Rows(path), self._judgements)
        return sum(self._passes(self._judgements.tags(scales.key(row))) for row in Rows(path))

    def _passes(self, given: Judgement | None) -> bool:
        return given is not None and all(given[name].lower() in values for name, values in self._wanted)
