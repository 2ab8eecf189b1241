"""Scripts: which language is written in which, and how many letters of each a text holds."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache

_LATIN = (
    "af az bs ca cs cy da de en eo es et eu fi fr ga gl ha hr hu id is it lb lt lv ms mt nb nl nn no pl pt ro sk sl sq "
    "sv sw tl tr uz vi yo"
)

SCRIPTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_LATIN.split(), ("Latn",)),
    **dict.fromkeys(("be", "bg", "kk", "mk", "ru", "uk"), ("Cyrl",)),
    **dict.fromkeys(("ar", "fa", "ur"), ("Arab",)),
    **dict.fromkeys(("hi", "mr", "ne"), ("Deva",)),
    "pt-BR": ("Latn",),
    "sr": ("Cyrl", "Latn"),
    "zh": ("Hans",),
    "zh-Hant": ("Hant",),
    "ja": ("Hira", "Kana", "Hani"),
    "ko": ("Hang",),
    "el": ("Grek",),
    "he": ("Hebr",),
    "th": ("Thai",),
    "bn": ("Beng",),
    "pa": ("Guru",),
    "gu": ("Gujr",),
    "ta": ("Taml",),
    "te": ("Telu",),
    "ka": ("Geor",),
    "hy": ("Armn",),
    "kn": ("Knda",),
    "ml": ("Mlym",),
    "si": ("Sinh",),
    "km": ("Khmr",),
    "my": ("Mymr",),
    "am": ("Ethi",),
}
"""ISO 15924 codes by ISO 639-1 code; ``Hani`` stands for every kind of Han characters, ``Hans`` and ``Hant`` for
the simplified and the traditional ones."""

_LATIN_NEIGHBOURS = (
    "ace an bcl br ext fo fuv fy gcf gcr gd gug guw ht ig jv kab kik ku la lg lij ln ltg mg nso oc om "
    "pcm qu rw se sn so st tk vec vo wa xh zu"
)
NEIGHBOURS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_LATIN_NEIGHBOURS.split(), ("Latn",)),
    **dict.fromkeys(("ba", "ky", "mn", "tg", "tt"), ("Cyrl",)),
    **dict.fromkeys(("arz", "ary", "ps", "sdh", "ug", "uzs"), ("Arab",)),
    **dict.fromkeys(("sa", "gom"), ("Deva",)),
    "crh": ("Latn", "Cyrl"),
    "as": ("Beng",),
}
"""Scripts of the other languages that the identifier knows: what a text in none of ``SCRIPTS`` may be in."""

_KURDISH_OR_PASHTO = "ێۆڕڵەڤښځڅړډټۍېڼ"
_CANTONESE = "嘅咗喺哋啲嗰冇嚟佢唔"
_SOUTH_SLAVIC = "ђљњћџѓќѕ"
FOREIGN_LETTERS: dict[str, frozenset[str]] = {
    code: frozenset(letters)
    for code, letters in {
        "ar": _KURDISH_OR_PASHTO,
        "fa": _KURDISH_OR_PASHTO,
        "ur": _KURDISH_OR_PASHTO,
        "he": "װױײ",  # Yiddish
        "zh": _CANTONESE,
        "zh-Hant": _CANTONESE,
        "sr": "ѓќѕ",  # Macedonian
        "mk": "ђћйъьюяыэё",
        "ru": _SOUTH_SLAVIC + "ўіїєґ",
        "uk": _SOUTH_SLAVIC + "ўыэъё",
        "bg": _SOUTH_SLAVIC + "ўіїєґыэё",
        "kk": _SOUTH_SLAVIC + "ўїєґ",
        "am": "ቐቑቒቓቔቕቖቘቚቛቜቝኣ",  # Tigrinya
        "my": "".join(map(chr, range(0x105A, 0x10A0))),  # Mon, Karen, Shan; Burmese in the code of Zawgyi
    }.items()
}
"""Letters that a language does not write, and a relative does that the identifier does not know or takes for it."""

_YIDDISH = "איך און איז די דער דאָס דאס פון פֿון מיט ניט נישט זיך קען ווי"
_HINDI_IN_LATIN = "hai hain kya kaise nahi nahin aur liye kyun mujhe sakte sakta sakti karna karne bina hoon kaun aap"
FOREIGN_WORDS: dict[str, frozenset[str]] = {
    "Hebr": frozenset(_YIDDISH.split()),
    "Latn": frozenset(_HINDI_IN_LATIN.split()),
}
"""Small words, by script, of what the identifier does not know and no language of that script has."""

_ENGLISH = (
    "about and because before between but could didn't doesn't don't every everything from how i'm i've into it's know "
    "needed since should some something the their then there they this very were what when where which while who with "
    "without would you your"
)
ENGLISH_WORDS = frozenset(_ENGLISH.split())
"""Small words of English that other languages have not."""

_HINGLISH = (
    "aapka aapke aapko agar baad bahut bhi chahiye ek h ho hoga hota hote hoti hu hua hui hun iska isko ka kab "
    "kahan kar karke karo karta karte karti ke ki kitna kitne ko koi kuch kyu lekin mein mera mere meri na nhi pe "
    "phir raha rahe rahi se tha thi thoda toh tum usko wala wale wali wo woh ya ye yeh"
)
OWN_WORDS: dict[str, frozenset[str]] = {"hi-Latn": frozenset(f"{_HINDI_IN_LATIN} {_HINGLISH}".split())}
"""Small words of a language that the identifier does not know, none of them English: what tells it from others."""

_SOUTH_SLAVIC_LATIN = str.maketrans("èæðÈÆÐ¹¾", "čćđČĆĐšž")
MISREAD: dict[str, dict[int, int]] = {
    "bs": _SOUTH_SLAVIC_LATIN,
    "hr": _SOUTH_SLAVIC_LATIN,
    "hu": str.maketrans("õûÕÛ", "őűŐŰ"),
    "ro": str.maketrans("şţŞŢ", "șțȘȚ"),
    "sr": _SOUTH_SLAVIC_LATIN,
    "tr": str.maketrans("ýþðÝÞÐ", "ışğİŞĞ"),
}
"""Letters of older code pages, read as those of Western Europe (or with the other sign below), for what they stand."""
ICELANDIC = frozenset("áæéíóú")
"""Beside these the letters of ``MISREAD`` for Turkish are what they seem."""

TYPED_AS: dict[str, tuple[frozenset[str], tuple[str, ...]]] = {
    "az": (frozenset("əıöüçşğƏİÖÜÇŞĞ"), ("tr", "crh")),
    "kk": (frozenset("әғқңөұүһіӘҒҚҢӨҰҮҺІ"), ("ky",)),
}
"""Letters without which, as people type who have not got them, a text reads as one in a relative."""

_PARTS = {
    "Hans": ("Hani",),
    "Hant": ("Hani",),
    "Jpan": ("Hani", "Hira", "Kana"),
    "Hrkt": ("Hira", "Kana"),
    "Kore": ("Hang", "Hani"),
}
"""Codes that name a way of writing rather than a set of characters."""

_NAMES = {
    "LATIN": "Latn", "CYRILLIC": "Cyrl", "GREEK": "Grek", "ARABIC": "Arab", "HEBREW": "Hebr", "DEVANAGARI": "Deva",
    "BENGALI": "Beng", "TAMIL": "Taml", "TELUGU": "Telu", "THAI": "Thai", "GEORGIAN": "Geor", "ARMENIAN": "Armn",
    "HANGUL": "Hang", "HIRAGANA": "Hira", "KATAKANA": "Kana", "KATAKANA-HIRAGANA": "Kana", "CJK": "Hani",
    "GUJARATI": "Gujr", "GURMUKHI": "Guru", "KANNADA": "Knda", "MALAYALAM": "Mlym", "SINHALA": "Sinh", "LAO": "Laoo",
    "MYANMAR": "Mymr", "KHMER": "Khmr", "ETHIOPIC": "Ethi", "TIBETAN": "Tibt", "ORIYA": "Orya", "MONGOLIAN": "Mong",
}  # fmt: skip
"""First words of Unicode character names."""

_DENSE = {"Hani": 3, "Hira": 2, "Kana": 2, "Hang": 2}
"""One character of these says as much as so many letters of an alphabet (rounded)."""


@cache
def _script(char: str) -> str:
    """The script of a letter or vowel sign, ``""`` for what is neither or belongs to none."""
    if unicodedata.category(char)[0] not in "LM":
        return ""
    words = unicodedata.name(char, "").replace("FULLWIDTH ", "").replace("HALFWIDTH ", "").split()
    return _NAMES.get(words[0], "") if words else ""


def han_forms(scripts: Sequence[str]) -> str:
    """Which of the two ways of writing Chinese ``scripts`` ask for: "Hans" or "Hant", "" for either or none."""
    asked = {"Hans", "Hant"} & set(scripts)
    return asked.pop() if len(asked) == 1 else ""


@cache
def han_form(char: str) -> str:
    """ "Hans" for a simplified character, "Hant" for a traditional one, "" for what both have, by what the two national
    character sets of before Unicode (GB 2312, Big5) hold."""
    if not "\u4e00" <= char <= "\u9fff":
        return ""
    simplified, traditional = (char.encode(name, "ignore") != b"" for name in ("gb2312", "big5"))
    return "" if simplified is traditional else "Hans" if simplified else "Hant"


def letters_by_script(text: str) -> dict[str, int]:
    """Letters of ``text`` by script (ISO 15924), a dense script's counted as the letters they stand for."""
    if text.isascii():
        return {"Latn": n} if (n := sum(map(str.isalpha, text))) else {}
    return dict(_counted(text))


@lru_cache(maxsize=256)  # the parts of one text are asked about again and again
def _counted(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for char, count in Counter(text).items():
        if script := _script(char):
            found[script] = found.get(script, 0) + count * _DENSE.get(script, 1)
    return found


def script_set(code: str, scripts: Sequence[str] | None = None) -> frozenset[str]:
    """The scripts that a text in ``code`` may be written in; ``scripts``, where given, replace the table."""
    own = scripts or SCRIPTS.get(code, ())
    return frozenset(part for script in own for part in _PARTS.get(script, (script,)))
