"""Ctrl-C: the first ends a run in good order, the second leaves now."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run``, which ends with KeyboardInterrupt where Ctrl-C came again while all was being closed."""
    try:
        return asyncio.run(main)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@contextmanager
def on_interrupt(first: Callable[[], None]) -> Iterator[None]:
    """Within the block, SIGINT and SIGTERM call ``first`` in the event loop; the next one cancels the current task, and
    any other that is amid a step then."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    count = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        amid = asyncio.current_task(loop) if count > 1 else None
        if amid is not task:
            # signal.signal and not loop.add_signal_handler: the same on Windows.
            loop.call_soon_threadsafe(first if count == 1 else task.cancel)
        if amid is not None:
            # The loop may stand still in it, before a full pipe or a FIFO without a reader: only an error ends that.
            raise asyncio.CancelledError

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
