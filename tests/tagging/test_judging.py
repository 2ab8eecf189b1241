"""A judge at work, against fake servers."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_ollama import Ask, FakeOllama, FakeOpenAI, Fault, Reply
from fake_ollama.base import FakeServer
from run.support import generating, impatient, read, until

from magpie_ollama.corpus.reading import Rows
from magpie_ollama.errors import MagpieError, NoServer, RequestRefused, ServerError
from magpie_ollama.servers.base import ServerChoice
from magpie_ollama.tagging import scales
from magpie_ollama.tagging.answers import TRIES
from magpie_ollama.tagging.judgements import Judgements
from magpie_ollama.tagging.judging import BARREN, Judging, JudgingProgress, open_judge

RECORDINGS = Path(__file__).parent.parent / "fake_ollama" / "recordings"
GOOD = '{ "category": "Math", "difficulty": "easy", "quality": "good", "safety": "safe" }'


def write(path: Path, count: int, text: str = "Quanto fa {n} + {n}?") -> Path:
    rows = [{"instruction": text.format(n=n), "output": f"{2 * n}."} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def judge(
    fake: FakeServer,
    path: Path,
    kind: str = "ollama",
    parallel: int = 4,
    meanwhile: Callable[[Judging], Any] | None = None,
) -> tuple[JudgingProgress, MagpieError | None]:
    progress = JudgingProgress()

    async def go() -> None:
        async with open_judge(ServerChoice(kind, fake.url), parallel, progress) as judging:
            with Judgements(path, judging.judge, judging.model) as judgements:
                task = asyncio.create_task(judging.run(lambda: Rows(path), judgements))
                if meanwhile is not None:
                    await meanwhile(judging)
                await task
        assert not asyncio.all_tasks() - {asyncio.current_task()}, "no task is left behind"

    error = None
    try:
        asyncio.run(go())
    except MagpieError as caught:
        error = caught
    gc.collect(1)
    return progress, error


def journal(path: Path) -> list[dict[str, Any]]:
    return read(path.with_name(f"{path.name}.magpie") / "tags.jsonl")


def test_every_record_is_judged_once_and_written_down(tmp_path: Path) -> None:
    path = write(tmp_path / "it.jsonl", 20)
    with path.open("a") as file:
        file.write(path.read_text("utf-8").splitlines()[0] + "\n")  # the same pair again
    with FakeOllama(delay=0.002) as fake:
        progress, error = judge(fake, path)
        assert (progress.judged, progress.total, error, len(generating(fake))) == (20, 20, None, 20)
        assert 2 <= fake.max_in_flight <= 4
        again, _ = judge(fake, path)
        assert (again.total, len(generating(fake))) == (0, 20)
    assert {line["record"] for line in journal(path)} == {scales.key(row) for row in Rows(path)}


@pytest.mark.parametrize(
    ("fake", "kind", "recording"),
    [
        (FakeOllama(version="0.24.0"), "ollama", "ollama-0.24.0/chat-format-schema.json"),
        (FakeOllama(), "ollama", "ollama-0.33.0/chat-format-schema.json"),
        (FakeOpenAI("vllm"), "openai", "vllm-0.32.0/chat_json_schema.json"),
        (FakeOpenAI("llama-server"), "openai", "llama-server/chat_json_schema.json"),
    ],
)
def test_the_schema_goes_where_the_recorded_server_takes_it(
    tmp_path: Path, fake: FakeServer, kind: str, recording: str
) -> None:
    with fake:
        progress, error = judge(fake, write(tmp_path / "it.jsonl", 2), kind)
        (body, _) = (exchange.body for exchange in generating(fake))
    assert (error, progress.judged) == (None, 2)
    recorded = json.loads((RECORDINGS / recording).read_text("utf-8"))["request"]["body"]
    schema = scales.schema(scales.load())
    if kind == "ollama":
        assert "format" in recorded
        assert body["format"] == schema
        assert body["think"] is False
        assert body["options"]["temperature"] == 0
    else:
        wanted = body["response_format"]
        assert wanted["json_schema"].keys() >= recorded["response_format"]["json_schema"].keys()
        assert (wanted["type"], wanted["json_schema"]["schema"]) == (recorded["response_format"]["type"], schema)
        assert body["temperature"] == 0


def test_an_invalid_answer_is_asked_for_again_warmer_and_with_another_seed(tmp_path: Path) -> None:
    path = write(tmp_path / "it.jsonl", 1)
    answers = ['{"quality": "goo', '{"quality": "good"}', GOOD]
    with FakeOllama(script=lambda ask: Reply(answers[ask.index])) as fake:
        progress, _ = judge(fake, path)
        options = [exchange.body["options"] for exchange in generating(fake)]
    assert (progress.judged, progress.invalid, progress.unjudged) == (1, 2, 0)
    assert [option["temperature"] for option in options] == [0.0, 0.7, 0.7]
    assert len({option["seed"] for option in options}) == 3


def test_a_judge_that_never_answers_validly_leaves_the_record_unjudged(tmp_path: Path) -> None:
    path = write(tmp_path / "it.jsonl", 3)

    def script(ask: Ask) -> Reply:
        return Reply("no" if "1 + 1" in str(ask.messages[-1]["content"]) else GOOD)

    with FakeOllama(script=script) as fake:
        progress, error = judge(fake, path)
        assert (progress.judged, progress.invalid, progress.unjudged, error) == (2, TRIES, 1, None)
        assert len(journal(path)) == 2
        assert judge(fake, path)[0].total == 1, "the next time it is tried again"


@pytest.mark.parametrize(("records", "asked"), [(1, 1), (BARREN + 20, BARREN)])
def test_a_judge_without_one_valid_answer_is_given_up_with_its_words(tmp_path: Path, records: int, asked: int) -> None:
    path = write(tmp_path / "it.jsonl", records)
    with FakeOllama(script=lambda ask: Reply("**Quality**: good\nas I said")) as fake:
        progress, error = judge(fake, path, parallel=1)
        assert isinstance(error, ServerError)
        assert f"None of {asked * TRIES} answers of smollm2:135m is a valid judgement; it said: **Qual" in error.cause
        assert len(generating(fake)) == asked * TRIES
        assert not (tmp_path / "it.jsonl.magpie" / "tags.jsonl").exists()
        fake.script = lambda ask: Reply(GOOD if "0 + 0" in str(ask.messages[-1]) else "")
        progress, error = judge(fake, path)
    assert (progress.judged, progress.unjudged) == (1, records - 1), "one that judges others goes on"
    assert error is None


def test_records_of_earlier_runs_show_that_it_judges(tmp_path: Path) -> None:
    path = write(tmp_path / "it.jsonl", BARREN + 2)
    with FakeOllama(script=lambda ask: Reply(GOOD if "0 + 0" in str(ask.messages[-1]) else "no")) as fake:
        assert judge(fake, path, parallel=1)[0].unjudged == BARREN + 1
        progress, error = judge(fake, path)
    assert (progress.unjudged, error) == (BARREN + 1, None)


def test_a_server_that_answers_nothing_is_no_end_as_if_all_were_well(tmp_path: Path) -> None:
    path = write(tmp_path / "it.jsonl", 2)
    with FakeOllama(script=lambda ask: Reply(GOOD, fault="half_line")) as fake, impatient():
        _, error = judge(fake, path)
    assert isinstance(error, ServerError)
    assert "again and again" in error.cause


def test_a_server_that_refuses_a_schema_is_asked_without_one_and_it_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "it.jsonl", 3)
    with FakeOllama(script=lambda ask: Reply(f"```json\n{GOOD}\n```")) as fake:
        fake.fail_next(1, Fault("status", status=400, text="format is not supported"), "/api/chat")
        progress, error = judge(fake, path, parallel=1)
        formats = [exchange.body.get("format") for exchange in fake.requests_to("/api/chat")]
    assert (progress.judged, error) == (3, None)
    assert [bool(one) for one in formats] == [True, False, False, False]
    assert ["format is not supported" in notice for notice in progress.notices] == [True]


def test_an_answer_that_was_cut_is_asked_for_with_more_room(tmp_path: Path) -> None:
    path = write(tmp_path / "it.jsonl", 1)
    thought = "Let me see. " * 150
    with FakeOllama(script=lambda ask: Reply(f"{thought}</think>{GOOD}")) as fake:
        progress, error = judge(fake, path)
    assert (progress.judged, progress.invalid, error) == (1, 1, None)


def test_what_does_not_fit_the_context_is_shown_in_part(tmp_path: Path) -> None:
    path = write(tmp_path / "it.jsonl", 1, "parola " * 2000 + "{n}")
    with FakeOllama(default_context=1100) as fake:
        progress, error = judge(fake, path)
        shown = [len(exchange.body["messages"][1]["content"]) for exchange in fake.requests_to("/api/chat")]
    assert (progress.judged, progress.unjudged, error) == (1, 0, None)
    assert "[...]" in str(fake.requests[-1].body)
    assert shown[0] > scales.LONGEST > shown[-1]


def test_a_request_that_is_refused_ends_it_unless_others_were_judged(tmp_path: Path) -> None:
    path = write(tmp_path / "it.jsonl", 3)
    refused = Fault("status", status=400, text="invalid format")
    with FakeOllama() as fake:
        fake.fail_next(2, refused, "/api/chat")
        _, error = judge(fake, path, parallel=1)
        assert isinstance(error, RequestRefused)
        assert judge(fake, path)[0].judged == 3
        with path.open("a") as file:
            file.write('{"instruction": "new", "output": "y"}\n')
        fake.fail_next(1, refused, "/api/chat")
        progress, error = judge(fake, path)
    assert (progress.unjudged, error) == (1, None)


def test_a_server_that_fails_for_a_while_costs_nothing_and_a_broken_one_ends_it(tmp_path: Path) -> None:
    path = write(tmp_path / "it.jsonl", 30)
    with FakeOllama() as fake, impatient():
        fake.fail_next(3, "engine_dies", "/api/chat")
        fake.script = lambda ask: Reply(GOOD, fault="half_line" if ask.index > 12 else None)
        progress, error = judge(fake, path, parallel=2)
    assert isinstance(error, ServerError)
    assert "again and again" in error.cause
    assert progress.judged == len(journal(path)) >= 9


def test_no_ollama_is_told_and_the_small_model_does_not_step_in(tmp_path: Path) -> None:
    progress = JudgingProgress()

    async def go() -> None:
        async with open_judge(ServerChoice("auto", "127.0.0.1:9"), 1, progress):
            raise AssertionError

    with impatient(), pytest.raises(NoServer, match="No Ollama answers"):
        asyncio.run(go())


def test_stop_finishes_what_is_in_flight_and_the_next_goes_on(tmp_path: Path) -> None:
    path = write(tmp_path / "it.jsonl", 40)
    with FakeOllama(delay=0.005) as fake:

        async def meanwhile(judging: Judging) -> None:
            await until(lambda: len(generating(fake)) >= 8)
            judging.stop()

        first, error = judge(fake, path, meanwhile=meanwhile)
        assert error is None
        assert 8 <= first.judged == len(journal(path)) < 40
        assert all(exchange.finished for exchange in generating(fake))
        second, _ = judge(fake, path)
        assert second.judged == 40 - first.judged
        assert len(generating(fake)) == 40


def test_records_that_are_added_meanwhile_are_judged_too(tmp_path: Path) -> None:
    path = write(tmp_path / "it.jsonl", 10)
    with FakeOllama(delay=0.005) as fake:

        async def meanwhile(judging: Judging) -> None:
            await until(lambda: generating(fake))
            with path.open("a") as file:
                file.write('{"instruction": "new", "output": "y"}\n')

        progress, _ = judge(fake, path, meanwhile=meanwhile)
    assert progress.judged == progress.total == 11


@pytest.mark.engine
def test_the_real_engine_is_held_to_the_schema(tmp_path: Path) -> None:
    path = write(tmp_path / "it.jsonl", 1)
    progress = JudgingProgress()

    async def go() -> None:
        async with open_judge(ServerChoice("embedded", options={"num_ctx": 2048}), 1, progress) as judging:
            with Judgements(path, judging.judge, judging.model) as judgements:
                await judging.run(lambda: Rows(path), judgements)

    asyncio.run(go())
    assert (progress.judged, progress.invalid) == (1, 0)
    assert len(journal(path)) == 1
