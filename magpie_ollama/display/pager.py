"""The pages of ``view``: one record a page. What keys change of them, without a terminal (``fullscreen`` has that)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import count

from rich.text import Text

from magpie_ollama.curation.pages import Lines, Ordered, Page, Search, page
from magpie_ollama.display import record
from magpie_ollama.display.characters import cells, inline

KEYS = (
    ("right, Enter", "next record"),
    ("left, p", "record before"),
    ("space", "on, then to the next"),
    ("j k, down up", "scroll within one"),
    ("g G", "first, last record"),
    (":N", "to line N; the digits alone will do"),
    ("/text", "search on, in texts and fields"),
    ("n N", "next match, the one before"),
    ("q", "quit"),
)

HELP = ("? keys · → next · ← back · space on · / search · q quit", "? keys · / search · q quit", "? / q")


class Pager:
    """``stop`` is called with what goes on while something takes long: it says whether to give it up."""

    keys: tuple[tuple[str, str], ...] = KEYS
    hints = HELP

    def __init__(self, lines: Lines | Ordered, name: str, stop: Callable[[str], bool] = lambda doing: False) -> None:
        self.done = False
        self.editing: str | None = None
        self.index = 0
        self.message = ""
        self.prompt = ""
        self._lines = lines
        self._name = inline(name)
        self._stop = stop
        self._top = 0
        self._height = 1
        self._rows: list[Text] = []
        self._rows_of: object = None
        self._search: Search | None = None
        self._reveal = False
        self._helping = False

    def press(self, key: str) -> None:
        self.message = ""
        if self._helping:
            self._helping = False
        elif self.prompt:
            self._type(key)
        elif key == "?":
            self._helping = True
        elif key in (":", "/") or key.isdecimal():
            self.prompt = f":{key}" if key.isdecimal() else key
        elif key in ("q", "Q", "escape"):
            self.done = True
        elif key in ("right", "enter"):
            self.next()
        elif key in ("p", "left", "backspace"):
            if not self._go(self.index - 1, -1):
                self.message = "This is the first record."
        elif key in (" ", "pagedown"):
            if self._top < self._last_top:
                self._scroll(max(1, self._height - 1))
            elif key == " ":
                self.next()
        elif key == "pageup":
            self._scroll(-max(1, self._height - 1))
        elif key in ("j", "down"):
            self._scroll(1)
        elif key in ("k", "up"):
            self._scroll(-1)
        elif key in ("g", "home"):
            self._go(0, 1)
        elif key in ("G", "end"):
            self._go_last()
        elif key == "n":
            self._find(count(self.index + 1), "further on")
        elif key == "N":
            self._find(range(self.index - 1, -1, -1), "before")

    def edited(self, text: str | None) -> None:
        """Pages are only read."""

    def idle(self) -> bool:
        return not self._lines.complete and self._lines.extend()

    def next(self) -> None:
        if not self._go(self.index + 1, 1):
            self.message = "This is the last record."

    def jump(self, number: int) -> None:
        """To a line, counted from 1."""
        if not self._go(self._lines.place(number), 1) and not self.message:
            self.message = f"There is no line {number:,}: the file has {self._lines.count:,}."

    def frame(self, width: int, height: int) -> list[Text]:
        """As many rows as the terminal has: the page between a title and, below, what was typed or is to be told."""
        self._height = height - 2 if height > 2 else height
        if self._helping:
            return self._help(width, height)
        of = (self.index, width, self._search, self._version())
        if self.index >= self._lines.count:  # still being looked for
            self._rows, self._rows_of = [], None
        elif self._rows_of != of:
            pattern = self._search.pattern if self._search else None
            self._rows = self._page_rows(width, pattern)
            self._rows_of = of
        if self._reveal:
            hits = (at for at, row in enumerate(self._rows) if any(span.style == "reverse" for span in row.spans))
            self._top = max(0, next(hits, 0) - self._height // 3)
            self._reveal = False
        self._top = min(self._top, self._last_top)
        body = self._rows[self._top : self._top + self._height]
        body += [Text("~", "dim")] * (self._height - len(body))
        if height < 3:
            return body
        return [self._title(width), *body, self._status(width)]

    def _page_rows(self, width: int, pattern: re.Pattern[str] | None) -> list[Text]:
        return record.rows(self._page(), width, pattern)

    def _page(self) -> Page:
        return page(self._lines.number(self.index), self._lines[self.index])

    def _version(self) -> object:
        """Of what the page shows of its record, beside the record."""
        return None

    def _heading(self) -> str:
        """What the title says of the record, beside its place."""
        return ""

    def _help(self, width: int, height: int) -> list[Text]:
        first = max(len(keys) for keys, _ in self.keys)
        rows = [Text(_crop(f"{keys:<{first}}  {what}", width)) for keys, what in self.keys][: height - 1]
        return [*rows, *[Text()] * (height - 1 - len(rows)), Text(_crop("any key goes back", width), "dim")][:height]

    @property
    def _last_top(self) -> int:
        return max(0, len(self._rows) - self._height)

    def _title(self, width: int) -> Text:
        known = self._lines.complete
        title = f"  {self.index + 1:,} of {self._lines.count:,}{'' if known else '+'}"
        if self._last_top:
            end = min(len(self._rows), self._top + self._height)
            title += f"  rows {self._top + 1:,}-{end:,} of {len(self._rows):,}"
        title += self._heading()
        return Text(_crop(_crop(self._name, width - cells(title)) + title, width), "bold")

    def _status(self, width: int) -> Text:
        if self.prompt:
            visible = self.prompt
            while visible and cells(visible) >= width:  # its end is where one types
                visible = visible[1:]
            return Text.assemble(visible, ("▏", "bold"))
        if self.message:
            return Text(_crop(self.message, width), "bold yellow")
        return Text(next((text for text in self.hints if cells(text) <= width), ""), "dim")

    def _type(self, key: str) -> None:
        if key == "escape" or (key == "backspace" and len(self.prompt) == 1):
            self.prompt = ""
        elif key == "backspace":
            self.prompt = self.prompt[:-1]
        elif len(key) == 1:
            self.prompt += key
        elif key == "enter":
            kind, text = self.prompt[0], self.prompt[1:].strip()
            self.prompt = ""
            self._entered(kind, text)

    def _entered(self, kind: str, text: str) -> None:
        if kind == "/":
            self._look_for(text)
        elif text.isdecimal() and int(text):
            self.jump(int(text))
        elif text:
            self.message = f"{text} is no line number."

    def _look_for(self, text: str) -> None:
        if text:
            self._search = Search(text)
        self._find(count(self.index + (not text)), "further on")

    def _find(self, order: Iterable[int], where: str) -> None:
        if self._search is None:
            self.message = "Search first: /text"
            return
        for index in order:
            if not self._has(index):
                break
            if self._give_up(f"Searching line {self._lines.number(index):,}; any key stops"):
                return
            if self._search.finds(self._lines.number(index), self._lines[index]):
                self.index, self._top, self._reveal = index, 0, True
                return
        if not self.message:
            self.message = f"Not found {where}."

    def _go(self, index: int, step: int) -> bool:
        """To the first line from ``index`` on that is not blank."""
        while self._has(index):
            if self._lines[index].strip():
                self.index, self._top = index, 0
                return True
            index += step
        return False

    def _go_last(self) -> None:
        while self._lines.extend():
            if self._give_up(f"Reading the file: {self._lines.share:.0%}; any key stops"):
                return
        self._go(self._lines.count - 1, -1)

    def _has(self, index: int) -> bool:
        while index >= self._lines.count:
            if not self._lines.extend() or self._give_up(f"Reading the file: {self._lines.share:.0%}; any key stops"):
                return index < self._lines.count
        return index >= 0

    def _give_up(self, doing: str) -> bool:
        stopped = self._stop(doing)
        if stopped:
            self.message = "Stopped."
        return stopped

    def _scroll(self, rows: int) -> None:
        self._top = max(0, min(self._top + rows, self._last_top))


def _crop(text: str, width: int) -> str:
    while text and cells(text) > width:
        text = text[:-1]
    return text
