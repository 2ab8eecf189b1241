"""Text of unknown origin, made harmless and folded."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magpie_ollama import prompts
from magpie_ollama.display.characters import cells, inline, printable, wrap
from magpie_ollama.method import languages

TEXTS = [exemplar.response for code in prompts.names("languages") for exemplar in languages.load(code).exemplars[:2]]


@given(st.text())
def test_nothing_that_moves_the_cursor_is_left(text: str) -> None:
    shown = printable(text)
    shown.encode()  # no halves of surrogate pairs
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs") and c != "\n"]
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb", r"a\u202eb"),
        ("\ud83d", r"\ud83d"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # the joiners belong to the spelling
    ],
)
def test_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_right_to_left_is_isolated_within_a_line_of_ours_and_never_reversed() -> None:
    assert inline("שלום\nעולם") == "\u2068שלום עולם\u2069"
    assert inline("a\nb") == "a b"


@given(st.one_of(st.sampled_from(TEXTS), st.text()).map(printable), st.integers(2, 60))
def test_rows_fit_and_hold_everything_but_the_spaces_at_folds(text: str, width: int) -> None:
    spans = wrap(text, width)
    assert all(cells(text[start:end]) <= width for start, end in spans)
    gaps = zip([0, *(end for _, end in spans)], [*(start for start, _ in spans), len(text)], strict=True)
    assert not "".join(text[end:start] for end, start in gaps).strip(" \n")
    assert len(spans) >= text.count("\n") + 1


@pytest.mark.parametrize("code", prompts.names("languages"))
def test_a_mark_stays_with_its_letter(code: str) -> None:
    text = languages.load(code).exemplars[0].response
    firsts = [text[start] for start, end in wrap(text, 7) if end > start]
    assert not [char for char in firsts if unicodedata.category(char) in ("Mn", "Me")]


def test_folds() -> None:
    def rows(text: str, width: int) -> list[str]:
        return [text[start:end] for start, end in wrap(text, width)]

    assert rows("The quick brown fox", 10) == ["The quick", "brown fox"]
    assert rows("    indented words", 12) == ["    indented", "words"]
    assert rows("a\n\nb", 9) == ["a", "", "b"]
    assert rows("雪が降る。Pythonで書く。", 10) == ["雪が降る。", "Pythonで書", "く。"]
    assert rows("雪が降った。", 10) == ["雪が降っ", "た。"]  # no row begins with the full stop
    assert rows("안녕하세요 여러분", 12) == ["안녕하세요", "여러분"]
    assert rows("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]
