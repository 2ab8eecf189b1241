"""Ctrl-C, or a request to end: the first ends a run in good order, the second leaves now."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

ENDS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""SIGHUP, which Windows lacks, comes when the terminal's window is closed."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run``, which ends with KeyboardInterrupt where Ctrl-C came again while all was being closed."""
    try:
        return asyncio.run(main)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@contextmanager
def on_interrupt(first: Callable[[], None]) -> Iterator[None]:
    """Within the block, each of ``ENDS`` calls ``first`` in the event loop; the next one cancels the current task, and
    any other that is amid a step then. What this process was started to ignore stays ignored: SIGINT in a background
    job, SIGHUP under nohup. A closed window may send SIGHUP more than once, and means nothing more by it.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    count = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal count
        if count and number == getattr(signal, "SIGHUP", None):
            return
        count += 1
        amid = asyncio.current_task(loop) if count > 1 else None
        if amid is not task:
            # signal.signal and not loop.add_signal_handler: the same on Windows.
            loop.call_soon_threadsafe(first if count == 1 else task.cancel)
        if amid is not None:
            # The loop may stand still in it, before a full pipe or a FIFO without a reader: only an error ends that.
            raise asyncio.CancelledError

    heard = [number for number in ENDS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
