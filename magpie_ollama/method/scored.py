"""The sentences of a text, each with its letters by script and its scores: what ``detection`` judges by."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache, lru_cache

from magpie_ollama.method import identifier, segments
from magpie_ollama.method.writing import ICELANDIC, MISREAD, NEIGHBOURS, OWN_WORDS, SCRIPTS, TYPED_AS, letters_by_script

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

HAN = 8.0
"""Chinese this far ahead of Japanese, the kana left out, is Chinese: .988 of the Chinese web sentences, and .019 of the
rows of eight and more kanji in the Japanese ones."""

LATIN = re.compile(r"[A-Za-z]+")

_NOT_LATIN = re.compile(r"[^\W\d_\u0000-\u036f\u1e00-\u1eff]+")

_ENGLISH = re.compile(
    r"(?<![^\W_])(?:the|and|of|with|my|your|that|this|they|are|how|what|when|from|because|would|could|should|to|has|have"
    r"|for|about|who|which|where|while|into|their|without|between|these|those|there|been|were)"
    r"(?![^\W_])",
    re.IGNORECASE,
)

_ASKED = re.compile("how|wh(?:at|ere|ich|en|o)")
"""Of these, in small letters, one is enough before a clause."""

_KANA = re.compile(r"[\u3040-\u30ff]+")

FEW = 12
"""Letters below which a statistical score says too little about a text or a sentence."""


@dataclass(frozen=True, slots=True)
class Piece:
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


def told_by(code: str) -> str:
    """How texts in ``code`` are told from others: by the "identifier", which knows it; by small "words" of its own; or
    by no more than its "script", and that they are not English."""
    if code in OWN_WORDS:
        return "words"
    return "identifier" if code in SCRIPTS or code in NEIGHBOURS else "script"


def lead_together(pieces: list[Piece], code: str) -> float:
    """The target's lead in several sentences, their evidence added up."""
    return lead_of(total_scores(pieces), code, sum(piece.size for piece in pieces))


def nearest(pieces: list[Piece], code: str) -> str:
    """The rival that several sentences of the target are nearest to, or farthest behind."""
    scores, size, slack = total_scores(pieces), sum(piece.size for piece in pieces), terms_of(code)[1]
    return max(scores.keys() & slack.keys(), key=lambda c: scores[c] / math.sqrt(size or 1) - slack[c])


def total_scores(pieces: list[Piece]) -> dict[str, float]:
    # Serbian may change its script between sentences: only those languages are compared that all of them know.
    totals = pieces[0].scores if pieces else {}
    for piece in pieces[1:]:
        totals = {c: totals[c] + score for c, score in piece.scores.items() if c in totals}
    return totals


def sentences_of(text: str, wanted: frozenset[str], *, unfinished: bool = False) -> list[tuple[str, dict[str, int]]]:
    """The sentences of ``text`` with their letters. Names alone, in Latin letters, say nothing about another script."""
    prose = segments.prose(text, unfinished=unfinished)
    every = [
        (part, letters_in(part, wanted)) for sentence in segments.sentences(prose) for part in divided(sentence, wanted)
    ]
    if "Latn" in wanted or all(found.keys() <= {"Latn"} for _, found in every):
        return every
    return [(sentence, found) for sentence, found in every if found.keys() != {"Latn"} or not is_of_names(sentence)]


def divided(sentence: str, wanted: frozenset[str]) -> tuple[str, ...]:
    """``sentence``, and apart from it the words that it ends with where they may be English.

    Sentences in another script end in words of Latin letters, not all of them names; others hold two small words.
    """
    if "Latn" not in wanted:
        start = max((match.end() for match in _NOT_LATIN.finditer(sentence)), default=0)
        if not is_clause(sentence[start:]):
            return (sentence,)
    else:
        small = [match.start() for match in _ENGLISH.finditer(sentence)]
        if not small or (len(small) < 2 and not (_ASKED.match(sentence, small[0]) and is_clause(sentence[small[0] :]))):
            return (sentence,)
        start = small[0]
    return (sentence[:start], sentence[start:]) if any(map(str.isalpha, sentence[:start])) else (sentence,)


def is_clause(text: str) -> bool:
    """Whether ``text`` is more than names or terms in Latin letters: four words and more, few commas between them."""
    words = len(LATIN.findall(text))
    return words > 3 and text.count(",") * 3 < words and not is_of_names(text)


def is_of_names(sentence: str) -> bool:
    """Whether ``sentence`` looks like names, in Latin letters: "Ruby on Rails, Java"."""
    words = LATIN.findall(sentence)
    return len([word for word in words if word[0].islower()]) * 3 <= len(words)


def letters_in(sentence: str, wanted: frozenset[str]) -> dict[str, int]:
    found = letters_by_script(sentence)
    if "Latn" in found and "Latn" not in wanted and (len(found) > 1 or not is_clause(sentence)):
        # The names of products and people stay Latin in every script: half of it is not held against a text.
        found["Latn"] = (found["Latn"] + 1) // 2
    return found


def main_script(found: dict[str, int]) -> str:
    """The script that a text is in: names in Latin letters may outnumber it."""
    return max(found, key=lambda script: found[script] // 2 if script == "Latn" else found[script])


def fitting(sentences: list[tuple[str, dict[str, int]]], wanted: frozenset[str]) -> tuple[int, int]:
    """All letters, and those of them in a wanted script."""
    every = [(script, n) for _, found in sentences for script, n in found.items()]
    return sum(n for _, n in every), sum(n for script, n in every if script in wanted)


@lru_cache(maxsize=1024)  # a text that is being written is looked at again and again, sentence by sentence
def piece_of(sentence: str, code: str, wanted: frozenset[str]) -> Piece:
    found = letters_in(sentence, wanted)
    letters = sum(found.values())
    fitting = {script: n for script, n in found.items() if script in wanted}
    if not fitting or sum(fitting.values()) * 5 < letters * 2:
        return Piece(letters, -math.inf, {}, 0)
    kana = found.get("Hira", 0) + found.get("Kana", 0)
    if code in CHINESE and is_japanese(sentence, kana, letters):
        return Piece(letters, -math.inf, {}, 0)
    if code == "ja" and kana * 20 < letters:
        # Han nearly alone: a heading, a name or a list, but Chinese where it is long and reads so.
        if letters >= 24 and is_chinese(sentence):
            return Piece(letters, -math.inf, {}, 0)
        if not kana:
            return Piece(letters, 0.0, {}, 0)
    script = main_script(fitting)
    rivals = rivals_of(script)
    if code in CHINESE or code == "ja" or len(rivals) < 2:
        return Piece(letters, math.inf, {}, 0)
    if told_by(code) == "script":
        return Piece(letters, lead_over_english(sentence, script, rivals), {}, 0)
    if terms_of(code)[0].isdisjoint(rivals):
        return Piece(letters, math.inf, {}, 0)
    if code in MISREAD and (code != "tr" or ICELANDIC.isdisjoint(sentence)):
        sentence = sentence.translate(MISREAD[code])
    scores, size = scores_of(sentence, script, rivals)
    if scores and code in TYPED_AS and TYPED_AS[code][0].isdisjoint(sentence):
        scores[code] = max(scores[one] for one in (code, *TYPED_AS[code][1]))
    return Piece(letters, lead_of(scores, code, size), scores, size)


def lead_over_english(text: str, script: str, rivals: tuple[str, ...]) -> float:
    """The lead, over English, of whatever else ``text`` may be in; infinite where English is not written so."""
    scores, size = scores_of(text, script, rivals)
    best = max((score for code, score in scores.items() if code not in ("en", "pcm")), default=-math.inf)
    return (best - scores["en"]) / math.sqrt(size or 1) + SLACK_ENGLISH if "en" in scores else math.inf


def is_japanese(text: str, kana: int, letters: int) -> bool:
    """Whether a text in Han and kana is Japanese: a headline has little kana, and so has Chinese that quotes a word."""
    return kana * 5 > letters or (kana > 0 and not is_chinese(text))


def is_chinese(text: str) -> bool:
    """Whether the Han characters of ``text`` read as Chinese and not as Japanese."""
    scores, size = scores_of(_KANA.sub(" ", text), "Hani", ("ja", "zh"))
    return bool(scores) and scores["zh"] - scores["ja"] > HAN * math.sqrt(size)


def scores_of(text: str, script: str, rivals: tuple[str, ...]) -> tuple[dict[str, float], int]:
    """Log-likelihoods of ``rivals``, and the characters of ``text`` they stand on: names in another script apart."""
    text = (_NOT_LATIN if script == "Latn" else LATIN).sub(" ", text)
    every = identifier.scores(text)
    return {c: every[c] for c in rivals if c in every}, len(text)


def lead_of(scores: dict[str, float], code: str, size: int) -> float:
    """How far ``code`` is ahead of the nearest rival, the allowance for that rival added.

    Above 0 the target is accepted. In log-likelihood over the square root of ``size`` characters.
    """
    accepted, slack = terms_of(code)
    own = max([scores[c] for c in accepted if c in scores], default=-math.inf)
    if own == -math.inf:
        return -math.inf
    unit = math.sqrt(size or 1)
    return min([(own - s) / unit + slack[c] for c, s in scores.items() if c in slack], default=math.inf)


@cache
def terms_of(code: str) -> tuple[frozenset[str], dict[str, float]]:
    """The identified languages that count as ``code``, and what it may be behind each of the others."""
    accepted = ACCEPTED.get(code, frozenset({code}))
    slack = {c: SLACK_PAIR.get(frozenset({code, c}), SLACK_ENGLISH if c == "en" else SLACK) for c in SCRIPTS}
    slack |= {c: SLACK_PAIR.get(frozenset({code, c}), SLACK_NEIGHBOUR) for c in NEIGHBOURS}
    return accepted, {c: s for c, s in slack.items() if c not in accepted}


@cache
def rivals_of(script: str) -> tuple[str, ...]:
    """The languages written in ``script`` that the identifier tells apart (nb is part of its no)."""
    return tuple(code for code, own in (SCRIPTS | NEIGHBOURS).items() if script in own and code != "nb")


def lost_at_the_end(pieces: list[Piece]) -> int:
    """Letters in the run of lost sentences that ``pieces`` end with."""
    tail = 0
    for piece in reversed(pieces):
        if piece.letters >= FEW:
            if not piece.lost:
                break
            tail += piece.letters
    return tail
