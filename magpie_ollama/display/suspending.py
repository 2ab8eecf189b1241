"""Ctrl-Z and `fg`: the terminal is given back as it was, and taken again. Windows knows neither."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console


class Suspension:
    """``asked`` says that whoever draws is to leave the terminal and call ``stop``: a signal's handler may come amid
    a drawing, and must not write itself."""

    def __init__(self) -> None:
        self.asked = False

    def stop(self) -> None:
        """Stops this process until `fg` or `bg` continues it."""
        self.asked = False
        if sys.platform != "win32":
            handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)
            signal.signal(signal.SIGTSTP, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:  # nobody did anything about it: better now than never
            self.stop()
        else:
            self.asked = True


@contextmanager
def suspending() -> Iterator[Suspension]:
    """Within the block, Ctrl-Z asks for a suspension, where it would stop this process."""
    suspension = Suspension()
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield suspension
        return
    before = signal.getsignal(signal.SIGTSTP)
    if before != signal.SIG_DFL:  # ignored, or another's
        yield suspension
        return
    signal.signal(signal.SIGTSTP, suspension._ask)
    try:
        yield suspension
    finally:
        signal.signal(signal.SIGTSTP, before)


def in_foreground(console: Console) -> bool:
    """Whether the terminal is ours to draw on, and not a shell's or another program's. True where that is not told."""
    if sys.platform == "win32":
        return True
    try:
        return os.tcgetpgrp(console.file.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return True
