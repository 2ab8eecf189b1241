"""Whatever a model writes, looking at it takes time in proportion to its length: no text blocks the loop."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from method.test_screening import ENGLISH, NONE, QUESTION, TEMPLATE
from method.texts import PASS, REJECT

from magpie_ollama.method import languages
from magpie_ollama.method.detection import check, drifted, identify
from magpie_ollama.method.duplicates import DuplicateIndex, normalise, similarity
from magpie_ollama.method.extraction import extract
from magpie_ollama.method.followups import Phrases, screen_follow_up
from magpie_ollama.method.grounding import grounded
from magpie_ollama.method.reasoning import shows_reasoning, split_reasoning
from magpie_ollama.method.repetition import babbles, harps, loops
from magpie_ollama.method.screening import InstructionWatch, ResponseWatch, Rules, screen_instruction, screen_response
from magpie_ollama.method.steering import Steered
from magpie_ollama.method.template import CONTROL
from magpie_ollama.method.turns import has_a_dialogue_glued_on, opens_a_turn, runs_on, speaks_as_assistant, without_end
from magpie_ollama.method.unseen import clean, forbidden

WIDE = Rules(languages.load("en"), max_words=100_000)
GOES_ON = Steered("none", exemplars=languages.load("en").exemplars[:3])


def _watched(watch: Callable[[str], bool], text: str) -> None:
    for end in range(40, len(text) + 40, 40):
        if watch(text[:end]):
            return


LOOKS: dict[str, Callable[[str], object]] = {
    "clean": clean,
    "forbidden": forbidden,
    "split_reasoning": split_reasoning,
    "shows_reasoning": shows_reasoning,
    "opens_a_turn": lambda text: opens_a_turn(text, TEMPLATE),
    "runs_on": lambda text: runs_on(text, TEMPLATE),
    "speaks_as_assistant": speaks_as_assistant,
    "has_a_dialogue_glued_on": lambda text: has_a_dialogue_glued_on(text, QUESTION),
    "without_end": without_end,
    "extract": lambda text: extract(text, "stop", TEMPLATE),
    "babbles": babbles,
    "harps": harps,
    "loops": loops,
    "normalise": normalise,
    "similarity": lambda text: similarity(text, QUESTION),
    "control": CONTROL.findall,
    "check": lambda text: check(text, "en"),
    "drifted": lambda text: drifted(text, "it"),
    "identify": identify,
    "grounded": lambda text: grounded(text, text),
    "screen_instruction": lambda text: screen_instruction(text, WIDE, NONE, DuplicateIndex()),
    "screen_follow_up": lambda text: screen_follow_up(text, WIDE, GOES_ON, Phrases()),
    "screen_response": lambda text: screen_response(text, "stop", QUESTION, ENGLISH, NONE, TEMPLATE),
    "an instruction's watch": lambda text: _watched(InstructionWatch(WIDE, TEMPLATE, "Why"), text),
    "a response's watch": lambda text: _watched(ResponseWatch(ENGLISH, TEMPLATE), text),
}

UNITS = [
    " ", "\n", " \n", "\t\n", "<", "</a", "<a ", "<|im", "<|a|", "[", "*", "* ", '"', "“", "« ", ":", ": \n", "?", "? ",
    "?s", "1", "12 ", "e\u0301", "\u0301", "a", "a ", "a\n", "a\n\n", "A: x\n", "Q: x\nA: y\n", ":\nuser\n", "Answer:",
    "Answer \n", "`", "` ", "```\n", "```", "~~~", "<think>", "</think>", "<think></think>", "\r", "\u00ad",
    "a\u200b", "م\u200c",
    "👍\u200d", "a_", "e.g.", "a(", "\\(", "$", "@", "a@", "/", "--a", "http://", "=", "x=", "。", "あ",
    "漢", "ก", "क्", "import ", "} ", "'", "’", "-", "# ", "sure, ", "here are some ", "USER: ",
]  # fmt: skip
SIZE = 1_000


def _ratio(look: Callable[[str], object], unit: str, end: str, times: int) -> float:
    def seconds(size: int) -> float:
        text = f"{unit * (size // len(unit))}{end}"
        taken = []
        for _ in range(times):
            start = time.process_time()
            look(text)
            taken.append(time.process_time() - start)
        return min(taken)

    return seconds(10 * SIZE) / max(seconds(SIZE), 0.0005)


@pytest.mark.parametrize("name", LOOKS)
def test_ten_times_the_text_takes_about_ten_times_the_time(name: str) -> None:
    """Where it took a hundred times, it would be quadratic: the bound between them leaves room for a busy machine."""
    look = LOOKS[name]
    look(QUESTION)  # what is loaded at the first call
    grown = []
    for unit in UNITS:
        for end in ("", "x") if unit.isspace() else ("",):
            if _ratio(look, unit, end, 1) > 40 and _ratio(look, unit, end, 5) > 40:
                grown.append(unit)
    assert grown == []


def test_no_text_is_too_odd_to_be_looked_at() -> None:
    draw = random.Random(1)
    real = [*PASS, *(text for text, _ in REJECT)]
    for _ in range(150):
        text = list(draw.choice(real))
        for _ in range(draw.randrange(12)):
            at = draw.randrange(len(text) + 1)
            text[at : at + draw.randrange(3)] = draw.choice([*UNITS, chr(draw.randrange(0xD800))]) * draw.randrange(
                1, 9
            )
        for look in LOOKS.values():
            look("".join(text))
