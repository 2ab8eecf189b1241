"""Texts that are looked at while they are written: what is lost is cut early, and what is true never."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from method.test_repetition import GREEDY, TRUE_TEXTS
from method.test_screening import (
    ANSWER,
    DOMANDA,
    ENGLISH,
    ITALIAN,
    NONE,
    QUESTION,
    TEMPLATE,
    WRITTEN,
    answered,
    fed,
    judged,
)
from method.texts import PASS, REJECT

from magpie_ollama.method import identifier, languages, turns
from magpie_ollama.method.extraction import extract
from magpie_ollama.method.reasons import Reason
from magpie_ollama.method.screening import (
    InstructionWatch,
    ResponseWatch,
    Rules,
    prepare,
    screen_response,
)


def test_another_turn_is_cut_while_it_is_written() -> None:
    watch = ResponseWatch(ENGLISH, TEMPLATE)
    story = " ".join(exemplar.response for exemplar in ENGLISH.language.exemplars)
    assert 0 < fed(watch, f"{ANSWER} {ANSWER}<|im_end|>\n<|im_start|>user\n{story}") <= 700
    assert watch.reason is Reason.RESPONSE_RUN_ON


@pytest.mark.parametrize("size", [1, 4, 11])  # varies first: what a language costs to look at is kept
@pytest.mark.parametrize("code", languages.codes())
def test_true_texts_of_every_language_are_never_cut(code: str, size: int) -> None:
    rules = Rules(languages.load(code))
    for exemplar in rules.language.exemplars:
        watch = InstructionWatch(rules, TEMPLATE, "")
        assert (fed(watch, exemplar.instruction, size), watch.reason) == (0, None)
        answer = ResponseWatch(rules, TEMPLATE)
        assert (fed(answer, exemplar.response, size), answer.reason) == (0, None)


@pytest.mark.parametrize("code", languages.codes())
def test_long_responses_of_every_language_are_never_cut(code: str) -> None:
    rules = Rules(languages.load(code))
    for seed in range(3):
        exemplars = random.Random(seed).sample(rules.language.exemplars, 8)
        text = "\n\n".join(f"{number}. {exemplar.response}" for number, exemplar in enumerate(exemplars, 1))
        watch = ResponseWatch(rules, TEMPLATE)
        assert (fed(watch, text), watch.reason) == (0, None)
        assert screen_response(text, "stop", "?", rules, NONE, TEMPLATE) is None


def test_a_text_that_no_model_writes_is_not_looked_at() -> None:
    """The looks would take minutes: a server may send ten megabytes in one line."""
    watch, answer = InstructionWatch(ITALIAN, TEMPLATE, ""), ResponseWatch(ITALIAN, TEMPLATE)
    assert watch("Come si fa? " * 1_000_000)
    assert answer("Così si fa. " * 1_000_000)
    assert (watch.reason, answer.reason) == (Reason.TOO_LONG, Reason.RESPONSE_TRUNCATED)


@given(st.sampled_from(languages.codes()), st.data())
def test_pieces_of_any_size_cut_nothing_that_is_true(code: str, data: st.DataObject) -> None:
    rules = Rules(languages.load(code))
    exemplar = data.draw(st.sampled_from(rules.language.exemplars))
    opener = data.draw(st.sampled_from(["", exemplar.instruction[: len(exemplar.instruction) // 3]]))
    raw = exemplar.instruction[len(opener) :]
    watch, end = InstructionWatch(rules, TEMPLATE, opener), 0
    while end < len(raw):
        end += data.draw(st.integers(1, 40))
        assert not watch(raw[:end]), watch.reason


@pytest.mark.parametrize("text", PASS)
def test_users_who_sound_like_assistants_are_never_cut(text: str) -> None:
    every = (Rules(languages.load(code), min_words=1) for code in WRITTEN)
    rules = next(one for one in every if judged(text, one) is None)
    for size in (1, 7):
        watch = InstructionWatch(rules, TEMPLATE, "")
        assert (fed(watch, text, size), watch.reason) == (0, None)


@pytest.mark.parametrize("name", TRUE_TEXTS)
def test_tables_code_and_refrains_are_never_cut_for_repeating(name: str) -> None:
    watch = ResponseWatch(Rules(languages.load("en")), TEMPLATE)
    fed(watch, TRUE_TEXTS[name], 3)
    assert watch.reason is not Reason.RESPONSE_REPETITION


@given(st.lists(st.sampled_from([QUESTION, ANSWER, DOMANDA, "assistant", "Sure, but", "```", "\n", "\n\n", ":", "x = 1",
                                 "Answer:", "User: hi", "AI", "1.", "—"]), max_size=12).map(" ".join),
       st.integers(1, 30))  # fmt: skip
def test_what_a_watch_cuts_as_no_users_turn_extraction_would_reject_too(text: str, size: int) -> None:
    watch = InstructionWatch(ENGLISH, TEMPLATE, "")
    if fed(watch, text, size) and watch.reason in (Reason.NOT_A_USER, Reason.RUN_ON):
        assert extract(text, "stop", TEMPLATE).reason in (Reason.NOT_A_USER, Reason.RUN_ON)


def test_a_foreign_sentence_in_a_long_response_does_not_cut_it() -> None:
    story = " ".join(exemplar.response for exemplar in ITALIAN.language.exemplars)
    foreign = " The quick brown fox jumps over the lazy dog while everybody watches the game on television. "
    for before in range(300, 1200, 30):  # so that every look meets it once at the end
        text = story[:before] + "." + foreign + story
        watch = ResponseWatch(ITALIAN, TEMPLATE)
        assert answered(text, "stop", ITALIAN) is None
        assert (fed(watch, text), watch.reason) == (0, None)


def test_what_finds_its_steering_out_of_a_repetition_is_not_cut() -> None:
    story = " ".join(exemplar.response for exemplar in ENGLISH.language.exemplars)
    for before in range(40, 240, 10):  # so that a look meets it at its end
        text = f"{story[:before]}: {'on and on, ' * 14}and then they went home. {story}"
        watch = ResponseWatch(ENGLISH, TEMPLATE)
        assert answered(text) is None
        assert (fed(watch, text), watch.reason) == (0, None)


def test_a_foreign_title_in_an_instruction_does_not_cut_it() -> None:
    story = " ".join(exemplar.response for exemplar in ITALIAN.language.exemplars)
    title = " The Old Man Who Walked Around the Great Green Mountain. "
    for before in range(260, 500, 10):
        text = f"{story[:before]}.{title}{story[before:700]}"
        watch = InstructionWatch(ITALIAN, TEMPLATE, "")
        assert judged(text, ITALIAN) is None
        assert (fed(watch, text), watch.reason) == (0, None)


def test_code_in_a_response_is_in_no_language() -> None:
    code = "\n".join(f"# {exemplar.response}\nvalue = {n}" for n, exemplar in enumerate(ENGLISH.language.exemplars))
    text = f"Ecco il programma che hai chiesto, con i commenti:\n\n```python\n{code}\n```\n\nBuon lavoro!"
    watch = ResponseWatch(ITALIAN, TEMPLATE)
    assert answered(text, "stop", ITALIAN) is None
    assert (fed(watch, text), watch.reason) == (0, None)


def test_what_stands_behind_a_stop_is_not_looked_at() -> None:
    watch = InstructionWatch(ENGLISH, TEMPLATE, "")
    text = QUESTION + "<|im_end|>\n<|im_start|>assistant\nSure! Here is why the sea looks blue to us: it is the water."
    assert (fed(watch, text), watch.reason) == (0, None)
    assert extract(text, "stop", TEMPLATE).text == QUESTION


@pytest.mark.parametrize(("text", "reason"), REJECT)
def test_what_no_user_says_is_cut_once_it_goes_on(text: str, reason: Reason) -> None:
    watch = InstructionWatch(ENGLISH, TEMPLATE, "")
    # In its own language these texts go on; here only that they are cut is looked at, not the language.
    assert fed(watch, f"{text} {ANSWER} {ANSWER}")
    assert watch.reason in (reason, Reason.WRONG_LANGUAGE)


@pytest.mark.parametrize(
    ("text", "reason", "within"),
    [
        ("As an AI language model, I am able to help you with a great many things, such as", Reason.NOT_A_USER, 80),
        (f"{QUESTION}\nassistant\nThe sea looks blue because", Reason.RUN_ON, len(QUESTION) + 36),
        (f"{QUESTION}\n\nAnswer: {ANSWER}", Reason.RUN_ON, len(QUESTION) + 80),
        (f"{QUESTION} Sure! Here is why: {ANSWER} {ANSWER}", Reason.RUN_ON, len(QUESTION) + 80),
        (f"{DOMANDA} {DOMANDA} {DOMANDA}", Reason.WRONG_LANGUAGE, 170),
        ("Почему море кажется синим? Объясни подробно, пожалуйста, и приведи пример. " * 2, Reason.WRONG_LANGUAGE, 110),
        ("Tell me more. " + "And why is the sky blue? " * 40, Reason.REPETITION, 600),
    ],
)
def test_a_lost_instruction_is_cut_early(text: str, reason: Reason, within: int) -> None:
    watch = InstructionWatch(ENGLISH, TEMPLATE, "")
    assert 0 < fed(watch, text) <= within
    assert watch.reason is reason


@pytest.mark.parametrize("name", GREEDY)
def test_a_response_in_a_loop_is_cut(name: str) -> None:
    watch = ResponseWatch(ENGLISH, TEMPLATE)
    text = GREEDY[name]
    assert fed(watch, text + text[-400:] * 8)
    assert watch.reason in (Reason.RESPONSE_REPETITION, Reason.RESPONSE_WRONG_LANGUAGE)


def test_a_response_in_another_language_is_cut_early() -> None:
    watch = ResponseWatch(ITALIAN, TEMPLATE)
    assert 0 < fed(watch, f"{ANSWER} {ANSWER} {ANSWER}") <= 170
    assert watch.reason is Reason.RESPONSE_WRONG_LANGUAGE


def test_a_response_that_drifts_is_cut() -> None:
    watch = ResponseWatch(ITALIAN, TEMPLATE)
    start = ITALIAN.language.exemplars[0].response
    rest = " ".join(exemplar.response for exemplar in ENGLISH.language.exemplars)
    assert 0 < fed(watch, f"{start} {rest}") <= 1200
    assert watch.reason is Reason.RESPONSE_WRONG_LANGUAGE


def test_what_steers_a_terminal_is_seen_behind_what_is_not_seen() -> None:
    """Characters that are cleaned away are none of those that were looked at before."""
    watch = InstructionWatch(ENGLISH, TEMPLATE, "")
    text = "Wh" + "\u00ad" * 80 + "y is the sky \x1b[2J blue, and why is the sea as well, on most of the days?"
    assert fed(watch, text, 88)
    assert watch.reason is Reason.CONTROL_CHARACTERS


def test_more_words_than_may_be_are_cut_early() -> None:
    watch = InstructionWatch(Rules(languages.load("en"), max_words=20), TEMPLATE, "")
    assert 0 < fed(watch, f"{QUESTION} {ANSWER} {ANSWER}") < len(QUESTION) + len(ANSWER)
    assert watch.reason is Reason.TOO_LONG


def test_prepared_nothing_is_left_to_load() -> None:
    loaded = (identifier._scorer, turns._voice)
    for one in loaded:
        one.cache_clear()
    prepare(ENGLISH.language)
    assert all(one.cache_info().currsize for one in loaded)
