"""Languages that the tool has no data for, other ways of writing, and words quoted from elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from magpie_ollama.method import languages, segments
from magpie_ollama.method.detection import OTHER, Verdict, check, identify, told_by
from magpie_ollama.method.screening import prepare
from magpie_ollama.method.vocabulary import rather
from magpie_ollama.method.writing import SCRIPTS, han_form

NEIGHBOURS = {
    "ps": "زه څنګه کولی شم په ژمي کې خپل ګلان له یخنۍ وساتم؟",
    "zu": "Ngingazivikela kanjani izitshalo zami emakhazeni asebusika?",
    "la": "Quomodo plantas meas hieme a frigore servare possum?",
    "ht": "Kijan mwen ka pwoteje plant mwen yo lè gen anpil van?",
}
UNKNOWN = {
    "ckb": "چۆن دەتوانم گوڵەکانم لە زستاندا لە سەرما بپارێزم؟",
    "yi": "ווי אַזוי קען איך אין ווינטער באַשיצן די בלומען פֿון דער קעלט?",
    "yue": "冬天嗰陣點樣可以保護佢哋唔畀凍親呀？",
    "ti": "ኣብ ገዛ ብዘይ እንቋቝሖ ቸኮላታ ኬክ ከመይ ጌረ ክሰርሕ እኽእል?",
    "shn": "ႁဝ်းၶႃႈ တေႁဵတ်းႁိုဝ် ၸၢင်ႈႁဵတ်းၶဝ်ႈမုၼ်း ၼႂ်းႁိူၼ်းလႆႈ",
    "hi-Latn": "Sardiyon mein paudhon ko thand se kaise bacha sakte hain?",
    "or": "ଶୀତଦିନେ ଗଛଗୁଡ଼ିକୁ ଥଣ୍ଡାରୁ କିପରି ରକ୍ଷା କରାଯାଇପାରିବ?",
}


@pytest.mark.parametrize("code", NEIGHBOURS)
def test_a_neighbour_is_known_by_its_own_name_and_passes_as_no_other(code: str) -> None:
    assert identify(NEIGHBOURS[code]) == code
    assert [other for other in SCRIPTS if check(NEIGHBOURS[code], other) is not Verdict.NO] == []


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("fa", "نامشروع دانستن اسرائيل يك خط ثابت و بي‌ترديد نظام از زمان امام تاكنون است."),
        ("tr", "Temizlik þirketi arabasý ile bankanýn önüne geldiklerinde saldýrý için her þey hazýrdýr."),
        ("hr", "Ovaj je puta pred Šanèiæem bio naizgled teži zadatak nego na dosadašnjim turnirima."),
    ],
)
def test_the_letters_of_old_keyboards_and_code_pages_are_read_for_what_they_are(code: str, text: str) -> None:
    assert check(text, code) is Verdict.YES


def test_persian_forms_are_not_read_into_arabic() -> None:
    text = "كيف يمكنني أن أحمي نباتاتي من البرد في الشتاء دون أن أنفق كثيرا؟"
    assert check(text, "ar") is Verdict.YES
    assert check(text, "fa") is Verdict.NO


@pytest.mark.parametrize(
    ("code", "other", "text"),
    [
        ("cs", "sk", "Poradatel neodpovida za skody pri zavode vznikle a vyhrazuje si pravo zmeny v rozpisu."),
        ("cs", "bs", "Pomoci parametru CF a CB je zadavana barva popredi a pozadi."),
        ("sr", "mk", "Привидна величина објекта износи 9,8 а фотографска магнитуда 10,6."),
    ],
)
def test_words_decide_where_a_relative_is_a_little_ahead(code: str, other: str, text: str) -> None:
    assert identify(text) != code
    assert check(text, code) is Verdict.YES
    assert not rather(text, other, code)


@pytest.mark.parametrize(
    ("code", "own", "text"),
    [
        ("sr", "mk", "Како можам да научам да свирам гитара ако немам пари за учител?"),
        ("da", "no", "Hva kan jeg gjøre for å bli kvitt flekker på en hvit skjorte?"),
    ],
)
def test_words_let_a_relative_win_where_the_target_is_a_little_behind(code: str, own: str, text: str) -> None:
    assert check(text, code) is Verdict.NO
    assert check(text, own) is Verdict.YES


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("az", "men ingilis dilini nece oyrene bilerem evde"),
        ("kk", "агылшын тилин калай тез уйренуге болады"),
    ],
)
def test_a_text_typed_without_its_own_letters_is_not_its_relative(code: str, text: str) -> None:
    assert identify(text) != code
    assert check(text, code) is Verdict.YES


def test_words_let_no_relative_in() -> None:
    assert check("Príprava začala pred 8 hodinou.", "cs") is Verdict.NO
    assert check("Јас сум од мало место во близина на Скопје и работам во пекара.", "sr") is Verdict.NO


def test_a_basque_sentence_may_be_half_latin() -> None:
    assert check("Hoplostethus occidentalis Hoplostethus generoko animalia da.", "eu") is Verdict.YES
    assert check(NEIGHBOURS["la"], "eu") is Verdict.NO


@pytest.mark.parametrize("code", UNKNOWN)
def test_what_the_identifier_does_not_know_passes_as_none(code: str) -> None:
    assert identify(UNKNOWN[code]) not in SCRIPTS
    assert [other for other in SCRIPTS if check(UNKNOWN[code], other) is not Verdict.NO] == []


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (UNKNOWN["hi-Latn"], Verdict.YES),
        ("bhai phone ki battery jaldi khatam ho jati h kya kru", Verdict.YES),
        ("Iska output theek hai, par deployment ka process thoda slow lag raha hai.", Verdict.YES),
        ("How can I save the battery of my phone, and is it a good plan to charge it at night?", Verdict.NO),
        ("Bagaimana cara menghemat baterai ponsel saya saat bepergian jauh?", Verdict.NO),
        ("Come posso far durare di più la batteria del telefono?", Verdict.NO),
        ("सर्दियों में पौधों को ठंड से कैसे बचाएँ?", Verdict.NO),
    ],
)
def test_hinglish_is_told_by_its_own_words(text: str, verdict: Verdict) -> None:
    assert check(text, "hi-Latn", scripts=["Latn"]) is verdict


def test_a_script_of_none_of_the_languages_has_no_name_and_is_not_too_short() -> None:
    assert identify(UNKNOWN["or"]) == OTHER
    assert identify("ଓଡ଼ି") == ""


def test_simplified_and_traditional_characters_are_told_apart() -> None:
    simplified, traditional = "请问在家里怎么学会弹吉他？", "請問在家裡怎麼學會彈吉他？"
    assert (check(simplified, "zh"), check(traditional, "zh")) == (Verdict.YES, Verdict.NO)
    assert check(traditional, "zh", scripts=["Hant"]) is Verdict.YES
    assert check(simplified, "zh", scripts=["Hant"]) is Verdict.NO
    assert check(traditional, "zh", scripts=["Hans", "Hant"]) is Verdict.YES
    assert (check(simplified, "zh-Hant"), check(traditional, "zh-Hant")) == (Verdict.NO, Verdict.YES)
    assert (identify(simplified), identify(traditional)) == ("zh", "zh-Hant")
    assert [han_form(char) for char in "国國人a"] == ["Hans", "Hant", "", ""]


def test_a_name_in_the_other_characters_does_no_harm() -> None:
    text = "请问作家龍應台写过哪些书，先读哪一本比较好？"
    assert (check(text, "zh"), identify(text)) == (Verdict.YES, "zh")
    text = "請問作家余华寫過哪些書，先讀哪一本比較好？"
    assert (check(text, "zh-Hant"), identify(text)) == (Verdict.YES, "zh-Hant")


def test_what_both_steerings_of_writing_share_is_accepted_as_either() -> None:
    text = "玉山有多高，哪座山比玉山高？"
    assert (check(text, "zh"), check(text, "zh-Hant"), identify(text)) == (Verdict.YES, Verdict.YES, "zh")


@pytest.mark.parametrize("text", ["縣立圖書館、台風で休館", "県立図書館、来春の開館延期を発表"])
def test_japanese_is_no_chinese_in_traditional_characters(text: str) -> None:
    assert (check(text, "zh-Hant"), identify(text)) == (Verdict.NO, "ja")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "Translate 'buenos días, señora' to English."),
        ("en", "Translate ‘¿dónde está la estación?’ to English."),
        ("en", "Why don't people say 'the dogs' bowl' when it's one dog?"),
        ("de", "Übersetze ‚Where is the station?‘ ins Deutsche."),
        ("de", "Was bedeutet »the sky is the limit« in diesem Lied?"),
        ("fr", "Que veut dire ‹ the sky is the limit › ?"),
        ("it", "Come si dice 'I would like a coffee, please' in italiano?"),
        ("sv", "Vad betyder ”the early bird catches the worm” på svenska?"),
        ("fi", "Mitä tarkoittaa ”break a leg and have fun” suomeksi?"),
        ("he", "מה פירוש הביטוי ״the early bird catches the worm״ בעברית?"),
        ("ja", "『The quick brown fox』という文はどういう意味ですか？"),
        (
            "es",
            "Responde a este correo, por favor:\n> Hello, when will my order arrive?\n> I have been waiting for weeks.",
        ),
    ],
)
def test_words_quoted_in_any_marks_do_not_count(code: str, text: str) -> None:
    assert check(text, code) is not Verdict.NO


@pytest.mark.parametrize(
    "text",
    [
        "Don't the dogs' owners know it's theirs?",
        "L'été, c'est l'heure d'aller voir l'océan.",
        "Un po' di sale e un po' d'olio.",
    ],
)
def test_an_apostrophe_opens_no_quotation(text: str) -> None:
    assert segments.prose(text) == text


def test_a_language_that_the_identifier_does_not_know_is_not_english() -> None:
    hawaiian = "Pehea wau e hana ai i keke kokoleka ma ka home me ka ʻole o nā hua?"
    assert [told_by(code) for code in ("it", "zu", "hi-Latn", "haw")] == ["identifier", "identifier", "words", "script"]
    assert check(hawaiian, "haw", scripts=["Latn"]) is Verdict.YES
    assert check(f"{hawaiian} {hawaiian}", "zu", scripts=["Latn"]) is Verdict.NO
    assert check("How can I bake a chocolate cake at home without eggs?", "haw", scripts=["Latn"]) is Verdict.NO


def test_that_it_does_not_know_the_language_is_said_once() -> None:
    italian = languages.load("it")
    assert prepare(italian) == ""
    assert "does not know Hawaiian" in prepare(replace(italian, code="haw", english="Hawaiian"))
    assert "small words" in prepare(languages.load("hi-Latn"))
