"""No test fails because the machine is busy (Hypothesis, too, sets no limit of time), nor because of who started it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # all else as the profile that Hypothesis takes here, or in CI
settings.load_profile("unhurried")

# Tests send signals, to processes and to themselves. In a background job SIGINT is ignored, under nohup SIGHUP is, and
# what they start would inherit that; a handler it does not.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda number, frame: None)


@pytest.fixture(scope="session", autouse=True)
def nobodys_defaults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The config file of whoever runs the tests is not read, by processes that they start neither."""
    before = os.environ.get("XDG_CONFIG_HOME")
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))
    yield
    if before is not None:
        os.environ["XDG_CONFIG_HOME"] = before
