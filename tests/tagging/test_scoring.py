"""One response on one scale: by the probabilities of one token, else by the schema, else in plain words."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import pytest
from fake_ollama import Ask, FakeOllama, FakeOpenAI, Fault, Reply
from fake_ollama.base import FakeServer
from run.support import generating, impatient

from magpie_ollama.asking.opening import opened
from magpie_ollama.errors import RequestRefused, ServerError
from magpie_ollama.records import Message
from magpie_ollama.servers.base import ServerChoice
from magpie_ollama.tagging.judging import JudgingProgress
from magpie_ollama.tagging.scoring import IN_VAIN, Score, Scorer, expected, parse, request

ASKED: list[Message] = [{"role": "user", "content": "Quanto fa 2 + 2?"}, {"role": "assistant", "content": "Fa 4."}]
SURE = {"4": math.log(0.75), " 5": math.log(0.25)}


def scores(
    fake: FakeServer, kind: str = "ollama", times: int = 1, talk: Sequence[Message] = ASKED, scale: str = "answer"
) -> tuple[list[Score | None], list[str]]:
    progress = JudgingProgress()

    async def go() -> list[Score | None]:
        async with opened(ServerChoice(kind, fake.url), 1, progress) as model:
            scorer = Scorer(model, progress.notices)
            return [await scorer.score(talk, scale, "it") for _ in range(times)]

    with fake:
        return asyncio.run(go()), progress.notices


@pytest.mark.parametrize(
    ("fake", "kind"),
    [
        (FakeOllama(), "ollama"),
        (FakeOpenAI("vllm"), "openai"),
        (FakeOpenAI("llama-server"), "openai"),
    ],
    ids=["ollama", "vllm", "llama-server"],
)
def test_one_token_gives_the_mean_of_what_it_might_have_been(fake: FakeServer, kind: str) -> None:
    fake.script = lambda ask: Reply("4", top=SURE)
    assert scores(fake, kind, 2)[0] == [Score(pytest.approx(4.25), "logprobs")] * 2
    (body, _) = (exchange.body for exchange in generating(fake))
    assert (body["logprobs"], body["top_logprobs"]) == (True, 20)
    assert (body["options"]["num_predict"] if kind == "ollama" else body["max_tokens"]) == 1


def test_digits_of_any_script_count_and_what_is_no_score_does_not() -> None:
    half = math.log(0.5)
    assert expected({"٣": half, "३": half}) == 3
    assert expected({"２": half, "The": half}) == 2
    assert expected({"7": half, "0": half, "45": 0.0, "": 0.0, "²": 0.0}) is None
    assert expected({"3": math.log(0.005), "Yes": -0.01}) is None
    assert expected({"5": 0.009}) == 5, "engines round"
    assert expected({}) is None


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"score": 4}', Score(4, "schema")),
        ('Well.\n```json\n{ "score": 2 }\n```', Score(2, "schema")),
        ("Score: 3", Score(3, "words")),
        ("**4/5**", None),
        ("I give it a 5.", Score(5, "words")),
        ("3, or perhaps a 4", None),
        ('{"score": 9}', None),
        ('{"score": "good"}', None),
        ("50 % of 3.5 in 2024", None),
        ("", None),
    ],
)
def test_a_whole_answer_has_one_score_or_none(answer: str, score: Score | None) -> None:
    assert parse(answer) == score


def test_a_server_without_log_probabilities_is_asked_by_the_schema_and_soon_by_it_alone() -> None:
    fake = FakeOllama(version="0.12.0", script=lambda ask: Reply('{"score": 2}' if "format" in ask.body else "4"))
    assert scores(fake, times=IN_VAIN + 2)[0] == [Score(2, "schema")] * (IN_VAIN + 2)
    wanted = [exchange.body.get("format") is not None for exchange in generating(fake)]
    assert wanted == [False, True] * IN_VAIN + [True] * 2


def test_a_judge_that_thinks_first_is_asked_by_the_schema() -> None:
    def script(ask: Ask) -> Reply:
        return Reply('{"score": 5}') if "format" in ask.body else Reply("<think>", top={"<think>": 0.0})

    assert scores(FakeOllama(script=script))[0] == [Score(5, "schema")]


def test_a_blank_before_the_digit_costs_one_more_question_in_all() -> None:
    fake = FakeOllama(script=lambda ask: Reply([" ", "4"], top={" ": 0.0}))
    found, _ = scores(fake, times=2)
    assert [exchange.body["options"]["num_predict"] for exchange in generating(fake)] == [1, 3, 3]
    assert found == [Score(4, "logprobs")] * 2


def test_a_server_that_refuses_what_it_does_not_know_still_scores() -> None:
    fake = FakeOllama(script=lambda ask: Reply("3"))
    fake.fail_next(2, Fault("status", status=400, text="unknown field"), "/api/chat")
    found, notices = scores(fake, times=2)
    assert found == [Score(3, "words"), Score(3, "logprobs")]
    assert ["unknown field" in notice for notice in notices] == [True]


def test_no_score_in_any_answer_is_none_and_no_answer_at_all_is_an_error() -> None:
    assert scores(FakeOllama(script=lambda ask: Reply("A fine answer.")))[0] == [None]
    refusing = FakeOllama()
    refusing.fail_next(9, Fault("status", status=400, text="no chat here"), "/api/chat")
    with pytest.raises(RequestRefused, match="no chat here"):
        scores(refusing)
    with impatient(), pytest.raises(ServerError, match="again and again"):
        scores(FakeOllama(script=lambda ask: Reply("4", fault="half_line")), times=12)


def test_what_does_not_fit_the_context_is_shown_in_part() -> None:
    fake = FakeOllama(default_context=700, script=lambda ask: Reply('{"score": 3}'))
    long: list[Message] = [ASKED[0], {"role": "assistant", "content": "parola " * 1500}]
    assert scores(fake, talk=long)[0] == [Score(3, "schema")]
    assert "[...]" in str(fake.requests[-1].body)


def test_the_judge_reads_the_whole_talk_and_rates_its_last_turn() -> None:
    talk: list[Message] = [
        {"role": "system", "content": "SECRET"},
        *ASKED,
        {"role": "user", "content": "Perché?"},
        {"role": "assistant", "content": "Così {instruction}."},
    ]
    system, asked = request(talk, "answer", "it")
    assert "SECRET" not in asked["content"]
    assert "user: Quanto fa 2 + 2?\n\nassistant: Fa 4.\n\nuser: Perché?" in asked["content"]
    assert asked["content"].count("Così {instruction}.") == 1, "a text is no template"
    assert "5" in system["content"]
    assert "2 + 2" not in request(talk, "language", "it")[1]["content"], "the language is the response's alone"
    assert "written in Swahili" in request(talk, "language", "sw")[0]["content"], "where no prompts are in it"
    assert "written in its language" in request(talk, "language", "../../x")[0]["content"]
