"""The suite's rounds are counted, and told at the end in one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands.conftest import own_folder, run
from faults.trial import TALLY, Trial

__all__ = ["own_folder", "run"]


@pytest.fixture
def trial(own_folder: Path) -> Iterator[Trial]:
    trial = Trial()
    yield trial
    trial.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLY.rounds:
        terminalreporter.section("fault suite")
        terminalreporter.line(str(TALLY))
        terminalreporter.line(" · ".join(f"{count} {kind}" for kind, count in TALLY.rounds.items()))
