"""Words that exist and words that do not: what counts, what does not, and what cannot be said."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from magpie_ollama.method import languages, vocabulary
from magpie_ollama.method.checks import INSTRUCTIONS, Look, screened
from magpie_ollama.method.reasons import Reason
from magpie_ollama.method.screening import InstructionWatch, Rules, prepare
from magpie_ollama.method.template import SENTINELS, cut
from magpie_ollama.method.vocabulary import FLOORS, invented, known

TEMPLATE = cut([f"<|user|>{words}<|assistant|>" for words in SENTINELS], "test", "model")
INVENTED = {
    "es": "necesito lo que está babío no compreoncionávele o desajanoa para aducir el mapordas de ceembro",
    "it": "il comprensalità della strunta e un arginozzo per la vennera che non trillaveva il forbinesto",
    "de": "Der normeinem Reaten bis ist Wordnerung mir wir fehlesten Stradigung bis und Vermunkelheit",
    "nl": "het vandse beging op volgenoemd de stadiep lands en de grootterste ouden doort",
    "fi": "kertyvinen puhaltuminaisto on yölaukajinen ja vesisammattila oli progrellinen kuusterma",
    "tr": "etkilomun üstündek ve delimcillerdek çokluyan bir hareketkilmiş ve ilkelçuklarlamış",
    "ru": "нормеинный стравень был ворднером и мыслевает фехлесту, бегинный воложенник стадиевал грозтерство",
    "he": "גתוצא של מכחן בסיסיהן מדוכסבת על יציהם בגבינקומים לעתיקבן ומאהשר חזהלת תפילתשק הצמריקה",
}
REAL = {
    "es": "¿Dígaselo a mi hermano: cómo puedo arreglar el grifo de la cocina que gotea por las noches?",
    "it": "Com'è che l'acqua dell'acquario diventa torbida anche se la cambio un'altra volta ogni settimana?",
    "fr": "Qu'est-ce qu'il faut faire aujourd'hui pour que l'ordinateur s'allume plus vite le matin ?",
    "ca": "Com s'ha de fer l'allioli perquè no es talli quan l'oli és massa fred a l'hivern?",
    "en": "Why doesn't the neighbour's dog stop barking when it's dark and we're trying to sleep?",
    "de": "Die Straßenbahnhaltestelle neben dem Krankenhauseingang wird wegen einer Kanalbaustelle verlegt.",
    "nl": "Waarom gaat de waterkoker niet meer aan nadat ik de keukenstopcontacten heb schoongemaakt?",
    "tr": "ISPARTA'da IŞIKLI bir bahçede ilk kez gül yetiştirmek istiyorum, nasıl başlamalıyım?",
    "sr": "Како да направим домаћи хлеб са целим зрном без квасца у обичној рерни?",
    "uk": "Чому комп'ютер довго завантажується після того, як я встановив нове оновлення?",
    "ro": "Cum pot să învăţ să gătesc mâncăruri sănătoase pentru întreaga săptămână?",
    "hi": "मैं अपने घर की छत पर सब्जियाँ कैसे उगा सकता हूँ और उन्हें कितना पानी देना चाहिए?",
    "bn": "আমি কীভাবে বাড়ির ছাদে সবজি চাষ করতে পারি এবং কতটা পানি দিতে হবে?",
    "ar": "كَيْفَ أَتَعَلَّمُ الطَّبْخَ فِي الْبَيْتِ بِدُونِ أَنْ أَصْرِفَ الْكَثِيرَ مِنَ الْمَالِ؟",
    "fa": "چگونه می‌توانم در خانه سبزی‌های تازه بکارم و چه‌قدر باید به آن‌ها آب بدهم؟",
}


@pytest.mark.parametrize("code", INVENTED)
def test_invented_words_are_told(code: str) -> None:
    assert invented(INVENTED[code], code) is True


@pytest.mark.parametrize("code", REAL)
def test_words_that_exist_are_told(code: str) -> None:
    """With elisions, compounds, clitics, vowel signs, other spellings of a letter, and a script that is looked up in
    another."""
    assert invented(REAL[code], code) is False


@pytest.mark.parametrize(
    "text, code",
    [
        ("Kolik stoji zeleznicni jizdenka z Brna do Prahy a jak dlouho cesta asi potrva?", "cs"),
        ("Ogrenciler icin ucuz ve saglikli bir aksam yemegi nasil hazirlanir?", "tr"),
        ("Care sunt cele mai bune carti pentru invatarea programarii la varsta scolara?", "ro"),
        ("Toi muon biet lam the nao de sua may tinh cham?", "vi"),
        ("Basta con sealar el autor, la educacin del nio y alguna mencin a la poca anterior.", "es"),
    ],
)
def test_accents_may_be_left_out_or_lost(text: str, code: str) -> None:
    """As people type on another keyboard, and as files lost the letters."""
    assert invented(text, code) is False


@pytest.mark.parametrize("code", FLOORS)
def test_the_projects_own_texts_exist(code: str) -> None:
    if code not in languages.codes():
        return
    language = languages.load(code)
    texts = [language.system, language.system_multi_turn, *(text for pair in language.exemplars for text in pair)]
    assert [text for text in texts if invented(text, code) or invented(text, code, unfinished=True)] == []
    assert sum(known(text, code) is not None for text in texts) > 15


@pytest.mark.parametrize(
    "text",
    [
        'Traduce al español este texto: "Wherefore the blorting gribble snorped uffishly through thickety woods".',
        "¿Qué hace este código?\n```\nfrobnicate(wibble, wobble); gribble = snorp(uffish)\n```\nExplícalo paso a paso.",
        "¿Conoces a Zbigniew Brzezinski, Grzegorz Brzeczyszczykiewicz y Xhevahire Gjonbalaj de Llanfairpwllgwyngyll?",
        "Explícame cómo desplegar un backend con framework propio y machine learning en la nube.",
        "Abre https://blorting.example/gribble/snorp y dime qué significa XKCDFG o B2FRQ en ese informe.",
    ],
)
def test_what_does_not_count(text: str) -> None:
    assert not invented(text, "es")


def test_no_verdict() -> None:
    assert invented("Describe sótado oruiz.", "es") is None, "few words"
    assert invented("zer moduzko gauza da hau eta nola egiten da etxean", "eu") is None, "no list"
    assert invented("blorting gribble snorped uffishly wibble wobble", "xx") is None, "no such language"
    assert invented("", "es") is None


@pytest.mark.parametrize(
    "text, code, offence",
    [
        ("¿Cómo puedo apren中der a cocinar?", "es", True),
        ("Quanto custa uma caнeca azul?", "pt", True),
        ("¿Cómo se dice 中文 en español?", "es", False),
        ("¿Cuántos μm mide un cabello?", "es", False),
        ("Как включить VPNы и PDFку?", "ru", False),
        ("Как на中строить телефон?", "ru", True),
        ("iPhone을 어떻게 초기화하나요?", "ko", False),
        ("iPhoneをリセットする方法", "ja", False),
        ("איך מאפסים הiPhone שלי?", "he", False),
    ],
)
def test_a_word_that_mixes_scripts(text: str, code: str, offence: bool) -> None:
    assert vocabulary.mixes_scripts(text, code) is offence
    assert (invented(text, code) is True) is offence


def test_a_watch_cuts_what_is_invented() -> None:
    watch = InstructionWatch(Rules(languages.load("it")), TEMPLATE, "")
    text = f"Come si fa quando {INVENTED['it']} della ginestura con tramellino"
    cut_at = next(end for end in range(0, len(text), 5) if watch(text[:end]))
    assert watch.reason is Reason.INVENTED_WORDS
    assert cut_at < len(text) - 10


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in the place of wordfreq's data."""
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(vocabulary, "find_spec", lambda name: SimpleNamespace(submodule_search_locations=[tmp_path]))
    vocabulary._words.cache_clear()
    yield tmp_path / "data"
    vocabulary._words.cache_clear()


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"no gzip",
        gzip.compress(b"\xc1", mtime=0),
        gzip.compress(b"\x80", mtime=0),
        gzip.compress(b"\x91\x80", mtime=0),
        gzip.compress(b"\x92\x80\x91\x01", mtime=0),
        gzip.compress(b"\x92\x80\x91\xa1a" * 9, mtime=0)[:-12],
    ],
    ids=["missing", "empty", "no gzip", "no msgpack", "a map", "no words", "numbers", "cut"],
)
def test_a_damaged_list_is_told_and_the_rest_goes_on(lists: Path, data: bytes | None) -> None:
    if data is not None:
        (lists / "large_es.msgpack.gz").write_bytes(data)
    assert "Invented words are not looked for: the list of Spanish" in prepare(languages.load("es"))
    assert invented(INVENTED["es"], "es") is None
    assert prepare(languages.load("eu")) == "", "there was never one"


def test_a_missing_package_is_told(lists: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "find_spec", lambda name: None)
    assert "the package wordfreq is not installed" in prepare(languages.load("es"))


def test_of_a_long_text_so_many_words_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a check is measured by ``benchmarks/vocabulary.py``."""
    asked: list[int] = []
    look_up = vocabulary.Words.worth

    def worth(self: vocabulary.Words, words: Sequence[str]) -> list[float]:
        asked.append(len(words))
        return look_up(self, words)

    monkeypatch.setattr(vocabulary.Words, "worth", worth)
    assert invented(f"{INVENTED['de']} " * 1300, "de") is True
    assert asked[0] <= vocabulary.MOST
    assert len(asked) <= 3  # the words, the parts of compounds, and the English ones


def test_one_word_alone_is_a_slip_or_babble_as_the_model_was_sure_of_it_or_not() -> None:
    rules = Rules(languages.load("es"))
    text = "¿Cuánto cuesta la capa de gastrituja en espanol?"
    for confidence, reason in ((0.0, None), (0.5, None), (0.35, Reason.INVENTED_WORDS)):
        look = Look(text, rules=rules, confidence=confidence, own_confidence=0.55)
        assert screened(INSTRUCTIONS, look).reason is reason


def test_one_word_alone_does_not_make_a_text_invented() -> None:
    text = "how do i get rid of hicups fast"
    share = known(text, "en")
    assert share is not None and share < FLOORS["en"]
    assert invented(text, "en") is None
    assert invented("how do i get vriddle of hicups fast", "en") is True
