"""The pager of ``view``: one record a page, on the terminal's alternate screen."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count
from typing import Self

from rich.console import Console
from rich.text import Text

from magpie_ollama.curation.pages import Lines, Search, page
from magpie_ollama.display import record
from magpie_ollama.display.characters import cells, inline
from magpie_ollama.display.keys import keys
from magpie_ollama.display.suspending import suspending

IDLE_SECONDS = 0.2
"""Between two looks at the terminal's size."""

BUSY_SECONDS = 0.1
"""Between two signs of life of what takes long."""

HELP = (
    "n next · p back · j k scroll · space on · g G first, last · :N jump · /text search, / again, N before · q quit",
    "n next · p back · j k scroll · :N · /text search · q quit",
    "n p j k : / q",
)


class Pager:
    """What the pager shows, and what keys change of it; knows nothing of terminals.

    ``stop`` is called now and then, with what goes on, while something takes long: it says whether to give it up.
    """

    def __init__(self, lines: Lines, name: str, stop: Callable[[str], bool] = lambda doing: False) -> None:
        self.done = False
        self.index = 0
        self.message = ""
        self.prompt = ""
        self._lines = lines
        self._name = inline(name)
        self._stop = stop
        self._asked = 0.0
        self._top = 0
        self._height = 1
        self._rows: list[Text] = []
        self._rows_of: object = None
        self._search: Search | None = None
        self._reveal = False

    def press(self, key: str) -> None:
        """Takes a key, as ``keys.Keys`` names them."""
        self.message = ""
        if self.prompt:
            self._type(key)
        elif key in (":", "/") or key.isdecimal():
            self.prompt = f":{key}" if key.isdecimal() else key
        elif key in ("q", "Q", "escape"):
            self.done = True
        elif key in ("n", "right", "enter"):
            self.next()
        elif key in ("p", "left", "backspace"):
            if not self._go(self.index - 1, -1):
                self.message = "This is the first record."
        elif key in (" ", "page down"):
            if self._top < self._last_top:
                self._scroll(max(1, self._height - 1))
            elif key == " ":
                self.next()
        elif key == "page up":
            self._scroll(-max(1, self._height - 1))
        elif key in ("j", "down"):
            self._scroll(1)
        elif key in ("k", "up"):
            self._scroll(-1)
        elif key in ("g", "home"):
            self._go(0, 1)
        elif key in ("G", "end"):
            self._go_last()
        elif key == "N":
            self._find(range(self.index - 1, -1, -1), "before")

    def next(self) -> None:
        if not self._go(self.index + 1, 1):
            self.message = "This is the last record."

    def jump(self, number: int) -> None:
        """To a line, counted from 1."""
        if not self._go(number - 1, 1) and not self.message:
            self.message = f"There is no line {number:,}: the file has {self._lines.count:,}."

    def frame(self, width: int, height: int) -> list[Text]:
        """As many rows as the terminal has: the page between a title and, below, what was typed or is to be told."""
        self._height = height - 2 if height > 2 else height
        of = (self.index, width, self._search)
        if self.index >= self._lines.count:  # still being looked for
            self._rows, self._rows_of = [], None
        elif self._rows_of != of:
            pattern = self._search.pattern if self._search else None
            self._rows = record.rows(page(self.index + 1, self._lines[self.index]), width, pattern)
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

    @property
    def _last_top(self) -> int:
        return max(0, len(self._rows) - self._height)

    def _title(self, width: int) -> Text:
        known = self._lines.complete
        title = f"  {self.index + 1:,} of {self._lines.count:,}{'' if known else '+'}"
        if self._last_top:
            end = min(len(self._rows), self._top + self._height)
            title += f"  rows {self._top + 1:,}-{end:,} of {len(self._rows):,}"
        return Text(_crop(_crop(self._name, width - cells(title)) + title, width), "bold")

    def _status(self, width: int) -> Text:
        if self.prompt:
            visible = self.prompt
            while visible and cells(visible) >= width:  # its end is where one types
                visible = visible[1:]
            return Text.assemble(visible, ("▏", "bold"))
        if self.message:
            return Text(_crop(self.message, width), "bold yellow")
        return Text(next((text for text in HELP if cells(text) <= width), ""), "dim")

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
            if kind == "/":
                self._look_for(text)
            elif text.isdecimal() and int(text):
                self.jump(int(text))
            elif text:
                self.message = f"{text} is no line number."

    def _look_for(self, text: str) -> None:
        start = self.index
        if text:
            self._search = Search(text)
        else:
            start += 1
        self._find(count(start), "further on")

    def _find(self, order: Iterable[int], where: str) -> None:
        if self._search is None:
            self.message = "Search first: /text"
            return
        for index in order:
            if not self._has(index):
                break
            if self._give_up(f"Searching line {index + 1:,}; any key stops"):
                return
            if self._search.finds(index + 1, self._lines[index]):
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
        now = time.monotonic()
        if now - self._asked < BUSY_SECONDS:
            return False
        self._asked = now
        stopped = self._stop(doing)
        if stopped:
            self.message = "Stopped."
        return stopped

    def _scroll(self, rows: int) -> None:
        self._top = max(0, min(self._top + rows, self._last_top))


def browse(lines: Lines, name: str, start: int, console: Console) -> None:
    """Shows the pager on ``console``, a terminal, until it is left or the terminal is gone. Raises UsageError where no
    keys can be had."""
    with keys() as keyboard, _Screen(console) as screen, suspending() as suspension, suppress(EOFError):

        def pause() -> None:
            """Where Ctrl-Z asked for it."""
            if suspension.asked:
                screen.leave()
                keyboard.release()
                suspension.stop()
                keyboard.take()
                screen.enter()

        def stop(doing: str) -> bool:
            pause()
            screen.draw([*pager.frame(*_size(console))[:-1], Text(doing, "bold yellow")])
            return bool(keyboard.read(0))

        pager = Pager(lines, name, stop)
        pager.jump(start)
        drawn = 0.0
        key = ""
        while not pager.done:
            pause()
            if key or time.monotonic() - drawn >= BUSY_SECONDS:
                screen.draw(pager.frame(*_size(console)))
                drawn = time.monotonic()
            key = keyboard.read(IDLE_SECONDS if lines.complete else 0)
            if key:
                pager.press(key)
            elif not lines.complete:
                lines.extend()


class _Screen:
    """The alternate screen. The old one comes back at the block's end, however that is left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: list[str] = []
        self._size = (0, 0)

    def __enter__(self) -> Self:
        self.enter()
        return self

    def __exit__(self, *error: object) -> None:
        self.leave()

    def enter(self) -> None:
        self._shown, self._size = [], (0, 0)
        self._console.set_alt_screen(True)
        self._console.show_cursor(False)
        # A row that a terminal finds longer than we do must not push the next one down.
        self._console.file.write("\x1b[?7l")

    def leave(self) -> None:
        self._console.file.write("\x1b[?7h")
        self._console.show_cursor(True)
        self._console.set_alt_screen(False)

    def draw(self, frame: list[Text]) -> None:
        now = _size(self._console)
        with self._console.capture() as captured:
            self._console.print(Text("\n").join(frame), width=10_000, no_wrap=True, soft_wrap=True, end="")
        rows = captured.get().split("\n")
        file = self._console.file
        if now != self._size:  # what a terminal makes of its content when its size changes is its own affair
            self._shown, self._size = [], now
            file.write("\x1b[2J")
        for number, row in enumerate(rows):
            if number >= len(self._shown) or self._shown[number] != row:
                file.write(f"\x1b[{number + 1};1H\x1b[K{row}")
        file.flush()
        self._shown = rows


def _size(console: Console) -> tuple[int, int]:
    """Columns and rows now. Not ``console.size``, which believes the COLUMNS of the environment."""
    try:
        width, height = os.get_terminal_size(console.file.fileno())
    except OSError as error:
        raise EOFError from error  # the terminal is gone
    return max(1, width), max(1, height)


def _crop(text: str, width: int) -> str:
    while text and cells(text) > width:
        text = text[:-1]
    return text
