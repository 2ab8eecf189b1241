"""Later turns of the user: what they may be that an instruction may not, and the other way round."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from magpie_ollama.method import languages
from magpie_ollama.method.checks import Look, Rules
from magpie_ollama.method.followups import FEW, LEAST, SHARE, Phrases, is_about_something_else, rare, screen_follow_up
from magpie_ollama.method.languages import Exemplar
from magpie_ollama.method.reasons import Reason
from magpie_ollama.method.steering import Steered

TALKS = {
    "en": (
        Exemplar("Who wrote Hamlet?", "William Shakespeare wrote Hamlet around 1600."),
        (
            "Why?", "What other plays did he write, and which are comedies?",
            "When was it first performed?",
            "How old was he at the time?", "Is the story based on real events?", "Summarize the plot in two sentences.",
            "Thanks! And who played the prince at first?",
            "I have to teach Hamlet to a class of teenagers who hate reading; where would you have Shakespeare's story "
            "begin so that they do not fall asleep in the first ten minutes of the lesson?",
        ),
    ),
    "it": (
        Exemplar(
            "Come si prepara il ragù alla bolognese?",
            "Si fa soffriggere cipolla, sedano e carota, si aggiunge la carne, poi il vino e la passata di pomodoro.",
        ),
        ("Perché?", "Posso usare solo carne di maiale?", "E se non ho il vino?", "Si può congelare? Per quanto tempo?"),
    ),
    "ja": (
        Exemplar("京都でおすすめの観光地を教えてください。", "金閣寺、清水寺、伏見稲荷大社などが有名です。"),
        ("どうして？", "雨の日でも楽しめますか？", "二日間で回るならどんな順番がいいですか？"),
    ),
    "th": (
        Exemplar("วิธีทำต้มยำกุ้งทำอย่างไร", "ต้มน้ำซุปกับข่า ตะไคร้ ใบมะกรูด แล้วใส่กุ้งและเห็ด"),
        ("ทำไม", "ถ้าไม่มีข่าใช้อะไรแทนได้บ้าง"),
    ),
}  # fmt: skip


def reason(text: str, code: str, *talk: Exemplar, phrases: Phrases | None = None) -> Reason | None:
    steered = Steered("none", exemplars=talk or (TALKS["en"][0],))
    return screen_follow_up(text, Rules(languages.load(code)), steered, phrases or Phrases()).reason


@pytest.mark.parametrize(("code", "text"), [(code, text) for code, (_, texts) in TALKS.items() for text in texts])
def test_what_goes_on(code: str, text: str) -> None:
    assert reason(text, code, TALKS[code][0]) is None


@pytest.mark.parametrize("code", languages.codes())
def test_closings_close_and_nothing_else_does(code: str) -> None:
    language = languages.load(code)
    for text in language.closings:
        assert reason(text, code) == Reason.FOLLOW_UP_CLOSING, text
    goes_on = [shown.instruction for shown in language.exemplars]
    goes_on += [f"{opener} {goes_on[0]}" for opener in language.follow_ups]
    assert Reason.FOLLOW_UP_CLOSING not in {reason(text, code) for text in goes_on}


@pytest.mark.parametrize("code", ["en", "it", "ru", "ja", "th"])
def test_a_long_question_behind_another_conversation_is_about_something_else(code: str) -> None:
    """Each exemplar's instruction behind each other exemplar, neither of which is common then."""
    language = languages.load(code)
    pairs = found = 0
    for asked, talk in itertools.permutations(language.exemplars, 2):
        others = replace(language, exemplars=tuple({*language.exemplars} - {asked, talk}))
        look = Look(asked.instruction, rules=Rules(others), steered=Steered("", exemplars=(talk,)))
        if len(rare(asked.instruction, others)) >= FEW:
            pairs += 1
            found += is_about_something_else(look)
            assert not is_about_something_else(replace(look, steered=Steered("", exemplars=(asked,))))
    assert pairs > 200
    assert found > 0.95 * pairs, "98.6 % in ten languages"


def test_an_echo_and_a_question_again() -> None:
    asked, answered = TALKS["it"][0]
    assert reason(answered, "it", TALKS["it"][0]) == Reason.FOLLOW_UP_ECHO
    assert reason(answered, "it", TALKS["it"][0], Exemplar("E poi?", "Poi si serve.")) == Reason.FOLLOW_UP_ECHO
    assert reason(asked, "it", TALKS["it"][0]) == Reason.DUPLICATE
    assert reason("Cipolla, sedano e carota?", "it", TALKS["it"][0]) is None, "too short to be an echo"


def test_a_phrase_has_its_share() -> None:
    text, phrases = "Can you explain that?", Phrases()
    for _ in range(LEAST):
        assert reason(text, "en", phrases=phrases) is None
        phrases.add(text)
    assert reason("CAN you explain that", "en", phrases=phrases) == Reason.FOLLOW_UP_COMMON
    for number in range(int(LEAST / SHARE)):
        phrases.add(f"And what of step {number}?")
    assert reason(text, "en", phrases=phrases) is None, "of more conversations it may be in more"
    long = "Which of them would you take if you had no more than one evening and no oven to cook a meal for six?"
    for _ in range(99):
        phrases.add(long)
    assert not phrases.is_common(long)
