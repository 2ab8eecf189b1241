"""Every reason for which an attempt is rejected, counted through the whole pipeline."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_ollama import Ask, FakeOllama, Fault, Reply, default_script
from fake_ollama.models import smollm2
from run.support import ANSWER, GERMAN, QUESTION, generate, generating, impatient, settings

from magpie_ollama.errors import ShortOfTarget
from magpie_ollama.method import languages
from magpie_ollama.method.reasons import Reason, Stage
from magpie_ollama.method.screening import Rules
from magpie_ollama.servers.base import Sampling

GENERATIONS = pytest.mark.parametrize("version", ["0.24.0", "0.33.0"])


BABBLE = (
    "How can the thermally procested word in a hould stranism be the evelopited of an institution and its prodution?"
)
LOOP = "Why is the sky so very blue and " * 30


def spoiled(reason: Reason) -> tuple[dict[str, Any], Any, Any]:
    """Settings, what the model writes as its first instruction, and as its first response."""
    match reason:
        case Reason.EMPTY:
            return {}, "", ANSWER
        case Reason.TRUNCATED:
            return {"instruction": Sampling(1.0, 6)}, QUESTION, ANSWER
        case Reason.TOO_SHORT:
            return {}, "Hello there", ANSWER
        case Reason.TOO_LONG:
            return {"rules": Rules(languages.find("en"), max_words=30)}, f"{QUESTION} {ANSWER} " * 2, ANSWER
        case Reason.WRONG_LANGUAGE:
            return {}, GERMAN, ANSWER
        case Reason.INVENTED_WORDS:
            return {}, BABBLE, ANSWER
        case Reason.NOT_A_USER:
            return {}, "As an AI language model, I cannot do that for you.", ANSWER
        case Reason.RUN_ON:
            return {}, f"{QUESTION}\nassistant\n{ANSWER}", ANSWER
        case Reason.REPETITION:
            return {}, LOOP, ANSWER
        case Reason.LOW_CONFIDENCE:
            rules = Rules(languages.find("en"), min_confidence=0.05)
            return {"rules": rules}, Reply(QUESTION, logprob=-30.0), ANSWER
        case Reason.RESPONSE_EMPTY:
            return {}, QUESTION, "\n "
        case Reason.RESPONSE_TRUNCATED:
            return {"response": Sampling(0.0, 10)}, QUESTION, ANSWER
        case Reason.RESPONSE_WRONG_LANGUAGE:
            return {}, QUESTION, f"{GERMAN} Das weiß ich leider auch nicht so genau, aber ich werde es versuchen."
        case Reason.RESPONSE_INVENTED_WORDS:
            return {}, QUESTION, BABBLE
        case Reason.RESPONSE_REPETITION:
            return {}, QUESTION, "Because it is so and so it is, my dear friend. " * 40
        case Reason.RESPONSE_ECHO:
            return {}, QUESTION, QUESTION
        case Reason.RESPONSE_COPY:
            return {"steering": "exemplar"}, QUESTION, lambda ask: ask.messages[2]["content"]
        case Reason.RESPONSE_TOO_LONG:
            refused = Fault("status", status=400, text="the input length exceeds the context length")
            return {}, QUESTION, Reply("", fault=refused)
        case Reason.NO_ANSWER:
            return {}, Reply(QUESTION, fault="engine_dies"), ANSWER
        case Reason.BROKEN_OFF:
            return {}, Reply(QUESTION, done_reason="unload"), ANSWER
        case Reason.CONTROL_CHARACTERS:
            return {}, f"{QUESTION} \x1b]52;c;aGVsbG8=\x07", ANSWER
        case Reason.RESPONSE_NO_ANSWER:
            return {}, QUESTION, Reply(ANSWER, fault="engine_dies")
        case Reason.RESPONSE_BROKEN_OFF:
            return {}, QUESTION, Reply(ANSWER, done_reason="unload")
        case Reason.RESPONSE_ALL_REASONING:
            return {"think": True}, QUESTION, Reply("", thinking=ANSWER)
        case Reason.RESPONSE_REASONING:
            return {}, QUESTION, f"[THINK]{ANSWER}"
        case Reason.RESPONSE_RUN_ON:
            return {}, QUESTION, f"{ANSWER}\n\n### Human: {QUESTION}"
        case Reason.RESPONSE_CONTROL_CHARACTERS:
            return {}, QUESTION, f"{ANSWER}\u202e{ANSWER[::-1]}"
    raise AssertionError(reason)


def shown(reply: Any, ask: Ask) -> Reply:
    reply = reply(ask) if callable(reply) else reply
    return Reply(reply) if isinstance(reply, str) else reply


LATER = {reason for reason in Reason if reason.stage is Stage.FOLLOW_UP}
"""See test_conversations."""

ELSEWHERE = {Reason.DUPLICATE, Reason.NEAR_DUPLICATE, Reason.RESPONSE_NOT_GROUNDED}
ELSEWHERE |= {Reason.PLUGIN, Reason.RESPONSE_PLUGIN}
"""The first two are below, the third needs a document: tests/commands/test_voice.py; the others a
plugin: tests/commands/test_plugins.py."""


@pytest.mark.parametrize("reason", sorted(set(Reason) - LATER - ELSEWHERE))
def test_reasons(tmp_path: Path, reason: Reason) -> None:
    changes, instruction, response = spoiled(reason)
    short = "limit" if reason in (Reason.TRUNCATED, Reason.RESPONSE_TRUNCATED) else ""

    def script(ask: Ask) -> Reply:
        if ask.seed == 50:
            return shown(instruction if ask.kind == "raw" else response, ask)
        reply = default_script(ask)
        return Reply(["What", " is", " it", "?"] if ask.kind == "raw" else ["That", " one"]) if short else reply

    model = replace(smollm2(), capabilities=("completion", "thinking")) if "think" in changes else smollm2()
    with FakeOllama(models=[model], script=script) as fake, impatient():
        made = generate(settings(fake, 1, seed=50, parallel=1, **changes), tmp_path / "en.jsonl")
    assert made.error is None
    assert made.outcomes == [reason, "kept"]
    assert dict(made.progress.funnel.outcomes) == {reason: 1, "kept": 1}
    asked = [exchange for exchange in generating(fake) if exchange.body["options"]["seed"] == 50]
    if reason not in (Reason.NO_ANSWER, Reason.RESPONSE_NO_ANSWER):
        responses = [exchange for exchange in asked if exchange.path == "/api/chat"]
        assert len(responses) == (reason.stage is Stage.RESPONSE), "no response is paid for a rejected instruction"


def test_duplicates_of_the_run(tmp_path: Path) -> None:
    written = [QUESTION, QUESTION.upper(), QUESTION.replace("?", " today?"), "What is the tallest mountain of Europe?"]

    def script(ask: Ask) -> Reply:
        assert ask.seed is not None
        return Reply(written[ask.seed - 50]) if ask.kind == "raw" else default_script(ask)

    with FakeOllama(script=script) as fake:
        made = generate(settings(fake, 2, seed=50, parallel=1), tmp_path / "en.jsonl")
    assert made.outcomes == ["kept", "duplicate", "near_duplicate", "kept"]


def test_duplicates_of_the_corpus_already_there(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"
    written = {1: QUESTION, 2: QUESTION, 3: QUESTION.replace("?", " today?")}

    def script(ask: Ask) -> Reply:
        text = written.get(ask.seed or 0)
        return Reply(text) if text and ask.kind == "raw" else default_script(ask)

    with FakeOllama(script=script) as fake:
        generate(settings(fake, 1, seed=1, parallel=1), path)
        made = generate(settings(fake, 1, seed=2, parallel=1), path)
    assert made.error is None
    assert [outcome for outcome in made.outcomes if outcome != "kept"] == ["duplicate", "near_duplicate"]


def test_two_equal_instructions_in_flight_at_once_are_kept_once(tmp_path: Path) -> None:
    def script(ask: Ask) -> Reply:
        return Reply(QUESTION, delay=0.001) if ask.kind == "raw" else Reply(ANSWER, delay=0.001)

    with FakeOllama(script=script, parallel=8) as fake:
        made = generate(settings(fake, 3, parallel=8, max_attempts=16), tmp_path / "en.jsonl")
    assert isinstance(made.error, ShortOfTarget)
    assert Counter(made.outcomes) == {"kept": 1, "duplicate": 15}
