"""Is this text in that language?

Script first, then a statistical identifier among the languages of that script, sentence by sentence.
Code, addresses, formulae and quoted names are set aside before (see ``segments``). The question is
always about one target language: it is accepted when its score is near enough to the best other one;
how near is near enough was set on texts that the reported figures do not come from
(``docs/detection.md``, ``benchmarks/detection.py``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from magpie_ollama.method import identifier, segments
from magpie_ollama.method.writing import SCRIPTS, letters_by_script, script_set

__all__ = ["ACCEPTED", "Verdict", "check", "drifted", "identify"]


class Verdict(StrEnum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    """Too short, or all code, to tell: no reason to reject a text."""


ACCEPTED: dict[str, frozenset[str]] = {
    "no": frozenset({"no", "nn"}),
    "nb": frozenset({"no"}),
    "hr": frozenset({"hr", "bs"}),
    "bs": frozenset({"bs", "hr"}),
    "sr": frozenset({"sr", "bs", "hr"}),
}
"""Identified languages that count as the target: standards whose sentences are often the same.

Serbian in Latin letters is identified as bs or hr as often as sr; in Cyrillic only sr is in play.
"""

# Leads are differences of log-likelihood over the square root of the bytes: in that unit the spread of
# a text's lead hardly depends on its length. Accepted self / other at these, on texts of 20 to 60
# characters: .998 / .003; of 60 to 150 characters: 1.000 / .0005.
SLACK = 1.5
"""A target this little behind the best other language is still accepted."""
SLACK_PAIR: dict[frozenset[str], float] = {frozenset({"id", "ms"}): 2.0}
"""More where the pair cannot be told apart by any short sentence: the doubt is the target's."""
SLACK_ENGLISH = 0.75
"""Less for English, the language that models fall back to: most of what is wrong is wrong this way."""
CLEAR = 3.0
"""A target this far behind is lost beyond doubt: enough to cancel, or to reject for one sentence."""

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
    """UTF-8 bytes, the length that the scores are normalised by."""

    @property
    def lost(self) -> bool:
        return self.lead < -CLEAR and self.letters >= FEW


def check(text: str, code: str, *, scripts: Sequence[str] | None = None) -> Verdict:
    """Whether ``text`` is in the language ``code`` (ISO 639-1, and nb, nn, bs).

    ``scripts`` are ISO 15924 codes and replace this module's own; for a language that it does not know
    they alone decide. The answer is ``UNKNOWN`` for a text with too few letters outside its code, or one
    so short that the identifier cannot tell and the script does not speak against.
    """
    wanted = script_set(code, scripts)
    text = segments.prose(text)
    letters, fitting = _fit(text, wanted)
    if not wanted or letters < 4:
        return Verdict.UNKNOWN
    if fitting * 5 < letters * 2:
        return Verdict.NO
    pieces = list(_pieces(text, code, wanted))
    letters = sum(piece.letters for piece in pieces)
    lost = sum(piece.letters for piece in pieces if piece.lost)
    if lost * 5 > letters or _lost_at_the_end(pieces) >= 60:
        return Verdict.NO
    scored = [piece for piece in pieces if piece.scores]
    if not scored:
        return Verdict.YES if any(piece.lead > 0 for piece in pieces) else Verdict.UNKNOWN
    size = sum(piece.size for piece in scored)
    total = {c: sum(piece.scores.get(c, 0.0) for piece in scored) for c in scored[0].scores}
    lead = _lead(total, code, size)
    if letters < FEW and abs(lead) < CLEAR:
        return Verdict.UNKNOWN
    return Verdict.YES if lead > 0 else Verdict.NO


def drifted(text: str, code: str, *, scripts: Sequence[str] | None = None) -> bool:
    """Whether ``text``, still being written, is already clearly lost for the language ``code``.

    After 20 letters the script alone can say so; else 60 letters are wanted, the last 40 of them in
    sentences whose margin is beyond doubt (the whole text, or English after the first clause).
    """
    wanted = script_set(code, scripts)
    text = segments.prose(text)
    letters, fitting = _fit(text, wanted)
    if not wanted or letters < 20:
        return False
    if fitting * 5 < letters:
        return True
    return letters >= 60 and _lost_at_the_end(list(_pieces(text, code, wanted))) >= 40


def identify(text: str) -> str:
    """The likeliest language of ``text`` (ISO 639-1; nn, bs where likelier than no, hr) or ``""``."""
    text = segments.prose(text)
    found = letters_by_script(text)
    letters = sum(found.values())
    if letters < FEW:
        return ""
    script = max(found, key=lambda s: found[s])
    if script in {"Hani", "Hira", "Kana"}:
        return "ja" if (found.get("Hira", 0) + found.get("Kana", 0)) * 5 > letters else "zh"
    languages = [code for code, own in SCRIPTS.items() if script in own and code != "nb"]
    if len(languages) < 2:
        return languages[0] if languages else ""
    scores = identifier.scores(text)
    return max(languages, key=lambda c: scores.get(c, -math.inf))


def _fit(text: str, wanted: frozenset[str]) -> tuple[int, int]:
    """Letters of ``text``, and those of them in a wanted script."""
    found = _found(text, wanted)
    return sum(found.values()), sum(n for script, n in found.items() if script in wanted)


def _found(text: str, wanted: frozenset[str]) -> dict[str, int]:
    found = letters_by_script(text)
    if "Latn" in found and "Latn" not in wanted:
        # The names of products and people stay Latin in every script: half of it is not held against a text.
        found["Latn"] //= 2
    return found


def _pieces(text: str, code: str, wanted: frozenset[str]) -> Iterator[_Piece]:
    for sentence in segments.sentences(text):
        yield _piece(sentence, code, wanted)


def _piece(sentence: str, code: str, wanted: frozenset[str]) -> _Piece:
    found = _found(sentence, wanted)
    letters = sum(found.values())
    fitting = {script: n for script, n in found.items() if script in wanted}
    if sum(fitting.values()) * 5 < letters * 2:
        return _Piece(letters, -math.inf, {}, 0)
    kana = found.get("Hira", 0) + found.get("Kana", 0)
    if code == "zh" and kana * 5 > letters:
        return _Piece(letters, -math.inf, {}, 0)
    if code == "ja" and kana * 20 < letters:
        # Han alone: a heading or a name where it is short, Chinese where it is long.
        return _Piece(letters, -math.inf if letters >= 24 else 0.0, {}, 0)
    script = max(fitting, key=lambda s: fitting[s])
    rivals = [c for c, own in SCRIPTS.items() if script in own]
    if code not in SCRIPTS or rivals == [code] or code in {"zh", "ja"}:
        return _Piece(letters, math.inf, {}, 0)
    every = identifier.scores(sentence)
    scores = {c: every[c] for c in rivals if c in every}
    size = len(sentence.encode())
    return _Piece(letters, _lead(scores, code, size), scores, size)


def _lead(scores: dict[str, float], code: str, size: int) -> float:
    """How far ``code`` is ahead of the nearest rival, the allowance for that rival added.

    Above 0 the target is accepted. In log-likelihood over the square root of ``size`` bytes.
    """
    code = {"nb": "no"}.get(code, code) if code not in scores else code
    accepted = ACCEPTED.get(code, frozenset({code}))
    own = max((s for c, s in scores.items() if c in accepted), default=-math.inf)
    if own == -math.inf:
        return -math.inf
    unit = math.sqrt(size or 1)
    return min(
        ((own - s) / unit + _slack(code, c) for c, s in scores.items() if c not in accepted),
        default=math.inf,
    )


def _slack(code: str, other: str) -> float:
    return SLACK_ENGLISH if other == "en" else SLACK_PAIR.get(frozenset({code, other}), SLACK)


def _lost_at_the_end(pieces: list[_Piece]) -> int:
    """Letters in the run of lost sentences that ``pieces`` end with."""
    tail = 0
    for piece in reversed(pieces):
        if piece.letters >= FEW:
            if not piece.lost:
                break
            tail += piece.letters
    return tail
