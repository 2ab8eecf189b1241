"""Is this text in that language?

Script first, then a statistical identifier among the languages of that script, sentence by sentence.
Code, addresses, formulae and quoted names are set aside before (see ``segments``). The question is
always about one target language: it is accepted when its score is near enough to the best other one;
how near is near enough was set on texts that the reported figures do not come from
(``docs/detection.md``, ``benchmarks/detection.py``).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import product

from magpie_ollama.method import identifier, segments
from magpie_ollama.method.vocabulary import rather
from magpie_ollama.method.writing import (
    FOREIGN_LETTERS,
    FOREIGN_WORDS,
    ICELANDIC,
    MISREAD,
    NEIGHBOURS,
    OWN_WORDS,
    SCRIPTS,
    han_form,
    han_forms,
    letters_by_script,
    script_set,
)

__all__ = ["ACCEPTED", "OTHER", "Verdict", "check", "drifted", "identify", "told_by"]


class Verdict(StrEnum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    """Too short, or all code, to tell: no reason to reject a text."""


OTHER = "und"
"""What ``identify`` says of a text in none of the languages that it knows (ISO 639-2: undetermined)."""

ACCEPTED: dict[str, frozenset[str]] = {
    "no": frozenset({"no", "nn"}),
    "nb": frozenset({"no"}),
    "pt-BR": frozenset({"pt"}),
    "hr": frozenset({"hr", "bs"}),
    "bs": frozenset({"bs", "hr"}),
    "sr": frozenset({"sr", "bs", "hr"}),
}
"""Identified languages that count as the target: standards whose sentences are often the same.

Serbian in Latin letters is identified as bs or hr as often as sr; in Cyrillic only sr is in play.
"""

CHINESE = frozenset({"zh", "zh-Hant"})
"""One language in two ways of writing: its characters tell them apart, the identifier does not."""

# Leads are differences of log-likelihood over the square root of the characters: in that unit the spread of
# a text's lead hardly depends on its length. The allowances were set on web sentences and message
# catalogues, by bytes and before DOUBT was added: 20 to 60 characters, .997 accepted as themselves and .0017 as
# another language; 60 to 150 characters, .998 and .0002.
SLACK = 1.0
"""A target this little behind the best other language is still accepted."""
SLACK_PAIR: dict[frozenset[str], float] = {frozenset({"id", "ms"}): 2.0, frozenset({"eu", "la"}): 3.0}
"""More where the pair cannot be told apart by any short sentence: the doubt is the target's. Basque sentences that are
half a Latin name of a species are; no Latin text reads as Basque."""
SLACK_ENGLISH = 0.75
"""Less for English, the language that models fall back to: most of what is wrong is wrong this way."""
SLACK_NEIGHBOUR = 1.5
"""More for the languages that are only rivals."""
CLEAR = 3.0
"""A target this far behind is lost beyond doubt: enough to cancel, or to reject for one sentence."""

FRAME = 1.0
"""A target so far ahead is clearly the language of what is said around foreign words."""

REQUEST = 16
"""Letters of a last line that may say what the lines before it are for: "Enjoy your meal!" says nothing."""

HAN = 8.0
"""Chinese this far ahead of Japanese, the kana left out, is Chinese: .988 of the Chinese web sentences, and .019 of the
rows of eight and more kanji in the Japanese ones."""

DOUBT = 0.75
"""A short text (below twice ``FEW`` letters) this little beyond its allowance is unknown, not wrong: names
weigh much in it ("Wie was Christiaan Huygens?" reads as German)."""

SHORT = 1.0
"""Below ``FEW`` letters a target is lost by less: .007 of the words that people begin with are behind by more."""

SLAVIC = frozenset(["bg", "bs", "cs", "hr", "mk", "pl", "ru", "sk", "sl", "sr", "uk"])
"""Where words decide on a target that is behind by less than ``SLACK`` more: relatives with the same short words, whose
texts often lack their accents."""

FOREIGN_SHARE = 50
"""One foreign letter in so many, and two at least, are more than a name brings into a text."""
FOREIGN_WORDS_SHARE = 6
"""One foreign small word in so many, and two different ones at least."""
OWN_WORDS_SHARE = 8
"""One word of its own in so many, where the identifier does not know the language, or it is another: fewer have none of
53 sentences of Hinglish from public repositories, and .97 of 1,026 exemplar texts in other languages."""

_LATIN = re.compile(r"[A-Za-z]+")
_NOT_LATIN = re.compile(r"[^\W\d_\u0000-\u036f\u1e00-\u1eff]+")
_ENGLISH = re.compile(
    r"(?<![^\W_])(?:the|and|of|with|my|your|that|this|they|are|how|what|when|from|because|would|could|should|to|has|have)"
    r"(?![^\W_])",
    re.IGNORECASE,
)
_KANA = re.compile(r"[\u3040-\u30ff]+")

FEW = 12
"""Letters below which a statistical score says too little about a text or a sentence."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """One sentence: its letters, and the target's lead over the others (infinite: the script decided)."""

    letters: int
    lead: float
    scores: dict[str, float]
    """Log-likelihoods by language; empty where the script decided."""
    size: int
    """Characters, the length that the scores are normalised by."""

    @property
    def lost(self) -> bool:
        return self.lead < -CLEAR and self.letters >= FEW


def check(text: str, code: str, *, scripts: Sequence[str] | None = None, opener: str = "") -> Verdict:
    """Whether ``text`` is in the language ``code`` (of ``SCRIPTS``: ISO 639-1, nb, nn, bs, zh-Hant, ...).

    ``scripts`` are ISO 15924 codes and replace this module's own; for a language that it does not know
    they alone decide. The answer is ``UNKNOWN`` for a text with too few letters outside its code, or one
    so short that the identifier cannot tell and the script does not speak against. Words behind an
    ``opener`` that the text was begun with are judged alone too.
    """
    verdict = _judged(text, code, scripts)
    if verdict is Verdict.NO or not opener or not text.startswith(opener):
        return verdict
    # Its last sign stays: it may be the colon behind which another language is welcome.
    behind = opener[-1] + text[len(opener) :]
    if sum(letters_by_script(behind).values()) < FEW:
        return verdict
    alone = _judged(behind, code, scripts, Verdict.UNKNOWN)
    return alone if alone is Verdict.NO else verdict


def _judged(text: str, code: str, scripts: Sequence[str] | None, enough: Verdict = Verdict.YES) -> Verdict:
    """The verdict on ``text``, or where that is NO, on what is said around its foreign words: if that is no less than
    ``enough``."""
    wanted = script_set(code, scripts)
    verdict = _verdict(_sentences(text, wanted), code, wanted, scripts)
    if verdict is not Verdict.NO:
        return verdict
    prose = segments.prose(text)
    before, _, last = prose.strip().rpartition("\n")
    orders = [prose, f"{last}:\n{before}"] if before and segments.letters(last) >= REQUEST else [prose]
    for around, titles in product(orders, (True, False)):
        found = _frame(segments.parts(around, titles), code, wanted, scripts)
        if found in (Verdict.YES, enough):
            return found
    return Verdict.NO


def _verdict(
    sentences: list[tuple[str, dict[str, int]]], code: str, wanted: frozenset[str], scripts: Sequence[str] | None
) -> Verdict:
    letters, fitting = _fit(sentences, wanted)
    if not wanted or letters < 4:
        return Verdict.UNKNOWN
    if fitting * 5 < letters * 2 or _is_written_otherwise(
        "".join(sentence for sentence, _ in sentences), code, scripts
    ):
        return Verdict.NO
    pieces = [_piece(sentence, found, code, wanted) for sentence, found in sentences]
    lost = sum(piece.letters for piece in pieces if piece.lost)
    if lost * 5 > letters or _lost_at_the_end(pieces) >= 60:
        return Verdict.NO
    scored = [piece for piece in pieces if piece.scores]
    if not scored:
        return Verdict.YES if any(piece.lead > 0 for piece in pieces) else Verdict.UNKNOWN
    lead = scored[0].lead if len(scored) == 1 else _together(scored, code)
    words = " ".join(sentence for sentence, _ in sentences)
    if (letters < FEW and abs(lead) < CLEAR) or (letters < 2 * FEW and -DOUBT < lead <= 0):
        # One name alone may be an answer in any language.
        other = any(word[0].islower() for word in words.split()) and (lead < -SHORT or rather(words, "en", code))
        return Verdict.NO if other else Verdict.UNKNOWN
    if -SLACK < lead <= 0 and code in SLAVIC:
        rival = _nearest(scored, code)
        return Verdict.YES if rival in SLAVIC and rather(words, code, rival) else Verdict.NO
    return Verdict.YES if lead > 0 else Verdict.NO


def drifted(text: str, code: str, *, scripts: Sequence[str] | None = None) -> bool:
    """Whether ``text``, still being written, seems to have left the language ``code``: lost it is if ``check`` says so.

    After 20 letters the script alone can tell; else 60 letters are wanted, the last 40 of them in
    sentences whose margin is beyond doubt (the whole text, or English after the first clause).
    """
    wanted = script_set(code, scripts)
    sentences = _sentences(text, wanted, unfinished=True)
    letters, fitting = _fit(sentences, wanted)
    if not wanted or letters < 20:
        return False
    if fitting * 5 < letters:
        return True
    return letters >= 60 and _lost_at_the_end([_piece(*sentence, code, wanted) for sentence in sentences]) >= 40


def _frame(parts: list[tuple[str, bool]], code: str, wanted: frozenset[str], scripts: Sequence[str] | None) -> Verdict:
    """Whether ``parts`` without the foreign ones, each behind its mark, are clearly in the language."""
    frame: list[tuple[str, dict[str, int]]] = []
    around: list[_Piece] = []
    blocks: list[_Piece] = []
    inside = False
    named = False
    for sentence, opened in parts:
        found = _letters(sentence, wanted)
        opened = opened and not named
        named = (
            "Latn" not in wanted
            and found.keys() == {"Latn"}
            and _names(sentence)
            and not sentence.endswith(segments.COLONS)
        )
        if named:  # they announce nothing
            continue
        piece = _piece(sentence, found, code, wanted)
        inside = piece.lead < FRAME if inside else (opened and piece.lead < 0)
        if inside:
            blocks.append(piece)
            continue
        for part in _divided(sentence, wanted):
            found = _letters(part, wanted)
            frame.append((part, found))
            around.append(_piece(part, found, code, wanted))
    verdict = _verdict(frame, code, wanted, scripts)
    if verdict is not Verdict.YES:
        return verdict
    foreign = _total([piece for piece in blocks if piece.scores])
    said = _total([piece for piece in around if piece.scores])
    if not foreign or not said:
        return verdict
    # Clearly means: ahead of what the words behind the mark are in.
    accepted = _terms(code)[0]
    own = max((said[c] for c in accepted if c in said), default=-math.inf)
    other = max(foreign.keys() - accepted, key=lambda c: foreign[c])
    ahead = own - said.get(other, -math.inf)
    return verdict if ahead > FRAME * math.sqrt(sum(piece.size for piece in around)) else Verdict.NO


def told_by(code: str) -> str:
    """How texts in ``code`` are told from others: by the "identifier", which knows it; by small "words" of its own; or
    by no more than its "script", and that they are not English."""
    if code in OWN_WORDS:
        return "words"
    return "identifier" if code in SCRIPTS or code in NEIGHBOURS else "script"


def identify(text: str) -> str:
    """The likeliest language of ``text`` (ISO 639-1, zh-Hant; nn, bs where likelier than no, hr), ``""`` if too short.

    A text in none of the languages of ``SCRIPTS`` has the code of the neighbour that it is likeliest in, or ``OTHER``.
    """
    text = " ".join(sentence for sentence, _ in _sentences(text, frozenset()))
    found = letters_by_script(text)
    if sum(found.values()) < FEW:
        return ""
    kana = found.pop("Hira", 0) + found.pop("Kana", 0)
    found["Hani"] = found.get("Hani", 0) + kana
    script = _main(found)
    rivals = _rivals(script)
    if script == "Hani":
        likeliest = "ja" if _japanese(text, kana, found["Hani"]) else _written_chinese(text)
    elif len(rivals) < 2:
        likeliest = rivals[0] if rivals else OTHER
    else:
        scores, _ = _scores(text, script, rivals)
        likeliest = max(scores, key=lambda c: scores[c], default="")
    return OTHER if _is_written_otherwise(text, likeliest, None) else likeliest


def _written_chinese(text: str) -> str:
    """Which Chinese, by its characters: a text of such as both ways of writing have counts as the simplified."""
    forms = Counter(map(han_form, text))
    return "zh-Hant" if forms["Hant"] > forms["Hans"] else "zh"


def _is_written_otherwise(text: str, code: str, scripts: Sequence[str] | None) -> bool:
    """Whether a text in the script of ``code`` has letters or words that are not of it, more than names would."""
    if telling := OWN_WORDS.get(code):
        words = _LATIN.findall(text.lower())
        return len(words) > 3 and sum(map(telling.__contains__, words)) * OWN_WORDS_SHARE < len(words)
    if own := han_forms(scripts or SCRIPTS.get(code, ())):
        forms = Counter(map(han_form, text))
        if forms["Hant" if own == "Hans" else "Hans"] > max(1, forms[own]):
            return True
    foreign = FOREIGN_LETTERS.get(code, frozenset())
    if not foreign.isdisjoint(text):
        count = sum(map(foreign.__contains__, text))
        if count > 1 and count * FOREIGN_SHARE > len(text):
            return True
    small = _small_words(code)
    if not small:
        return False
    words = text.lower().split()
    return len(small.intersection(words)) > 1 and sum(map(small.__contains__, words)) * FOREIGN_WORDS_SHARE > len(words)


@cache
def _small_words(code: str) -> frozenset[str]:
    """Those of what the identifier does not know, in the scripts of ``code``."""
    return frozenset().union(*(FOREIGN_WORDS.get(script, ()) for script in SCRIPTS.get(code, ())))


def _together(pieces: list[_Piece], code: str) -> float:
    """The target's lead in several sentences, their evidence added up."""
    return _lead(_total(pieces), code, sum(piece.size for piece in pieces))


def _nearest(pieces: list[_Piece], code: str) -> str:
    """The rival that several sentences of the target are nearest to, or farthest behind."""
    scores, size, slack = _total(pieces), sum(piece.size for piece in pieces), _terms(code)[1]
    return max(scores.keys() & slack.keys(), key=lambda c: scores[c] / math.sqrt(size or 1) - slack[c])


def _total(pieces: list[_Piece]) -> dict[str, float]:
    # Serbian may change its script between sentences: only those languages are compared that all of them know.
    common = set(pieces[0].scores).intersection(*(piece.scores for piece in pieces)) if pieces else set()
    return {c: sum(piece.scores[c] for piece in pieces) for c in common}


def _sentences(text: str, wanted: frozenset[str], *, unfinished: bool = False) -> list[tuple[str, dict[str, int]]]:
    """The sentences of ``text`` with their letters. Names alone, in Latin letters, say nothing about another script."""
    prose = segments.prose(text, unfinished=unfinished)
    every = [
        (part, _letters(part, wanted)) for sentence in segments.sentences(prose) for part in _divided(sentence, wanted)
    ]
    if "Latn" in wanted or all(found.keys() <= {"Latn"} for _, found in every):
        return every
    return [(sentence, found) for sentence, found in every if found.keys() != {"Latn"} or not _names(sentence)]


def _divided(sentence: str, wanted: frozenset[str]) -> tuple[str, ...]:
    """``sentence``, and apart from it the words that it ends with where they may be English.

    Sentences in another script end in words of Latin letters, not all of them names; others hold two small words.
    """
    if "Latn" not in wanted:
        start = max((match.end() for match in _NOT_LATIN.finditer(sentence)), default=0)
        if not _clause(sentence[start:]):
            return (sentence,)
    else:
        small = [match.start() for match in _ENGLISH.finditer(sentence)]
        if len(small) < 2:
            return (sentence,)
        start = small[0]
    return (sentence[:start], sentence[start:]) if any(map(str.isalpha, sentence[:start])) else (sentence,)


def _clause(text: str) -> bool:
    """Whether ``text`` is more than names or terms in Latin letters: four words and more, few commas between them."""
    words = len(_LATIN.findall(text))
    return words > 3 and text.count(",") * 3 < words and not _names(text)


def _names(sentence: str) -> bool:
    """Whether ``sentence`` looks like names, in Latin letters: "Ruby on Rails, Java"."""
    words = _LATIN.findall(sentence)
    return len([word for word in words if word[0].islower()]) * 3 <= len(words)


def _letters(sentence: str, wanted: frozenset[str]) -> dict[str, int]:
    found = letters_by_script(sentence)
    if "Latn" in found and "Latn" not in wanted and (len(found) > 1 or not _clause(sentence)):
        # The names of products and people stay Latin in every script: half of it is not held against a text.
        found["Latn"] = (found["Latn"] + 1) // 2
    return found


def _main(found: dict[str, int]) -> str:
    """The script that a text is in: names in Latin letters may outnumber it."""
    return max(found, key=lambda script: found[script] // 2 if script == "Latn" else found[script])


def _fit(sentences: list[tuple[str, dict[str, int]]], wanted: frozenset[str]) -> tuple[int, int]:
    """All letters, and those of them in a wanted script."""
    every = [(script, n) for _, found in sentences for script, n in found.items()]
    return sum(n for _, n in every), sum(n for script, n in every if script in wanted)


def _piece(sentence: str, found: dict[str, int], code: str, wanted: frozenset[str]) -> _Piece:
    letters = sum(found.values())
    fitting = {script: n for script, n in found.items() if script in wanted}
    if not fitting or sum(fitting.values()) * 5 < letters * 2:
        return _Piece(letters, -math.inf, {}, 0)
    kana = found.get("Hira", 0) + found.get("Kana", 0)
    if code in CHINESE and _japanese(sentence, kana, letters):
        return _Piece(letters, -math.inf, {}, 0)
    if code == "ja" and kana * 20 < letters:
        # Han nearly alone: a heading, a name or a list, but Chinese where it is long and reads so.
        if letters >= 24 and _chinese(sentence):
            return _Piece(letters, -math.inf, {}, 0)
        if not kana:
            return _Piece(letters, 0.0, {}, 0)
    script = _main(fitting)
    rivals = _rivals(script)
    if code in CHINESE or code == "ja" or len(rivals) < 2:
        return _Piece(letters, math.inf, {}, 0)
    if told_by(code) == "script":
        return _Piece(letters, _not_english(sentence, script, rivals), {}, 0)
    if _terms(code)[0].isdisjoint(rivals):
        return _Piece(letters, math.inf, {}, 0)
    if code in MISREAD and (code != "tr" or ICELANDIC.isdisjoint(sentence)):
        sentence = sentence.translate(MISREAD[code])
    scores, size = _scores(sentence, script, rivals)
    return _Piece(letters, _lead(scores, code, size), scores, size)


def _not_english(text: str, script: str, rivals: tuple[str, ...]) -> float:
    """The lead, over English, of whatever else ``text`` may be in; infinite where English is not written so."""
    scores, size = _scores(text, script, rivals)
    best = max((score for code, score in scores.items() if code not in ("en", "pcm")), default=-math.inf)
    return (best - scores["en"]) / math.sqrt(size or 1) + SLACK_ENGLISH if "en" in scores else math.inf


def _japanese(text: str, kana: int, letters: int) -> bool:
    """Whether a text in Han and kana is Japanese: a headline has little kana, and so has Chinese that quotes a word."""
    return kana * 5 > letters or (kana > 0 and not _chinese(text))


def _chinese(text: str) -> bool:
    """Whether the Han characters of ``text`` read as Chinese and not as Japanese."""
    scores, size = _scores(_KANA.sub(" ", text), "Hani", ("ja", "zh"))
    return bool(scores) and scores["zh"] - scores["ja"] > HAN * math.sqrt(size)


def _scores(text: str, script: str, rivals: tuple[str, ...]) -> tuple[dict[str, float], int]:
    """Log-likelihoods of ``rivals``, and the characters of ``text`` they stand on: names in another script apart."""
    text = (_NOT_LATIN if script == "Latn" else _LATIN).sub(" ", text)
    every = identifier.scores(text)
    return {c: every[c] for c in rivals if c in every}, len(text)


def _lead(scores: dict[str, float], code: str, size: int) -> float:
    """How far ``code`` is ahead of the nearest rival, the allowance for that rival added.

    Above 0 the target is accepted. In log-likelihood over the square root of ``size`` characters.
    """
    accepted, slack = _terms(code)
    own = max([scores[c] for c in accepted if c in scores], default=-math.inf)
    if own == -math.inf:
        return -math.inf
    unit = math.sqrt(size or 1)
    return min([(own - s) / unit + slack[c] for c, s in scores.items() if c in slack], default=math.inf)


@cache
def _terms(code: str) -> tuple[frozenset[str], dict[str, float]]:
    """The identified languages that count as ``code``, and what it may be behind each of the others."""
    accepted = ACCEPTED.get(code, frozenset({code}))
    slack = {c: SLACK_PAIR.get(frozenset({code, c}), SLACK_ENGLISH if c == "en" else SLACK) for c in SCRIPTS}
    slack |= {c: SLACK_PAIR.get(frozenset({code, c}), SLACK_NEIGHBOUR) for c in NEIGHBOURS}
    return accepted, {c: s for c, s in slack.items() if c not in accepted}


@cache
def _rivals(script: str) -> tuple[str, ...]:
    """The languages written in ``script`` that the identifier tells apart (nb is part of its no)."""
    return tuple(code for code, own in (SCRIPTS | NEIGHBOURS).items() if script in own and code != "nb")


def _lost_at_the_end(pieces: list[_Piece]) -> int:
    """Letters in the run of lost sentences that ``pieces`` end with."""
    tail = 0
    for piece in reversed(pieces):
        if piece.letters >= FEW:
            if not piece.lost:
                break
            tail += piece.letters
    return tail
