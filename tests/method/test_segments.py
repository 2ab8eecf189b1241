"""What of a text is prose, where its sentences end, and which letters it has."""

from __future__ import annotations

import pytest

from magpie_ollama.method import segments
from magpie_ollama.method.writing import letters_by_script


def test_letters_are_counted_by_script() -> None:
    assert letters_by_script("abc, где? 12") == {"Latn": 3, "Cyrl": 3}
    assert letters_by_script("日本") == {"Hani": 6}


def test_prose_keeps_sentences_and_loses_code() -> None:
    text = "Leggi `a b` su https://example.org/x in 3 passi:\n```\nint x = 1;\n```\nE poi?"
    assert segments.prose(text).split() == ["Leggi", "su", "in", "passi:", "E", "poi?"]


def test_prose_keeps_letters_next_to_digits_in_scripts_without_spaces() -> None:
    assert "カ国協議を含め" in segments.prose("6カ国協議を含め")


@pytest.mark.parametrize("text", ["Grazie mille! ~~~ Ora spiegami", "Leggi \\( ora spiegami \\( x^2 \\) e poi?"])
def test_what_only_looks_like_an_opening_hides_nothing(text: str) -> None:
    assert "spiegami" in segments.prose(text)
    assert segments.prose("Leggi:\n  ~~~ python\nx = 1\n  ~~~\nE poi?").split() == ["Leggi:", "E", "poi?"]


def test_a_text_that_is_all_quotation_keeps_it() -> None:
    assert "buongiorno" in segments.prose('"buongiorno a tutti"')


def test_sentences_end_where_they_end() -> None:
    assert segments.sentences("Uno. Due?\nTre 3.5 - ...\n---\n四。五") == [
        "Uno.",
        "Due?",
        "Tre 3.5 - ...",
        "四。",
        "五",
    ]


@pytest.mark.parametrize(
    "unit",
    ["_", "-", "+", "e.g.", "self.x.y.", "x.py", "a_", "aB", "a@b", "f(", "a.b(", "QmFzZTY0+/", "/.", "\\[", "\\(",
     "$$a", "\\a{", "<a ", "`", "„", "*a", "=", "[", "; ", '."', " ", "字"],
)  # fmt: skip
@pytest.mark.parametrize("before", ["", "x\n$ "])
def test_a_run_of_anything_takes_no_longer_than_its_length(unit: str, before: str) -> None:
    text = before + unit * (200_000 // len(unit)) + "è a"
    assert len(segments.prose(text)) <= len(text)


def test_what_is_in_no_language_goes_however_it_is_written() -> None:
    aside = "a.b-c+d@mail.example.org np.linalg.norm(a, b) snake_case_name setup.cfg.json x=[1] \\[ a^2 \\] --dry-run"
    assert segments.prose(f"Leggi {aside} e poi?").split() == ["Leggi", "x=[", "]", "e", "poi?"]
    code = "  $ pip install numpy[all]\nimport numpy as np  \nfor x in y:\n  print(x);\n} \n42 %"
    assert segments.prose(f"Leggi:\n{code}\nE poi?").split() == ["Leggi:", "E", "poi?"]
