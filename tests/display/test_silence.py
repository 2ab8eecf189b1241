"""A server that is away is told while it is, with since when, on a terminal and in plain lines."""

from __future__ import annotations

import re
import threading
import time

import pytest
from commands.conftest import own_folder
from commands.screen import posix, terminal
from commands.support import finished, process, records
from fake_ollama import FakeOllama
from faults.trial import paced

from magpie_ollama.asking import silence
from magpie_ollama.asking.retrying import retrying
from magpie_ollama.errors import ConnectionLost

__all__ = ["own_folder"]

AWAY = r"no answer from http://127\.0\.0\.1:\d+ since \d\d:\d\d:\d\d, trying again"


@pytest.fixture(autouse=True)
def nothing_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "_silent", {})


@pytest.mark.anyio
async def test_since_the_first_of_all_tries_and_until_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "WORTH_SECONDS", 0.0)
    told = []

    async def third_time() -> str:
        told.append(silence.told())
        if len(told) < 3:
            raise ConnectionLost("gone")
        return "here"

    assert await retrying(third_time, "http://h:1") == "here"
    assert told[0] == ""
    assert told[1] == told[2]
    assert re.fullmatch(r"no answer from http://h:1 since \d\d:\d\d:\d\d, trying again", told[1])
    assert silence.told() == ""


@pytest.mark.anyio
async def test_one_that_was_dropped_once_is_not_worth_a_word() -> None:
    told = []

    async def second_time() -> None:
        told.append(silence.told())
        if len(told) < 2:
            raise ConnectionLost("gone")

    await retrying(second_time, "http://h:2")
    assert told == ["", ""]


@pytest.mark.anyio
async def test_what_nobody_tries_any_more_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "WORTH_SECONDS", 0.0)

    async def never() -> None:
        raise ConnectionLost("gone")

    with pytest.raises(ConnectionLost):
        await silence.noted(never, "http://h:3")()
    assert silence.told()
    monkeypatch.setattr(silence, "STALE_SECONDS", 0.0)
    assert silence.told() == ""


def test_plain_lines() -> None:
    with FakeOllama(script=paced) as fake:
        started = process("generate", "-n", 1000, "-o", "en.jsonl", "--host", fake.url)
        fake.wait_until(lambda: len(records()) >= 2)
        fake.stop()
        back = threading.Timer(6.0, fake.restart)
        back.start()
        assert started.stderr
        told = ""
        while "It answers again." not in told:
            line = started.stderr.readline()
            assert line, told
            told += line
        back.join()
        started.terminate()
        finished(started)
    assert len(re.findall(f"^{AWAY}$", told, re.MULTILINE)) == 1


@posix
def test_the_live_display() -> None:
    with (
        FakeOllama(script=paced) as fake,
        terminal("generate", "-n", 1000, "--host", fake.url, columns=100, rows=20) as screen,
    ):
        fake.wait_until(lambda: len(records()) >= 2)
        fake.stop()
        screen.wait_for("trying again", 60)
        assert re.search(AWAY, screen.raw.decode())
        fake.restart()
        there = len(records())
        fake.wait_until(lambda: len(records()) > there)
        time.sleep(1)
        screen.forget()
        time.sleep(1)
        screen.type("\x03")
        screen.end()
        assert "trying again" not in screen.raw.decode()
