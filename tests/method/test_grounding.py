"""Whether an answer rests on its passage: the topics' own answers do, and none on another's passage."""

from __future__ import annotations

import pytest

from magpie_ollama.method import topics
from magpie_ollama.method.grounding import FLOOR, grounded
from magpie_ollama.method.languages import Exemplar

LANGUAGES = sorted(topics.load("document-questions").voices)


def exchanges(topic: str, code: str) -> tuple[Exemplar, ...]:
    return topics.load(topic).voices[code].exemplars


@pytest.mark.parametrize("code", LANGUAGES)
def test_answers_rest_on_their_passage_and_on_no_other(code: str) -> None:
    about = [*exchanges("document-questions", code), *exchanges("summarising", code)]
    others = [*exchanges("advice-seeking", code), *exchanges("information-seeking", code)]
    for asked, answered in about:
        assert grounded(answered, asked) >= FLOOR, answered
        for _, other in [*about, *others]:
            assert other == answered or grounded(other, asked) < FLOOR, other


@pytest.mark.parametrize(
    ("answer", "share"), [("No.", 1.0), ("It costs 12.", 0.5), ("12", 1.0), ("1,200", 0.0), ("", 1.0)]
)
def test_short_answers(answer: str, share: float) -> None:
    assert grounded(answer, "A ticket is 12. Nothing else.") == share
