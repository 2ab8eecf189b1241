"""The detector on texts written for these tests; the figures come from benchmarks/detection.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

from magpie_ollama.method import segments
from magpie_ollama.method.detection import Verdict, check, drifted, identify
from magpie_ollama.method.writing import SCRIPTS, script_set

QUESTIONS = {
    "af": "Hoe kan ek tuis 'n lekker sjokoladekoek bak sonder eiers?",
    "am": "ያለ እንቁላል ቤት ውስጥ የቸኮሌት ኬክ እንዴት መሥራት እችላለሁ?",
    "ar": "كيف يمكنني تحضير كعكة الشوكولاتة في المنزل بدون بيض؟",
    "az": "Evdə yumurtasız şokoladlı tortu necə hazırlaya bilərəm?",
    "be": "Як мне спячы дома шакаладны торт без яек?",
    "bg": "Как мога да направя шоколадова торта вкъщи без яйца?",
    "bn": "আমি বাড়িতে ডিম ছাড়া চকোলেট কেক কীভাবে বানাতে পারি?",
    "bs": "Kako mogu kod kuće napraviti čokoladnu tortu bez jaja i hljeba?",
    "ca": "Com puc fer un pastís de xocolata a casa sense ous?",
    "cs": "Jak mohu doma upéct čokoládový dort bez vajec?",
    "cy": "Sut alla i wneud teisen siocled gartref heb wyau?",
    "da": "Hvordan bager jeg en chokoladekage derhjemme uden æg?",
    "de": "Wie backe ich zu Hause einen Schokoladenkuchen ohne Eier?",
    "el": "Πώς μπορώ να φτιάξω κέικ σοκολάτας στο σπίτι χωρίς αυγά;",
    "en": "How can I bake a chocolate cake at home without eggs?",
    "eo": "Kiel mi povas baki hejme ĉokoladan kukon sen ovoj?",
    "es": "¿Cómo puedo hacer un pastel de chocolate en casa sin huevos?",
    "et": "Kuidas ma saan kodus ilma munadeta šokolaadikooki küpsetada?",
    "eu": "Nola egin dezaket txokolatezko tarta bat etxean arrautzarik gabe?",
    "fa": "چطور می‌توانم در خانه بدون تخم‌مرغ کیک شکلاتی درست کنم؟",
    "fi": "Miten voin leipoa kotona suklaakakun ilman kananmunia?",
    "fr": "Comment puis-je faire un gâteau au chocolat à la maison sans œufs ?",
    "ga": "Conas is féidir liom cáca seacláide a dhéanamh sa bhaile gan uibheacha?",
    "gl": "Como podo facer na casa unha torta de chocolate sen ovos?",
    "gu": "હું ઘરે ઈંડાં વગર ચોકલેટ કેક કેવી રીતે બનાવી શકું?",
    "ha": "Ta yaya zan iya yin kek ɗin cakulat a gida ba tare da ƙwai ba?",
    "he": "איך אפשר להכין עוגת שוקולד בבית בלי ביצים?",
    "hi": "मैं घर पर बिना अंडे के चॉकलेट केक कैसे बना सकता हूँ?",
    "hr": "Kako mogu kod kuće ispeći čokoladnu tortu bez jaja i kruha?",
    "hu": "Hogyan tudok otthon tojás nélkül csokitortát sütni?",
    "hy": "Ինչպե՞ս կարող եմ տանը առանց ձվի շոկոլադե տորթ պատրաստել:",
    "id": "Bagaimana cara membuat kue cokelat di rumah tanpa telur?",
    "is": "Hvernig get ég bakað súkkulaðiköku heima án þess að nota egg?",
    "it": "Come posso fare una torta al cioccolato in casa senza uova?",
    "ja": "卵を使わずに家でチョコレートケーキを作るにはどうすればいいですか？",
    "ka": "როგორ მოვამზადო სახლში შოკოლადის ტორტი კვერცხის გარეშე?",
    "kk": "Үйде жұмыртқасыз шоколадты тортты қалай пісіруге болады?",
    "km": "តើខ្ញុំអាចធ្វើនំសូកូឡានៅផ្ទះដោយមិនប្រើស៊ុតដោយរបៀបណា?",
    "kn": "ಮೊಟ್ಟೆ ಇಲ್ಲದೆ ಮನೆಯಲ್ಲಿ ಚಾಕೊಲೇಟ್ ಕೇಕ್ ಮಾಡುವುದು ಹೇಗೆ?",
    "ko": "집에서 달걀 없이 초콜릿 케이크를 어떻게 만들 수 있나요?",
    "lb": "Wéi kann ech doheem e Schockelaskuch ouni Eeër baken?",
    "lt": "Kaip namuose iškepti šokoladinį pyragą be kiaušinių?",
    "lv": "Kā es varu mājās izcept šokolādes kūku bez olām?",
    "mk": "Како можам да ги заштитам домашните растенија кога одам на одмор?",
    "ml": "മുട്ടയില്ലാതെ വീട്ടിൽ ചോക്ലേറ്റ് കേക്ക് എങ്ങനെ ഉണ്ടാക്കാം?",
    "mr": "मी घरी अंड्याशिवाय चॉकलेट केक कसा बनवू शकतो?",
    "ms": "Bagaimanakah saya boleh membuat kek coklat di rumah tanpa telur?",
    "mt": "Kif nista' nagħmel kejk taċ-ċikkulata d-dar mingħajr bajd?",
    "my": "ကြက်ဥမပါဘဲ အိမ်မှာ ချောကလက်ကိတ် ဘယ်လိုလုပ်ရမလဲ။",
    "nb": "Hvordan kan jeg bake en sjokoladekake hjemme uten egg?",
    "ne": "म घरमा अण्डा नहाली चकलेट केक कसरी बनाउन सक्छु?",
    "nl": "Hoe kan ik thuis een chocoladetaart bakken zonder eieren?",
    "nn": "Korleis kan eg baka ei sjokoladekake heime utan egg?",
    "no": "Hvordan kan jeg lage en god middag av det jeg har hjemme?",
    "pa": "ਮੈਂ ਘਰ ਵਿੱਚ ਆਂਡਿਆਂ ਤੋਂ ਬਿਨਾਂ ਚਾਕਲੇਟ ਕੇਕ ਕਿਵੇਂ ਬਣਾ ਸਕਦਾ ਹਾਂ?",
    "pl": "Jak mogę upiec w domu ciasto czekoladowe bez jajek?",
    "pt": "Como posso fazer um bolo de chocolate em casa sem ovos?",
    "pt-BR": "Como eu faço pra assar um bolo de chocolate em casa sem ovo?",
    "ro": "Cum pot să fac acasă un tort de ciocolată fără ouă?",
    "ru": "Как мне испечь дома шоколадный торт без яиц?",
    "si": "බිත්තර නැතුව ගෙදරදී චොක්ලට් කේක් එකක් හදන්නේ කොහොමද?",
    "sk": "Ako môžem doma upiecť čokoládovú tortu bez vajec?",
    "sl": "Kako lahko doma spečem čokoladno torto brez jajc?",
    "sq": "Si mund të bëj në shtëpi një tortë me çokollatë pa vezë?",
    "sr": "Како могу код куће да направим чоколадну торту без јаја?",
    "sv": "Hur kan jag baka en chokladkaka hemma utan ägg?",
    "sw": "Ninawezaje kutengeneza keki ya chokoleti nyumbani bila mayai?",
    "ta": "முட்டை இல்லாமல் வீட்டில் சாக்லேட் கேக் செய்வது எப்படி?",
    "te": "గుడ్లు లేకుండా ఇంట్లో చాక్లెట్ కేక్ ఎలా తయారు చేయాలి?",
    "th": "ฉันจะทำเค้กช็อกโกแลตที่บ้านโดยไม่ใช้ไข่ได้อย่างไร",
    "tl": "Paano ako makakagawa ng tsokolateng keyk sa bahay nang walang itlog?",
    "tr": "Evde yumurtasız çikolatalı keki nasıl yapabilirim?",
    "uk": "Як мені спекти вдома шоколадний торт без яєць?",
    "ur": "میں گھر پر انڈوں کے بغیر چاکلیٹ کیک کیسے بنا سکتا ہوں؟",
    "uz": "Uyda tuxumsiz shokoladli tortni qanday tayyorlasa bo'ladi?",
    "vi": "Làm thế nào để tôi làm bánh sô-cô-la tại nhà mà không cần trứng?",
    "yo": "Báwo ni mo ṣe lè ṣe kéèkì ṣokoléètì nílé láì lo ẹyin?",
    "zh": "我怎样才能在家里不用鸡蛋做巧克力蛋糕？",
    "zh-Hant": "我要怎麼在家裡不用雞蛋做巧克力蛋糕？",
}
NEAR = [
    {"no", "nb", "nn", "da"}, {"id", "ms"}, {"hr", "bs", "sr", "sl"}, {"cs", "sk"}, {"pt", "pt-BR", "gl", "es", "ca"},
]  # fmt: skip


def test_there_is_a_question_for_every_language() -> None:
    assert QUESTIONS.keys() == SCRIPTS.keys()


@pytest.mark.parametrize("code", QUESTIONS)
def test_a_short_question_is_accepted_as_itself(code: str) -> None:
    assert check(QUESTIONS[code], code) is Verdict.YES


@pytest.mark.parametrize("code", QUESTIONS)
def test_no_language_outside_its_twins_is_accepted(code: str) -> None:
    near = {code}.union(*(group for group in NEAR if code in group))
    accepted = [other for other in QUESTIONS if other not in near and check(QUESTIONS[other], code) is not Verdict.NO]
    assert accepted == []


@pytest.mark.parametrize("code", sorted(QUESTIONS.keys() - {"nb", "bs"}))
def test_identify(code: str) -> None:
    assert identify(QUESTIONS[code]) in {code, *({"bs"} if code == "hr" else ()), *({"pt"} if code == "pt-BR" else ())}


@pytest.mark.parametrize(
    ("target", "text"),
    [("nb", "no"), ("no", "nb"), ("no", "nn"), ("hr", "bs"), ("bs", "hr"), ("pt-BR", "pt"), ("pt", "pt-BR")],
)
def test_standards_that_share_sentences_accept_each_other(target: str, text: str) -> None:
    assert check(QUESTIONS[text], target) is Verdict.YES


@pytest.mark.parametrize(("target", "text"), [("da", "nn"), ("cs", "sk"), ("sk", "cs"), ("gl", "es"), ("ca", "es")])
def test_twins_with_words_of_their_own_are_told_apart(target: str, text: str) -> None:
    assert check(QUESTIONS[text], target) is Verdict.NO


def test_serbian_is_accepted_in_either_script() -> None:
    assert check("Kako da kod kuće napravim čokoladnu tortu bez jaja?", "sr") is Verdict.YES
    assert check(QUESTIONS["sr"] + " Kako da je ukrasim?", "sr") is Verdict.YES
    assert check(QUESTIONS["sr"], "hr") is Verdict.NO
    assert check(QUESTIONS["bg"], "sr") is Verdict.NO


@pytest.mark.parametrize("text", ["", "   ", "42", "3 × 4 = ?", "Ciao", "OK", "https://example.org/how-to-bake-a-cake"])
def test_too_little_to_tell_is_unknown(text: str) -> None:
    assert check(text, "it") is Verdict.UNKNOWN
    assert identify(text) == ""


@pytest.mark.parametrize("text", ["Solve 3x + 5 = 20 for x.", "Write a haiku.", "Where is my bag?"])
def test_a_few_words_of_english_are_no_italian_by_the_lists_of_words(text: str) -> None:
    assert [code for code in ("it", "de", "fr", "hu", "vi", "ru") if check(text, code) is not Verdict.NO] == []
    assert check(text, "en") is not Verdict.NO


@pytest.mark.parametrize("text", ["Shakespeare", "Paris", "Donald Duck", "Deep Purple"])
def test_a_name_alone_may_be_an_answer_in_any_language(text: str) -> None:
    assert [code for code in ("it", "de", "fr", "hu", "vi") if check(text, code) is Verdict.NO] == []


def test_a_short_text_in_another_script_is_no_all_the_same() -> None:
    assert check("Привет", "it") is Verdict.NO
    assert check("Hello there", "ru") is Verdict.NO


def test_chinese_and_japanese_are_told_apart_by_kana() -> None:
    assert check(QUESTIONS["ja"], "zh") is Verdict.NO
    assert check(QUESTIONS["zh"], "ja") is Verdict.NO
    assert check("東京大学", "ja") is Verdict.UNKNOWN
    assert identify("東京へ行きたいのですが") == "ja"


def test_headings_and_lists_in_kanji_are_japanese() -> None:
    text = "## 江戸時代都市生活概説\n江戸の町の主な役所です。\n- 北町奉行所\n- 勘定奉行所評定所一座\n- 寺社奉行所"
    assert check(text, "ja") is Verdict.YES
    assert [n for n in range(len(text)) if drifted(text[:n], "ja")] == []
    assert check("お城の話です。" + QUESTIONS["zh"], "ja") is Verdict.NO


@pytest.mark.parametrize("text", ["県立図書館、来春の開館延期を発表", "台風接近、離島航路の全便欠航"])
def test_a_headline_with_little_kana_is_japanese_and_not_chinese(text: str) -> None:
    assert check(text, "zh") is Verdict.NO
    assert check(text, "ja") is Verdict.YES
    assert identify(text) == "ja"


def test_chinese_may_quote_a_word_in_kana() -> None:
    text = "请用简单的中文解释日语助词は和が的主要区别。"
    assert check(text, "zh") is Verdict.YES
    assert identify(text) == "zh"


LATIN_NAMES = {
    "ru": "Сравни эти операционные системы: Debian, Fedora, Ubuntu, Gentoo, Slackware.",
    "he": "הנה כמה ערים גדולות:\n- San Francisco\n- Buenos Aires\n- Rio de Janeiro\n- Kuala Lumpur\n- Mexico City",
    "zh": "请比较这些乐队: Pink Floyd, Deep Purple, Led Zeppelin, Queen.",
    "ja": "次の歌手を紹介してください: Frank Sinatra, Ella Fitzgerald, Nina Simone.",
}


@pytest.mark.parametrize(("code", "text"), LATIN_NAMES.items())
def test_a_list_of_latin_names_counts_for_no_language(code: str, text: str) -> None:
    assert check(text, code) is Verdict.YES
    assert not drifted(text, code)
    assert identify(text) == code
    assert check(f"{text} {ENGLISH}", code) is Verdict.NO
    assert check("Ella Fitzgerald, Nina Simone, Louis Armstrong", code) is Verdict.NO


def test_a_word_in_another_script_does_not_count_against_a_text() -> None:
    assert check("Cosa significa привет in russo?", "it") is Verdict.YES
    assert check("Was heißt здравствуйте auf Deutsch?", "de") is Verdict.YES


QUOTING = {
    "it": 'Correggi questa frase: "My sister have bought three new chair for the kitchen, but they is too high."',
    "fr": "Traduis ces lignes : « The train to the coast leaves at nine, and we have not even packed our bags yet »",
    "de": "Was heißt das genau: „The committee will look into the matter as soon as all the papers have come in“?",
}


@pytest.mark.parametrize(("code", "text"), QUOTING.items())
def test_a_request_is_in_the_language_of_its_words_around_a_long_quotation(code: str, text: str) -> None:
    assert check(text, code) is Verdict.YES
    assert [n for n in range(len(text)) if drifted(text[:n], code)] == []
    assert check(f'Here is what you wanted: "{QUESTIONS[code]}"', code) is Verdict.NO


@pytest.mark.parametrize("sign", ["\u00ad", "\u200b", "\u2060", "\ufeff"])
def test_signs_that_nobody_sees_change_nothing(sign: str) -> None:
    for code, text in QUESTIONS.items():
        assert check(sign.join(text), code) is Verdict.YES, code


def test_capitals_with_a_small_word_are_read_as_words() -> None:
    assert check("MITEN VOIN LEIPOA KOTONA SUKLAAKAKUN ILMAN kananmunia?", "fi") is Verdict.YES


def test_a_sentence_of_a_relative_in_the_same_script_is_caught() -> None:
    assert check(f"{QUESTIONS['ru']} Разкажи как възрастен човек може да се научи да плува.", "ru") is Verdict.NO
    assert check(f"{QUESTIONS['uk']} Почему листья осенью желтеют и опадают?", "uk") is Verdict.NO
    assert check(f"{QUESTIONS['mr']} दिल्ली के पास घूमने की अच्छी जगहें बताइए।", "mr") is Verdict.NO


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("it", "Come installo il package numpy con pip?"),
        ("it", "Quali sono le best practice per il code review in un team di sviluppo software?"),
        ("de", "Wie erstelle ich ein Dashboard mit Power BI und Excel?"),
        ("es", "¿Cuál es la diferencia entre machine learning y deep learning?"),
        ("ru", "Как установить Docker Desktop на Windows 11 Home?"),
        ("ko", "Docker Compose 파일을 어떻게 작성하나요?"),
        ("zh", "如何用Python读取CSV文件?"),
        ("it", 'Di che cosa parla "The Catcher in the Rye", e chi lo ha scritto?'),
        ("it", "Risolvi $x^2 + 3x + 2 = 0$ e spiega i passaggi."),
        ("fr", "Explique `git rebase --interactive` et donne un exemple."),
    ],
)
def test_foreign_terms_and_names_do_not_count_against_a_text(code: str, text: str) -> None:
    assert check(text, code) is Verdict.YES


CODE = """
import csv

def read_all_the_rows(path):
    with open(path) as handle:
        rows = list(csv.reader(handle))
    return [row for row in rows if row]
"""


@pytest.mark.parametrize("code_block", [f"```python{CODE}```", CODE, f"```{CODE}"])
def test_a_question_about_code_is_in_the_language_of_its_sentences(code_block: str) -> None:
    text = f"Puoi spiegarmi che cosa fa questa funzione e come renderla più veloce?\n\n{code_block}"
    assert check(text, "it") is Verdict.YES
    assert check(text, "en") is Verdict.NO
    assert check(f"What does this function do, and how can it be made faster?\n{code_block}", "it") is Verdict.NO


def test_an_answer_that_is_only_code_is_unknown() -> None:
    assert check(f"```python{CODE}```", "it") is Verdict.UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        "Come posso migliorare il mio inglese? What are the best ways to practise every day?",
        "Come posso... What are the best ways to learn a language?",
        "La fotosintesi è il processo con cui le piante producono zuccheri.\n\nIt takes place in the green leaves.",
    ],
)
def test_a_sentence_of_english_after_the_first_is_caught(text: str) -> None:
    assert check(text, "it") is Verdict.NO


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("it", "Mi correggi questa mail? Devo mandarla oggi al capo.\n\nDear Mr Wilson, I will be not in the office."),
        ("pt", "Está certo este texto em inglês? My name is João and I have 25 years old."),
        ("et", "Paranda vead: She have two childrens and they goes to school in Tartu."),
        ("it", "Traduci: The cat sat on the mat, and the dog looked at it."),
        (
            "ro",
            "De ce primesc eroarea asta în Java? Exception in thread java.lang.NullPointerException at the main line",
        ),
    ],
)
def test_a_short_or_asking_frame_announces_foreign_words(code: str, text: str) -> None:
    assert check(text, code) is Verdict.YES


@pytest.mark.parametrize(
    "text",
    [
        "NullPointerException is thrown when you call a method on something that is not there.",
        "Question: What is the capital of Australia, and why is it not Sydney?",
        "Note: the meeting is on Monday, and nobody has to bring anything.",
    ],
)
def test_an_english_label_is_no_frame(text: str) -> None:
    assert check(text, "it") is Verdict.NO


def test_english_without_its_smallest_words_is_a_tail() -> None:
    assert check("Hãy viết một câu chuyện about a brave girl who saves her village from the flood", "vi") is Verdict.NO
    assert check("En iyi kahvaltı tarifleri nelerdir for a family with two small children", "tr") is Verdict.NO


def test_a_sentence_of_italian_before_english_is_caught_too() -> None:
    assert check("Come posso migliorare il mio inglese? What can I do every day?", "en") is Verdict.NO


def test_a_list_whose_items_end_in_semicolons_is_prose() -> None:
    text = "Gli ingredienti:\n- due etti di farina;\n- un litro di acqua fresca;\n- un pizzico di sale."
    assert "farina" in segments.prose(text)
    assert check(text, "it") is Verdict.YES


def test_a_long_answer_that_ends_in_english_is_caught() -> None:
    answer = "Per preparare il pane servono farina, acqua, lievito e un pizzico di sale. " * 8
    assert check(answer, "it") is Verdict.YES
    english = "In conclusion, making your own bread at home is not as hard as it may look at first."
    assert len(english) * 5 < len(answer)
    assert check(answer + english, "it") is Verdict.NO


def test_a_long_sentence_that_changes_language_is_caught() -> None:
    italian = "Vorrei sapere come posso coltivare i pomodori sul balcone di casa mia durante i mesi estivi, "
    english = "and I would also like to know which kind of soil is the best one for them to grow well, if you please"
    assert check(italian + english, "it") is Verdict.NO


ENGLISH = "I would like to know how the planets move around the sun and why they never fall into it."


def test_drift_is_named_late_enough_to_be_sure_and_never_before() -> None:
    assert not drifted(ENGLISH[:50], "it")
    assert drifted(ENGLISH, "it")
    assert not drifted(ENGLISH, "en")


def test_drift_into_another_script_shows_early() -> None:
    assert drifted("Как я могу испечь дома торт", "it")
    assert not drifted("Как я", "it")
    assert drifted(ENGLISH, "ru")
    assert not drifted("Microsoft Visual Studio Code", "ja")


def test_drift_after_a_first_clause() -> None:
    assert drifted("Come posso imparare? " + ENGLISH, "it")
    assert not drifted("Come posso tradurre bene una frase come questa? How are", "it")


@pytest.mark.parametrize("code", QUESTIONS)
def test_no_true_question_drifts_at_any_length(code: str) -> None:
    text = f"{QUESTIONS[code]} {QUESTIONS[code]}"
    assert [n for n in range(0, len(text), 7) if drifted(text[:n], code)] == []


def test_given_scripts_decide_for_a_language_that_is_not_known() -> None:
    assert check("Сайн байна уу, та юу хийж байна?", "mn") is Verdict.UNKNOWN
    assert check("Сайн байна уу, та юу хийж байна?", "mn", scripts=["Cyrl"]) is Verdict.YES
    assert check(QUESTIONS["en"], "mn", scripts=["Cyrl"]) is Verdict.NO


def test_given_scripts_replace_the_table() -> None:
    assert check(QUESTIONS["sr"], "sr", scripts=["Latn"]) is Verdict.NO
    assert check(QUESTIONS["zh"], "zh", scripts=["Hans"]) is Verdict.YES
    assert script_set("ja", ["Jpan"]) == {"Hira", "Kana", "Hani"}


def test_persian_typed_with_arabic_letters_is_persian() -> None:
    assert check("چگونه مي توانم در خانه كيك شكلاتي درست كنم؟", "fa") is Verdict.YES


def test_importing_does_not_load_the_model() -> None:
    code = "import sys, magpie_ollama.method.detection; sys.exit('numpy' in sys.modules or 'py3langid' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_short_question_made_of_a_name_is_not_wrong() -> None:
    assert check("Wie was Christiaan Huygens?", "nl") is Verdict.UNKNOWN
    assert check("Wie was Christiaan Huygens?", "fi") is Verdict.NO


@pytest.mark.parametrize("code", QUESTIONS)
def test_half_a_surrogate_pair_changes_nothing(code: str) -> None:
    text = f"\ud83d {QUESTIONS[code]}"
    assert check(text, code) is Verdict.YES
    assert not drifted(f"{text} {text}", code)
    assert identify(text) == identify(QUESTIONS[code])
