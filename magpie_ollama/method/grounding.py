"""Whether an answer rests on the passage that it was asked about: a cheap measure, without a model."""

from __future__ import annotations

import re

from magpie_ollama.method.vocabulary import MARKS

FLOOR = 0.3
"""The share of an answer's rarer words and numbers that the passage or the question must have."""

_TERM = re.compile(rf"\d+(?:[.,:]\d+)*|(?:[^\W\d_]|[{MARKS}])+")
_SPACELESS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
LONG = 5
"""Letters from which a word counts as rare; it is compared by so many of them and one more, for it is inflected."""


def grounded(answer: str, given: str) -> float:
    """The share of the rarer words and numbers of ``answer`` that ``given`` has; 1.0 of an answer without any, as "No."

    A word counts from ``LONG`` letters on, by its first six; where no spaces are written, pairs of letters count.

    >>> grounded("It covers defects.", "The warranty covers defects of the material."), grounded("Bananas!", "Oil.")
    (1.0, 0.0)
    """
    said = _terms(answer)
    return len(said & _terms(given)) / len(said) if said else 1.0


def _terms(text: str) -> set[str]:
    found: set[str] = set()
    for term in _TERM.findall(text.casefold()):
        if _SPACELESS.search(term):
            found.update(term[at : at + 2] for at in range(len(term) - 1))
        elif len(term) >= LONG or term[0].isdigit():
            found.add(term[: LONG + 1] if not term[0].isdigit() else term)
    return found
