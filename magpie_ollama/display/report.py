"""The page of an experiment: self-contained HTML with a chart and samples to read."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from magpie_ollama.compare.experiment import Cell, Tried
from magpie_ollama.compare.findings import CellFigures
from magpie_ollama.display import variety
from magpie_ollama.display.characters import printable
from magpie_ollama.display.findings import LEGEND
from magpie_ollama.display.words import share
from magpie_ollama.method import languages
from magpie_ollama.method.ability import Ability

COLUMNS = (
    "language: texts that the detector identified; complete: ended by themselves; useful: passed the whole screen. "
    "distinct, apart: share of the identified and complete texts that are no duplicates, no near-duplicates; spread: "
    "distinct words in windows of 50; confidence: how sure the model was, exp(mean log-probability per byte), median; "
    "it compares only within one language, steering and temperature; fluency: the same per letter, against the model's "
    "own unsteered text; known words: their share, by a list of the language."
)

SAMPLES = 6

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --dim: #5d6b7c; --line: #d9dfe6; --paper: #fff; --bar: #3b7dd8;
  --best: #15803d; --soft: #f4f6f9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --dim: #9aa7b6; --line: #344152; --paper: #141a22;
  --bar: #5b9bf0; --best: #4ade80; --soft: #1c2430; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 66rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
p.note, td.dim, .dim { color: var(--dim); }
table { border-collapse: collapse; width: 100%; font-size: .82rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
th, td { text-align: right; padding: .25rem .5rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tr.best td { font-weight: 600; color: var(--best); }
svg { width: 100%; min-width: 48rem; height: auto; } svg text { fill: var(--ink); font: 13px system-ui, sans-serif; }
svg .bar { fill: var(--bar); } svg .best { fill: var(--best); } svg .whisker { stroke: var(--ink); stroke-width: 1.5; }
ul.samples { list-style: none; padding: 0; }
ul.samples li { background: var(--soft); border-left: 3px solid var(--line); margin: .4rem 0;
  padding: .4rem .8rem; white-space: pre-wrap; overflow-wrap: anywhere; }
ul.samples li.useful { border-left-color: var(--best); } li .dim { font-size: .85em; display: block; }
code { background: var(--soft); padding: .15rem .4rem; overflow-wrap: anywhere; }
"""


def page(
    found: Sequence[CellFigures],
    rows: Mapping[Cell, Sequence[Tried]],
    abilities: Mapping[tuple[str, str], Ability],
    title: str,
    commands: Sequence[str],
) -> str:
    """The whole HTML document. No script, no reference to anything outside."""
    groups = dict.fromkeys((finding.cell.model, finding.cell.language) for finding in found)
    body = [f"<h1>{_text(title)}</h1>", f'<p class="note">{_text(LEGEND)} {_text(COLUMNS)}</p>']
    for model, code in groups:
        cells = [finding for finding in found if (finding.cell.model, finding.cell.language) == (model, code)]
        name = languages.english(code)
        verdict = abilities.get((model, code))
        told = f"<p><strong>{_text(verdict.told(model, name))}</strong></p>" if verdict else ""
        body += [f"<h2>{_text(name)} · {_text(model)}</h2>", told, _chart(cells), _table(cells)]
        body += [_samples(cell, rows[cell.cell]) for cell in cells]
    if commands:
        body += ["<h2>Next</h2>", *(f"<p><code>{_text(command)}</code></p>" for command in commands)]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        # No tag of a model's gets here; were one to, it could load and run nothing.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _chart(cells: Sequence[CellFigures]) -> str:
    """Bars of useful instructions per 1,000 tokens, with their 95 % intervals as whiskers."""
    left, right, height = 170, 60, 30
    width = 900
    top = max(max(cell.useful_interval[1] for cell in cells), 0.1)
    scale = (width - left - right) / top
    parts = []
    for number, cell in enumerate(cells):
        y = number * height + 4
        low, high = (left + bound * scale for bound in cell.useful_interval)
        end = left + cell.useful_per_1000_tokens * scale
        middle = y + 10
        parts.append(
            f'<text x="{left - 10}" y="{y + 15}" text-anchor="end">{_text(_named(cell.cell))}</text>'
            f'<rect class="{"best" if cell.best else "bar"}" x="{left}" y="{y}" width="{max(end - left, 1):.1f}" '
            f'height="20" rx="2"/>'
            f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>'
            f'<text x="{max(end, high) + 6:.1f}" y="{y + 15}">{cell.useful_per_1000_tokens:.1f}</text>'
        )
    return (
        f'<div class="wide"><svg viewBox="0 0 {width} {len(cells) * height + 6}" role="img" '
        f'aria-label="Useful instructions per 1,000 tokens, by steering">{"".join(parts)}</svg></div>'
        '<p class="note">Useful instructions per 1,000 generated tokens; lines: 95 % intervals.</p>'
    )


def _table(cells: Sequence[CellFigures]) -> str:
    head = (
        "steering",
        "attempts",
        "language",
        "complete",
        "useful",
        "per 1,000 tokens",
        "known words",
        "fluency",
        "distinct",
        "apart",
        "spread",
    )
    lines = [f"<tr>{''.join(f'<th>{name}</th>' for name in (*head, 'confidence', 'seconds'))}</tr>"]
    for cell in cells:
        mark = "★ " if cell.best else "≈ " if cell.like_best else ""
        values = (
            mark + _named(cell.cell),
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
        )
        row = "".join(f"<td>{_text(value)}</td>" for value in values)
        lines.append(f'<tr class="best">{row}</tr>' if cell.best else f"<tr>{row}</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _samples(cell: CellFigures, rows: Sequence[Tried]) -> str:
    """The first useful instructions, and the first rejected ones with their reasons: unselected on purpose."""
    useful = [row for row in rows if row.useful][:SAMPLES]
    rejected = [row for row in rows if not row.useful and row.text][: SAMPLES // 2]
    items = []
    for row in (*useful, *rejected):
        kind, word = ("useful", "useful") if row.useful else ("rejected", row.outcome)
        sure = f" · confidence {row.confidence:.2f}" if row.confidence else ""
        texts = (row.text, f"→ {row.response}") if row.response else (row.text,)
        written = "".join(f'<div lang="{_text(row.language)}" dir="auto">{_text(text)}</div>' for text in texts)
        items.append(f'<li class="{kind}"><span class="dim">{_text(word)}{sure}</span>{written}</li>')
    various = f'<p class="note">{_text(variety.told(cell.variety))}</p>' if cell.useful else ""
    listed = "".join(items) or "<li>nothing written</li>"
    return f'<h3>{_text(_named(cell.cell))}</h3>{various}<ul class="samples">{listed}</ul>'


def _named(cell: Cell) -> str:
    return cell.steering if cell.temperature == 1.0 else f"{cell.steering} at {cell.temperature:g}"


def _text(text: str) -> str:
    """Text as HTML, of which nothing is a tag, an invisible character, or turns the direction of what follows."""
    return html.escape(printable(text))


def _percent(bounds: tuple[float, float]) -> str:
    return f"[{100 * bounds[0]:.0f}-{100 * bounds[1]:.0f}]"
