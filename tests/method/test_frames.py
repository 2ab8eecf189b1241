"""Foreign material on purpose is welcome, judged by what is said around it; a text that goes over is not."""

from __future__ import annotations

from collections import Counter

import pytest

from magpie_ollama import prompts
from magpie_ollama.method import languages
from magpie_ollama.method.checks import INSTRUCTIONS, Look, Rules, screened
from magpie_ollama.method.detection import Verdict, check, drifted
from magpie_ollama.method.naming import named
from magpie_ollama.method.reasons import Reason
from magpie_ollama.method.screening import ResponseWatch, screen_response
from magpie_ollama.method.steering import Steered
from magpie_ollama.method.template import Template
from magpie_ollama.method.writing import SCRIPTS
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
        begun = [text.text[:n] for n in range(40, len(text.text), 24)]
        assert [some for some in begun if drifted(some, text.code) and check(some, text.code) is Verdict.NO] == [], text


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
        ("es", f"Corrige mi inglés, por favor.\n\n{PLANETS}"),
        ("zh", f"把下面的句子翻译成中文。\n{PLANETS}"),
        ("id", f"Perbaiki tata bahasa kalimat ini - {PLANETS}"),
        ("ro", "ValueError: invalid literal for int() with base 10: 'abc'\n\nDe ce primesc eroarea asta?"),
        ("sv", f"Här är mejlet:\n\nHi Anna,\n\n{PLANETS}\n\nBest,\nErik\n\nVill du att jag gör det mer formellt?"),
        ("ja", f"日本語に訳してください：{PLANETS}"),
        ("pt", "Corrige a frase: She go to school by foot every days."),
        ("is", "Leiðréttu: I have goed to the store yesterday."),
        ("zh", f"翻译成中文:{PLANETS}"),
        ("zh-Hant", "請翻譯成中文:「The show must go on.」"),
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
        ("it", "Sto cercando un ristorante but I don't know dove andare because tutti i posti are closed oggi."),
        ("ru", "Вчера я пошёл в магазин because I needed some milk но там было closed and I went home грустный."),
        ("ja", "bom dia!"),
        ("tr", "Bana anlatır mısın how a car engine works step by step"),
        ("it", f"{BREAD} {PLANETS}"),
        ("it", f"{BREAD}\n\n{PLANETS}"),
        ("it", f"Translate into Italian: {PLANETS}"),
        ("af", "Hoe gaat het?\nIk zou graag willen weten hoe de planeten om de zon bewegen."),
    ],
)
def test_without_a_mark_or_a_clear_frame_they_are_not(code: str, text: str) -> None:
    assert check(text, code) is Verdict.NO


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("es", "Traduce esto: Je voudrais réserver une table pour deux personnes ce soir."),
        ("fr", "corrige les fautes\n\nDear Sir, I am writting to you becose I want to aply for the job."),
        ("en", "translate to english: ¿Dónde está la biblioteca más cercana?"),
    ],
)
def test_foreign_words_are_not_taken_for_invented(code: str, text: str) -> None:
    assert screened(INSTRUCTIONS, Look(text, rules=Rules(languages.load(code)))).reason is None


def test_invented_words_behind_a_mark_are() -> None:
    text = (
        "Traduce esto: The brindled scrope was vorpling the mungate when seldric tronches gribbed the wastle scrumply."
    )
    verdict = screened(INSTRUCTIONS, Look(text, rules=Rules(languages.load("es"))))
    assert verdict.reason is Reason.INVENTED_WORDS


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("fr", "Quel Zelda commencer, Breath of the Wild ou Ocarina of Time ?"),
        ("sr", "Шта значи »Guten Appetit«?"),
    ],
)
def test_a_few_words_around_titles_or_a_quotation_are_kept(code: str, text: str) -> None:
    assert check(text, code) is Verdict.UNKNOWN


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


@pytest.mark.parametrize("row", frames.rows(), ids=lambda row: row["code"])
def test_every_language_names_english_in_its_own_way(row: dict[str, str]) -> None:
    assert named(row["english"], row["code"]) == {"en"}
    assert named(row["correct"].format(PLANETS), row["code"]) == {"en"}
    assert [key for key in ("translate", "ask", "error", "titles", "half") if named(row[key], row["code"])] == []


def test_a_language_that_is_only_asked_about_is_not_named_for_an_answer() -> None:
    assert named("Come posso migliorare il mio inglese?", "it") == frozenset()
    assert named("Scrivi in tedesco una poesia sul mare", "it") == {"de"}
    assert named("Wie heißt „guten Morgen“ auf Italienisch und auf Französisch?", "de") == {"it", "fr"}


def test_there_are_names_for_every_language() -> None:
    data = prompts.read(prompts.folder("screening") / "names.toml")
    assert data["names"].keys() == {*SCRIPTS, "hi-Latn"}
    number = len(data["targets"].split())
    assert {code: names for code, names in data["names"].items() if len(names.split()) != number} == {}


def test_an_answer_may_be_in_the_language_that_its_instruction_names() -> None:
    asked, other = "Traduci in inglese: Il cane dorme sotto il tavolo di legno.", "Scrivi due righe sul tuo cane."
    english = "The dog sleeps under the wooden table while everybody else is eating in the kitchen."
    rules, template = Rules(languages.load("it")), Template("", "", (), "")
    screened = {text: screen_response(english, "stop", text, rules, Steered(""), template) for text in (asked, other)}
    assert screened == {asked: None, other: Reason.RESPONSE_WRONG_LANGUAGE}
    assert not ResponseWatch(rules, template, asked=asked)(english)
    assert ResponseWatch(rules, template, asked=other)(english)
    asked, answer = "Donne-moi une recette.", f"Voici une recette.\n\nIngredients: two eggs. {PLANETS}"
    french = Rules(languages.load("fr"))
    assert screen_response(answer, "stop", asked, french, Steered(""), template) is Reason.RESPONSE_WRONG_LANGUAGE
    assert screen_response(answer, "stop", f"{asked[:-1]} en anglais.", french, Steered(""), template) is None
    assert screen_response(answer, "stop", f'{asked} "Two eggs."', french, Steered(""), template) is None
    german = "Der Hund schläft unter dem Tisch, während alle anderen in der Küche essen."
    assert screen_response(german, "stop", asked, rules, Steered(""), template) is Reason.RESPONSE_WRONG_LANGUAGE
