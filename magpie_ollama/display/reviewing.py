"""The pages of ``review``: one record a page, its words first, and what is decided on it. Without a terminal."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace

from rich.text import Text

from magpie_ollama.corpus import lines as json_lines
from magpie_ollama.corpus.decisions import TAGS, Decided, Decision, Decisions, edited, mark, places
from magpie_ollama.corpus.reading import id_of
from magpie_ollama.curation.pages import Lines, Ordered, Page, doubt, page
from magpie_ollama.display import record
from magpie_ollama.display.pager import KEYS, Pager
from magpie_ollama.errors import MagpieError

DECIDING = (
    ("y", "keep"),
    ("d", "drop"),
    ("e, E", "edit the response, the instruction, in $EDITOR"),
    ("t", "tag: a name and a value, as in quality good"),
    ("u", "undo the newest decision of all"),
    ("m", "metadata"),
    ("space", "on, then skip to the next"),
)

HINTS = ("y keep · d drop · e E edit · t tag · u undo · m metadata · ? keys · q quit", "y d e t u m ? q", "? / q")

_ASKED, _ANSWERED = ("instruction", "user"), ("response", "assistant")


class Review(Pager):
    """Decisions are written down as they are made; the newest page is the first that nothing was decided on."""

    keys = DECIDING + tuple((keys, what) for keys, what in KEYS if keys != "space")
    hints = HINTS

    def __init__(
        self,
        lines: Lines,
        name: str,
        decisions: Decisions,
        *,
        by_doubt: bool = False,
        stop: Callable[[str], bool] = lambda doing: False,
    ) -> None:
        super().__init__(lines, name, stop)
        self._decisions = decisions
        self._by_doubt = by_doubt
        self._bare = True
        self._place: tuple[str | int, ...] = ()
        self._made = 0
        self._began = time.monotonic()
        self._changes = 0

    def begin(self) -> None:
        """Find all records, in the order wanted, and go to the first that is not decided on."""
        order = []
        lines = self._lines
        assert isinstance(lines, Lines)
        while lines.extend():
            self._stop(f"Reading the file: {lines.share:.0%}")
        for index in range(lines.count):
            if lines[index].strip():
                order.append((doubt(lines[index]) if self._by_doubt else 0.0, index))
        self._lines = Ordered(lines, [index for _, index in sorted(order)])
        self._on(0)

    def press(self, key: str) -> None:
        acts: dict[str, Callable[[], None]] = {
            "y": lambda: self._decide("keep"),
            "d": lambda: self._decide("drop"),
            "e": lambda: self._edit(_ANSWERED),
            "E": lambda: self._edit(_ASKED),
            "t": lambda: setattr(self, "prompt", "t"),
            "u": self._undo,
            "m": lambda: setattr(self, "_bare", not self._bare),
        }
        act = acts.get(key)
        if act is None or self.prompt or self._helping:
            super().press(key)
            return
        self.message = ""
        try:
            act()
        except MagpieError as error:  # somebody else decided, a full disk: nothing was written
            self.message = f"{error.cause}: {error.remedy}."
        self._changes += 1

    def edited(self, text: str | None) -> None:
        before = {place: said for _, place, said in places(self._line)}
        text = text.strip("\n") if text is not None else before[self._place]
        if text == before[self._place]:
            self.message = "Nothing was changed."
            return
        self._write("edit", place=self._place, text=text)
        self._changes += 1

    def _entered(self, kind: str, text: str) -> None:
        if kind != "t":
            super()._entered(kind, text)
            return
        name, _, value = text.replace("=", " ").partition(" ")
        if not value.strip():
            self.message = f"A tag is a name and a value: quality good. The names: {', '.join(TAGS)}."
            return
        if self._page().wrong:
            self.message = "This line is no record, and takes no tag."
            return
        try:
            self._write("tag", name=name, value=value.strip())
        except MagpieError as error:
            self.message = f"{error.cause}: {error.remedy}."
        self._changes += 1

    @property
    def _line(self) -> bytes:
        """The record as it was decided to be."""
        state = self._state
        return edited(self._lines[self.index], state.edits, state.tags)

    @property
    def _state(self) -> Decided:
        return self._state_of(self.index)

    def _state_of(self, index: int) -> Decided:
        line = self._lines[index]
        state = self._decisions.state(self._id(index))
        return state if state.holds_for(mark(line)) else Decided(state.version)

    def _id(self, index: int) -> str:
        line = self._lines[index]
        try:
            data = json_lines.parse(line)
        except ValueError:
            data = None
        number = self._lines.number(index)
        return id_of(number, line, data) if type(data) is dict else f"line {number}"

    def _decide(self, action: str) -> None:
        self._write(action)
        self._on(self.index + 1)

    def _write(self, action: str, **more: object) -> None:
        id = self._id(self.index)
        decision = Decision(id, action, mark(self._lines[self.index]), **more)  # type: ignore[arg-type]
        self._decisions.decide(decision, seen=self._decisions.state(id).version)
        self._made += 1

    def _undo(self) -> None:
        newest = self._decisions.newest
        if newest is None:
            self.message = "There is nothing to undo."
            return
        self._decisions.decide(Decision(newest, "undo"))
        self._made -= 1
        found = next((at for at in range(self._lines.count) if self._id(at) == newest), self.index)
        self._go(found, 1)

    def _edit(self, roles: tuple[str, ...]) -> None:
        found = [(place, text) for role, place, text in places(self._line) if role in roles]
        if not found:
            self.message = "There is no such text in this line that could be edited."
            return
        self._place, self.editing = found[-1 if roles == _ANSWERED else 0]

    def _on(self, start: int) -> None:
        """To the next record that nothing was decided on, from ``start`` on, then from the beginning."""
        count = self._lines.count
        for index in (*range(start, count), *range(min(start, count))):
            if not self._state_of(index).verdict:
                self._go(index, 1)
                return
        self.message = f"All {count:,} are decided on. To change the file: magpie-ollama review {self._name} --apply"

    def _page(self) -> Page:
        found = page(self._lines.number(self.index), self._line)
        return replace(found, fields={"tags": self._state.tags, **found.fields}) if self._state.tags else found

    def _page_rows(self, width: int, pattern: re.Pattern[str] | None) -> list[Text]:
        return record.rows(self._page(), width, pattern, bare=self._bare)

    def _version(self) -> object:
        return self._changes, self._bare

    def _heading(self) -> str:
        state = self._state
        told = {"keep": "kept", "drop": "dropped", "": ""}[state.verdict]
        words = [told, "edited" if state.edits else "", *(f"{name} {value}" for name, value in state.tags.items())]
        pending = self._decisions.pending
        left = self._lines.count - pending["keep"] - pending["drop"]
        minutes = (time.monotonic() - self._began) / 60
        pace = f"{self._made / minutes:.0f} a minute" if self._made > 2 and minutes > 0.1 else ""
        return "  " + " · ".join(filter(None, (*words, f"{left:,} left", pace)))
