"""A user's own questions: each is answered once, or listed, whatever strikes the run."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_ollama import Ask, FakeOllama, Reply
from hypothesis import given
from hypothesis import strategies as some
from run import support

from magpie_ollama.asking.drafts import Draft, Drawn
from magpie_ollama.corpus import Corpus
from magpie_ollama.corpus.questions import Question, Questions, read
from magpie_ollama.errors import MagpieError, ShortOfTarget
from magpie_ollama.method import languages
from magpie_ollama.method.steering import Steered
from magpie_ollama.records import DROPPED, KEPT, KEYS, Attempt, Record
from magpie_ollama.run.answering import Asking, Job, answer_language, open_answering

ANSWER = support.ANSWER


def chats(fake: FakeOllama) -> list[dict[str, Any]]:
    return [exchange.body for exchange in support.generating(fake) if exchange.path == "/api/chat"]


def respond(fake: FakeOllama, file: Path, language: str = "en", retry: bool = False, **changes: Any) -> support.Outcome:
    """One run over the questions of a file, into a.jsonl beside it."""
    outcome = support.Outcome(file.with_name("a.jsonl"))
    steering, tries = changes.pop("steering", ""), changes.pop("tries", 3)

    async def go() -> None:
        with Corpus.open(outcome.path, sync="never") as corpus:
            job = Job(
                read(file, column=changes.pop("column", "")), corpus, answer_language(language), steering, tries, retry
            )
            if job.left:
                asked = replace(support.settings(fake, len(job.left), **changes), language=job.languages()[0])
                async with open_answering(asked, job, outcome.progress) as session:
                    await session.generate(outcome.kept.append)
            if short := job.short():
                raise short

    try:
        asyncio.run(go())
    except MagpieError as error:
        outcome.error = error
    outcome.records = support.read(outcome.path)
    return outcome


def test_what_is_sent_and_what_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    turns = [
        {"role": "system", "content": "You are a gardener."},
        {"role": "user", "content": "Can I grow tomatoes?"},
        {"role": "assistant", "content": "Yes, where?"},
        {"role": "user", "content": "On a balcony."},
    ]
    rows = [
        {"id": 7, "messages": turns, "topic": "plants", "level": 2.50},
        {"prompt": "What is a cello?", "completion": "An instrument.", "level": None},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with FakeOllama(script=lambda ask: ANSWER) as fake:
        done = respond(fake, file, seed=100, parallel=1)
    assert done.error is None
    options = {
        "temperature": 0.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repeat_penalty": 1.1, "num_predict": 1024,
    }  # fmt: skip
    common = {"model": "smollm2:135m", "stream": True, "truncate": False}
    first, second = ({key: value for key, value in body.items() if key in {*common, "messages", "options"}}
                     for body in chats(fake))  # fmt: skip
    assert first == common | {"messages": turns, "options": options | {"seed": 101}}
    assert second["messages"] == [{"role": "user", "content": "What is a cello?"}]
    assert second["options"]["seed"] == 102
    kept, other = done.records
    assert kept["messages"] == [*turns, {"role": "assistant", "content": ANSWER}]
    assert (kept["source"], other["source"]) == ("7", "q.jsonl#2")
    assert (kept["model"], kept["response_model"], kept["topic"]) == ("", "smollm2:135m", "")
    assert set(kept) == set(other) == KEYS | {"row_topic", "level", "completion"}
    assert [kept[name] for name in ("row_topic", "level", "completion")] == ["plants", "2.5", ""]
    assert [other[name] for name in ("row_topic", "level", "completion")] == ["", "", "An instrument."]
    assert done.outcomes == [KEPT, KEPT]
    assert [attempt["index"] for attempt in done.attempts] == [1, 2], "the rows"


def test_each_question_is_answered_in_its_language(tmp_path: Path) -> None:
    file = tmp_path / "q.txt"
    german = "Das ist ganz einfach: Nimm etwas Erde und gieße die Pflanzen jeden Morgen mit frischem Wasser."
    file.write_text(f"{support.GERMAN}\n{support.QUESTION}\nUnd wann?\nWie geht das im Sommer mit den Blumen?\n")
    with FakeOllama(script=lambda ask: ANSWER if "balcony" in ask.prompt else german) as fake:
        done = respond(fake, file, language="")
    by_source = {record["source"]: record for record in done.records}
    assert [by_source[f"q.txt#{row}"]["language"] for row in (1, 2, 3, 4)] == ["de", "en", "de", "de"]
    systems = {body["messages"][-1]["content"]: body["messages"][0] for body in chats(fake)}
    assert systems[support.QUESTION]["role"] == "user", "none in English"
    assert systems["Und wann?"] == {"role": "system", "content": languages.load("de").system}
    assert all(record["messages"][0]["role"] == "user" for record in done.records), "which is none of the row's"


def test_an_answer_in_another_language_is_no_answer(tmp_path: Path) -> None:
    file = tmp_path / "q.txt"
    file.write_text(f"{support.QUESTION}\n")
    with FakeOllama(script=lambda ask: support.GERMAN * 2) as fake:
        done = respond(fake, file)
        assert isinstance(done.error, ShortOfTarget)
        assert done.outcomes == ["response_wrong_language"] * 3
        done = respond(fake, file, language="any", retry=True)
    assert done.error is None
    assert not [notice for notice in done.progress.notices if "identifier" in notice], "no language is looked for"


def test_a_rejected_answer_is_tried_hotter_with_other_seeds_then_listed(tmp_path: Path) -> None:
    file = tmp_path / "q.txt"
    file.write_text("What is a cello?\nWhat is a lute?\n")

    def script(ask: Ask) -> Reply | str:
        return "" if "cello" in ask.prompt else ANSWER

    with FakeOllama(script=script) as fake:
        done = respond(fake, file, seed=10, parallel=1)
        asked = [body["options"] for body in chats(fake) if "cello" in body["messages"][-1]["content"]]
        assert [one["temperature"] for one in asked] == [0.0, 0.4, 0.8]
        assert len({one["seed"] for one in asked}) == 3
        assert isinstance(done.error, ShortOfTarget)
        assert "Answered 1 of 2 questions, 1 is left: 1 response_empty" in done.error.cause
        assert "--retry" in done.error.remedy
        listed = tmp_path / "a.jsonl.magpie" / "unanswered.jsonl"
        (one,) = support.read(listed)
        assert one["messages"] == [{"role": "user", "content": "What is a cello?"}]
        assert (one["source"], one["row"], one["reason"], one["tries"]) == ("q.txt#1", 1, "response_empty", 3)
        assert [question.text for question in read(listed).asked] == ["What is a cello?"], "it can be asked itself"
        before = len(chats(fake))
        assert isinstance(respond(fake, file, seed=10).error, ShortOfTarget)
        assert len(chats(fake)) == before, "left alone"
        fake.script = lambda ask: ANSWER
        again = respond(fake, file, seed=10, retry=True)
    assert again.error is None
    assert not listed.exists()
    assert len(again.records) == 2
    assert len(again.manifests) == 1, "one run, continued"
    assert again.manifests[0]["status"] == "done"


def test_rows_that_come_later_are_asked_and_those_there_are_not(tmp_path: Path) -> None:
    file = tmp_path / "q.csv"
    file.write_text("id,question,mark\na,What is a cello?,x\nb,What is a lute?,y\n")
    with FakeOllama(script=lambda ask: ANSWER) as fake:
        respond(fake, file)
        file.write_text("id,question,more\nc,What is a harp?,z\na,What is a cello?,x\nb,What is a lute?,y\n")
        done = respond(fake, file)
    assert len(chats(fake)) == 3
    assert [record["source"] for record in done.records][2:] == ["c"]
    assert set(done.records[2]) == set(done.records[0]), "no column begins amid a corpus"
    assert any("Left out more" in notice for notice in done.progress.notices)


def test_a_question_longer_than_the_context_is_not_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "q.txt"
    file.write_text(f"What is {'a very ' * 3000}long word?\nWhat is a lute?\n")
    with FakeOllama(script=lambda ask: ANSWER, default_context=2048) as fake:
        done = respond(fake, file)
    assert isinstance(done.error, ShortOfTarget)
    assert done.outcomes.count("response_prompt_too_long") == 1
    assert "--num-ctx" in done.error.remedy
    assert len(done.records) == 1


class Killed(BaseException):
    pass


def _work(path: Path, questions: Questions, plan: dict[str, int], retry: bool, kill: int | None) -> list[str]:
    """What the pipeline does, without a server: the questions asked. ``plan`` says at which trial each is answered;
    ``kill`` counts the steps, of three an attempt, until the process is gone."""
    asked = []

    def step() -> None:
        nonlocal kill
        if kill is not None:
            kill -= 1
            if kill < 0:
                raise Killed

    corpus = Corpus.open(path, sync="never")
    try:
        job = Job(questions, corpus, languages.load("en"), "", 2, retry)
        run = corpus.unfinished({}) or corpus.start_run({}, {}, 99)
        run.resume(99)
        begin = lambda question, trial: Draft(  # noqa: E731
            Drawn(question.row, run.seed + question.row, Steered("none"), 0.0), question=question, trial=trial
        )
        source = Asking(job, begin)
        while (draft := source.next()) is not None:
            question = draft.question
            assert question is not None
            asked.append(question.text)
            kept = draft.trial >= plan[question.text]
            step()
            if kept:
                corpus.append(_record(question, run.id, run.seed + question.row), **question.further)
            step()
            attempt = Attempt(question.row, KEPT if kept else "response_empty", "none")
            run.journal(attempt)
            step()
            source.learn(attempt)
        job.close()
    except Killed:
        pass
    finally:
        corpus.close()
    return asked


def _record(question: Question, run: str, seed: int) -> Record:
    return Record(
        id=f"{seed:032x}", messages=[*question.messages, {"role": "assistant", "content": "Yes."}], language="en",
        model="", server="ollama", steering="none", seed=seed, run=run, source=question.source, created_at="",
        instruction_tokens=0, response_tokens=1, finish_reason="stop", reasoning="", confidence=0.0,
    )  # fmt: skip


@given(
    some.lists(some.sampled_from([0, 1, 9]), min_size=1, max_size=6),
    some.lists(some.integers(0, 20), max_size=4),
)
def test_whatever_is_killed_each_question_is_answered_once_or_listed(
    tmp_path_factory: pytest.TempPathFactory, plan: list[int], kills: list[int]
) -> None:
    """``plan``: answered at the first trial, at the second, or never."""
    folder = tmp_path_factory.mktemp("kill")
    file, path = folder / "q.txt", folder / "a.jsonl"
    file.write_text("".join(f"What is {number}?\n" for number in range(len(plan))))
    questions, trials = read(file), {f"What is {number}?": trial for number, trial in enumerate(plan)}
    for kill in kills:
        there = {record["messages"][0]["content"] for record in support.read(path)}
        assert there.isdisjoint(_work(path, questions, trials, False, kill)), "nothing that is there is asked again"
    _work(path, questions, trials, False, None)
    answered = [record["messages"][0]["content"] for record in support.read(path)]
    assert sorted(answered) == sorted(text for text, trial in trials.items() if trial < 2)
    listed = support.read(folder / "a.jsonl.magpie" / "unanswered.jsonl")
    never = [text for text, trial in trials.items() if trial == 9]
    assert sorted(one["messages"][0]["content"] for one in listed) == sorted(never)
    assert _work(path, questions, trials, False, None) == [], "all is settled"
    assert sorted(set(_work(path, questions, trials, True, None))) == sorted(never), "--retry asks those alone"


def test_what_is_dropped_is_neither_answered_nor_listed(tmp_path: Path) -> None:
    file = tmp_path / "q.txt"
    file.write_text("What is a cello?\n")
    with Corpus.open(tmp_path / "a.jsonl", sync="never") as corpus:
        job = Job(read(file), corpus, languages.load("en"))
        source = Asking(job, lambda question, trial: Draft(Drawn(question.row, 1, Steered("none"), 0.0)))
        assert source.next() is not None
        source.learn(Attempt(1, DROPPED, "none"))
        assert source.next() is None
    assert list(job.left) == [1]
    assert not job.failed
