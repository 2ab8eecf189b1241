"""generate -l it,es: one after the other, each record by its language, and gone on with where it stopped."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from fake_ollama import Ask, FakeOllama, Reply, default_script

from magpie_ollama.method.languages import load

from .support import Runner, check_error, records


def counts(path: str = "it-es.jsonl") -> Counter[str]:
    return Counter(one["language"] for one in records(path))


def test_each_has_its_records_and_its_row(run: Runner) -> None:
    with FakeOllama() as fake:
        asked = ("generate", "-l", "Italian, es,it", "-n", 3, "-s", "system", "--host", fake.url)
        done = run(*asked)
        assert done.code == 0, done.err
        assert counts() == {"it": 3, "es": 3}
        assert [one["language"] for one in records("it-es.jsonl")] == ["it"] * 3 + ["es"] * 3, "in turn"
        assert done.err.splitlines()[-1] == "next: magpie-ollama view it-es.jsonl"
        rows = done.err.splitlines()[-3:-1]
        assert [row.split()[:5] for row in rows] == [["it", "3", "of", "3", "kept,"], ["es", "3", "of", "3", "kept,"]]
        asks = json.dumps([one.body for one in fake.requests], ensure_ascii=False, default=str)
        assert load("es").system in asks and load("it").system in asks
        told = json.loads(run(*asked, "--json", "-q").out)
    assert {code: one["kept"] for code, one in told.items()} == {"it": 3, "es": 3}
    assert counts() == {"it": 6, "es": 6}, "the same again adds as many to both"


def test_a_round_that_was_left_is_ended_and_no_other_begun(run: Runner) -> None:
    with FakeOllama() as fake:
        asked = ("generate", "-l", "it,es,en", "-n", 2, "-s", "system", "--host", fake.url, "-q", "-o", "all.jsonl")

        def script(ask: Ask) -> Reply:
            return Reply("") if load("es").system in str(ask) else default_script(ask)

        fake.script = script
        short = run(*asked, "--max-attempts", 4)
        assert short.code == 4 and counts("all.jsonl") == {"it": 2, "en": 2}, "one that falls short keeps none away"
        fake.script = default_script
        assert run(*asked).code == 0
        assert counts("all.jsonl") == {"it": 2, "es": 2, "en": 2}
        manifests = [json.loads(path.read_text()) for path in Path("all.jsonl.magpie/runs").glob("*.json")]
        (last,) = [path for path in manifests if path["settings"]["language"] == "en"]
        path = Path(f"all.jsonl.magpie/runs/{last['run']}.json")
        path.write_text(json.dumps({**last, "status": "running", "target": 3}))
        assert run(*asked[:4], 3, *asked[5:]).code == 0
        assert counts("all.jsonl") == {"it": 2, "es": 2, "en": 3}, "killed in the last one: only that goes on"
        assert run(*asked, "--temperature", 0.9).code == 0
        assert counts("all.jsonl") == {"it": 4, "es": 4, "en": 5}, "other settings begin a round of their own"


@pytest.mark.parametrize("option", [("--total", 5), ("--system", "Sii breve."), ("--dry-run", "--json")])
def test_what_is_for_one_language(run: Runner, option: tuple[object, ...]) -> None:
    check_error(
        run("generate", "-l", "it,es", *option), 2, str(option[-1 if "--json" in option else 0]), "-l names several"
    )


def test_an_unknown_one_begins_nothing(run: Runner) -> None:
    check_error(run("generate", "-l", "it,xyzzy"), 2, "xyzzy")
    assert not list(Path().iterdir())
