from __future__ import annotations

import pytest

from magpie_ollama.method import languages
from magpie_ollama.method.variety import (
    LATELY,
    MOST_STARTS,
    TAKEN,
    Recent,
    Variety,
    repeats,
    shipped_subjects,
    start,
    subjects_of,
    taken,
)

from .texts import PASS

ENGLISH = languages.load("en")


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("How can I bake bread?", "how can"),
        ("¿Cómo puedo hacer pan?", "cómo puedo"),
        ("- Erkläre mir, wie Brot entsteht.", "erkläre mir"),
        ("यह कैसे काम करता है?", "यह कैसे"),
        ("빵은 어떻게 만드나요?", "빵은 어떻게"),
        ("「パン」の作り方を教えて", "パンの作"),
        ("ฉันจะทำขนมปังอย่างไร", "ฉันจะทำข"),
        ("Bread?", "bread"),
        ("?!", ""),
        ("", ""),
    ],
)
def test_where_a_text_begins(text: str, begins: str) -> None:
    assert start(text) == begins


def test_the_subjects_of_exemplars_are_known_again() -> None:
    """In every language, and few of its other exemplars for theirs."""
    own = others = count = 0
    for code in languages.codes():
        subjects = shipped_subjects(code)
        exemplars = languages.load(code).exemplars
        own += sum(taken(exemplar.instruction, subjects) for exemplar in exemplars)
        for number, exemplar in enumerate(exemplars):
            rest = {stem: of for stem, of in subjects.items() if of != number}
            others += taken(exemplar.instruction, rest)
            count += 1
    assert own >= 0.85 * count
    assert others <= 0.02 * count
    assert sum(taken(text, subjects_of(ENGLISH)) for text in PASS) <= 0.05 * len(PASS)


def test_an_inflected_word_is_the_same_subject_and_one_of_many_is_chance() -> None:
    subjects = {"photo": 0, "leave": 0, "breads": 1}
    assert taken("Explain photosynthesis in leaves to a child of eleven years", subjects)
    assert taken("Photosynthesis?", subjects)
    assert not taken("Explain photography to somebody who never held a camera", subjects)


def test_what_was_seen_before_is_worth_less() -> None:
    recent = Recent(subjects_of(ENGLISH))
    first = recent.add("How can I plant tomatoes on a small balcony?")
    again = recent.add("How can I plant tomatoes on a large balcony?")
    other = recent.add("Why did Rome fall?")
    assert first == 1.0 and again < 0.6 < other


def test_the_same_start_and_the_same_opener_are_worth_less() -> None:
    texts = [f"{word} {other} to do" for word in "abcdefghij" for other in ("sea", "sky", "sun", "ice")]
    various, same, opened = Recent({}), Recent({}), Recent({})
    worths = [various.add(text) for text in texts]
    alike = [same.add(f"Tell me {text}") for text in texts]
    given = [opened.add(text, "Tell") for text in texts]
    assert alike[-1] == 0.0 == given[-1], "all that came before began so"
    assert worths[-1] > 0.4
    assert sum(alike) < sum(worths) / 2


def test_an_exemplar_s_subject_is_worth_less() -> None:
    text = ENGLISH.exemplars[0].instruction
    assert Recent(subjects_of(ENGLISH)).add(text) == TAKEN
    assert Recent({}).add(text) == 1.0


def test_what_is_long_ago_is_forgotten() -> None:
    recent = Recent({})
    text = "Write a poem on the smell of rain after a long summer"
    recent.add(text)
    assert recent.add(text) == 0.0
    for number in range(LATELY):
        recent.add(f"{number * 7919} {number * 104729}")
    assert recent.add(text) > 0.8


def test_figures_of_many() -> None:
    variety = Variety()
    for number in range(8):
        variety.count("How can I bake bread?" if number < 6 else f"Why is it {number}?", "opener", {})
    variety.count("Name three colours of the old flag", "exemplar", {"colou": 0, "three": 0})
    variety.count("Name two rivers", "exemplar", {"colou": 0})
    for outcome in ("kept", "near_duplicate", "wrong_language", "kept", "kept"):
        variety.judge(outcome)
    assert variety.to_dict() == {
        "instructions": 10,
        "most_frequent_start": "how can",
        "most_frequent_start_share": 0.6,
        "distinct_starts": pytest.approx(3.0, abs=0.1),
        "opener_share": 0.8,
        "exemplar_subjects": 0.5,
        "near_duplicates": 0.25,
    }


def test_of_nothing_there_is_nothing_to_tell() -> None:
    assert set(Variety().to_dict().values()) == {0, ""}


def test_starts_are_told_apart_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magpie_ollama.method.variety.MOST_STARTS", 2)
    variety = Variety()
    for word in ("one", "two", "three", "four", "one"):
        variety.count(word, "none", {})
    assert variety.starts == {"one": 2, "two": 1, "": 2}
    assert MOST_STARTS >= 10_000


def test_repeats_look_back() -> None:
    text = "Describe how the water of a river gets into the sea"
    assert list(repeats([text, "Why?", text + "s", "What?"])) == [False, False, True, False]
