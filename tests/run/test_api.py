"""The main job from Python."""

from __future__ import annotations

import asyncio
import gc
import json
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
from fake_ollama import Ask, FakeModel, FakeOllama, Fault, Reply

import magpie_ollama
from magpie_ollama import MagpieError, Record, agenerate, generate, respond
from magpie_ollama.asking.said import SETTINGS
from magpie_ollama.commands.generate import command
from magpie_ollama.corpus import Corpus
from magpie_ollama.errors import ShortOfTarget, UsageError
from magpie_ollama.run import api

from .support import read, until


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
        api._close()  # as at the end of the process, while a daemon thread is here

    records = running()
    monkeypatch.setattr(api, "_begun", {records})
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


def test_help_shows_what_is_called() -> None:
    for call in (generate, respond):
        told = render_doc(call, renderer=plaintext)
        assert f"\n{call.__name__}(" in told
        assert "Generator[Record, None, None]" in told
        assert "Async" not in told


def test_its_keywords_are_the_settings_of_the_command_line() -> None:
    keywords = {name: one.default for name, one in signature(generate).parameters.items()}
    settings = {setting.name: setting.default for setting in SETTINGS}
    assert {name: keywords.get(name, "missing") for name in settings} == settings
    options = {param.name for param in command.params}
    others = {"n": "count", "server": "server"}
    assert {others.get(name, name) for name in keywords} <= options


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


def test_respond_takes_what_the_command_does() -> None:
    from magpie_ollama.commands.respond import command as respond_command

    told = {"as_json", "quiet", "no_progress", "dry_run", "sync", "num_ctx", "keep_alive", "debug"}  # two are options
    options = {parameter.name for parameter in respond_command.params if parameter.expose_value} - told
    assert set(signature(respond).parameters) == options
    with pytest.raises(UsageError, match="tries must be"):
        respond("q.csv", tries=0)
