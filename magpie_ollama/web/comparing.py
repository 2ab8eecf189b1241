"""The compare room, and the page that `compare` writes: the result first, a chart a language, samples to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from magpie_ollama.comparison.experiment import Cell, Tried, newest_rows
from magpie_ollama.comparison.findings import CellFigures, abilities, findings
from magpie_ollama.corpus.reading import object_of
from magpie_ollama.display import variety
from magpie_ollama.display.findings import LEGEND
from magpie_ollama.display.words import share
from magpie_ollama.method import languages
from magpie_ollama.method.ability import Ability
from magpie_ollama.web import charts
from magpie_ollama.web.pages import alone

COLUMNS = (
    "language: texts that the detector identified; complete: ended by themselves; useful: passed the whole screen. "
    "distinct, apart: share of the identified and complete texts that are no duplicates, no near-duplicates; spread: "
    "distinct words in windows of 50; confidence: how sure the model was, exp(mean log-probability per byte), median; "
    "it compares only within one language, steering and temperature; fluency: the same per letter, against the model's "
    "own unsteered text; known words: their share, by a list of the language."
)

SAMPLES = 6


@dataclass(frozen=True, slots=True)
class Samples:
    """The first useful instructions of a cell, and the first rejected ones: unselected on purpose."""

    title: str
    variety: str
    rows: Sequence[Tried]


@dataclass(frozen=True, slots=True)
class Spoken:
    """What an experiment found in one language, all models beside one another."""

    name: str
    code: str
    verdicts: Sequence[str]
    chart: charts.Chart
    table: Sequence[tuple[str, bool, Sequence[str]]]
    samples: Sequence[Samples]


HEAD = (
    *("attempts", "language", "complete", "useful", "per 1,000 tokens", "known words", "fluency"),
    *("distinct", "apart", "spread", "confidence", "seconds"),
)


def is_experiment(path: Path) -> bool:
    """Whether a file's first line is a row of one."""
    try:
        with path.open("rb") as file:
            return {"settings", "outcome", "drawn", "verdict"} <= object_of(file.readline(2**20)).keys()
    except OSError:
        return False


def values(path: Path) -> dict[str, Any]:
    """What the room shows of an experiment's file. Raises CorpusError for one that is none."""
    rows = newest_rows(path)
    found = findings(rows)
    changed = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    return _values(found, rows, abilities(found, rows), {"last attempt": f"{changed:%Y-%m-%d %H:%M}"})


def page(
    found: Sequence[CellFigures],
    rows: Mapping[Cell, Sequence[Tried]],
    told: Mapping[tuple[str, str], Ability],
    title: str,
    commands: Sequence[str],
    facts: Mapping[str, str],
) -> str:
    """The whole HTML document. No script, no reference to anything outside."""
    shown = _values(found, rows, told, facts)
    return alone("static_compare.html", title=title, commands=commands, **shown)


def _values(
    found: Sequence[CellFigures],
    rows: Mapping[Cell, Sequence[Tried]],
    told: Mapping[tuple[str, str], Ability],
    facts: Mapping[str, str],
) -> dict[str, Any]:
    spoken = []
    for code in dict.fromkeys(one.cell.language for one in found):
        name = languages.english(code)
        cells = [one for one in found if one.cell.language == code]
        several = len({one.cell.model for one in cells}) > 1
        bars = charts.intervals(
            (_named(one.cell, several), one.useful_per_1000_tokens, one.useful_interval, one.best) for one in cells
        )
        verdicts = [one.told(model, name) for (model, spoke), one in told.items() if spoke == code]
        note = "useful instructions per 1,000 generated tokens; lines: 95 % intervals"
        table = [(_mark(one) + _named(one.cell, several), one.best, _figures(one)) for one in cells]
        samples = [_samples(one, rows[one.cell], several) for one in cells]
        spoken.append(Spoken(name, code, verdicts, charts.Chart(f"Steering in {name}", note, bars), table, samples))
    tried = [one for cell in found for one in rows[cell.cell]]
    seeds = [one.seed for one in tried]
    facts = {
        "models": ", ".join(dict.fromkeys(one.cell.model for one in found)),
        "attempts": f"{len(tried):,}",
        "seeds": f"{min(seeds)} to {max(seeds)}" if seeds else "",
        **facts,
    }
    return {"spoken": spoken, "facts": facts, "legend": LEGEND, "columns": COLUMNS, "heads": HEAD}


def _figures(cell: CellFigures) -> list[str]:
    return [
        str(cell.attempts),
        f"{share(cell.identified, cell.attempts)} {_percent(cell.identified_interval)}",
        f"{share(cell.complete, cell.attempts)} {_percent(cell.complete_interval)}",
        str(cell.useful),
        f"{cell.useful_per_1000_tokens:.2f} [{cell.useful_interval[0]:.2f}-{cell.useful_interval[1]:.2f}]",
        f"{cell.known_words:.2f}" if cell.known_words else "-",
        f"{cell.fluency:.2f}" if cell.fluency else "-",
        share(cell.distinct, 1),
        share(cell.apart, 1),
        f"{cell.spread:.2f}" if cell.spread else "-",
        f"{cell.confidence:.2f}" if cell.confidence else "-",
        f"{cell.seconds:.1f}",
    ]


def _samples(cell: CellFigures, rows: Sequence[Tried], several: bool) -> Samples:
    useful = [row for row in rows if row.useful][:SAMPLES]
    rejected = [row for row in rows if not row.useful and row.text][: SAMPLES // 2]
    various = variety.told(cell.variety) if cell.useful else ""
    return Samples(_named(cell.cell, several), various, [*useful, *rejected])


def _mark(cell: CellFigures) -> str:
    return "★ " if cell.best else "≈ " if cell.like_best else ""


def _named(cell: Cell, several: bool) -> str:
    """``several``: more than one model stands in the chart."""
    way = cell.steering if cell.temperature == 1.0 else f"{cell.steering} at {cell.temperature:g}"
    return f"{cell.model} · {way}" if several else way


def _percent(bounds: tuple[float, float]) -> str:
    return f"[{100 * bounds[0]:.0f}-{100 * bounds[1]:.0f}]"
