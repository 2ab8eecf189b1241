"""Variety: how much of a text a reader of those before it has seen, and how various many of them are."""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from magpie_ollama.method import duplicates, languages
from magpie_ollama.method.languages import Language
from magpie_ollama.method.reasons import Reason
from magpie_ollama.records import KEPT, UNWANTED

LATELY = 100
"""Texts that a reader has in mind."""

FEW = 20
"""Shares are of so many texts at least: the second of two is not half of all."""

TAKEN = 0.5
"""The worth of a text on the subject of an exemplar, beside another's."""

STEM = 5
"""Letters of a word that tell its subject, whatever its ending; shorter words tell none."""

REPEATED = frozenset((str(Reason.DUPLICATE), str(Reason.NEAR_DUPLICATE)))

MOST_STARTS = 100_000
"""Different starts that are told apart."""

_SPACELESS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ua4cf\uf900-\ufaff\uff66-\uff9f]")
"""Thai, Lao, Burmese, Khmer, and what Chinese and Japanese are written in."""

_DENSE = re.compile("[\u2e80-\ua4cf\uf900-\ufaff\uff66-\uff9f]")
_SYLLABLES = re.compile("[\uac00-\ud7a3]")
"""Korean, whose words have as many of them as others have letters twice or thrice."""

_WORD = re.compile(r"[^\s!-/:-@\[-`{-~\u2010-\u2027\u3000-\u303f\uff01-\uff0f¡¿«»]+")

_JOINED = re.compile(rf"(?:{_WORD.pattern[:-1]}|(?<=\w)'(?=\w))+")


def spaceless(text: str) -> bool:
    """Whether a text is written without spaces between words: a quarter of it is in such scripts, each of whose
    characters says much."""
    return not text.isascii() and 4 * len(_SPACELESS.findall(text)) >= len(text)


def start(text: str) -> str:
    """The two first words in lower case, without signs; of a text without spaces its first characters: four in
    Chinese and Japanese, eight in Thai and its like.

    >>> start("¿Cómo puedo hacer pan?"), start("I'm late, what now?"), start("如何学习做面包？")
    ('cómo puedo', "i'm late", '如何学习')
    """
    head = text.lstrip()[:60]
    words = _JOINED.findall(head.casefold().replace("’", "'"))
    if spaceless(head):
        return "".join(words)[: 4 if _DENSE.match(words[0]) else 8] if words else ""
    return " ".join(words[:2])


def _stems(text: str) -> set[str]:
    words = _WORD.findall(text.casefold())
    if spaceless(text):
        size = 3 if _DENSE.search(text) else STEM
        return {word[at : at + size] for word in words for at in range(len(word) - size + 1)}
    stems = {word[: 2 if _SYLLABLES.match(word) else STEM] for word in words}
    return {stem for stem in stems if len(stem) == (2 if _SYLLABLES.match(stem) else STEM)}


Subjects = Mapping[str, int]
"""Words that only one exemplar has, without their endings, each with the number of that exemplar."""


def subjects_of(language: Language) -> Subjects:
    holders: dict[str, set[int]] = {}
    asked: set[str] = set()
    for number, exemplar in enumerate(language.exemplars):
        asked |= (own := _stems(exemplar.instruction))
        for stem in own | _stems(exemplar.response):
            holders.setdefault(stem, set()).add(number)
    asked -= {stem for openers in language.openers.values() for opener in openers for stem in _stems(opener)}
    return {stem: number for stem in asked for number in holders[stem] if len(holders[stem]) == 1}


@lru_cache(64)
def shipped_subjects(code: str) -> Subjects:
    """Those of a language's own exemplars; none of a language without."""
    return subjects_of(languages.load(code)) if code in languages.codes() else {}


def taken(text: str, subjects: Subjects) -> bool:
    """Whether a text's subject is an exemplar's: it has two of the words that only that one asks with (of five letters
    and more, without their endings), or one where it has not three words so long."""
    own = _stems(text)
    shared = Counter(subjects[stem] for stem in own & subjects.keys())
    return max(shared.values(), default=0) >= (2 if len(own) > 2 else 1)


class Recent:
    """The newest instructions, as a reader has them in mind."""

    def __init__(self, subjects: Subjects) -> None:
        self._subjects = subjects
        self._starts: deque[tuple[str, str]] = deque(maxlen=LATELY)
        self._rows = np.zeros((LATELY, duplicates.PERMUTATIONS), np.uint16)
        self._count = 0

    def add(self, text: str, opener: str = "") -> float:
        """Takes the text in. Its worth is (1 - f) (1 - s) t: f is the share of the last hundred with the same opener
        or, if more, the same start; s the similarity of the nearest of them; t is ``TAKEN`` where its subject is an
        exemplar's, else 1."""
        begun, opener = start(text), opener.strip()
        alike = sum(one == begun for one, _ in self._starts)
        opened = sum(one == opener for _, one in self._starts) if opener else 0
        _, (row,) = duplicates.fingerprint(text)
        known = self._rows[: min(self._count, LATELY)]
        nearest = int(np.count_nonzero(known == row, axis=1).max(initial=0)) / duplicates.PERMUTATIONS
        seen = max(alike, opened) / max(FEW, len(self._starts))
        self._starts.append((begun, opener))
        self._rows[self._count % LATELY] = row
        self._count += 1
        worth = (1 - min(seen, 1.0)) * (1 - nearest)
        return round(worth * (TAKEN if taken(text, self._subjects) else 1.0), 4)


@dataclass(slots=True)
class Variety:
    """Counts of instructions. ``starts`` are by ``start``; ``opened`` began with words that were given; ``steered``
    had exemplars before them, and ``taken`` of those their subject; ``repeats`` says of the last ones whether each was
    nearly one before it."""

    instructions: int = 0
    opened: int = 0
    steered: int = 0
    taken: int = 0
    starts: Counter[str] = field(default_factory=Counter)
    repeats: deque[bool] = field(default_factory=lambda: deque(maxlen=LATELY))

    def count(self, text: str, steering: str, subjects: Subjects) -> None:
        self.instructions += 1
        self.opened += "opener" in steering
        begun = start(text)
        self.starts[begun if begun in self.starts or len(self.starts) < MOST_STARTS else ""] += 1
        if "exemplar" in steering:
            self.steered += 1
            self.taken += taken(text, subjects)

    def judge(self, outcome: str) -> None:
        """Of an attempt: those that were rejected as nearly one before them count as repeats."""
        if outcome in REPEATED or outcome in (KEPT, UNWANTED):
            self.repeats.append(outcome in REPEATED)

    @property
    def most(self) -> tuple[str, float]:
        """The most frequent start, and its share."""
        ((words, n),) = self.starts.most_common(1) or [("", 0)]
        return words, n / self.instructions if self.instructions else 0.0

    @property
    def distinct_starts(self) -> float:
        """How many starts, each as frequent as the others, would be as various: exp of the entropy."""
        shares = [n / self.instructions for n in self.starts.values()]
        return math.exp(-sum(share * math.log(share) for share in shares)) if shares else 0.0

    @property
    def exemplar_subjects(self) -> float:
        return self.taken / self.steered if self.steered else 0.0

    @property
    def near_duplicates(self) -> float:
        return sum(self.repeats) / len(self.repeats) if self.repeats else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Shares are of all instructions but for ``exemplar_subjects``, of those that had exemplars, and
        ``near_duplicates``, of the last hundred."""
        words, most = self.most
        return {
            "instructions": self.instructions,
            "most_frequent_start": words,
            "most_frequent_start_share": round(most, 4),
            "distinct_starts": round(self.distinct_starts, 1),
            "opener_share": round(self.opened / self.instructions, 4) if self.instructions else 0.0,
            "exemplar_subjects": round(self.exemplar_subjects, 4),
            "near_duplicates": round(self.near_duplicates, 4),
        }


def repeats(texts: Sequence[str]) -> Iterable[bool]:
    """Of each text, whether it is nearly one before it."""
    index = duplicates.DuplicateIndex()
    for text in texts:
        yield bool(index.find(text))
        index.add(text)
