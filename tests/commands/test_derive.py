"""``derive`` from a run to rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands.support import Runner, check_error, records
from fake_ollama import Ask, FakeOllama, Reply, default_script

from magpie_ollama.corpus import rejections


def half(ask: Ask) -> Reply:
    """The first try only repeats what is asked, for every second seed."""
    echoed = ask.kind == "chat" and ask.options["temperature"] == 0 and (ask.seed or 0) % 2
    return Reply(ask.messages[-1]["content"]) if echoed else default_script(ask)


def make(run: Runner, *more: object, count: int = 6) -> Path:
    with FakeOllama(script=half) as fake:
        assert run("generate", "-n", count, "-l", "en", "--seed", 1, "-q", "--host", fake.url, *more).code == 0
    return Path("en.jsonl")


def test_kto_needs_no_second_try(run: Runner, own_folder: Path) -> None:
    corpus = make(run)
    told = json.loads(run("derive", corpus, "--to", "kto", "--json").out)
    rows = records("en-kto.jsonl")
    rejected = list(rejections.read(corpus))
    assert told["true"] == 6 and told["by_reason"] == {"response_echo": len(rejected)}
    assert [row["label"] for row in rows].count(False) == len(rejected) > 0
    assert len(rows) == told["rows"] == 6 + len(rejected)
    check_error(run("derive", corpus, "--to", "dpo"), 1, "has a kept one beside it", "--retries-response", "--to kto")
    assert not Path("en-dpo.jsonl").exists()


def test_pairs_after_a_second_try(run: Runner, own_folder: Path) -> None:
    corpus = make(run, "--retries-response", 1)
    done = run("derive", corpus, "--to", "pairs", "-o", "p.jsonl")
    assert done.code == 0, done.err
    kept = {row["messages"][0]["content"]: row["messages"][1] for row in records(corpus)}
    pairs = records("p.jsonl")
    assert f"{len(pairs)} pairs of a kept and a rejected response -> p.jsonl" in done.out
    assert "response_echo  the response only repeats the instruction" in done.out
    for pair in pairs:
        assert pair["chosen"] == [kept[pair["prompt"][0]["content"]]]
        assert pair["rejected"][0]["content"] == pair["prompt"][0]["content"]
    assert (
        run("derive", corpus, "--to", "pairs", "-o", "-").out.splitlines() == Path("p.jsonl").read_text().splitlines()
    )


@pytest.mark.parametrize("to", ["kto", "dpo", "pairs"])
def test_what_cannot_be_derived_is_said_with_the_next_command(run: Runner, own_folder: Path, to: str) -> None:
    corpus = make(run, "--keep-rejected", 0)
    check_error(run("derive", corpus, "--to", to), 1, "No rejected responses", "the command that made en.jsonl")
    rejections.path_beside(corpus).write_bytes(b'{"torn')
    check_error(run("derive", corpus, "--to", to), 1, "No response is in", "the command that made en.jsonl")
    check_error(run("derive", "-", "--to", to), 2, "stream", "name a file")
    check_error(run("derive", corpus, "--to", to, "-o", corpus), 2, "the input itself")
    check_error(run("derive", "none.jsonl", "--to", to), 2, "cannot be read")
    assert not [*Path().glob(f"*-{to}.jsonl")]


def test_a_reason_that_nothing_was_rejected_for(run: Runner, own_folder: Path) -> None:
    corpus = make(run)
    done = run("derive", corpus, "--to", "kto", "--reason", "wrong_language,copy")
    check_error(done, 2, "there is response_echo", "name one of these")
    check_error(run("derive", corpus, "--to", "kto", "--reason", "typo"), 2, "'typo' is none", "wrong_language")
    assert run("derive", corpus, "--to", "kto", "--reason", "echo", "-q").code == 0


def test_what_was_rejected_travels_with_the_records(run: Runner, own_folder: Path) -> None:
    corpus = make(run)
    assert run("filter", corpus, "--min-words", 1, "-o", "clean.jsonl", "-q").code == 0
    told: list[Any] = [json.loads(run("derive", one, "--to", "kto", "--json").out) for one in (corpus, "clean.jsonl")]
    assert told[0]["rows"] == told[1]["rows"]
