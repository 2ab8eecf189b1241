"""What keys make of the page, without a terminal."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magpie_ollama.curation import pages
from magpie_ollama.curation.pages import Lines
from magpie_ollama.display.characters import cells
from magpie_ollama.display.pager import Pager


def line(instruction: str, response: str = "Sì.") -> bytes:
    return json.dumps({"instruction": instruction, "output": response}, ensure_ascii=False).encode() + b"\n"


FILE = b"".join(
    (
        line("Primo?"),
        line("Secondo, dove?", "\n".join(f"riga {n}" for n in range(40)) + "\nIn FONDO al pozzo"),
        b"\n",
        b"{broken\n",
        line("雪 \x1b[2J dove?"),
        line("Ultimo"),
    )
)


@pytest.fixture
def pager(monkeypatch: pytest.MonkeyPatch) -> Pager:
    monkeypatch.setattr(pages, "BLOCK", 16)  # so that what is asked for is mostly not indexed yet
    return started(FILE)


def started(content: bytes) -> Pager:
    pager = Pager(Lines(io.BytesIO(content)), "a.jsonl")
    pager.jump(1)
    pager.frame(60, 12)
    return pager


def press(pager: Pager, *pressed: str) -> str:
    for key in pressed:
        pager.press(key)
    return "\n".join(row.plain for row in pager.frame(60, 12))


def test_one_record_a_page_and_blank_lines_are_passed_over(pager: Pager) -> None:
    assert "Primo?" in press(pager)
    assert "Secondo" in press(pager, "right")
    assert "Line 4 is not valid JSON" in press(pager, "right")
    assert r"雪 \x1b[2J" in press(pager, "enter")
    assert "Ultimo" in press(pager, "right")
    assert "This is the last record." in press(pager, "right")
    assert "6 of 6" in press(pager)
    assert "Line 4" in press(pager, "p", "left")
    assert "Secondo" in press(pager, "backspace")
    assert "This is the first record." in press(pager, "p", "p")


def test_first_last_and_jump(pager: Pager) -> None:
    assert "Ultimo" in press(pager, "G")
    assert "Primo" in press(pager, "g")
    assert "雪" in press(pager, "5", "enter")
    assert "Secondo" in press(pager, ":", "2", "enter")
    assert "There is no line 99: the file has 6." in press(pager, *":99", "enter")
    assert "x is no line number." in press(pager, ":", "x", "enter")
    assert pager.index == 1
    assert ":12" in press(pager, "1", "2")
    assert ":1▏" in press(pager, "backspace")
    assert ":1" not in press(pager, "escape")
    assert not pager.done


def test_scrolling_within_a_long_record(pager: Pager) -> None:
    assert "rows 1-10 of" in press(pager, "right")
    assert "rows 2-11 of" in press(pager, "j")
    assert "rows 1-10 of" in press(pager, "up", "up")
    assert "riga 22" in press(pager, " ", "pagedown")
    assert "In FONDO" in press(pager, *["pagedown"] * 9)
    assert pager.index == 1
    press(pager, " ")
    assert pager.index == 3


def test_search_finds_further_back_and_within_the_page(pager: Pager) -> None:
    assert "In FONDO" in press(pager, *"/in fondo", "enter")
    assert pager.index == 1
    marked = [row.plain for row in pager.frame(60, 12) if any(span.style == "reverse" for span in row.spans)]
    assert marked == ["  In FONDO al pozzo"]
    press(pager, *"/dove?", "enter")
    assert pager.index == 1
    press(pager, "/", "enter")
    assert pager.index == 4
    assert "Not found further on." in press(pager, "n")
    press(pager, "N")
    press(pager, "n")
    assert pager.index == 4
    press(pager, "N")
    assert pager.index == 1
    assert "Not found before." in press(pager, "N")
    assert "Not found further on." in press(pager, *"/assente", "enter")
    assert "Search first" in press(started(FILE), "N")
    assert "Search first" in press(started(FILE), "n")


def test_what_takes_long_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "BLOCK", 16)
    told: list[str] = []
    pager = Pager(Lines(io.BytesIO(FILE)), "a", lambda doing: bool(told.append(doing)) or len(told) > 2)
    pager.jump(6)
    assert pager.message == "Stopped."
    assert pager.index == 0
    assert told[0].startswith("Reading the file")


@settings(max_examples=60)
@given(
    st.integers(1, 120),
    st.integers(1, 40),
    st.lists(st.sampled_from(["right", "p", "j", " ", "G", "/", "?"]), max_size=5),
)
def test_a_frame_is_as_large_as_the_terminal(width: int, height: int, pressed: list[str]) -> None:
    pager = started(FILE)
    for key in pressed:
        pager.press(key)
    frame = pager.frame(width, height)
    assert len(frame) == height
    assert all(cells(row.plain) <= max(width, 4) and "\n" not in row.plain for row in frame)


def test_a_long_name_does_not_hide_the_place() -> None:
    pager = Pager(Lines(io.BytesIO(FILE)), "a" * 99)
    pager.jump(2)
    assert pager.frame(60, 12)[0].plain.endswith("a  2 of 6  rows 1-10 of 46")


def test_leaving() -> None:
    for key in ("q", "escape"):
        pager = started(FILE)
        pager.press(key)
        assert pager.done
