"""The live display: what it leaves free, and what it leaves behind."""

from __future__ import annotations

import asyncio
import io
import time

import pytest
from rich.console import Console, Group, RenderableType
from rich.text import Text

from magpie_ollama.display import live
from magpie_ollama.run.progress import Progress


def _drawn(picture: RenderableType, height: int) -> str:
    """All that is written where ``picture`` is shown on a terminal of 40 columns."""
    console = Console(file=io.StringIO(), force_terminal=True, width=40, height=height, color_system=None)

    async def show() -> None:
        async with live.Showing(Progress(), console, "live", lambda width: picture, lambda: ""):
            await asyncio.sleep(0)

    asyncio.run(show())
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_echo_of_ctrl_c_folds_no_line() -> None:
    drawn = _drawn(Text("x" * 60, overflow="ellipsis", no_wrap=True), 10)
    assert 30 < drawn.count("x") < 40 - len("^C"), "the line is cut before the end of the screen's"


@pytest.mark.parametrize("width", [40, 60, 100])
def test_the_shares_of_arms_are_whole(width: int) -> None:
    found = {"exemplar+opener@0.7": 0.41, "system+opener@0.5": 0.3, "prefix+system@1": 0.2, "none@1": 0.09, "x@1": 0}
    told = live.shares(found, width)
    assert len(told) <= width
    assert told.startswith("exemplar+opener@0.7 41 %")
    assert all(part.rstrip(" …").endswith("%") for part in told.split(" · "))
    assert told.endswith("…") == (width < 100)


def test_a_picture_higher_than_the_screen_is_never_drawn_whole() -> None:
    drawn = _drawn(Group(*(Text(f"line {number}") for number in range(8))), 5)
    assert "line 0" in drawn
    assert "line 7" not in drawn, "it would scroll, and lines would stay on the screen"


@pytest.mark.parametrize("width", [120, 80, 60, 30])
def test_the_time_left_stands_first_and_is_seen_at_every_width(width: int) -> None:
    progress = Progress(target=100)
    progress.started = time.monotonic() - 60
    progress.kept = progress.kept_here = 20
    console = Console(file=io.StringIO(), width=width)
    console.print(live._picture(progress, "Italian · auto · it.jsonl", width))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert any(line.startswith("4 min 0 s left · 20.0 records") for line in shown.splitlines()), shown
    assert all(len(line) <= width for line in shown.splitlines())
