"""What is in a corpus, as small tables with bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from magpie_ollama.corpus.history import PastRun
from magpie_ollama.curation.neighbours import Neighbours
from magpie_ollama.curation.statistics import Part, Statistics, Unit, bins, quantiles
from magpie_ollama.display import variety
from magpie_ollama.display.characters import inline
from magpie_ollama.display.consoles import say, show_facts
from magpie_ollama.display.words import counted, duration, rate, share
from magpie_ollama.method import languages
from magpie_ollama.records import KEPT, Funnel

WIDE = 90
"""Columns from which the spread is shown beside the median."""

WIDEST = 100

MOST_ROWS = 12
"""Of a table: values that are rarer are told as a sum."""

FORMS = {
    "messages": "messages (magpie-ollama, TRL)",
    "conversations": "conversations (ShareGPT, Magpie)",
    "conversation": "conversation (distilabel)",
    "instruction": "instruction and answer (Alpaca, distilabel)",
    "prompt": "prompt and completion (TRL)",
}
"""By the key that a pair was found under; others are columns of such names."""

_NAMES = {
    "models": "model",
    "responders": "response model",
    "topics": "topic",
    "steerings": "steering",
    "servers": "server",
    "finish_reasons": "finish reason",
}

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def show(found: Statistics, runs: Sequence[PastRun], facts: Mapping[str, str], console: Console) -> None:
    """``facts`` go first: what the file is."""
    if not console.is_terminal:
        console.width = WIDEST
    width = min(console.width, WIDEST)
    kinds = {name: found.kinds[key] for key, name in _NAMES.items()} | dict(sorted(found.tags.items()))
    single = {name: _only(counts, found.records) for name, counts in kinds.items() if len(counts) == 1}
    show_facts({**facts, **_facts(found), **{inline(name): value for name, value in single.items()}}, console)
    parts = sorted(found.parts.values(), key=lambda part: -part.records)
    _print(_languages(parts, found.records, width), console, width)
    for unit in ("words", "characters"):
        if any(part.unit == unit for part in parts):
            _print(_lengths(found, unit, width), console, width)
    for name, counts in kinds.items():
        if len(counts) > 1:
            _print(_counts(name, counts, width), console, width)
    if runs:
        console.print()
        for heading, lines in _runs(runs):
            say(console, heading)
            for line in lines:
                if console.is_terminal:
                    console.print(Padding(line, (0, 0, 0, 2)))
                else:
                    say(console, Text("  ") + line)


def bar(part: float, whole: float, width: int) -> str:
    """A bar ``width`` cells long for the whole; what is not nothing has an eighth of a cell at least.

    >>> bar(1, 2, 4), bar(1, 1000, 4), bar(0, 5, 4)
    ('██  ', '▏   ', '    ')
    """
    eighths = round(8 * width * part / whole) if whole else 0
    full, rest = divmod(max(eighths, 1) if part else 0, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def _facts(found: Statistics) -> dict[str, str]:
    whole = found.records
    forms = found.kinds["forms"].most_common()
    rows = {
        "records": f"{whole:,}",
        "form": " · ".join(_form(form) + (f" {share(n, whole)}" if len(forms) > 1 else "") for form, n in forms),
    }
    if found.with_system:
        rows["system message"] = f"{found.with_system:,} ({share(found.with_system, found.records)})"
    if set(found.turns) - {1}:
        rows["user's turns"] = " · ".join(f"{turns}: {n:,}" for turns, n in sorted(found.turns.items()))
    if found.without_response:
        rows["no response"] = f"{found.without_response:,} ({share(found.without_response, whole)})"
    if found.unwanted:
        rows["not wanted"] = f"{found.unwanted:,} ({share(found.unwanted, whole)}), by their label"
    if found.recognised:
        rows["recognised"] = " · ".join(
            f"{topic} {counts[True]} of {counts.total()}" for topic, counts in sorted(found.recognised.items())
        )
    same = found.duplicates
    rows["duplicates"] = f"{same:,} ({share(same, whole)})" if same else "none"
    if found.near_duplicates is not None:
        near = found.near_duplicates
        rows["near-duplicates"] = f"{near:,} ({share(near, whole)}) more" if near else "none"
    if found.neighbours is not None:
        rows["neighbours"] = _neighbours(found.neighbours)
    if whole:
        rows["variety"] = variety.told(found.variety)
    return rows


def _neighbours(found: Neighbours) -> str:
    low, median, high = (found.quantiles(found.distance).get(name, 2.0) for name in ("p5", "p50", "p95"))
    repeated = f"{counted(found.repeated, 'record')} ({share(found.repeated, len(found.distance))})"
    away = f"the nearest is {median:.2f} [{low:.2f}-{high:.2f}] away"
    return f"{repeated} nearer than {found.bound:g} to another; {away}, by {inline(found.model)}"


def _form(key: str) -> str:
    return FORMS.get(key) or f"the column {inline(key)} and its answer"


def _only(counts: Mapping[str, int], whole: int) -> str:
    (value, n), *_ = counts.items()
    return inline(value) + (f" ({n:,} of {whole:,})" if n < whole else "")


def _languages(parts: Sequence[Part], whole: int, width: int) -> Table:
    table = _table("language")
    _numbers(table, "records", "", *(("instruction", "response") if width >= WIDE else ("instr.", "resp.")))
    confident = any(part.confidence for part in parts)
    if confident:
        _numbers(table, "confidence" if width >= WIDE else "conf.")
    most = max((part.records for part in parts), default=0)
    for part in parts[:MOST_ROWS]:
        cells = [
            _language(part.language, width),
            bar(part.records, most, width // 10),
            f"{part.records:,}",
            share(part.records, whole),
            _spread(part.instruction, width),
            _spread(part.response, width),
        ]
        if confident:
            cells.append(_spread(part.confidence, width, 1000))
        table.add_row(*cells)
    if left := parts[MOST_ROWS:]:
        table.add_row(f"{len(left)} others", "", f"{sum(part.records for part in left):,}")
    units = {part.unit for part in parts}
    caption = f"Median length in {' or '.join(sorted(units, reverse=True))}"
    table.caption = caption + ("; in brackets, where 9 of 10 lie." if width >= WIDE else ".")
    return table


def _language(code: str, width: int) -> str:
    if code in languages.codes() and width >= WIDE:
        return f"{code} {languages.load(code).english}"
    return inline(code) or "not told"


def _spread(counts: Mapping[int, int], width: int, scale: int = 1) -> str:
    low, median, high = quantiles(counts, (0.05, 0.5, 0.95)) or (None, None, None)
    if low is None or median is None or high is None:
        return "-"
    text = [f"{value / scale:.2f}" if scale > 1 else f"{value:,}" for value in (low, median, high)]
    return f"{text[1]} [{text[0]}-{text[2]}]" if width >= WIDE and low < high else text[1]


def _lengths(found: Statistics, unit: Unit, width: int) -> Table:
    table = _table(unit, "instruction")
    _numbers(table, "")
    table.add_column("response", no_wrap=True)
    _numbers(table, "")
    instruction, response = (
        {low: (high, n) for low, high, n in bins(found.lengths(of, unit))} for of in ("instruction", "response")
    )
    both = instruction | response
    most = [max((n for _, n in one.values()), default=0) for one in (instruction, response)]
    for low in sorted(both):
        high = both[low][0]
        last = f"{high - 1:,}" if high else ""
        cells = [f"{low:,}" if high == low + 1 else f"{low:,}-{last}"]
        for one, top in zip((instruction, response), most, strict=True):
            n = one.get(low, (None, 0))[1]
            cells += [bar(n, top, width // 5), f"{n:,}" if n else ""]
        table.add_row(*cells)
    return table


def _counts(name: str, counts: Mapping[str, int], width: int) -> Table:
    table = _table(inline(name))
    _numbers(table, "", "")
    table.columns[0].max_width = width // 2
    whole = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    for value, n in ordered[:MOST_ROWS]:
        table.add_row(inline(value), bar(n, ordered[0][1], width // 5), f"{n:,}", share(n, whole))
    if left := ordered[MOST_ROWS:]:
        rest = sum(n for _, n in left)
        table.add_row(f"{len(left)} others", "", f"{rest:,}", share(rest, whole))
    return table


def _table(name: str, bars: str = "") -> Table:
    """With a column of names and one of bars."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim", caption_justify="left")
    table.add_column(name, overflow="fold")
    table.add_column(bars, no_wrap=True)
    return table


def _numbers(table: Table, *names: str) -> None:
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)


def _print(table: Table, console: Console, width: int) -> None:
    console.print()
    if console.is_terminal:
        console.print(table, width=width)
        return
    with console.capture() as captured:
        console.print(table, width=width)
    for line in captured.get().splitlines():  # without the spaces that fill the last column
        console.print(Text(line.rstrip()), soft_wrap=True)


def _runs(runs: Sequence[PastRun]) -> Iterator[tuple[Text, list[Text]]]:
    """A heading for each run, and what is set in under it."""
    for run in runs:
        there = f", {run.there:,} in the file" if run.there != run.kept else ""
        how = " · ".join(map(inline, filter(None, (run.language, run.steering, run.model))))
        heading = Text.assemble((f"run {inline(run.id)}", "bold"), f"  {inline(run.status)}")
        yield heading, [Text(f"{how}; {run.kept:,} of {run.target:,} kept{there}"), *_cost(run.funnel, run.seconds)]
    if len(runs) > 1:
        whole = Funnel()
        for run in runs:
            whole.outcomes.update(run.funnel.outcomes)
            whole.tokens.update(run.funnel.tokens)
        yield Text(f"all {len(runs)} runs", "bold"), _cost(whole, sum(run.seconds for run in runs))


def _cost(funnel: Funnel, seconds: float) -> list[Text]:
    reasons = [f"{count:,} {inline(name)}" for name, count in funnel.rejected()]
    kept = f"{funnel.kept:,} kept ({share(funnel.kept, funnel.attempts)})"
    lines = [Text(f"{counted(funnel.attempts, 'attempt')}: {' · '.join((kept, *reasons))}")]
    if funnel.kept and funnel.all_tokens:
        cost = f"{funnel.all_tokens:,} tokens, {funnel.all_tokens / funnel.kept:,.0f} a record"
        useful = f"{share(funnel.tokens[KEPT], funnel.all_tokens)} of them in kept records"
        pace = f" · {duration(seconds)} ({rate(60 * funnel.kept / seconds)})" if seconds else ""
        lines.append(Text(f"{cost}, {useful}{pace}"))
    return lines
