"""Screening: each reason by itself, and watches that cut early what is lost, and never what would be accepted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from magpie_ollama.method import languages
from magpie_ollama.method.detection import Verdict
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.method.reasons import Reason
from magpie_ollama.method.screening import (
    ResponseWatch,
    Rules,
    count_words,
    screen_instruction,
    screen_response,
)
from magpie_ollama.method.steering import Steered, steer
from magpie_ollama.method.template import SENTINELS, Template, cut
from magpie_ollama.method.turns import without_end

WRITTEN = ("en", "es", "de", "it", "fr", "pt", "nl", "ja", "ru", "zh", "ko", "pl", "sv", "tr", "th")
"""The languages of ``PASS``."""

ENGLISH = Rules(languages.load("en"))
ITALIAN = Rules(languages.load("it"))
NONE = Steered("none")
TEMPLATE: Template = cut(
    [f"<|im_start|>user\n{words}<|im_end|>\n<|im_start|>assistant\n" for words in SENTINELS], "test", "model"
)
QUESTION = "Why does the sea look blue although water has no colour?"
DOMANDA = "Perché il mare sembra blu anche se l'acqua non ha colore?"
ANSWER = "Water absorbs red light more than blue light, so what comes back from deep water looks blue to us."


def judged(text: str, rules: Rules = ENGLISH, steered: Steered = NONE, *before: str) -> Reason | None:
    seen = DuplicateIndex()
    seen.add_many(before)
    return screen_instruction(text, rules, steered, seen).reason


def answered(text: str, finish: str = "stop", rules: Rules = ENGLISH, steered: Steered = NONE) -> Reason | None:
    return screen_response(text, finish, QUESTION, rules, steered, TEMPLATE)


# Each reason by itself


def fed(watch: Callable[[str], bool], text: str, size: int = 5) -> int:
    """Feeds ``text`` in pieces, as a server does. Where it was cut, or 0."""
    for end in range(size, len(text) + size, size):
        if watch(text[:end]):
            return min(end, len(text))
    return 0


def test_a_users_question_passes() -> None:
    seen = DuplicateIndex()
    verdict = screen_instruction(QUESTION, ENGLISH, NONE, seen)
    assert (verdict.reason, verdict.language) == (None, Verdict.YES)
    assert judged(DOMANDA, ITALIAN) is None
    assert answered(ANSWER) is None
    assert len(seen) == 0  # it counts as seen when it is accepted as a whole


@pytest.mark.parametrize(
    ("text", "rules", "reason"),
    [
        ("Hello there", ENGLISH, Reason.TOO_SHORT),
        ("Why?", ENGLISH, Reason.TOO_SHORT),
        ("? ! 1", ENGLISH, Reason.TOO_SHORT),
        ("good morning " * 151, ENGLISH, Reason.TOO_LONG),
        ("Tell me this: " + "and the same again, " * 20, ENGLISH, Reason.REPETITION),
        (DOMANDA, ENGLISH, Reason.WRONG_LANGUAGE),
        (QUESTION, ITALIAN, Reason.WRONG_LANGUAGE),
        ("Почему море кажется синим, хотя вода бесцветна?", ITALIAN, Reason.WRONG_LANGUAGE),
    ],
)
def test_reasons_against_an_instruction(text: str, rules: Rules, reason: Reason) -> None:
    assert judged(text, rules) is reason


def test_duplicates() -> None:
    assert judged(QUESTION, ENGLISH, NONE, QUESTION.upper()) is Reason.DUPLICATE
    long = QUESTION + " Please explain it to my class, who are nine years old and love the sea."
    assert judged(long, ENGLISH, NONE, long.replace("nine", "ten")) is Reason.NEAR_DUPLICATE
    assert judged(long, ENGLISH, NONE, QUESTION) is None


def test_the_opener_or_the_exemplar_alone_is_a_duplicate() -> None:
    steered = Steered("opener", opener="Non capisco perché")
    assert judged("Non capisco perché ...", ITALIAN, steered) is Reason.DUPLICATE
    assert judged("Non capisco perché piove.", ITALIAN, steered) is None
    steered = steer("exemplar", ITALIAN.language, 3)
    shown = steered.exemplars[0].instruction
    assert judged(shown, ITALIAN, steered) is Reason.DUPLICATE
    assert judged(shown + " Grazie!", ITALIAN, steered) is Reason.DUPLICATE


@pytest.mark.parametrize("code", languages.codes())
def test_the_system_message_again_is_no_users_turn(code: str) -> None:
    language = languages.load(code)
    verdict = judged(language.system, Rules(language), steer("system", language, 1))
    assert verdict is Reason.NOT_A_USER


def test_ones_own_bounds() -> None:
    rules = Rules(languages.load("en"), min_words=1, max_words=4)
    assert judged("Explain gravity", rules) is None
    assert judged("Explain gravity to me now", rules) is Reason.TOO_LONG


@pytest.mark.parametrize(
    ("text", "finish", "rules", "reason"),
    [
        ("", "stop", ENGLISH, Reason.RESPONSE_EMPTY),
        (" \n", "stop", ENGLISH, Reason.RESPONSE_EMPTY),
        (ANSWER + " It is so. " * 40, "stop", ENGLISH, Reason.RESPONSE_REPETITION),
        (ANSWER + " It is so. " * 40, "length", ENGLISH, Reason.RESPONSE_REPETITION),
        (ANSWER, "length", ENGLISH, Reason.RESPONSE_TRUNCATED),
        (ANSWER, "length", Rules(languages.load("en"), keep_truncated=True), None),
        (ANSWER, "stop", ITALIAN, Reason.RESPONSE_WRONG_LANGUAGE),
        (QUESTION, "stop", ENGLISH, Reason.RESPONSE_ECHO),
        (f"“{QUESTION}”\n\n.", "stop", ENGLISH, Reason.RESPONSE_ECHO),
        (f"{QUESTION}\n\n{ANSWER}", "stop", ENGLISH, None),
        ("42", "stop", ENGLISH, None),
        ("👍", "stop", ENGLISH, None),
        ("≥", "stop", ENGLISH, None),
        ("... !", "stop", ENGLISH, Reason.RESPONSE_EMPTY),
        (ANSWER, "abort", ENGLISH, Reason.RESPONSE_BROKEN_OFF),
        ("", "", ENGLISH, Reason.RESPONSE_BROKEN_OFF),
        ("G" * 200, "stop", ENGLISH, Reason.RESPONSE_REPETITION),
        ("GGGGG", "stop", ENGLISH, Reason.RESPONSE_REPETITION),
        ("@" * 20, "stop", ENGLISH, Reason.RESPONSE_REPETITION),
        ("!" * 150, "stop", ENGLISH, Reason.RESPONSE_REPETITION),
        ("0 " * 40, "stop", ENGLISH, Reason.RESPONSE_REPETITION),
        ("哈哈哈哈哈", "stop", Rules(languages.load("zh")), Reason.RESPONSE_REPETITION),
        ("ماما ماما ماما ماما ما", "stop", Rules(languages.load("ar")), Reason.RESPONSE_REPETITION),
        ("I do not know. " * 4, "stop", ENGLISH, Reason.RESPONSE_REPETITION),
        (f"{ANSWER} " + "?!" * 70, "stop", ENGLISH, Reason.RESPONSE_REPETITION),
        ("<think>Hm, water.", "stop", ENGLISH, Reason.RESPONSE_REASONING),
        (f"{ANSWER} \x1b[2J", "stop", ENGLISH, Reason.RESPONSE_CONTROL_CHARACTERS),
        ("```python\nprint(1)\n```", "stop", ITALIAN, None),
    ],
)
def test_reasons_against_a_response(text: str, finish: str, rules: Rules, reason: Reason | None) -> None:
    assert answered(text, finish, rules) is reason


@pytest.mark.parametrize(
    "turn",
    [
        "<|im_start|>user\nAnd the sky?",
        "<|im_end|>\n<|im_start|>user\nAnd the sky?",
        "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAnd the sky?",
        "\nuser\nAnd the sky?\nassistant\nThe same.",
        "assistant\n\nThe same.",
        "<end_of_turn>\n<start_of_turn>user\nAnd the sky?",
        "</s>[INST] And the sky? [/INST] The same.",
        " [INST] And the sky? [/INST] The same.",
        "<｜User｜>And the sky?",
        "\n\n### Human: And the sky?",
        "\n### Instruction:\nNow the sky.",
        "\n\nHuman: And the sky?\n\nAssistant: The same.",
        " USER: And the sky? ASSISTANT: The same.",
    ],
)
def test_another_turn_behind_a_response_is_a_run_on(turn: str) -> None:
    assert answered(ANSWER + turn) is Reason.RESPONSE_RUN_ON


@pytest.mark.parametrize(
    "text",
    [
        f"Here is a short dialogue between two people.\n\nUser: Hi, how are you?\nAssistant: Well! {ANSWER}",
        f"These are the roles:\n\nUser: asks the questions, and reads what comes back.\n{ANSWER}",
        f"In ChatML a turn begins with `<|im_start|>user`. {ANSWER}",
        f"```\n<|im_start|>user\nHello<|im_end|>\n```\n{ANSWER}",
        f"Every record has four fields:\n\n- id\n- user\n- model\n- assistant\n\n{ANSWER}",
        f"<p>{ANSWER}</p>\n<s>Old</s> and new.",
    ],
)
def test_what_only_looks_like_another_turn_is_none(text: str) -> None:
    assert answered(text) is None
    watch = ResponseWatch(ENGLISH, TEMPLATE)
    assert (fed(watch, text), watch.reason) == (0, None)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"{ANSWER}<|im_end|>", ANSWER),
        (f"{ANSWER}</s>\n", ANSWER),
        (f"{ANSWER}<|eot_id|><|end_of_text|>", ANSWER),
        ("It is <s>old</s>", "It is <s>old</s>"),
        (ANSWER, ANSWER),
    ],
)
def test_the_tokens_that_end_a_response_go(text: str, left: str) -> None:
    assert without_end(text) == left


def test_an_answer_that_went_into_the_reasoning_is_told_as_that() -> None:
    given = ("", "stop", QUESTION, ENGLISH, NONE, TEMPLATE)
    assert screen_response(*given, ANSWER) is Reason.RESPONSE_ALL_REASONING
    assert screen_response(*given) is Reason.RESPONSE_EMPTY


def test_an_exemplars_answer_again_is_a_copy() -> None:
    steered = steer("exemplar", ITALIAN.language, 3)
    assert answered(steered.exemplars[0].response, "stop", ITALIAN, steered) is Reason.RESPONSE_COPY
    assert answered(ITALIAN.language.exemplars[0].response, "stop", ITALIAN, Steered("system")) is None


@pytest.mark.parametrize(
    ("text", "spaces", "words"),
    [
        ("Che cos'è l'acqua?", True, 3),
        ("well-known, e.g. 3.5 %", True, 3),
        ("प्रकाश संश्लेषण क्या है?", True, 4),
        ("", True, 0),
        ("- ... !", True, 0),
        ("天空为什么是蓝色的？", False, 4),
        ("ทำไมฟ้าสีฟ้า", False, 4),
    ],
)
def test_words_are_counted_as_the_language_writes_them(text: str, spaces: bool, words: int) -> None:
    assert count_words(text, spaces) == words


# Watches: never what would be accepted


# Watches: early what is lost
