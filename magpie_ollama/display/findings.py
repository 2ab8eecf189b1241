"""The table of an experiment, as it grows and at its end."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from magpie_ollama.comparison.experiment import Cell, Tried
from magpie_ollama.comparison.findings import CellFigures, best_of
from magpie_ollama.display import variety
from magpie_ollama.display.words import duration, share
from magpie_ollama.method import languages
from magpie_ollama.method.ability import Ability, Writes
from magpie_ollama.method.steering import AUTO
from magpie_ollama.run.progress import Progress

LEGEND = "★ the best steering of its language; ≈ cannot be told from it (95 %). []: 95 % intervals; words: known ones."


def table(
    found: Sequence[CellFigures], width: int, abilities: Mapping[tuple[str, str], Ability] = MappingProxyType({})
) -> RenderableType:
    """A table a language and model, with the verdict below: a cell a line, the best marked; with the figures that
    decide only where the whole tables need more than ``width`` columns."""
    groups: dict[tuple[str, str], list[CellFigures]] = {}
    for finding in found:
        groups.setdefault((finding.cell.model, finding.cell.language), []).append(finding)
    tables = {group: _table(rows, wide=True) for group, rows in groups.items()}
    measuring = Console(width=1000, height=1)  # Rich takes a width without a height for 80 where TERM is dumb
    if any(measuring.measure(shown).maximum > width for shown in tables.values()):
        tables = {group: _table(rows, wide=False) for group, rows in groups.items()}
    parts: list[RenderableType] = []
    for (model, code), shown in tables.items():
        verdict = abilities.get((model, code))
        told = [Text(verdict.told(model, languages.english(code)), style="bold")] if verdict else []
        various = [
            Text.assemble((f"{_way(one.cell)}: ", "dim"), variety.told(one.variety))
            for one in groups[model, code]
            if one.useful
        ]
        parts += [Text(f"{languages.english(code)} · {model}", style="bold"), shown, *various, *told, Text()]
    return Group(*parts)


def so_far(rows: Collection[Tried], total: int, before: int, progress: Progress) -> str:
    """A line on an experiment under way: ``rows`` of ``total`` attempts, ``before`` of them from an earlier go."""
    useful = sum(row.useful for row in rows)
    parts = [f"{len(rows)}/{total} attempts ({share(len(rows), total)})", f"{useful} useful"]
    parts.append(f"{progress.tokens_per_second():.0f} tokens/s")
    if len(rows) > before:
        parts.append(f"{duration((total - len(rows)) * progress.seconds / (len(rows) - before))} left")
    return " · ".join(parts)


def next_commands(
    found: Sequence[CellFigures],
    languages_asked: Mapping[str, Sequence[str]],
    models: Mapping[str, str],
    carried: Sequence[str],
    told: Mapping[tuple[str, str], Ability],
) -> list[str]:
    """For each language, the ``generate`` command of its best steering with the words ``carried`` over.

    ``languages_asked`` has the words that name each language, ``models`` the ``-m`` by which each model of ``found``
    was asked ("" for none). A line of words where no steering had any success, or the best one's model does not write
    the language, by what is ``told`` of model and language.
    """
    lines = []
    for code, named in languages_asked.items():
        best = best_of(found, code)
        if best is None:
            lines.append(f"{languages.english(code)}: no steering gave a useful instruction; try another model")
            continue
        verdict = told.get((best.cell.model, code))
        if verdict is not None and verdict.writes is Writes.NO:
            lines.append(f"{languages.english(code)}: {best.cell.model} does not write it; try a larger model")
            continue
        model = [] if "--model-path" in carried else ["-m", models[best.cell.model] or best.cell.model]
        words = ["magpie-ollama", "generate", *named, *model, "-s", best.cell.steering]
        words += ["--temperature", f"{best.cell.temperature:g}"] if best.cell.temperature != 1.0 else []
        words += ["-n", "100", *carried]
        lines.append(shlex.join(words))
    return sorted(lines, key=lambda line: line.startswith("magpie-ollama"))


def _table(rows: Sequence[CellFigures], wide: bool) -> Table:
    shown = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    shown.add_column("", no_wrap=True)
    shown.add_column("steering", no_wrap=True)
    warm = len({row.cell.temperature for row in rows}) > 1
    if warm:
        shown.add_column("T", justify="right", no_wrap=True)
    for name in ("n", "language", "complete") if wide else ("n", "lang."):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("useful/1,000 tokens" if wide else "useful/1k tok", justify="right", no_wrap=True)
    shown.add_column("words", justify="right", no_wrap=True)
    if wide:
        for name in ("fluency", "distinct", "apart", "spread", "conf.", "s"):
            shown.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        cells = [
            "★" if row.best else "≈" if row.like_best else "",
            row.cell.steering,
            *(["-" if row.cell.steering == AUTO else f"{row.cell.temperature:g}"] if warm else []),
            str(row.attempts),
            _share(row.identified, row.attempts, row.identified_interval, wide),
            *([_share(row.complete, row.attempts, row.complete_interval, wide)] if wide else []),
            f"{row.useful_per_1000_tokens:.2f} [{row.useful_interval[0]:.1f}-{row.useful_interval[1]:.1f}]",
            f"{row.known_words:.2f}" if row.known_words else "-",
        ]
        if wide:
            cells += [
                f"{row.fluency:.2f}" if row.fluency else "-",
                share(row.distinct, 1),
                share(row.apart, 1),
                f"{row.spread:.2f}" if row.spread else "-",
                f"{row.confidence:.2f}" if row.confidence else "-",
                f"{row.seconds:.1f}",
            ]
        shown.add_row(*cells, style="bold green" if row.best else "")
    return shown


def _share(part: int, whole: int, bounds: tuple[float, float], wide: bool) -> str:
    text = share(part, whole)
    return f"{text} [{100 * bounds[0]:.0f}-{100 * bounds[1]:.0f}]" if wide else text


def _way(cell: Cell) -> str:
    return cell.steering if cell.temperature == 1.0 else f"{cell.steering}@{cell.temperature:g}"
