"""Ctrl-C while modules are loaded."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from magpie_ollama.errors import INTERRUPTED


@contextmanager
def loading() -> Iterator[None]:
    """Within the block, Ctrl-C ends the process at once: nothing is under way, and what is imported may make an error
    of its own of a KeyboardInterrupt, as pydantic does."""
    own = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not ignored, and not another's
    if not own or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
