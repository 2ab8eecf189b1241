"""Rows on a whole terminal and keys from it, by prompt_toolkit: of ``view`` and ``review``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Protocol

from prompt_toolkit.application import Application, run_in_terminal
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.input import create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import FormattedTextControl, Layout, Window
from prompt_toolkit.output import create_output
from rich.console import Console
from rich.text import Text

from magpie_ollama.run.interrupts import ENDS

BUSY_SECONDS = 0.1
"""Between two signs of life of what takes long."""

ESCAPE_SECONDS = 0.05
"""So long after an escape character the rest of a key's sequence is waited for."""

_NAMES = {Keys.ControlM: "enter", Keys.ControlJ: "enter", Keys.ControlH: "backspace"}


class Shown(Protocol):
    """What is shown, and what keys change of it; knows nothing of terminals."""

    done: bool
    editing: str | None
    """A text to be changed in the user's editor, before anything else."""

    def press(self, key: str) -> None:
        """Takes a key: a character, or a name such as "pagedown". May call ``stop`` of ``Screen`` while it works."""

    def edited(self, text: str | None) -> None:
        """What came of ``editing``; None where it was left as it is."""

    def frame(self, width: int, height: int) -> list[Text]:
        """As many rows as that, none wider."""

    def idle(self) -> bool:
        """Does a little of what is still to be done; False where nothing is."""


class Screen:
    """A terminal that shows one thing until that is done with.

    Keys are taken in a thread: what takes long goes on while the screen shows it, and any further key stops it.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._doing = ""
        self._working = False
        self._waiting: deque[Callable[[], None]] = deque()
        self._stopped = False
        self._told = 0.0
        self._rows: list[Text] = []
        self._ended = 0

    def stop(self, doing: str) -> bool:
        """Shows what ``press`` or ``first`` is doing; whether to give it up."""
        now = time.monotonic()
        if now - self._told >= BUSY_SECONDS:
            self._told, self._doing = now, doing
            self._app.invalidate()
        return self._stopped

    def show(self, shown: Shown, first: Callable[[], None]) -> None:
        """``first`` is done before any key. Raises KeyboardInterrupt at Ctrl-C; ends the
        process where another signal asks for it."""
        self._shown = shown
        window = Window(FormattedTextControl(self._text, show_cursor=False), wrap_lines=False, always_hide_cursor=True)
        self._app: Application[None] = Application(
            Layout(window),
            key_bindings=self._bindings(),
            full_screen=True,
            input=create_input(always_prefer_tty=True),  # stdin may be a pipe with the data
            output=create_output(sys.stdout),
        )
        self._app.ttimeoutlen = self._app.timeoutlen = ESCAPE_SECONDS

        def begin() -> None:
            self._begin(first)
            self._app.create_background_task(self._idle())

        before = {number: signal.getsignal(number) for number in ENDS}
        for number, handler in before.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, self._end)
        try:
            self._app.run(pre_run=begin, handle_sigint=False)
        except EOFError:  # the terminal is gone, and the signal that says so may be late
            self._ended = getattr(signal, "SIGHUP", 1)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self._ended == signal.SIGINT:
            raise KeyboardInterrupt
        if self._ended:
            sys.exit(128 + self._ended)  # as shells count it

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ended, self._stopped = number, True
        if (loop := self._app.loop) is not None:
            loop.call_soon_threadsafe(lambda: self._app.is_done or self._app.exit())

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()

        @bindings.add("c-c")
        def interrupt(event: KeyPressEvent) -> None:
            self._end(signal.SIGINT, None)

        @bindings.add("c-z")
        def suspend(event: KeyPressEvent) -> None:
            if os.name != "nt":
                event.app.suspend_to_background()

        @bindings.add(Keys.Any)
        def press(event: KeyPressEvent) -> None:
            pressed = event.key_sequence[0]
            key = pressed.key
            name = _NAMES.get(key, key.value) if isinstance(key, Keys) else key
            self._begin(lambda: self._shown.press(name))

        return bindings

    def _begin(self, work: Callable[[], None]) -> None:
        if self._doing:  # it is seen to take long
            self._stopped = True
            return
        self._waiting.append(work)
        if not self._working:
            self._working = True
            self._app.create_background_task(self._work())

    async def _work(self) -> None:
        shown = self._shown
        try:
            while self._waiting and not shown.done:
                self._stopped, self._doing, self._told = False, "", time.monotonic()
                await asyncio.get_running_loop().run_in_executor(None, self._waiting.popleft())
                while (text := shown.editing) is not None:
                    shown.editing = None
                    shown.edited(await run_in_terminal(partial(_edit, text), in_executor=True))
        except Exception as error:
            self._app.exit(exception=error)
            return
        finally:
            self._working, self._doing = False, ""
        if shown.done:
            self._app.exit()
        self._app.invalidate()

    async def _idle(self) -> None:
        drawn = time.monotonic()
        more = True
        while more:
            await asyncio.sleep(BUSY_SECONDS if self._working else 0)
            if not self._working:
                more = self._shown.idle()
            if not more or time.monotonic() - drawn >= BUSY_SECONDS:
                drawn = time.monotonic()
                self._app.invalidate()

    def _text(self) -> ANSI:
        size = self._app.output.get_size()
        if not self._working:
            self._rows = self._shown.frame(max(1, size.columns), max(1, size.rows))
        rows = [*self._rows[:-1], Text(self._doing, "bold yellow")] if self._doing else self._rows
        with self._console.capture() as captured:
            self._console.print(Text("\n").join(rows), width=10_000, no_wrap=True, soft_wrap=True, end="")
        return ANSI(captured.get())


def _edit(text: str) -> str | None:
    import click

    return click.edit(text, extension=".md", require_save=True)
