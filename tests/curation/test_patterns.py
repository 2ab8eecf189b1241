"""Users' regular expressions: what is one sign, and that each comes to an end."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
import unicodedata

import pytest

from magpie_ollama.corpus import shapes
from magpie_ollama.corpus.reading import Row
from magpie_ollama.curation import patterns
from magpie_ollama.curation.patterns import Pattern, bounded
from magpie_ollama.errors import UsageError


def row(response: str, number: int = 1) -> Row:
    data = {"instruction": "Quanto?", "output": response}
    said = shapes.find(data)
    assert isinstance(said, shapes.Said)
    return Row(number, json.dumps(data).encode(), data, said)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("I'm sorry", "I’m sorry, but", True),
        ("I’m sorry", "I'm sorry, but", True),
        ("I'm sorry", "I m sorry", False),
        ("I'm sorry", "i'm sorry", False),
        ("(?i)I'm sorry", "I’M SORRY", True),
        ('say "no"', "say “no”", True),
        ("l'eau [^']*froide", "L’eau, l’eau froide", True),
        ("10 km", "10\u00a0km", True),
        ("co-op", "co\u2011op", True),
        ("pages 3-5", "pages 3–5", False),
        ("caffè", unicodedata.normalize("NFD", "un caffè"), True),
        (unicodedata.normalize("NFD", "caffè"), "un caffè", True),
        ("caff[eè]$", unicodedata.normalize("NFD", "caffè"), True),
        (r"\u2019", "I’m", True),
        (r"\u2019", "I'm", False),
        (r"\u0300", unicodedata.normalize("NFD", "è"), True),
        (r"^\w+$", "parola", True),
        ("quanto|QUANTO", "", False),
        ("Quanto", "", True),
    ],
)
def test_signs_that_are_written_in_two_steerings_are_one(pattern: str, text: str, found: bool) -> None:
    assert Pattern(pattern).is_in(row(text)) is found


@pytest.mark.parametrize("wrong", ["a(", "*", "[", "x{99999999999}", "(" * 5000 + ")" * 5000, r"\1", "(?P<a>"])
def test_what_is_no_regular_expression_is_told(wrong: str) -> None:
    with pytest.raises(UsageError, match=r"is no regular expression") as told:
        Pattern(wrong)
    assert "docs.python.org" in told.value.remedy


def test_a_set_that_python_may_read_otherwise_one_day_is_no_matter() -> None:
    assert Pattern("[[a]").is_in(row("[")), "Python would print a FutureWarning"


posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX timers")


@posix
@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"^\s*(\d+\s*)+$", " ".join(map(str, range(100_000, 100_012))) + " ."),
        ("(a+)+b", "a" * 50),
        (r"(\d|\d\d)+!", "1" * 60),
        (r"\s+x", " " * 300_000 + "y"),
        (r".*,.*,.*,.*!", "a," * 3_000),
    ],
)
def test_a_pattern_that_does_not_end_is_given_up_with_its_line(
    pattern: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "SECONDS", 1)
    started = time.process_time()
    with pytest.raises(UsageError, match=f"{re.escape(repr(pattern))} comes to no end on line 7") as told, bounded():
        Pattern(pattern).is_in(row(text, 7))
    assert time.process_time() - started < 8
    assert "drop --line 7" in told.value.remedy


@posix
def test_much_work_on_many_records_is_no_reason_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "SECONDS", 1)
    before = signal.getsignal(signal.SIGVTALRM)
    started, slow = time.process_time(), Pattern(r"\s+x")
    with bounded():
        while time.process_time() - started < 2.5:
            assert not slow.is_in(row(" " * 8_000))
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGVTALRM) is before


def test_long_texts_are_searched_as_short_ones_are() -> None:
    far = "x" * 200_000
    assert Pattern("^x+\\b!").is_in(row(far + "!"))
    assert Pattern("(?<=x)end$").is_in(row(far + "end"))
    assert not Pattern("^end").is_in(row(far + "end"))
