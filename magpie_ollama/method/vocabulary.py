"""Do the words of a text exist? The share of them that stand in a list of the language's words.

A detector by character n-grams says yes to whatever has the letters of a language, so to invented words too. The lists
are those of the package wordfreq, read from its files: they hold the words that are seen once in a hundred million
(large lists) or in a million (small ones). The floors were set on texts that the reported figures do not come from
(``docs/vocabulary.md``, ``benchmarks/vocabulary.py``).
"""

from __future__ import annotations

import errno
import gzip
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from magpie_ollama.method import segments
from magpie_ollama.method.writing import MISREAD, letters_by_script, script_set

if TYPE_CHECKING:
    import numpy as np

__all__ = ["FLOORS", "invented", "judged", "known", "mixes_scripts", "trouble"]

LISTS = {"no": "nb", "hr": "sh", "bs": "sh", "sr": "sh", "tl": "fil"}
"""The list of a language that has another name. Serbian is looked up in Latin letters."""

FLOORS: dict[str, float] = {
    "ar": 0.69, "bg": 0.50, "bn": 0.65, "bs": 0.53, "ca": 0.70, "cs": 0.61, "da": 0.48, "de": 0.70, "el": 0.48,
    "en": 0.84, "es": 0.74, "fa": 0.53, "fi": 0.61, "fr": 0.73, "he": 0.70, "hi": 0.61, "hr": 0.51, "hu": 0.45,
    "id": 0.65, "is": 0.49, "it": 0.80, "lt": 0.47, "lv": 0.53, "ms": 0.68, "nb": 0.61, "nl": 0.58, "no": 0.60,
    "pl": 0.60, "pt": 0.78, "ro": 0.52, "ru": 0.72, "sk": 0.52, "sl": 0.58, "sr": 0.51, "sv": 0.63, "ta": 0.40,
    "tl": 0.53, "tr": 0.54, "uk": 0.67, "ur": 0.58, "vi": 0.85,
}  # fmt: skip
"""Share of known words below which a text's words are invented: one in a hundred real
sentences is below it, two where more than .07 of the invented ones would pass. What has
no floor has no list of its own, or one that cannot tell (Korean joins its particles to the words)."""

COMPOUNDS = frozenset(("da", "de", "fi", "hu", "is", "nb", "nl", "no", "sv"))
"""Where two words are written as one, perhaps with an s between them."""

FEW = 5
"""Words below which a text says too little."""

DOUBT = 6.0
"""Known letters that every text is given: one rare word in a short question does not make it invented."""

MOST = 400
"""Words of a longer text that are looked up, spread over it."""

MANY, EARLY = 12, 0.2
"""While a text is being written so many words are wanted, and a share so far below the floor."""

RARE = 0.4
"""What the rarest word of a large list is worth: those lists hold misspellings and scraps. A word that is seen ten
times in a million is worth 1; a small list holds none that is much rarer."""
COMMON = 0.775
"""Worth of the words (one in three million) that a compound may be made of."""
COMPOUND, LONG_COMPOUND, PART = 0.3, 0.6, 6
"""Worth of a compound: many an invented word can be cut into two that exist, few into two of so many letters."""

ALONE = 0.94
"""Share of the other words from which one that does not exist is none too many, in a short text: "how do i get rid of
hicups fast". So .001 more of 3,280 invented texts pass, and .0005 more of 10,000 real sentences."""

MARGIN = 0.13
"""By which the worths differ: none of 797 beginnings of requests in 40 languages is so much nearer to English."""

TYPED = 0.9
"""Worth of a word without its accents, as a share of its own."""

_PLAIN = {
    code: unicodedata.normalize("NFD", chr(code))[0]
    for code in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00))
    if unicodedata.decomposition(chr(code))
} | str.maketrans("łđøı", "ldoi")
_LOST = dict.fromkeys(_PLAIN)

_JOINED = "'\u02bc\u00b7\u05f3\u05f4"
MARKS = (
    "\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06ed"
    "\u0900-\u0963\u0971-\u0df4\u200c\u200d"
)
"""Signs above, below and within the words of Latin, Hebrew, Arabic and the scripts of India, which are no letters."""

_WORD = re.compile(rf"(?:[^\W\d_]|[{MARKS}]|(?<=[^\W\d_])[{_JOINED}](?=[^\W\d_]))+")
"""Letters, the signs above and below them, and what joins two parts of a word."""
_JOINT = re.compile(rf"[{_JOINED}\u200c]")
_POINTS = re.compile("[\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed]")
"""Vowel points and lengthening of Arabic and Hebrew letters, which the lists leave out."""
_LETTERS: dict[str, Any] = MISREAD | {
    "sr": MISREAD["sr"]
    | str.maketrans(
        dict(zip("абвгдђежзијклмнопрстћуфхцчш", "abvgdđežzijklmnoprstćufhcčš", strict=True))
        | {"љ": "lj", "њ": "nj", "џ": "dž"}
    ),
}
"""How the lists write a letter: for those that older code pages have in the place of a language's own, and Cyrillic."""
_DOTS = str.maketrans("Iİ", "ıi")
_SPACED = "\u0370-\u0dff\u10a0-\u10ff"
_INSIDE = re.compile(f"[{_SPACED}][A-HK-Za-hk-z]+[{_SPACED}]")
"""Latin letters amid those of a script that has spaces between words, Greek to Sinhala and Georgian; i and j are typed
for the Cyrillic ones."""


@dataclass(frozen=True, slots=True)
class Words:
    """A list: the words' hashes, in order, and what each word is worth (0 to 1). 12 bytes a word, at most 16 MB.

    ``error`` says why the list cannot be used.
    """

    hashes: np.ndarray[Any, Any] = field(repr=False)
    worths: np.ndarray[Any, Any] = field(repr=False)
    error: str = ""

    def worth(self, words: Sequence[str]) -> list[float]:
        """What each of ``words`` is worth; 0 where it is not in the list."""
        import numpy as np

        asked = np.fromiter(map(hash, words), np.int64, len(words))
        places = np.minimum(np.searchsorted(self.hashes, asked), len(self.hashes) - 1)
        found: list[float] = np.where(self.hashes[places] == asked, self.worths[places], 0.0).tolist()
        return found


@cache
def _words(name: str) -> Words:
    """The list of wordfreq of that name: 0.05 to 0.7 s."""
    import numpy as np

    try:
        package = find_spec("wordfreq")
        if package is None or not package.submodule_search_locations:
            raise FileNotFoundError("the package wordfreq is not installed")
        folder = Path(package.submodule_search_locations[0]) / "data"
        large = folder / f"large_{name}.msgpack.gz"
        path = large if large.exists() else folder / f"small_{name}.msgpack.gz"
        # A bucket at a time: all the words at once would take 100 MB for as long as they are read.
        buckets = msgspec.msgpack.decode(gzip.decompress(path.read_bytes()), type=list[msgspec.Raw])[1:]
        hashes, worths = [], []
        for centibels, bucket in enumerate(buckets):
            some = msgspec.msgpack.decode(bucket, type=list[str])
            zipf = 9 - centibels / 100
            worth = RARE + (1 - RARE) * min(1.0, max(0.0, zipf / 4)) if path is large else 1.0
            typed = [way for word in some if not word.isascii() for way in _typed(word)]
            for words, each in ((some, worth), (typed, worth * TYPED)):
                hashes.append(np.fromiter(map(hash, words), np.int64, len(words)))
                worths.append(np.full(len(words), each, np.float32))
        every = np.concatenate(hashes)
        if not len(every):
            raise ValueError("it is empty")
    except (OSError, EOFError, zlib.error, ValueError) as error:  # of msgspec too
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            raise  # nothing is wrong with the list
        return Words(np.zeros(1, np.int64), np.zeros(1, np.float32), str(error) or type(error).__name__)
    every_worth = np.concatenate(worths)
    order = np.lexsort((-every_worth, every))  # of equal words the one that is worth most is found
    return Words(every[order], every_worth[order])


def _typed(word: str) -> Iterator[str]:
    """``word`` as people type it who leave out its accents, and as files have it that lost the letters with one."""
    if (plain := word.translate(_PLAIN)) != word:
        yield plain
        if len(lost := word.translate(_LOST)) > 2:
            yield lost


def sure(code: str) -> float:
    """The share of known words from which a text's words exist: half way from the floor to all of them."""
    return (1.0 + FLOORS.get(code, 1.0)) / 2


def trouble(code: str) -> str:
    """Loads the list of ``code``, for a thread. Why its words cannot be looked up though there should be a list, or
    ``""``."""
    if code not in FLOORS:
        return ""
    return _words(LISTS.get(code, code)).error or _words("en").error


def counted(text: str, code: str) -> list[str]:
    """The words of ``text`` that count, as the lists write them: of its prose, of two letters and more, none with a
    capital where that may mean a name."""
    text = segments.prose(unicodedata.normalize("NFC", text.replace("’", "'")))
    return list(_folded((word for word in _WORD.findall(text) if _counts(word, code)), code))


def judged(text: str, code: str, *, unfinished: bool = False) -> tuple[bool | None, float]:
    """Whether too many words of ``text`` are in no list of the language ``code``, or a word mixes scripts; None where
    that cannot be said: there is no list, or the words are too few, or it is one word alone. And the share of known
    words, 0.0 where it was not measured.

    0.1 ms for 100 characters. Of an ``unfinished`` text the last word is left out, and the doubt is the text's.
    """
    if unfinished:
        text = text[: max(text.rfind(" "), 0)]
    found = _shares(text, code, MANY if unfinished else FEW)
    if mixes_scripts(text, code):
        return True, found[0] if found else 0.0
    if found is None:
        return None, 0.0
    share, others = found
    low = share < FLOORS[code] - (EARLY if unfinished else 0.0)
    return None if low and others >= ALONE else low, share


def invented(text: str, code: str, *, unfinished: bool = False) -> bool | None:
    return judged(text, code, unfinished=unfinished)[0]


def known(text: str, code: str) -> float | None:
    """The share of known words in ``text``, each counted by its letters from the third to the eighth: short ones are
    easily hit upon. None where there is no list, or fewer than ``FEW`` words."""
    found = _shares(text, code, FEW)
    return None if found is None else found[0]


@lru_cache(maxsize=64)  # a text's share is told of what was screened, too
def _shares(text: str, code: str, few: int) -> tuple[float, float] | None:
    """The share of known words, and what it is without the word that takes most from it."""
    if code not in FLOORS or (lists := _words(LISTS.get(code, code))).error:
        return None
    words = counted(text, code)
    if len(words) < few:
        return None
    if len(words) > MOST:
        words = words[:: len(words) // MOST + 1]
    worths = lists.worth(words)
    if not all(worths):
        worths = [worth or part for worth, part in zip(worths, _in_parts(words, worths, code, lists), strict=True)]
    weights = [min(max(len(word) - 2, 0.25), 6.0) for word in words]
    if code != "en" and not all(worths):
        foreign = _words("en").worth(words)
        weights = [
            0.0 if english >= COMMON and not worth else weight
            for weight, worth, english in zip(weights, worths, foreign, strict=True)
        ]
    found, every = DOUBT + sum(map(float.__mul__, worths, weights)), DOUBT + sum(weights)
    worth, weight = max(zip(worths, weights, strict=True), key=lambda word: (1 - word[0]) * word[1])
    return found / every, (found - worth * weight) / (every - weight)


def rather(text: str, code: str, other: str, least: float = 0.0, margin: float = MARGIN) -> bool:
    """Whether the words of ``text``, as many as there are, are commoner in ``code`` than in ``other``, each by
    ``margin`` on the mean and all together by ``least`` words: "Solve for x". False where either has no list."""
    lists = [_words(LISTS.get(name, name)) for name in (code, other)]
    if any(some.error for some in lists):
        return False
    own, others = (
        some.worth(counted(text.lower(), name) or [""]) for some, name in zip(lists, (code, other), strict=True)
    )
    more = sum(own) - sum(others)
    return more > margin * len(own) and more > least


def mixes_scripts(text: str, code: str) -> bool:
    """Whether a word of ``text`` has letters of two scripts. Names of products in Latin letters are joined to words of
    any other script, but do not stand amid their letters; letters of several make the words of East Asia."""
    wanted = script_set(code)
    allowed = wanted | {"Latn"} if wanted != {"Latn"} else wanted | {"Grek"}  # µm
    if not wanted or wanted & {"Hani", "Hans", "Hang", "Thai"}:
        return False
    amid = not text.isascii() and _INSIDE.search(text) is not None
    if not amid and letters_by_script(text).keys() <= allowed:
        return False
    for word in _WORD.findall(segments.prose(text)):
        scripts = letters_by_script(word).keys()
        if len(scripts) > 1 and scripts & wanted and (not scripts <= allowed or (amid and _INSIDE.search(word))):
            return True
    return False


def _counts(word: str, code: str) -> bool:
    # In German every noun has a capital.
    return len(word) > 1 and (not word[0].isupper() or (code == "de" and not word.isupper()))


def _folded(words: Iterable[str], code: str) -> Iterator[str]:
    for word in words:
        if code == "tr":
            word = word.translate(_DOTS)
        word = word.casefold()
        if code in _LETTERS:
            word = word.translate(_LETTERS[code])
        yield _POINTS.sub("", word) if code in ("ar", "fa", "he", "ur") else word


def _in_parts(words: list[str], worths: list[float], code: str, lists: Words) -> Iterator[float]:
    """What words that are in no list are worth by what they are joined of: "l'acqua", or a compound. All of a text are
    looked up at once."""
    pairs = [[] if worth else list(_pairs(word, code)) for word, worth in zip(words, worths, strict=True)]
    parts = list(dict.fromkeys(part for some in pairs for pair in some for part in pair))
    found = dict(zip(parts, lists.worth(parts), strict=True)) if parts else {}
    for word, some in zip(words, pairs, strict=True):
        if _JOINT.search(word):
            yield max((min(found[part] or (len(part) < 3) * RARE for part in pair) for pair in some), default=0.0)
        else:
            shorter = [min(len(a), len(b)) for a, b in some if found[a] >= COMMON <= found[b]]
            yield (LONG_COMPOUND if max(shorter) >= PART else COMPOUND) if shorter else 0.0


def _pairs(word: str, code: str) -> Iterator[Sequence[str]]:
    if _JOINT.search(word):
        yield _JOINT.split(word)
    elif code in COMPOUNDS and 8 <= len(word) <= 40:
        for cut in range(4, len(word) - 3):
            yield word[:cut], word[cut:]
            if word[cut] == "s" and cut + 4 < len(word):
                yield word[:cut], word[cut + 1 :]
