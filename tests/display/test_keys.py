"""Keys as terminals send them."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterator

import pytest

from magpie_ollama.display import keys


@pytest.fixture
def typed() -> Iterator[tuple[keys._Terminal, int]]:
    reading, writing = os.pipe()
    yield keys._Terminal(reading), writing
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    ("sent", "names"),
    [
        (b"\x1b[A\x1b[B\x1bOC\x1bOD", ["up", "down", "right", "left"]),
        (b"\x1b[5~\x1b[6~\x1b[1~\x1bOF", ["page up", "page down", "home", "end"]),
        (b"n \r\x7f", ["n", " ", "enter", "backspace"]),
        ("/雪é".encode(), ["/", "雪", "é"]),
        (b"\x1b[1;5Cq", ["", "q"]),  # a key that means nothing here is taken whole
        (b"\x1b", ["escape"]),
        (b"\x00\x01n", ["", "", "n"]),
    ],
)
def test_names(typed: tuple[keys._Terminal, int], sent: bytes, names: list[str]) -> None:
    terminal, fd = typed
    os.write(fd, sent)
    assert [terminal.read(0) for _ in names] == names
    assert terminal.read(0) == ""


def test_a_sequence_in_two_pieces(typed: tuple[keys._Terminal, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "ESCAPE_SECONDS", 5)
    terminal, fd = typed
    os.write(fd, b"\x1b")
    pieces = iter([b"[", b"6~"])
    receive = terminal._receive

    def more(seconds: float) -> None:
        if seconds:
            os.write(fd, next(pieces))
        receive(seconds)

    monkeypatch.setattr(terminal, "_receive", more)
    assert terminal.read(0) == "page down"


def test_a_character_in_two_pieces(typed: tuple[keys._Terminal, int]) -> None:
    terminal, fd = typed
    os.write(fd, "雪".encode()[:1])
    assert terminal.read(0) == ""
    os.write(fd, "雪".encode()[1:])
    assert terminal.read(0) == "雪"


def test_the_terminal_is_gone() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(EOFError):
        keys._Terminal(reading).read(0)
    os.close(reading)


def test_the_console_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = list("n\xe0Q\xe0H\r\x1b雪")
    fake = types.SimpleNamespace(kbhit=lambda: bool(sent), getwch=lambda: sent.pop(0))
    monkeypatch.setitem(sys.modules, "msvcrt", fake)
    console = keys._Console()
    assert [console.read(0) for _ in range(7)] == ["n", "page down", "up", "enter", "escape", "雪", ""]
    sent.append("\x03")
    with pytest.raises(KeyboardInterrupt):
        console.read(0)
