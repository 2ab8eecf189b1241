"""One record to read: its fields in a quiet line, and its texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from textwrap import indent
from typing import Any

from rich.console import Console
from rich.text import Text

from magpie_ollama.corpus import lines
from magpie_ollama.curation.pages import Page
from magpie_ollama.display.characters import cells, inline, printable, wrap

LONGEST = 1_000_000
"""Characters of a text that are shown; folding more would keep the reader waiting."""

MARGIN = 2
"""Columns that texts are set in by, under the name of their part."""

_PLAIN = ("language", "steering", "model", "server", "finish_reason")
"""Fields that speak for themselves; others have their names in front."""

_TOKENS = ("instruction_tokens", "response_tokens")


def fields(page: Page) -> list[str]:
    """The fields as short pieces: what tells most first, empty ones left out."""
    values = dict(page.fields)
    last = [str(values.pop(key)) for key in ("run", "created_at", "id") if values.get(key) not in (None, "")]
    pieces = [str(values.pop(key)) for key in _PLAIN if values.get(key)]
    if any(values.get(key) for key in _TOKENS):
        pieces.append("+".join(str(values.pop(key, 0)) for key in _TOKENS) + " tokens")
    pieces += [f"{key} {_short(value)}" for key, value in values.items() if value not in ("", None, 0.0, [], {})]
    return [inline(piece) for piece in (*pieces, *last)]


def texts(page: Page) -> list[tuple[str, str]]:
    """Each text with the name of its part: an instruction and its response, or who speaks where they go on."""
    if all(role != "user" for role, _ in page.texts):
        return page.texts
    speakers = {"instruction": "user", "response": "assistant"}
    return [(speakers.get(role, role), text) for role, text in page.texts]


def rows(page: Page, width: int, pattern: re.Pattern[str] | None = None, *, bare: bool = False) -> list[Text]:
    """The page as rows of at most ``width`` cells, with what ``pattern`` finds marked; ``bare`` without its fields."""
    found = [] if bare else [_styled(row, "dim") for row in _joined(fields(page), width)]
    if page.wrong:
        found += [_styled(row, "bold red") for row in _fold(_wrong(page), width)]
    for role, text in texts(page):
        found += [Text(), *(_styled(row, "cyan") for row in _fold(inline(role), width))]
        marked = Text(printable(text[:LONGEST].strip("\n")), "bold" if role in ("instruction", "user") else "")
        if pattern:
            marked.highlight_regex(pattern, "reverse")
        found += _set_in(marked, max(1, width - MARGIN))
        if (left := len(text) - LONGEST) > 0:
            found += [_styled(row, "dim") for row in _fold(f"{' ' * MARGIN}... and {left:,} characters more", width)]
    return found


def plain(page: Page) -> str:
    """The same whole and unfolded, for a file or another program: a line of a text stays one line."""
    found = [line for line in (" · ".join(fields(page)), _wrong(page) if page.wrong else "") if line]
    for role, text in texts(page):
        found += ["", inline(role), indent(printable(text.strip("\n")), " " * MARGIN)]
    return "\n".join(found)


def show(pages: Iterable[Page], console: Console) -> None:
    """Records one after another; folded on a terminal only."""
    for page in pages:
        heading = f"line {page.number:,}"
        if console.is_terminal:
            found = [Text(heading, "bold"), *rows(page, console.width), Text()]
            console.print(Text("\n").join(found), soft_wrap=True)
        else:
            console.file.write(f"{heading}\n{plain(page)}\n\n")
    console.file.flush()  # where the pipe is closed, it has to be noticed here


def _wrong(page: Page) -> str:
    return f"Line {page.number} {printable(page.wrong)}."


def _set_in(text: Text, width: int) -> list[Text]:
    margin = " " * MARGIN
    spans = wrap(text.plain, width)
    if not text.spans:
        return [_styled(margin + text.plain[start:end], str(text.style)) for start, end in spans]
    return [Text.assemble(margin, text[start:end], style=text.style, end="") for start, end in spans]


def _joined(pieces: list[str], width: int) -> list[str]:
    """Pieces with a point between, as many a row as fit."""
    joined: list[str] = []
    for piece in pieces:
        if joined and cells(joined[-1]) + 3 + cells(piece) <= width:
            joined[-1] += f" · {piece}"
        else:
            joined += _fold(piece, width)
    return joined


def _fold(line: str, width: int) -> list[str]:
    return [line[start:end] for start, end in wrap(line, width)]


def _styled(text: str, style: str) -> Text:
    return Text(text, style, end="")


def _short(value: Any, most: int = 80) -> str:
    if isinstance(value, Mapping) and all(isinstance(one, str | int | float) for one in value.values()):
        text = ", ".join(f"{key} {one}" for key, one in value.items())
    elif isinstance(value, str | int | float):
        text = str(value)
    else:
        text = lines.shown(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"
