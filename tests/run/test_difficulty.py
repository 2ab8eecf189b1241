"""How hard the questions are to be is said behind the system message; later turns may be hotter than the first."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_ollama import FakeModel, FakeOllama

from magpie_ollama.asking.said import BY_NAME, DIFFICULTIES, Turns
from magpie_ollama.errors import UsageError
from magpie_ollama.method import languages
from magpie_ollama.method.steering import how_hard

from .support import generate, generating, settings


@pytest.mark.parametrize("code", ["it", "eu"])
def test_the_difficulty_stands_behind_the_system_message(tmp_path: Path, code: str) -> None:
    language = languages.load(code)
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        asking = settings(fake, 2, language=code, steering="none", difficulty="hard", max_attempts=3)
        generate(asking, tmp_path / "a.jsonl")
        asked = [exchange.body["prompt"] for exchange in generating(fake) if "prompt" in exchange.body]
    sentence = how_hard("hard", code)
    assert sentence == how_hard("hard", "en" if code == "eu" else code)
    assert asked and all(f"{language.system} {sentence}" in prompt for prompt in asked)


def test_each_difficulty_has_its_sentence_and_no_other_is_taken() -> None:
    assert len({how_hard(one, code) for one in DIFFICULTIES for code in ("en", "it", "zh")}) == 9
    with pytest.raises(UsageError, match="no difficulty 'harder'"):
        BY_NAME["difficulty"].check("harder")


def test_later_turns_have_a_temperature_of_their_own(tmp_path: Path) -> None:
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        generate(settings(fake, 2, turns=Turns(2, 2), later_temperature=0.3, parallel=1), tmp_path / "a.jsonl")
        bodies = [exchange.body for exchange in generating(fake) if "prompt" in exchange.body]
    heat = {("<|im_start|>assistant" in body["prompt"], body["options"]["temperature"]) for body in bodies}
    assert heat == {(False, 1.0), (True, 0.3)}
