"""What a corpus' charts show: bars of values that ``curation.statistics`` has counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from magpie_ollama.corpus.history import PastRun
from magpie_ollama.curation.statistics import Statistics, Unit, bins
from magpie_ollama.display import variety
from magpie_ollama.method import languages
from magpie_ollama.records import KEPT

MOST_BARS = 12
"""Of a chart; what is left is one more."""


@dataclass(frozen=True, slots=True)
class Bar:
    """``width`` and the ends of its interval are percents of the widest; ``best`` stands out."""

    label: str
    told: str
    width: float
    low: float | None = None
    high: float | None = None
    best: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Without bars, the note is all there is to tell."""

    title: str
    note: str
    bars: Sequence[Bar]


def of(found: Statistics, runs: Sequence[PastRun] = ()) -> list[Chart]:
    """Those that have something to show."""
    spoken: Counter[str] = Counter()
    sure: Counter[int] = Counter()
    for part in found.parts.values():
        spoken[part.language] += part.records
        for value, count in part.confidence.items():
            sure[min(value // 100, 9)] += count
    outcomes: Counter[str] = Counter()
    for run in runs:
        outcomes.update(run.funnel.outcomes)
    units: tuple[Unit, ...] = tuple(dict.fromkeys(part.unit for part in found.parts.values()))
    charts = [_ranked("Languages", {languages.english(code): count for code, count in spoken.items()})]
    charts += [
        _in_order(f"Length of {of}s", [(_span(low, high), n) for low, high, n in bins(found.lengths(of, unit))], unit)
        for unit in units
        for of in ("instruction", "response")
    ]
    tenths = [(f"{tenth / 10:.1f} to {(tenth + 1) / 10:.1f}", sure[tenth]) for tenth in range(10)]
    charts.append(_in_order("Confidence", tenths if sure else [], "how sure the model was of its instructions"))
    if outcomes[KEPT]:
        share = f"{100 * outcomes[KEPT] / outcomes.total():.0f} % of all attempts were kept"
        charts.append(_ranked("What became of the attempts", outcomes, share, best=KEPT))
    for title, kind in (("Steering", "steerings"), ("Topics", "topics"), ("Models", "models")):
        charts.append(_ranked(title, found.kinds[kind]))
    charts += [_ranked(name.capitalize(), counts) for name, counts in found.tags.items() if name != "judge"]
    turns = [(f"{count} {'turn' if count == 1 else 'turns'}", n) for count, n in sorted(found.turns.items())]
    charts.append(_in_order("Turns of the user", turns if len(turns) > 1 else [], ""))
    various = [Chart("Variety of the instructions", told, ())] if (told := variety.told(found.variety)) else []
    return [chart for chart in charts if chart.bars] + various


def intervals(rows: Iterable[tuple[str, float, tuple[float, float], bool]]) -> list[Bar]:
    """(label, value, interval, whether it stands out) as bars of one scale."""
    rows = list(rows)
    top = max((high for _, _, (_, high), _ in rows), default=0.0) or 1.0
    return [
        Bar(label, f"{value:.1f}", _percent(value, top), _percent(low, top), _percent(high, top), best)
        for label, value, (low, high), best in rows
    ]


def _ranked(title: str, counts: Mapping[str, int], note: str = "", best: str = "") -> Chart:
    ranked = sorted(counts.items(), key=lambda pair: -pair[1])
    if len(ranked) > MOST_BARS + 1:
        rest = ranked[MOST_BARS:]
        ranked = [*ranked[:MOST_BARS], (f"{len(rest)} others", sum(count for _, count in rest))]
    return _in_order(title, ranked, note, best)


def _in_order(title: str, counts: Sequence[tuple[str, int]], note: str, best: str = "") -> Chart:
    total, top = sum(n for _, n in counts), max((n for _, n in counts), default=0)
    bars = [
        Bar(label or "not told", f"{n:,} ({100 * n / total:.1f} %)", _percent(n, top), best=label == best != "")
        for label, n in counts
        if total
    ]
    return Chart(title, note, bars)


def _percent(value: float, top: float) -> float:
    return round(100 * value / top, 2)


def _span(low: int, high: int | None) -> str:
    return f"{low:,} or more" if high is None else f"{low:,}" if high == low + 1 else f"{low:,} to {high - 1:,}"
