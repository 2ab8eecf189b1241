"""What can go wrong with an answer: real servers do all of this, and each has cost somebody a night's run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Final, Literal

Kind = Literal[
    # In place of the answer:
    "busy",  # 503, the queue is full
    "out_of_memory",  # 500
    "load_crash",  # 500
    "status",  # `status` with `text` as error
    "html_200",  # a proxy's page, as if all were well
    "html_502",
    "drop",  # the connection is closed before any header
    "reset",  # the same with a TCP reset
    # Before the answer:
    "slow_load",  # `seconds` of silence before the headers, told as load_duration
    # Within the answer, after `after` lines of a stream:
    "drop_mid",  # the connection breaks
    "engine_dies",  # an error line after HTTP 200 (500 where nothing is streamed)
    "error_mid",  # the same with `text`
    "incomplete_nothing",  # 200, done false, no text (a stream: no line at all)
    "incomplete_part",  # 200, done false, a part of the text (a stream: it just ends)
    "stall",  # `seconds` without a byte, then it goes on
    "half_line",  # it ends within a line of JSON
    "bad_utf8",  # a line with bytes that are no UTF-8, then it goes on
    "huge_line",  # a line of 10 MB, then it goes on
    "endless",  # the lines again and again, until the client closes the connection
]

INSTEAD: Final = frozenset({"busy", "out_of_memory", "load_crash", "status", "html_200", "html_502", "drop", "reset"})

PAGE: Final = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"

_TEXT_STARTS: Final = (b'"response":"', b'"content":"', b'"text":"')


@dataclass(frozen=True, slots=True)
class Fault:
    kind: Kind
    after: int = 3
    seconds: float = 1.0
    status: int = 500
    text: str = "something went wrong"


def as_fault(fault: Fault | Kind | None) -> Fault | None:
    return Fault(fault) if isinstance(fault, str) else fault


class Break:
    """A step of a stream: the connection breaks here."""


Step = bytes | float | Break
"""Bytes to send, seconds to wait, or the break."""


def steps(lines: list[bytes], fault: Fault, error_line: bytes) -> Iterator[Step]:
    """The stream `lines` with the fault in it."""
    before, rest = lines[: fault.after], lines[fault.after :]
    if not rest and len(lines) > 1:  # a short answer: the fault still comes before its last line
        before, rest = lines[:-1], lines[-1:]
    match fault.kind:
        case "drop_mid":
            yield from before
            yield Break()
        case "engine_dies" | "error_mid":
            yield from (*before, error_line)
        case "incomplete_nothing":
            return
        case "incomplete_part":
            yield from before
        case "stall":
            yield from before
            yield fault.seconds
            yield from rest
        case "half_line":
            yield from (*before, rest[0][: len(rest[0]) // 2])
        case "bad_utf8" | "huge_line":
            yield from (*before, spoiled(rest[0], fault), *rest[1:])
        case "endless":
            yield from _slowly(cycle(lines[:-1]))
        case _:
            yield from lines


def _slowly(lines: Iterable[bytes]) -> Iterator[Step]:
    """With a pause after each line: an endless stream without one would starve the server's own loop."""
    for line in lines:
        yield line
        yield 0.001


def spoiled(line: bytes, fault: Fault) -> bytes:
    """One line (or one whole body) with something in its text that should not be there."""
    ballast = b"\xff\xfe" if fault.kind == "bad_utf8" else b"word " * 2_000_000
    for start in _TEXT_STARTS:
        head, found, tail = line.partition(start)
        if found:
            return head + found + ballast + tail
    return line
