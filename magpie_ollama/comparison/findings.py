"""What an experiment found: the figures of each cell, each language's best steering, what cannot be told from it."""

from __future__ import annotations

import statistics as means
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

from magpie_ollama.comparison.experiment import Cell, Tried
from magpie_ollama.comparison.intervals import differs, interval, resampled_ratios, vocabulary_spread, wilson
from magpie_ollama.errors import UsageError
from magpie_ollama.method import languages
from magpie_ollama.method.ability import Ability, ability
from magpie_ollama.method.duplicates import DuplicateIndex, normalise
from magpie_ollama.method.variety import Variety, shipped_subjects


@dataclass(frozen=True, slots=True)
class CellFigures:
    """One cell. Intervals are 95 %: Wilson's for shares, bootstrapped over attempts for ``useful_per_1000_tokens``.

    ``identified`` counts texts that the detector identified, ``complete`` those that ended by themselves, ``useful``
    those that passed the whole screen. ``distinct`` and ``apart`` are the shares of the identified and complete texts
    that are no duplicates, and no near-duplicates, of an earlier one; ``spread`` is their vocabulary's.
    ``confidence`` and ``fluency`` are medians over useful texts, ``known_words`` over all identified ones, 0.0 where
    they are not measured; ``seconds`` is the mean of an attempt. ``variety`` is that of the useful texts.
    """

    cell: Cell
    attempts: int
    identified: int
    identified_interval: tuple[float, float]
    complete: int
    complete_interval: tuple[float, float]
    useful: int
    tokens: int
    useful_per_1000_tokens: float
    useful_interval: tuple[float, float]
    distinct: float
    apart: float
    spread: float
    confidence: float
    known_words: float
    fluency: float
    seconds: float
    variety: Variety
    best: bool = False
    like_best: bool = False
    _resampled: list[float] = field(default_factory=list, repr=False)

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        del values["_resampled"]
        values["variety"] = self.variety.to_dict()
        return {**values.pop("cell"), **values}


def findings(rows: Mapping[Cell, Sequence[Tried]]) -> list[CellFigures]:
    """The findings of all cells with rows, in their order; per model and language the best is marked."""
    found = [_figures(cell, tuple(cell_rows)) for cell, cell_rows in rows.items() if cell_rows]
    marked = []
    for finding in found:
        rivals = [
            other
            for other in found
            if (other.cell.model, other.cell.language) == (finding.cell.model, finding.cell.language)
        ]
        best = max(rivals, key=lambda other: other.useful_per_1000_tokens)
        is_best = finding is best and bool(best.useful)
        like = not is_best and bool(best.useful) and not differs(finding._resampled, best._resampled)
        marked.append(replace(finding, best=is_best, like_best=like))
    return marked


def best_of(found: Sequence[CellFigures], language: str) -> CellFigures | None:
    """The cell with most useful instructions per token in a language, over all models; None where no cell has any."""
    useful = [finding for finding in found if finding.cell.language == language and finding.useful]
    return max(useful, key=lambda finding: finding.useful_per_1000_tokens, default=None)


@lru_cache(maxsize=1024)  # a live table asks again and again; only one cell has changed
def _figures(cell: Cell, rows: tuple[Tried, ...]) -> CellFigures:
    hits = [row for row in rows if row.verdict == "yes"]
    complete = [row for row in rows if row.complete]
    useful = [row for row in rows if row.useful]
    texts = [row.text for row in rows if row.verdict == "yes" and row.complete]
    variety = Variety()
    for row in rows:
        variety.judge(row.outcome)
        if row.useful:
            variety.count(row.text, row.drawn, shipped_subjects(cell.language))
    tokens = sum(row.tokens for row in rows)
    resampled = resampled_ratios([(1000.0 * row.useful, row.tokens) for row in rows])
    try:
        spaces = languages.load(cell.language).spaces
    except UsageError:
        spaces = True
    return CellFigures(
        cell=cell,
        attempts=len(rows),
        identified=len(hits),
        identified_interval=wilson(len(hits), len(rows)),
        complete=len(complete),
        complete_interval=wilson(len(complete), len(rows)),
        useful=len(useful),
        tokens=tokens,
        useful_per_1000_tokens=1000 * len(useful) / tokens if tokens else 0.0,
        useful_interval=interval(resampled),
        distinct=len({normalise(text) for text in texts}) / len(texts) if texts else 0.0,
        apart=_apart(texts),
        spread=vocabulary_spread(texts, spaces),
        confidence=_median(row.confidence for row in useful),
        known_words=_median(row.known_words for row in hits),
        fluency=_median(row.fluency for row in useful),
        seconds=means.fmean(row.seconds for row in rows),
        variety=variety,
        _resampled=resampled,
    )


def abilities(found: Sequence[CellFigures], rows: Mapping[Cell, Sequence[Tried]]) -> dict[tuple[str, str], Ability]:
    """By model and language, whether it writes it: by all that was tried at the temperature of the best cell."""
    best: dict[tuple[str, str], CellFigures] = {}
    for one in found:
        group = (one.cell.model, one.cell.language)
        best[group] = max(best.get(group, one), one, key=lambda other: other.useful_per_1000_tokens)
    told = {}
    for (model, code), one in best.items():
        cells = [
            other.cell
            for other in found
            if (other.cell.model, other.cell.language, other.cell.temperature) == (model, code, one.cell.temperature)
        ]
        attempts = [row.attempt for cell in cells for row in rows[cell]]
        if (verdict := ability(attempts, unsteered=code == "en")) is not None:
            told[model, code] = verdict
    return told


def _median(values: Iterable[float]) -> float:
    """Of those that are measured."""
    measured = [value for value in values if value]
    return means.median(measured) if measured else 0.0


def _apart(texts: Sequence[str]) -> float:
    index = DuplicateIndex()
    for text in texts:
        if not index.find(text):
            index.add(text)
    return len(index) / len(texts) if texts else 0.0
