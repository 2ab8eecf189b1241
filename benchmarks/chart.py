"""A bar chart as one SVG file, without script, font or library; panel and text follow light and dark together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 800
LABELS = 306
"""Where the bars begin, in pixels; the labels stand in front."""

LONGEST = 280
BAR = 22
STEP = 34

STYLE = """
  .panel { fill: #ffffff; stroke: #d0d7de }
  text { fill: #1f2328; font: 14px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif }
  .title { font-size: 18px; font-weight: 600 }
  .group { font-weight: 600 }
  .faint { fill: #59636e; font-size: 13px }
  .bar { fill: #8c959f }
  .first { fill: #2563eb }
  .range { stroke: #1f2328; stroke-width: 1.5; fill: none; opacity: .75 }
  .axis { stroke: #8c959f }
  @media (prefers-color-scheme: dark) {
    .panel { fill: #161b22; stroke: #3d444d }
    text { fill: #f0f6fc }
    .faint { fill: #a5aeb8 }
    .bar { fill: #6e7681 }
    .first { fill: #4c8dff }
    .range { stroke: #f0f6fc }
    .axis { stroke: #6e7681 }
  }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """``low`` and ``high`` are the ends of the line that shows the range; ``note`` stands behind the value."""

    label: str
    value: float
    low: float
    high: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    bars: Sequence[Bar]


def bars(title: str, subtitle: str, groups: Sequence[Group]) -> str:
    """The chart as SVG text: a group under the other, each group's first bar set off from its others."""
    scale = LONGEST / max([bar.high for group in groups for bar in group.bars] + [1e-9])
    lines: list[str] = []
    top = 92
    for group in groups:
        lines.append(f'<text class="group" x="24" y="{top}">{escape(group.title)}</text>')
        first = top + 14
        for number, bar in enumerate(group.bars):
            lines += _bar(bar, first + number * STEP, scale, "bar first" if number == 0 else "bar")
        end = first + len(group.bars) * STEP - (STEP - BAR)
        lines.append(f'<path class="axis" d="M{LABELS} {first - 4}V{end + 4}"/>')
        top = end + 44
    height = top - 8
    told = "; ".join(f"{group.title}: " + ", ".join(f"{b.label} {b.value:.1f}" for b in group.bars) for group in groups)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{escape(f'{title}. {told}')}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="panel" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
            f'<text class="title" x="24" y="36">{escape(title)}</text>',
            f'<text class="faint" x="24" y="57">{escape(subtitle)}</text>',
            *lines,
            "</svg>\n",
        ]
    )


def _bar(bar: Bar, top: float, scale: float, kind: str) -> list[str]:
    middle = top + BAR / 2
    low, high = LABELS + bar.low * scale, LABELS + bar.high * scale
    end = max(high, LABELS + bar.value * scale)
    caps = f"M{low:.1f} {middle - 5}v10M{high:.1f} {middle - 5}v10"
    note = f' <tspan class="faint" dx="6">{escape(bar.note)}</tspan>' if bar.note else ""
    return [
        f'<text x="{LABELS - 10}" y="{middle + 5:.0f}" text-anchor="end">{escape(bar.label)}</text>',
        f'<rect class="{kind}" x="{LABELS}" y="{top}" width="{bar.value * scale:.1f}" height="{BAR}" rx="2"/>',
        f'<path class="range" d="M{low:.1f} {middle}H{high:.1f}{caps}"/>',
        f'<text x="{end + 10:.0f}" y="{middle + 5:.0f}">{bar.value:.1f}{note}</text>',
    ]
