"""The table of an experiment: nothing of it is cut, however wide the terminal is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from magpie_ollama.comparison.experiment import Cell, Tried
from magpie_ollama.comparison.findings import findings
from magpie_ollama.display.findings import table


def _row(index: int, steering: str) -> Tried:
    outcome = "empty" if index % 7 == 0 else "kept"
    text = f"Come posso {index}?"
    return Tried("s", "m:1b", "it", steering, index, index, steering, outcome, "yes", True, 0.5, 20, 0, 1.0, text, "")


def _shown(width: int) -> str:
    rows = {
        Cell("m:1b", "it", steering): [_row(index, steering) for index in range(80)]
        for steering in ("prefix", "exemplar+opener")
    }
    console = Console(width=width, file=io.StringIO())
    console.print(table(findings(rows), width))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_table_is_whole_at_any_width() -> None:
    whole = [width for width in range(60, 141, 4) if "spread" in _shown(width)]
    assert whole, "where there is room, all figures"
    assert whole == list(range(whole[0], 141, 4))
    for width in range(60, 141, 4):
        assert "…" not in _shown(width), width
        assert "★" in _shown(width), width


def test_a_terminal_without_a_cursor_has_the_narrow_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, for Rich
    shown = _shown(80)
    assert "★" in shown
    assert "…" not in shown
    assert "spread" not in shown
