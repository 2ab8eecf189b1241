"""What a run rejects: kept beside the corpus, tried again, and never in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_ollama import Ask, FakeOllama, Reply, default_script
from run.support import ANSWER, GERMAN, Outcome, generate, generating, read, settings
from run.test_answering import respond

from magpie_ollama.asking.said import Turns
from magpie_ollama.corpus import rejections
from magpie_ollama.errors import ShortOfTarget

WRONG = f"{GERMAN} Das weiß ich leider auch nicht so genau, aber ich werde es versuchen."


def wrong_at(*temperatures: float) -> Any:
    """Responses in German at these temperatures, which tell one try from another."""

    def script(ask: Ask) -> Reply:
        wrong = ask.kind == "chat" and ask.options["temperature"] in temperatures
        return Reply(WRONG) if wrong else default_script(ask)

    return script


def rejected(made: Outcome) -> list[rejections.Rejected]:
    path = rejections.path_beside(made.path)
    return list(rejections.read(made.path)) if path.exists() else []


def test_what_is_kept_of_a_rejected_response(tmp_path: Path) -> None:
    with FakeOllama(script=wrong_at(0.0)) as fake:
        made = generate(settings(fake, 1, seed=7, parallel=1, max_attempts=2), tmp_path / "en.jsonl")
    assert isinstance(made.error, ShortOfTarget)
    first, second = rejected(made)
    asked = next(exchange.body for exchange in generating(fake) if exchange.path == "/api/chat")
    assert first.messages[0] == asked["messages"][-1]
    assert first.messages[1]["role"] == "assistant" and WRONG.startswith(first.messages[1]["content"])
    assert (first.reason, first.language, first.run) == ("response_wrong_language", "en", made.manifests[0]["run"])
    assert (first.seed, second.seed, first.trial, first.system) == (7, 8, 0, "")
    assert first.tokens == made.attempts[0]["response_tokens"] > 0
    assert first.model == asked["model"]


def test_the_system_message_is_kept_as_it_was_sent(tmp_path: Path) -> None:
    script = wrong_at(0.0)
    with FakeOllama(script=script) as fake:
        asked = settings(fake, 1, language="es", steering="system", max_attempts=1, parallel=1)
        made = generate(asked, tmp_path / "es.jsonl")
    sent = next(exchange.body["messages"] for exchange in generating(fake) if exchange.path == "/api/chat")
    assert [one.system for one in rejected(made)] == [sent[0]["content"]]
    assert [message["role"] for message in rejected(made)[0].messages] == ["user", "assistant"]


@pytest.mark.parametrize("parallel", [1, 4])
def test_it_is_tried_again_hotter_and_with_another_seed(tmp_path: Path, parallel: int) -> None:
    with FakeOllama(script=wrong_at(0.0, 0.4)) as fake:
        made = generate(settings(fake, 3, seed=50, retries=2, parallel=parallel), tmp_path / "en.jsonl")
    assert made.error is None
    assert made.outcomes.count("kept") == 3
    for record in made.records:
        mine = [one for one in rejected(made) if one.messages[0] == record["messages"][0]]
        assert [one.trial for one in mine] == [0, 1]
        chats = [exchange.body for exchange in generating(fake) if exchange.path == "/api/chat"]
        options = [chat["options"] for chat in chats if chat["messages"][-1] == record["messages"][0]]
        assert [one["temperature"] for one in options] == [0.0, 0.4, 0.8]
        assert len({one["seed"] for one in options}) == 3
    funnel = made.progress.funnel
    kept = sum(record["instruction_tokens"] + record["response_tokens"] for record in made.records)
    assert funnel.tokens["kept"] == kept, "what was rejected is no part of a kept record's cost"
    assert funnel.tokens["retried"] == sum(one.tokens for one in rejected(made) if one.trial < 2)
    assert made.progress.tokens == funnel.all_tokens


def test_tries_have_an_end(tmp_path: Path) -> None:
    with FakeOllama(script=wrong_at(0.0, 0.4, 0.8, 1.0)) as fake:
        made = generate(settings(fake, 1, retries=3, parallel=1, max_attempts=1), tmp_path / "en.jsonl")
    assert made.outcomes == ["response_wrong_language"]
    assert [one.trial for one in rejected(made)] == [0, 1, 2, 3]
    assert made.progress.tokens == made.progress.funnel.all_tokens


def test_respond_keeps_what_its_tries_rejected(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("How can I grow tomatoes on a tiny balcony?\n")
    with FakeOllama(script=wrong_at(0.0)) as fake:
        made = respond(fake, tmp_path / "q.txt")
    assert made.error is None
    (one,) = rejected(made)
    assert one.messages[0] == made.records[0]["messages"][0]


def test_the_bound(tmp_path: Path) -> None:
    with FakeOllama(script=wrong_at(0.0)) as fake:
        first = generate(settings(fake, 1, keep_rejected=3, max_attempts=2), tmp_path / "en.jsonl")
        assert len(rejected(first)) == 2
        second = generate(settings(fake, 1, keep_rejected=3, max_attempts=9), tmp_path / "en.jsonl")
        none = generate(settings(fake, 1, keep_rejected=0, max_attempts=2), tmp_path / "other.jsonl")
    assert len(rejected(second)) == 3
    assert not [notice for notice in first.progress.notices if "keep-rejected" in notice]
    assert [notice for notice in second.progress.notices if "keep-rejected" in notice and "has 3" in notice]
    assert not rejections.path_beside(none.path).exists()


def test_where_they_cannot_be_written_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"
    beside = rejections.path_beside(path)
    beside.mkdir(parents=True)
    with FakeOllama(script=wrong_at(0.0)) as fake:
        made = generate(settings(fake, 2, seed=3, retries=1), path)
    assert made.error is None and len(made.records) == 2
    assert len([notice for notice in made.progress.notices if str(beside) in notice]) == 1, "told once"


def test_a_line_that_a_crash_tore_is_ended_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"
    with FakeOllama(script=wrong_at(0.0)) as fake:
        asked = settings(fake, 1, seed=3, parallel=1, max_attempts=1)
        whole = len(rejected(generate(asked, path)))
        beside = rejections.path_beside(path)
        beside.write_bytes(beside.read_bytes() + beside.read_bytes()[:40])
        made = generate(asked, path)
    assert len(rejected(made)) == whole + 1
    assert beside.read_bytes().endswith(b"\n")
    assert len(read(path)) == 0 and ANSWER not in beside.read_text("utf-8")


def test_retries_make_another_run_and_none_the_same(tmp_path: Path) -> None:
    fake = FakeOllama()
    plain, tried = settings(fake, 1), settings(fake, 1, retries=1)
    assert "retries" not in plain.identity("m", "ollama"), "a run that was begun before there were any goes on"
    assert tried.identity("m", "ollama") != plain.identity("m", "ollama")
    bounded = settings(fake, 1, keep_rejected=0)
    assert bounded.identity("m", "ollama") == plain.identity("m", "ollama")


def test_each_exchange_of_a_conversation_has_its_own_tries(tmp_path: Path) -> None:
    with FakeOllama(script=wrong_at(0.0)) as fake:
        asked = settings(fake, 1, seed=5, retries=1, turns=Turns(2, 2), parallel=1)
        made = generate(asked, tmp_path / "en.jsonl")
    assert made.error is None
    (record,) = made.records
    mine = [one for one in rejected(made) if one.seed == record["seed"]]
    assert [one.messages[:-1] for one in mine] == [record["messages"][:1], record["messages"][:3]]
    assert [one.trial for one in mine] == [0, 0], "the second answer is as cool at first as the first one was"
    assert made.progress.tokens == made.progress.funnel.all_tokens
