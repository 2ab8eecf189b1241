"""``generate --total`` and ``--where``: until there are so many that count."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands.support import Runner, check_error, records
from fake_ollama import Ask, FakeModel, FakeOllama, Reply, default_script
from fake_ollama.script import wanted_schema
from tagging.oracle import Oracle

WHERE = ("--where", "quality=good,excellent")
GOOD = ("good", "excellent")
UNWANTED = Path("en.jsonl.magpie/unwanted.jsonl")


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch, own_folder: Path) -> None:
    """Their judges prove nothing; what a proof does has tests of its own. The fake model writes by the seed."""
    monkeypatch.setenv("MAGPIE_OLLAMA_UNPROVEN", "1")
    monkeypatch.setenv("MAGPIE_OLLAMA_SEED", "5")


def saying(quality: Callable[[str], str]) -> Callable[[Ask], Reply]:
    """A model that judges by what stands in a record."""

    def script(ask: Ask) -> Reply:
        if ask.kind == "chat" and wanted_schema(ask.body) is not None:
            tags = {"quality": quality(str(ask.messages[-1]["content"])), "difficulty": "easy"}
            return Reply(json.dumps({**tags, "category": "Math", "safety": "safe"}))
        return default_script(ask)

    return script


def test_two_hundred_that_are_good_and_what_is_not_lies_beside_them(run: Runner) -> None:
    with FakeOllama(script=saying(lambda text: GOOD[len(text) % 2] if len(text) % 7 else "poor")) as fake:
        done = run("generate", "-n", 200, *WHERE, "--json", "--parallel", 8, "--host", fake.url)
    assert done.code == 0, done.err
    good, others, told = records(), records(UNWANTED), json.loads(done.out)
    assert len(good) == told["kept"] == 200, "exactly so many"
    assert {record["tags"]["quality"] for record in good} == {*GOOD}
    assert others
    assert {record["tags"]["quality"] for record in others} == {"poor"}
    assert [*map(list, others)] == [list(good[0])] * len(others), "records as the corpus has them"
    assert told["funnel"]["outcomes"]["unwanted"] == len(others)
    assert "of the first 20 records are quality=good,excellent: the" in done.err
    assert "smollm2:135m judges what it wrote itself" in done.err


def test_a_total_is_made_up_and_then_nothing_is_to_do(run: Runner) -> None:
    with FakeOllama() as fake:
        assert run("generate", "-n", 3, "-q", "--host", fake.url).code == 0
        assert json.loads(run("generate", "--total", 5, "--json", "--host", fake.url).out)["kept"] == 2
        before = Path("en.jsonl").read_bytes()
        again = run("generate", "--total", 5, "--host", fake.url)
    assert (again.code, again.out) == (0, "")
    assert "Nothing to do: the corpus has so many." in again.err
    assert Path("en.jsonl").read_bytes() == before
    assert len(records()) == 5


def test_a_total_of_good_ones_judges_those_that_are_there_once(run: Runner) -> None:
    with FakeOllama(models=[FakeModel("writes:1b"), FakeModel("judges:8b")]) as fake:
        assert run("generate", "-n", 6, "-q", "-m", "writes:1b", "--host", fake.url).code == 0
        bad = {record["messages"][0]["content"] for record in records()[:2]}
        fake.script = saying(lambda text: "poor" if any(one in text for one in bad) else "good")
        asked = ("generate", "--total", 7, *WHERE, "-m", "writes:1b", "--judge", "judges:8b", "--host", fake.url)
        done = run(*asked)
        assert done.code == 0, done.err
        assert len(records()) == 9, "two do not count"
        assert "judges what it wrote itself" not in done.err
        judged = [
            ask for ask in fake.requests_to("/api/chat") if ask.body["model"] == "judges:8b" and "format" in ask.body
        ]
        assert len(judged) == 9
        assert "Nothing to do" in run(*asked).err
        assert len([ask for ask in fake.requests_to("/api/chat") if "format" in ask.body]) == 9


def test_where_nothing_passes_the_run_says_so_and_ends(run: Runner) -> None:
    with FakeOllama(script=saying(lambda text: "poor")) as fake:
        done = run("generate", "-n", 5, *WHERE, "--max-attempts", 30, "--host", fake.url)
    check_error(done, 4, "Kept 0 of 5", "unwanted", "--where")
    assert "None of the first 20 records is quality=good,excellent: no end can be told" in done.err
    assert records() == []
    assert len(records(UNWANTED)) == 30


def test_a_judge_that_cannot_ends_the_run(run: Runner) -> None:
    with FakeOllama(script=saying(lambda text: "who knows")) as fake:
        done = run("generate", "-n", 9, *WHERE, "--parallel", 1, "--host", fake.url)
    check_error(done, 3, "is a valid judgement", "--judge")
    assert records() == []


def test_the_judge_proves_itself_first_or_nothing_is_made(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAGPIE_OLLAMA_UNPROVEN")
    with FakeOllama(script=saying(lambda text: "good")) as fake:
        done = run("generate", "-n", 1, *WHERE, "--host", fake.url)
        check_error(done, 3, "has not proved itself as a judge: quality in English", "--judge", "--unproven")
        assert records() == []
        assert run("generate", "-n", 1, "--where", "difficulty=easy", "-q", "--host", fake.url).code == 0, (
            "no proof of that"
        )
    oracle = Oracle("en")

    def script(ask: Ask) -> Reply:
        return oracle(ask) if "format" in ask.body else default_script(ask)

    with FakeOllama(script=script) as fake:
        done = run(
            "generate",
            "-n",
            2,
            *WHERE,
            "-m",
            "smollm2:135m",
            "--server",
            "ollama",
            "--host",
            fake.url,
            MAGPIE_OLLAMA_DATA_DIR="other",
        )
    assert done.code == 0, done.err
    assert "quality in English: proved, AUC 1.00" in done.err
    assert "safety" not in done.err, "nobody asked for it"


def test_what_cannot_be_meant(run: Runner) -> None:
    with FakeOllama() as fake:
        for words, *given in (
            ("-n makes so many more", "-n", 3, "--total", 4),
            ("'superb' is not on the scale", "--where", "quality=superb"),
            ("there is no tag 'beauty'", "--where", "beauty=good"),
            ("is no NAME=VALUES", "--where", "quality"),
            ("--judge has nothing to judge", "--judge", "smollm2:135m"),
            ("a stream has no place", *WHERE, "-o", "-"),
            ("nobody:1b", *WHERE, "--judge", "nobody:1b"),
        ):
            check_error(run("generate", *given, "--host", fake.url), 3 if words == "nobody:1b" else 2, words)
    assert not Path("en.jsonl").exists()
