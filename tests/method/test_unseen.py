"""Characters that nobody sees: spelling stays, what carries nothing goes, what steers or hides is found."""

from __future__ import annotations

import pytest

from magpie_ollama.method import languages
from magpie_ollama.method.unseen import clean, forbidden


@pytest.mark.parametrize("code", languages.codes())
def test_the_texts_of_all_languages_stay_as_they_are(code: str) -> None:
    language = languages.load(code)
    texts = [language.system, language.system_multi_turn, *(part for e in language.exemplars for part in e)]
    texts += [opener for group in language.openers.values() for opener in group]
    assert [text for text in texts if clean(text) != text or forbidden(text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cخواهم",
        "ه\u200d ق",
        "क्\u200dष",
        "বাং\u200cলা",
        "👨\u200d👩\u200d👧",
        "❤\ufe0f\u200d🔥",
        "🏳\ufe0f\u200d🌈",
        "👩🏽\u200d💻",
        "🙂\u200d↔\ufe0f",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "1\ufe0f\u20e3",
        "葛\U000e0100",
        "שלום\u200f!",
        "ភាសា\u200bខ្មែរ",
        "Ⓜ\ufe0f ©\ufe0f",
        "a\tb\n\nc",
    ],
)
def test_what_a_script_or_a_sign_is_written_with_stays(text: str) -> None:
    assert clean(text) == text
    assert not forbidden(text)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a\r\nb\rc\u2028d\x0ce", "a\nb\nc\nd\ne"),
        ("\ufeffpass\u200bword\u2060", "password"),
        ("so\u00adft", "soft"),
        ("a\u200c\u200db", "ab"),
        ("می\u200c\u200c\u200dخواهم", "می\u200cخواهم"),
        ("x\u200ey", "xy"),
    ],
)
def test_what_carries_nothing_goes(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned
    assert not forbidden(cleaned)


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[31mred",
        "\x1b]52;c;aGk=\x07",
        "a\bb",
        "\0",
        "\x7f",
        "\x9b31m",
        "a\u0085b",
        "abc\u202edef",
        "\u202aabc\u202c",
        "\u2066x\u2069",
        "x\u2062y",
        "x\U000e0041\U000e0042",
        "🏴" + "\U000e0041" * 20,
        "a\ufe0f",
        "😀\ufe0e\ufe01",
        "A\U000e0101",
        "\u3164",
        "\ufdd0",
    ],
)
def test_what_steers_or_hides_is_found(text: str) -> None:
    assert forbidden(clean(text))
    assert forbidden(clean("What is rain? " + text), since=14)
