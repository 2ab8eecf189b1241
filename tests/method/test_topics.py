"""The topics' data, and what --topics can be given."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from magpie_ollama import prompts
from magpie_ollama.errors import UsageError
from magpie_ollama.method import languages, topics
from magpie_ollama.method.checks import Rules
from magpie_ollama.method.detection import Verdict, check
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.method.screening import count_words, screen_instruction, screen_response
from magpie_ollama.method.steering import Steered, steer
from magpie_ollama.method.template import Template
from magpie_ollama.method.topics import Topic
from magpie_ollama.tagging import scales

EVERY = prompts.names("topics")
TEMPLATE = Template("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", ("<|im_end|>",), "test")
OWN = """category = "Math"
[en]
system = "You are a mathematician. Users typically ask for proofs. Be brief."
openers = ["Prove that"]
[[en.exemplars]]
instruction = "Prove that 1 + 1 = 2."
response = "By the definition of 2."
[[en.exemplars]]
instruction = "Is 7 a prime number?"
response = "Yes: neither 2 nor 3 divides it."
"""


def voices() -> list[tuple[str, str]]:
    return [(name, code) for name in EVERY for code in topics.load(name).voices]


def test_the_topics_that_are_promised_in_twelve_languages() -> None:
    others = {"translation", "rewriting", "summarising", "format-constrained", "document-questions", "everyday"}
    assert set(EVERY) == {*topics.mix("magpie-ultra").topics, *others, "safety"}
    for name in EVERY:
        assert len(topics.load(name).voices) >= 12, name
        assert topics.load(name).category in scales.load().scales["category"]


def test_magpie_ultra_has_its_weights() -> None:
    assert dict(topics.mix("magpie-ultra").shares) == {
        **dict.fromkeys(("reasoning", "code", "maths", "data-analysis"), 0.125),
        **dict.fromkeys(("editing", "role-playing", "creative-writing"), 0.1),
        **dict.fromkeys(("information-seeking", "planning", "advice-seeking", "brainstorming"), 0.05),
    }


@pytest.mark.parametrize(("name", "code"), voices())
def test_the_texts_are_in_their_language_and_fit_to_steer(name: str, code: str) -> None:
    """Its own screen would keep each exemplar; a translator's foreign words are no fault of the texts."""
    topic, language = topics.load(name), languages.load(code)
    voice = topic.voices[code]
    assert check(voice.system, code, scripts=language.scripts) is Verdict.YES
    assert 15 <= count_words(voice.system, language.spaces) <= 90
    assert 3 <= len(voice.openers) <= 8
    assert check(" ... ".join(voice.openers), code, scripts=language.scripts) is not Verdict.NO
    for opener in voice.openers:
        assert opener == opener.strip()
        assert count_words(opener, language.spaces) <= 9
    assert len({exemplar.instruction for exemplar in voice.exemplars}) == len(voice.exemplars) >= 2
    rules = Rules(language, min_words=2, foreign_text=topic.foreign_text, code=topic.code)
    for asked, answered in voice.exemplars:
        assert screen_instruction(asked, rules, Steered("none"), DuplicateIndex()).reason is None, asked
        assert screen_response(answered, "stop", asked, rules, Steered("none"), TEMPLATE) is None, answered


@pytest.mark.parametrize("steering", ["none", "system", "exemplar", "exemplar+opener"])
def test_a_topic_steers_with_its_own_words_alone(steering: str) -> None:
    italian, maths = languages.load("it"), topics.load("maths")
    spoken, voice = maths.spoken(italian), maths.voices["it"]
    for seed in range(40):
        steered = steer(steering, spoken, seed, system=spoken.system)
        assert steered.messages[0] == {"role": "system", "content": voice.system}
        assert set(steered.exemplars) <= set(voice.exemplars)
        assert not steered.opener or steered.opener in voice.openers


def test_without_data_the_language_keeps_its_openers_and_gets_the_english_message() -> None:
    welsh, maths = languages.load("cy"), topics.load("maths")
    spoken = maths.spoken(welsh)
    assert spoken.system == f"{welsh.system}\n\n{maths.voices['en'].system}"
    assert spoken.openers == welsh.openers


def test_what_a_translation_may_hold() -> None:
    rules = Rules(topics.load("translation").spoken(languages.load("it")), foreign_text=True)
    plain, seen = Rules(languages.load("it")), DuplicateIndex()
    asked = "Traduci in italiano: The cat has been sleeping on the table since this morning and will not come down."
    answer = "The cat has been sleeping on the table since this morning and will not come down."
    english = "Please translate this long sentence about the neighbour's cat into another language for me"
    for text, kept in ((asked, True), (english, False)):
        assert (screen_instruction(text, rules, Steered("none"), seen).reason is None) is kept
    assert screen_response(answer, "stop", "Traduci questa frase", rules, Steered("none"), TEMPLATE) is None
    assert screen_response(answer, "stop", "Traduci questa frase", plain, Steered("none"), TEMPLATE) is not None


def test_what_a_program_may_be() -> None:
    rules = Rules(languages.load("it"), code=True)
    asked = "Perché questa query non funziona?\nselect the customer name from orders where the year is not the same"
    english = "This is how you can sort a list of numbers in Python, and this is why it works so well for us."
    assert screen_instruction(asked, rules, Steered("none"), DuplicateIndex()).reason is None
    assert screen_response(english, "stop", "Scrivi una funzione", rules, Steered("none"), TEMPLATE) is not None


@pytest.mark.parametrize(
    ("said", "shares"),
    [
        ("maths", {"maths": 1.0}),
        (" maths:3, code:1 ", {"maths": 0.75, "code": 0.25}),
        ("maths,code", {"maths": 0.5, "code": 0.5}),
        ("maths:0.7,code:0.3", {"maths": 0.7, "code": 0.3}),
    ],
)
def test_topics_with_weights(said: str, shares: dict[str, float]) -> None:
    assert topics.mix(said).shares == pytest.approx(shares)


def test_files_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "proofs.toml").write_text(OWN, "utf-8")
    mixture = tmp_path / "mine.toml"
    mixture.write_text('[weights]\n"proofs.toml" = 3\ncode = 1\n', "utf-8")
    assert topics.mix(str(mixture)).shares == {"proofs": 0.75, "code": 0.25}
    own = topics.mix(f"{tmp_path / 'proofs.toml'}:1,code:1")
    assert own.shares == {"proofs": 0.5, "code": 0.5}
    assert isinstance(own.topics["proofs"], Topic)
    with pytest.raises(UsageError, match=r"proofs has data in fr alone, not in it") as caught:
        topics.load_file(_written(tmp_path / "fr" / "proofs.toml", OWN.replace("[en", "[fr"))).spoken(
            languages.load("it")
        )
    assert "[it]" in caught.value.remedy


@pytest.mark.parametrize(
    ("said", "cause", "remedy"),
    [
        ("mathz", "no topic 'mathz'", "did you mean maths?"),
        ("magpie-ultr", "no topic", "magpie-ultra"),
        ("maths:two", "weight 'two' of maths is no number above 0", "whole numbers"),
        ("maths:0,code:1", "weight '0'", "whole numbers"),
        ("maths:-1,code:1", "weight '-1'", "whole numbers"),
        ("maths:nan", "weight 'nan'", "whole numbers"),
        ("maths:inf", "weight 'inf'", "whole numbers"),
        ("maths:0.5,code:0.3", "sum to 0.8, not to 1", "mend the shares"),
        ("maths,maths:2", "named twice", "one weight"),
        ("none.toml", "none.toml cannot be read", "check its path"),
        (",", "no topic ','", "topics: "),
    ],
)
def test_what_is_no_mixture(said: str, cause: str, remedy: str) -> None:
    with pytest.raises(UsageError, match=re.escape(cause)) as caught:
        topics.mix(said)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('category = "Math"\n', "", "the key 'category' is missing"),
        ('system = "You', 'sistem = "You', "the key 'en.system' is missing"),
        ('openers = ["Prove that"]', "", "the key 'en.openers' is missing"),
        ('openers = ["Prove that"]', "openers = [7]", "the key 'en.openers' must hold texts, not 7"),
        ('response = "Yes: neither 2 nor 3 divides it."', "", "the key 'en.exemplars[2].response' is missing"),
        (OWN[OWN.rindex("[[en") :], "", "the key 'en.exemplars' needs 2 or more, not 1"),
        ('category = "Math"', 'category = "Math"\ncode = "yes"', "the key 'code' must be true or false"),
        ('category = "Math"', 'category = "Math"\nweigth = 2', "the key 'weigth' is no table of a language"),
        (OWN[OWN.index("[en]") :], "", "the key 'en' is missing"),
    ],
)
def test_a_topic_file_with_a_fault(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in OWN
    path = _written(tmp_path / "proofs.toml", OWN.replace(old, new))
    with pytest.raises(UsageError) as caught:
        topics.mix(str(path))
    assert caught.value.cause.startswith(f"{path}: {said}")
    assert "maths.toml" in caught.value.remedy


def test_a_name_that_no_record_could_carry(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs another name"):
        topics.mix(str(_written(tmp_path / "Mine è.toml", OWN)))


@pytest.mark.parametrize("table", ["weights = 3", "[weights]"])
def test_a_mixture_without_weights(tmp_path: Path, table: str) -> None:
    with pytest.raises(UsageError, match="'weights' must be a table"):
        topics.mix(str(_written(tmp_path / "mine.toml", table)))


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    return path
