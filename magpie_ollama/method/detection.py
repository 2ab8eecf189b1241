"""Is this text in that language?

Script first, then a statistical identifier among the languages of that script, sentence by sentence.
Code, addresses, formulae and quoted names are set aside before (see ``segments``). The question is
always about one target language: it is accepted when its score is near enough to the best other one;
how near is near enough was set on texts that the reported figures do not come from
(``docs/detection.md``, ``benchmarks/detection.py``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from itertools import product
from typing import NamedTuple

from magpie_ollama.method import scored, segments
from magpie_ollama.method.naming import named
from magpie_ollama.method.scored import ACCEPTED, told_by
from magpie_ollama.method.vocabulary import FLOORS, rather
from magpie_ollama.method.writing import (
    ENGLISH_WORDS,
    FOREIGN_LETTERS,
    FOREIGN_WORDS,
    OWN_WORDS,
    SCRIPTS,
    han_form,
    han_forms,
    letters_by_script,
    script_set,
)

__all__ = ["ACCEPTED", "OTHER", "Framed", "Verdict", "check", "drifted", "framed", "identify", "told_by"]


class Verdict(StrEnum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    """Too short, or all code, to tell: no reason to reject a text."""


class Framed(NamedTuple):
    """A verdict, the text that it is about, and the ``given`` words in another language behind a mark of it."""

    verdict: Verdict
    said: str
    given: str = ""


OTHER = "und"
"""What ``identify`` says of a text in none of the languages that it knows (ISO 639-2: undetermined)."""


FRAME = 1.0
"""A target so far ahead is clearly the language of what is said around foreign words."""

REQUEST = 16
"""Letters of a last line that may say what the lines before it are for: "Enjoy your meal!" says nothing."""


DOUBT = 0.75
"""A short text (below twice ``FEW`` letters) this little beyond its allowance is unknown, not wrong: names
weigh much in it ("Wie was Christiaan Huygens?" reads as German)."""

SHORT = 1.0
"""Below ``FEW`` letters a target is lost by less: .007 of the words that people begin with are behind by more."""

NEAR = 1.5
LISTED = FLOORS.keys() | {"mk"}
"""Where the lists of words decide between a target and its nearest rival, if its lead, allowance and all, is less than
``NEAR`` either way: relatives have the same short words, and people leave out the accents that tell them apart."""

BETTER = 1.5
"""Words by which a rival must be better to win though the target is not behind by more than its allowance: so .043 of
70 Bokmål sentences pass as Danish, .114 without it, and .0055 as another of ten Slavic languages, .0079 without it."""

FOREIGN_SHARE = 50
"""One foreign letter in so many, and two at least, are more than a name brings into a text."""
FOREIGN_WORDS_SHARE = 6
"""One foreign small word in so many, and two different ones at least; three of English, which everybody quotes."""
OWN_WORDS_SHARE = 8
"""One word of its own in so many, where the identifier does not know the language, or it is another: fewer have none of
53 sentences of Hinglish from public repositories, and .97 of 1,026 exemplar texts in other languages."""


def check(text: str, code: str, *, scripts: Sequence[str] | None = None, opener: str = "") -> Verdict:
    """Whether ``text`` is in the language ``code`` (of ``SCRIPTS``: ISO 639-1, nb, nn, bs, zh-Hant, ...).

    ``scripts`` are ISO 15924 codes and replace this module's own; for a language that it does not know
    they alone decide. The answer is ``UNKNOWN`` for a text with too few letters outside its code, or one
    so short that the identifier cannot tell and the script does not speak against. Words behind an
    ``opener`` that the text was begun with are judged alone too.
    """
    return framed(text, code, scripts=scripts, opener=opener).verdict


def framed(text: str, code: str, *, scripts: Sequence[str] | None = None, opener: str = "") -> Framed:
    """The verdict of ``check``, and what it goes by where foreign words are set apart."""
    found = _judged(text, code, scripts)
    if found.verdict is Verdict.NO or not opener or not text.startswith(opener):
        return found
    # Its last sign stays: it may be the colon behind which another language is welcome.
    behind = opener[-1] + text[len(opener) :]
    if sum(letters_by_script(behind).values()) < scored.FEW:
        return found
    alone = _judged(behind, code, scripts, Verdict.UNKNOWN)
    return alone if alone.verdict is Verdict.NO else found


def _judged(text: str, code: str, scripts: Sequence[str] | None, enough: Verdict = Verdict.YES) -> Framed:
    """The verdict on ``text``, or where that is NO, on what is said around its foreign words: if that is no less than
    ``enough``."""
    wanted = script_set(code, scripts)
    verdict = _verdict(scored.sentences_of(text, wanted), code, wanted, scripts)
    if verdict is not Verdict.NO:
        return Framed(verdict, text)
    prose = segments.prose(text)
    before, _, last = prose.strip().rpartition("\n")
    orders = [prose, f"{last}:\n{before}"] if before and segments.letters(last) >= REQUEST else [prose]
    asked = named(text, code)
    for around, titles in product(orders, (True, False)):
        found = _frame(segments.parts(around, titles), code, wanted, scripts, asked)
        few = found.verdict is Verdict.UNKNOWN and not titles and not found.given
        if found.verdict in (Verdict.YES, enough) or (few and rather(found.said, code, "en")):
            return found
    if (plain := segments.without_errors(text)) != text and segments.letters(plain) >= 4:
        return _judged(plain, code, scripts, enough)
    return Framed(Verdict.NO, text)


def _verdict(
    sentences: list[tuple[str, dict[str, int]]], code: str, wanted: frozenset[str], scripts: Sequence[str] | None
) -> Verdict:
    letters, fitting = scored.fitting(sentences, wanted)
    words = " ".join(sentence for sentence, _ in sentences)
    if wanted and not fitting and len(scored.LATIN.findall(words)) > 1 and not scored.is_of_names(words):
        return Verdict.NO  # however few
    if not wanted or letters < 4:
        return Verdict.UNKNOWN
    if fitting * 5 < letters * 2 or _is_written_otherwise(words, code, scripts):
        return Verdict.NO
    pieces = [scored.piece_of(sentence, code, wanted) for sentence, _ in sentences]
    lost = sum(piece.letters for piece in pieces if piece.lost)
    if lost * 5 > letters or scored.lost_at_the_end(pieces) >= 60:
        return Verdict.NO
    told = [piece for piece in pieces if piece.scores]
    if not told:
        return Verdict.YES if any(piece.lead > 0 for piece in pieces) else Verdict.UNKNOWN
    lead = told[0].lead if len(told) == 1 else scored.lead_together(told, code)
    if (letters < scored.FEW and abs(lead) < scored.CLEAR) or (letters < 2 * scored.FEW and -DOUBT < lead <= 0):
        # One name alone may be an answer in any language.
        lost = rather(words, "en", code) or (lead < -SHORT and not rather(words, code, "en"))
        return Verdict.NO if lost and any(word[0].islower() for word in words.split()) else Verdict.UNKNOWN
    rival = scored.nearest(told, code) if abs(lead) < NEAR and code in LISTED else ""
    if rival in LISTED and lead <= 0:
        return Verdict.YES if rather(words, code, rival) else Verdict.NO
    if rival in LISTED and frozenset({code, rival}) not in scored.SLACK_PAIR and rather(words, rival, code, BETTER):
        return Verdict.NO
    return Verdict.YES if lead > 0 else Verdict.NO


def drifted(text: str, code: str, *, scripts: Sequence[str] | None = None) -> bool:
    """Whether ``text``, still being written, seems to have left the language ``code``: lost it is if ``check`` says so.

    After 20 letters the script alone can tell; else 60 letters are wanted, the last 40 of them in
    sentences whose margin is beyond doubt (the whole text, or English after the first clause).
    """
    wanted = script_set(code, scripts)
    sentences = scored.sentences_of(text, wanted, unfinished=True)
    letters, fitting = scored.fitting(sentences, wanted)
    if not wanted or letters < 20:
        return False
    if fitting * 5 < letters:
        return True
    return (
        letters >= 60
        and scored.lost_at_the_end([scored.piece_of(sentence, code, wanted) for sentence, _ in sentences]) >= 40
    )


def _frame(
    parts: list[tuple[str, bool]],
    code: str,
    wanted: frozenset[str],
    scripts: Sequence[str] | None,
    asked: frozenset[str],
) -> Framed:
    """Whether ``parts`` without the foreign ones, each behind its mark or in a language that is ``asked`` for, are
    clearly in the language."""
    frame: list[tuple[str, dict[str, int]]] = []
    around: list[scored.Piece] = []
    blocks: list[scored.Piece] = []
    given: list[str] = []
    inside = False
    names = False
    for sentence, opened in parts:
        found = scored.letters_in(sentence, wanted)
        opened = opened and not names
        names = (
            "Latn" not in wanted
            and found.keys() == {"Latn"}
            and scored.is_of_names(sentence)
            and not sentence.endswith(segments.COLONS)
        )
        if names:  # they announce nothing
            continue
        piece = scored.piece_of(sentence, code, wanted)
        if not inside and not opened and piece.lead < 0:
            opened = identify(sentence) in asked  # "Correct my English. I am agree with you."
        inside = piece.lead < FRAME if inside else (opened and piece.lead < 0)
        if inside:
            blocks.append(piece)
            given.append(sentence)
            continue
        for part in scored.divided(sentence, wanted):
            frame.append((part, scored.letters_in(part, wanted)))
            around.append(scored.piece_of(part, code, wanted))
    result = Framed(_verdict(frame, code, wanted, scripts), "\n".join(part for part, _ in frame), "\n".join(given))
    if result.verdict is Verdict.NO or not blocks:
        return result
    foreign = scored.total_scores([piece for piece in blocks if piece.scores])
    said = scored.total_scores([piece for piece in around if piece.scores])
    if not foreign or not said:  # another script tells them apart
        return result._replace(verdict=Verdict.YES) if any(piece.lead > 0 for piece in around) else result
    # Clearly means: ahead of what the words behind the mark are in.
    accepted = scored.terms_of(code)[0]
    own = max((said[c] for c in accepted if c in said), default=-math.inf)
    other = max(foreign.keys() - accepted, key=lambda c: foreign[c])
    ahead = (own - said.get(other, -math.inf)) / math.sqrt(sum(piece.size for piece in around) or 1)
    if result.verdict is Verdict.YES and sum(piece.letters for piece in around) >= scored.FEW:
        clear = ahead > FRAME or (ahead > 0 and rather(result.said, code, other))
        return result if clear else result._replace(verdict=Verdict.NO)
    # "Question: What is ..." is no Italian.
    clear = rather(result.said, code, other) or (ahead > 2 * FRAME and not rather(result.said, other, code, margin=0.0))
    return result._replace(verdict=Verdict.YES if ahead > 0 and clear else Verdict.UNKNOWN)


def identify(text: str) -> str:
    """The likeliest language of ``text`` (ISO 639-1, zh-Hant; nn, bs where likelier than no, hr), ``""`` if too short.

    A text in none of the languages of ``SCRIPTS`` has the code of the neighbour that it is likeliest in, or ``OTHER``.
    """
    text = " ".join(sentence for sentence, _ in scored.sentences_of(text, frozenset()))
    found = letters_by_script(text)
    if sum(found.values()) < scored.FEW:
        return ""
    kana = found.pop("Hira", 0) + found.pop("Kana", 0)
    found["Hani"] = found.get("Hani", 0) + kana
    script = scored.main_script(found)
    rivals = scored.rivals_of(script)
    if script == "Hani":
        likeliest = "ja" if scored.is_japanese(text, kana, found["Hani"]) else _written_chinese(text)
    elif len(rivals) < 2:
        likeliest = rivals[0] if rivals else OTHER
    else:
        scores, _ = scored.scores_of(text, script, rivals)
        likeliest = max(scores, key=lambda c: scores[c], default="")
    return OTHER if _is_written_otherwise(text, likeliest, None) else likeliest


def _written_chinese(text: str) -> str:
    """Which Chinese, by its characters: a text of such as both ways of writing have counts as the simplified."""
    forms = Counter(map(han_form, text))
    return "zh-Hant" if forms["Hant"] > forms["Hans"] else "zh"


def _is_written_otherwise(text: str, code: str, scripts: Sequence[str] | None) -> bool:
    """Whether a text in the script of ``code`` has letters or words that are not of it, more than names would."""
    if telling := OWN_WORDS.get(code):
        words = scored.LATIN.findall(text.lower())
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
    words = text.lower().replace("’", "'").split()
    return any(
        len(small.intersection(words)) >= least
        and sum(map(small.__contains__, words)) * FOREIGN_WORDS_SHARE > len(words)
        for small, least in ((_small_words(code), 2), (ENGLISH_WORDS if code != "en" else frozenset(), 3))
    )


@cache
def _small_words(code: str) -> frozenset[str]:
    """Those of what the identifier does not know, in the scripts of ``code``."""
    return frozenset().union(*(FOREIGN_WORDS.get(script, ()) for script in SCRIPTS.get(code, ())))
