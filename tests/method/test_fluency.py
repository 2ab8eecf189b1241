"""How sure a model is of a text, made comparable; and what that rejects where the words leave a doubt."""

from __future__ import annotations

import doctest

import pytest

from magpie_ollama.method import fluency as module
from magpie_ollama.method import languages
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.method.fluency import FLOOR, fluency
from magpie_ollama.method.reasons import Reason
from magpie_ollama.method.screening import Rules, screen_instruction
from magpie_ollama.method.steering import Steered


def test_the_examples() -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("code", languages.codes())
def test_a_model_that_is_as_sure_of_what_is_said_is_as_fluent(code: str) -> None:
    """The same content at the same log-probability is within a third of English, however many bytes it has: what the
    lengths of languages differ by, and not what their scripts do."""
    text = " ".join(exemplar.response for exemplar in languages.load(code).exemplars)
    signs = "".join(text.split())
    letters = len(signs) + sum((worth - 1) * len(found.findall(signs)) for found, worth in module._LETTERS)
    per_byte = 0.55 ** (letters / len(signs.encode()))
    assert fluency(per_byte, 0.55, text) == pytest.approx(1.0, abs=0.001)
    assert fluency(per_byte**2, 0.55, text) == pytest.approx(0.55, abs=0.001)


@pytest.mark.parametrize(("confidence", "own", "text"), [(0.0, 0.5, "a"), (0.5, 0.0, "a"), (0.5, 0.5, " \n")])
def test_what_was_not_measured_is_zero(confidence: float, own: float, text: str) -> None:
    assert fluency(confidence, own, text) == 0.0


@pytest.mark.parametrize(
    ("code", "text", "confidence", "reason"),
    [
        ("it", "Come si fa il pane in casa senza il forno?", 0.2, None),  # all of its words exist
        ("it", "Come si fa il pane nella strolla senza mai accendere il forno di casa?", 0.5, None),
        ("it", "Come si fa il pane nella strolla senza mai accendere il forno di casa?", 0.2, Reason.INVENTED_WORDS),
        ("it", "Come si fa il pane nella strolla senza mai accendere il forno di casa?", 0.0, None),
        # The nearer to the floor, the surer it must be.
        ("it", "Come si fa il pane nella strolla senza mai accendere il forno di casa?", 0.3, Reason.INVENTED_WORDS),
        (
            "it",
            "Come si fa il pane nella strolla senza accendere il forno di casa quando fuori fa molto caldo?",
            0.3,
            None,
        ),
        ("eu", "Nola egiten da ogia etxean labarik gabe?", 0.5, None),
        ("eu", "Nola egiten da ogia etxean labarik gabe?", 0.2, Reason.INVENTED_WORDS),  # there is no list
        ("zh", "没有烤箱怎么在家里做面包？", 0.5, None),
        ("zh", "没有烤箱怎么在家里做面包？", 0.2, Reason.INVENTED_WORDS),
    ],
)
def test_a_doubt_about_the_words_is_settled_by_it(
    code: str, text: str, confidence: float, reason: Reason | None
) -> None:
    rules = Rules(languages.load(code))
    verdict = screen_instruction(text, rules, Steered("none"), DuplicateIndex(), confidence, own_confidence=0.55)
    assert verdict.reason is reason
    assert verdict.fluency == fluency(confidence, 0.55, text)
    assert (verdict.known_words > 0) == (code == "it")
    assert verdict.unjudged == (code != "it" and not confidence)
    assert (0.0 < verdict.fluency < FLOOR) == (confidence == 0.2)


def test_a_confidence_below_the_least_is_a_reason() -> None:
    rules = Rules(languages.load("en"), min_confidence=0.3)
    text = "Why does the sea look blue although water has no colour?"
    for confidence, reason in ((0.29, Reason.LOW_CONFIDENCE), (0.3, None), (0.0, None)):
        assert screen_instruction(text, rules, Steered("none"), DuplicateIndex(), confidence).reason is reason
