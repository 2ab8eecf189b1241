"""Foreign material on purpose is welcome, judged by what is said around it; a text that goes over is not."""

from __future__ import annotations

from collections import Counter

import pytest

from magpie_ollama.method.detection import Verdict, check, drifted
from tests.method import frames

BREAD = "Per fare il pane servono farina, acqua, lievito e sale."
PLANETS = "I would like to know how the planets move around the sun."


def test_nearly_all_of_what_a_reader_would_keep_is_accepted_and_little_else() -> None:
    faults: Counter[str] = Counter()
    number: Counter[str] = Counter()
    for group, texts in (("right", frames.right()), ("wrong", frames.wrong())):
        for kind, code, text, opener in texts:
            refused = check(text, code, opener=opener) is Verdict.NO
            for name in (group, kind):
                number[name] += 1
                faults[name] += refused is (group == "right")
    share = {name: faults[name] / number[name] for name in number}
    assert share["right"] <= 0.01
    assert max(share[kind] for kind in ("translate", "correct", "ask", "quote", "answer")) <= 0.02
    assert share["wrong"] <= 0.03


@pytest.mark.parametrize("kind", ["translate", "error", "ask"])
def test_a_request_with_foreign_words_is_not_cut_off_while_it_is_written(kind: str) -> None:
    for text in (text for text in frames.right() if text.kind == kind and text.code in ("it", "ru", "hi", "nl")):
        assert [n for n in range(40, len(text.text), 24) if drifted(text.text[:n], text.code)] == [], text


GERMAN = """Diese drei Filme kann ich dir empfehlen:
1. The Shawshank Redemption – Ein Bankier wird unschuldig verurteilt und gibt nie auf.
2. Back to the Future – Ein Schüler reist mit einem Auto in die Vergangenheit.
3. The Silence of the Lambs – Eine junge Agentin sucht einen Mörder.
Viel Vergnügen!"""


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("de", GERMAN),
        ("it", f"Traduci in italiano: {PLANETS} They never fall into it, and nobody knows why."),
        ("it", f"{PLANETS}\nCome si traduce in italiano questa frase?"),
        ("it", f"Ecco la frase corretta:\n\n{PLANETS}\n\nHo cambiato solo il verbo."),
        ("ru", f"Переведи на русский: {PLANETS}"),
        ("ja", f"日本語に訳してください：{PLANETS}"),
    ],
)
def test_foreign_words_behind_a_mark_are_welcome(code: str, text: str) -> None:
    assert check(text, code) is Verdict.YES


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("it", "Come posso improve my English and find new friends in the city?"),
        ("ru", "Как мне improve my English and find new friends in the city?"),
        ("zh", "我想知道怎么才能 improve my English and find new friends in the city"),
        ("it", f"{BREAD} {PLANETS}"),
        ("it", f"{BREAD}\n\n{PLANETS}"),
        ("it", f"Translate into Italian: {PLANETS}"),
        ("af", "Hoe gaat het?\nIk zou graag willen weten hoe de planeten om de zon bewegen."),
    ],
)
def test_without_a_mark_or_a_clear_frame_they_are_not(code: str, text: str) -> None:
    assert check(text, code) is Verdict.NO


def test_words_behind_an_opener_are_judged_alone_too() -> None:
    text = "M'agradaria saber com puc the cat sat on the mat"
    opener = "M'agradaria saber com puc"
    assert check(f"{opener} fer un pastís sense ous?", "ca", opener=opener) is Verdict.YES
    assert check(text, "ca", opener=opener) is Verdict.NO
    for opener in ("Traduci in italiano:", "Traduci in italiano", "Traduci"):
        assert check(f"Traduci in italiano: {PLANETS}", "it", opener=opener) is Verdict.YES
        assert check(f"{opener} {PLANETS}", "it", opener=opener) is (
            Verdict.YES if opener.endswith(":") else Verdict.NO
        )
    assert check("Puoi tradurre questo testo?\n" + PLANETS, "it", opener="Puoi tradurre questo testo?") is Verdict.YES
