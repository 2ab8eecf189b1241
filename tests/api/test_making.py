"""The main job from Python."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from inspect import signature
from pathlib import Path
from pydoc import plaintext, render_doc
from typing import Any

import pytest
from corpus.support import python
from fake_ollama import Ask, FakeModel, FakeOllama, Fault, Reply, default_script
from fake_ollama.script import wanted_schema
from run.support import read, until

import magpie_ollama
from magpie_ollama import (
    MagpieError,
    Record,
    acompare,
    aconverse,
    agenerate,
    arespond,
    atag,
    compare,
    converse,
    generate,
    respond,
    tag,
)
from magpie_ollama.api import making
from magpie_ollama.asking.said import SETTINGS
from magpie_ollama.corpus import Corpus
from magpie_ollama.errors import ShortOfTarget, UsageError
from magpie_ollama.method.topics import load


def test_an_iterator_of_records(tmp_path: Path) -> None:
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        made = list(generate("es", 5, host=fake.url, steering="system", output=tmp_path / "es.jsonl"))
    assert all(isinstance(record, Record) for record in made)
    assert [record.id for record in made] == [record["id"] for record in read(tmp_path / "es.jsonl")]
    assert len({record.instruction for record in made}) == 5
    assert {record.language for record in made} == {"es"}


def test_within_a_running_loop_as_in_a_notebook(tmp_path: Path) -> None:
    async def cell() -> list[Record]:
        return list(generate("en", 2, host=fake.url))

    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        assert len(asyncio.run(cell())) == 2


def test_leaving_early_ends_the_work_and_keeps_what_is_there(tmp_path: Path) -> None:
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        records = generate("en", 100_000, host=fake.url, output=tmp_path / "en.jsonl")
        first = next(records)
        records.close()
        asyncio.run(until(lambda: all(exchange.finished or exchange.cancelled for exchange in fake.requests)))
        assert len(fake.requests) < 100_000, "not even an instruction for each"
    kept = read(tmp_path / "en.jsonl")
    assert first.id == kept[0]["id"]
    assert len(kept) < 100_000


def _idle(fake: FakeOllama) -> None:
    """Returns when nothing is asked of the server any more."""
    before = -1
    while before != len(fake.requests) or not all(one.finished or one.cancelled for one in fake.requests):
        before = len(fake.requests)
        time.sleep(0.3)


def _take_from_iterator(fake: FakeOllama, path: Path) -> int:
    records = generate("en", 50, host=fake.url, output=path, parallel=3)
    for _ in range(2):
        next(records)
    _idle(fake)
    made = len(read(path))
    records.close()
    return made


def _take_from_async_iterator(fake: FakeOllama, path: Path) -> int:
    async def go() -> int:
        async with aclosing(agenerate("en", 50, host=fake.url, output=path, parallel=3)) as records:
            for _ in range(2):
                await anext(records)
            await asyncio.to_thread(_idle, fake)
            return len(read(path))

    return asyncio.run(go())


@pytest.mark.parametrize("take", [_take_from_iterator, _take_from_async_iterator])
def test_no_more_is_made_than_is_taken_and_in_flight(tmp_path: Path, take: Callable[[FakeOllama, Path], int]) -> None:
    path = tmp_path / "en.jsonl"
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        made = take(fake, path)
    assert 2 <= made <= 2 + 3
    Corpus.open(path).close()  # which nobody holds any more
    assert len(read(path)) == made
    (manifest,) = (tmp_path / "en.jsonl.magpie" / "runs").glob("*.json")
    assert json.loads(manifest.read_text("utf-8"))["status"] == "interrupted"


def test_who_leaves_with_the_last_record_in_hand_has_a_run_that_is_done(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"

    async def go() -> int:
        count = 0
        async with aclosing(agenerate("en", 3, host=fake.url, output=path)) as records:
            async for _ in records:
                count += 1
                if count == 3:
                    break
        return count

    with FakeOllama(models=[FakeModel("m:1b")]) as fake, pytest.warns(UserWarning, match="Adding 3"):
        assert [asyncio.run(go()), asyncio.run(go())] == [3, 3], "the second is not the end of the first"
    assert len(read(path)) == 6


def test_the_garbage_collector_is_the_hosts(tmp_path: Path) -> None:
    gc.freeze()
    try:
        before, threshold = gc.get_freeze_count(), gc.get_threshold()
        with FakeOllama(models=[FakeModel("m:1b")]) as fake:
            assert len(list(generate("en", 2, host=fake.url))) == 2
        assert gc.get_freeze_count() > 0.9 * before > 0, "what died of them since is not there any more"
        assert (gc.isenabled(), gc.get_threshold()) == (True, threshold)
    finally:
        gc.unfreeze()


def test_ctrl_c_while_it_waits_comes_through_and_keeps_what_is_there(tmp_path: Path) -> None:
    main = threading.main_thread().ident
    assert main is not None
    alarm = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT))

    def silent(ask: Ask) -> Reply:
        if alarm.ident is None:
            alarm.start()
        return Reply("How are", fault=Fault("stall", after=1, seconds=60))

    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        records = generate("en", 500, host=fake.url, output=tmp_path / "en.jsonl")
        first = next(records)
        with pytest.raises(KeyboardInterrupt):
            fake.script = silent
            list(records)
    assert first.id == read(tmp_path / "en.jsonl")[0]["id"]
    (manifest,) = (tmp_path / "en.jsonl.magpie" / "runs").glob("*.json")
    assert json.loads(manifest.read_text("utf-8"))["status"] == "interrupted"


SCRIPT = """
import sys
from magpie_ollama import generate
records = generate("en", 500, host=sys.argv[1], output=sys.argv[2])
print(next(records).id)
"""


def test_a_script_that_still_holds_the_iterator_ends(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        script = python(SCRIPT, fake.url, path)
        try:
            out, err = script.communicate(timeout=60)
        finally:
            script.kill()
    assert (script.returncode, err) == (0, "")
    assert out.strip() == read(path)[0]["id"]
    (manifest,) = (tmp_path / "en.jsonl.magpie" / "runs").glob("*.json")
    assert json.loads(manifest.read_text("utf-8"))["status"] == "interrupted"
    Corpus.open(path).close()  # which has no lock any more


def test_async(tmp_path: Path) -> None:
    async def go() -> list[str]:
        return [record.instruction async for record in agenerate("de", 3, host=fake.url, steering="system")]

    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        assert len(set(asyncio.run(go()))) == 3


def test_what_it_notes_is_a_warning(tmp_path: Path) -> None:
    torn = tmp_path / "en.jsonl"
    whole = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}
    torn.write_text(json.dumps(whole) + '\n{"id": "half', "utf-8")
    with FakeOllama(models=[FakeModel("m:1b")]) as fake, pytest.warns(UserWarning) as warned:
        assert len(list(generate("en", 2, host=fake.url, output=torn, think=True))) == 2
    told = [str(warning.message) for warning in warned]
    assert len(told) == len(set(told)) == 3
    for words in ("was torn", "Adding 2", "cannot reason before it answers"):
        assert any(words in notice for notice in told)


def test_a_thread_that_is_amid_it_does_not_hinder_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def running() -> Iterator[None]:
        yield
        making._close()  # as at the end of the process, while a daemon thread is here

    records = running()
    monkeypatch.setattr(making, "_begun", {records})
    next(records)
    assert next(records, None) is None


def test_its_errors_are_magpie_errors() -> None:
    with pytest.raises(MagpieError, match="no language 'xx'"):
        list(generate("xx"))
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        fake.script = lambda ask: Reply("")
        with pytest.raises(ShortOfTarget):
            list(generate("en", 2, host=fake.url, max_attempts=3))


@pytest.mark.parametrize(
    "given",
    [{"n": 0}, {"n": "5"}, {"n": 2.5}, {"parallel": -1}, {"parallel": "4"}, {"max_attempts": -1}, {"exemplars": 0}],
    ids=str,
)
@pytest.mark.parametrize("call", [generate, agenerate])
def test_a_number_out_of_range_is_refused_at_once(call: Any, given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(UsageError, match=f"{name} must be a whole number") as caught:
        call("en", **given)
    assert name in caught.value.remedy


@pytest.mark.parametrize(
    "call", [generate, agenerate, respond, arespond, converse, aconverse, tag, atag, compare, acompare]
)
def test_help_shows_each_keyword_with_its_words(call: Any) -> None:
    told = render_doc(call, renderer=plaintext)
    assert f"\n{call.__name__}(" in told
    given = "list[CellFigures]" if call in (compare, acompare) else "Generator[Record, None"
    assert given in told
    assert ("AsyncGenerator[Record, None]" in told) is (call.__name__.startswith("a") and call is not acompare)
    words = " ".join(told.split())
    for name, one in signature(call).parameters.items():
        assert one.kind is not one.VAR_KEYWORD
        if one.kind is one.KEYWORD_ONLY:
            assert f" {name}: {one.annotation}" in words or f"{name}: {one.annotation.__name__} = " in words
            assert re.search(rf"\n {{8,}}{name}: [A-Z`a-z]", told), f"{name} has no words"
    with pytest.raises(TypeError, match="unexpected keyword argument 'temprature'"):
        call("en", temprature=1.0)


def test_the_keywords_have_the_defaults_of_the_settings() -> None:
    keywords = {name: one.default for name, one in signature(generate).parameters.items()}
    settings = {setting.name: setting.default for setting in SETTINGS}
    assert {name: keywords.get(name, "missing") for name in settings} == settings


@pytest.mark.parametrize("name", ["generate", "respond", "converse", "tag", "compare"])
def test_the_keywords_are_the_options_of_the_command(name: str) -> None:
    command = importlib.import_module(f"magpie_ollama.commands.{name}").command
    screen = {"as_json", "quiet", "no_progress", "dry_run", "sync", "debug", "only_instructions"}
    screen |= {"prefer", "preview"}  # pairs in a file of their own, and a look
    options = {one.name for one in command.params if one.expose_value} - screen
    options = {{"spoken": "language"}.get(one, one) for one in options} if name == "compare" else options
    keywords = {{"n": "count"}.get(one, one) for one in signature(getattr(magpie_ollama, name)).parameters}
    assert keywords == options


def test_a_total_of_those_that_a_judge_calls_good(tmp_path: Path) -> None:
    def script(ask: Ask) -> Reply:
        if wanted_schema(ask.body) is None:
            return default_script(ask)
        quality = "good" if len(str(ask.messages)) % 2 else "poor"
        return Reply(json.dumps({"quality": quality, "difficulty": "easy", "category": "Math", "safety": "safe"}))

    path = tmp_path / "en.jsonl"
    with FakeOllama(models=[FakeModel("m:1b")], script=script) as fake:
        assert len(list(generate("en", 2, host=fake.url, output=path, seed=5))) == 2
        with pytest.warns(UserWarning, match="Adding 1 to the 2 records there"):
            assert len(list(generate("en", total=3, host=fake.url, output=path, seed=5))) == 1
        assert list(generate("en", total=3, host=fake.url, output=path, seed=5)) == [], "the corpus has so many"
        judged = {"where": ["quality=good"], "unproven": True, "host": fake.url, "seed": 50}
        with pytest.warns(UserWarning, match="judges what it wrote itself|was not asked to prove"):
            good = list(generate("en", 4, output=tmp_path / "good.jsonl", **judged))
        with pytest.raises(UsageError, match="a stream has no place"):
            next(generate("en", **judged))
    assert [record.tags["quality"] for record in good] == ["good"] * 4
    assert [record.id for record in good] == [one["id"] for one in read(tmp_path / "good.jsonl")]
    with pytest.raises(UsageError, match="no tag 'taste'"):
        generate(where=["taste=good"])


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        magpie_ollama.nonsense  # noqa: B018


def test_questions_of_ones_own(tmp_path: Path) -> None:
    file, output = tmp_path / "q.csv", tmp_path / "a.jsonl"
    file.write_text("id,frage\na,What is a cello?\nb,What is a lute?\n")

    def script(ask: Ask) -> Reply:
        return Reply("Start with a clear goal and write it down. Ask somebody." if "cello" in ask.prompt else "")

    made = []
    with FakeOllama(models=[FakeModel("m:1b")], script=script) as fake:
        with pytest.raises(ShortOfTarget, match="1 is left"):
            made.extend(respond(file, column="frage", language="en", output=output, host=fake.url))
        with pytest.raises(ShortOfTarget, match="1 is left"):
            made.extend(respond(file, column="frage", language="en", output=output, host=fake.url))
        fake.script = lambda ask: Reply("Take some wood and strings. Then ask somebody who knows.")
        with pytest.warns(UserWarning, match="Continuing run .*: 1 of 2"):
            made += respond(file, column="frage", language="en", output=output, host=fake.url, retry=True)
        assert list(respond(file, column="frage", language="en", output=output, host=fake.url)) == []
        assert len(list(respond(file, column="frage", host=fake.url))) == 2, "without a corpus"
    assert [record.source for record in made] == ["a", "b"]
    assert [record.id for record in made] == [record["id"] for record in read(output)]


def test_what_a_user_brings(tmp_path: Path) -> None:
    """Files of one's own, a context, and how long the model stays: as the options of the command."""
    (tmp_path / "s.txt").write_text("You grow roses.\nYou mend clocks.\n")
    (tmp_path / "e.csv").write_text("question,answer\nHow deep is a pond?,A metre or two.\nWho sails?,Sailors do.\n")
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        given: dict[str, Any] = {"host": fake.url, "exemplars": 2, "num_ctx": 2048, "keep_alive": -1}
        files = {"systems": tmp_path / "s.txt", "examples": str(tmp_path / "e.csv")}
        made = list(generate("en", 2, steering="system+exemplar", seed=1, parallel=1, **files, **given))
        asked = [one.body for one in fake.requests if one.generation >= 0]
    assert [record.source for record in made] == ["s.txt#1", "s.txt#2"]
    assert {body["options"]["num_ctx"] for body in asked} == {2048}
    assert {body["keep_alive"] for body in asked} == {-1}
    assert "You grow roses." in str(asked[0])
    assert "How deep is a pond?" in str(asked[0])
    with pytest.raises(UsageError, match="both want to be the system message"):
        generate("en", 2, system="You sing.", **files)
    with pytest.raises(UsageError, match="num_ctx must be a whole number, 256 or more"):
        generate("en", 2, num_ctx=12)


def test_conversations_go_on(tmp_path: Path) -> None:
    """With a record's topic, which brings its message and its rules; the same call again has nothing to do."""
    start, output = tmp_path / "a.jsonl", tmp_path / "b.jsonl"

    def script(ask: Ask) -> Reply:
        return Reply("And why is that so?" if ask.kind == "raw" else "Because both sides are made equal by it.")

    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        first = list(generate("en", 2, host=fake.url, topics="maths", steering="system", output=start))
        fake.script = script
        made = list(converse(start, 2, host=fake.url, output=output))
        asked = [one.body for one in fake.requests if one.path == "/api/chat" and "And why" in str(one.body)]
        assert list(converse(start, 2, host=fake.url, output=output)) == []
    assert sorted(record.source for record in made) == sorted(record.id for record in first)
    assert {record.topic for record in made} == {"maths"}
    assert {len(record.messages) for record in made} == {4}
    assert {body["messages"][0]["content"] for body in asked} == {load("maths").voices["en"].system}
    with pytest.raises(UsageError, match="--turns 0"):
        converse(start, 0)
    with pytest.raises(UsageError, match="tries must be"):
        converse(start, tries=0)
