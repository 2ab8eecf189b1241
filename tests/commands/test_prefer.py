"""``prefer`` and ``generate --prefer``: from instructions to pairs that train."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from zlib import crc32

import pytest
from commands.support import Runner, check_error, records
from fake_ollama import Ask, FakeModel, FakeOllama, Reply, default_script
from tagging.oracle import Oracle

BESIDE = Path("it.jsonl.magpie")
SCORES = BESIDE / "candidates.jsonl.magpie" / "scores.jsonl"


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch, own_folder: Path) -> None:
    """Their judges prove nothing; what a proof does has tests of its own. The fake model writes by the seed."""
    monkeypatch.setenv("MAGPIE_OLLAMA_UNPROVEN", "1")
    monkeypatch.setenv("MAGPIE_OLLAMA_SEED", "5")


def worth(text: str) -> int:
    """What the judge finds of a response."""
    return 1 + crc32(text.encode()) % 5


def judged(ask: Ask) -> bool:
    return "top_logprobs" in ask.body or "format" in ask.body


def judging(ask: Ask) -> Reply:
    if not judged(ask):
        return default_script(ask)
    response = str(ask.messages[-1]["content"]).partition("Response:\n")[2].partition("\n\nHow well")[0]
    digit = str(worth(response))
    return Reply(digit, top={digit: math.log(0.9)}) if "format" not in ask.body else Reply(f'{{"score": {digit}}}')


def writing(fake: FakeOllama) -> int:
    """How often a model was asked to write."""
    return sum(exchange.generation >= 0 for exchange in fake.requests)


def corpus(path: Path = Path("it.jsonl"), count: int = 6) -> Path:
    turns = ({"role": "user", "content": "How do I bake bread"}, {"role": "assistant", "content": "With flour."})
    lines = [
        {"messages": [{**turn, "content": f"{turn['content']} number {n}?"} for turn in turns]} for n in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def test_pairs_of_the_better_and_the_worse_that_four_trainers_take(run: Runner) -> None:
    source = corpus(count=10)
    with FakeOllama(script=judging) as fake:
        done = run("prefer", source, "-k", 4, "--json", "--host", fake.url)
        assert done.code == 0, done.err
        assert writing(fake) == 80, "a call a response, and a call a score"
    made, told = records("it-preferred.jsonl"), json.loads(done.out)
    assert told["pairs"] == len(made) > 5
    assert told["judge"] == "smollm2:135m"
    for pair in made:
        (chosen,), (rejected,) = pair["chosen"], pair["rejected"]
        assert (pair["score_chosen"], pair["score_rejected"]) == (worth(chosen["content"]), worth(rejected["content"]))
        assert pair["score_chosen"] > pair["score_rejected"]
    candidates = records(BESIDE / "candidates.jsonl")
    assert Counter(one["messages"][0]["content"] for one in candidates) == dict.fromkeys(
        (f"How do I bake bread number {n}?" for n in range(10)), 4
    )
    assert len({one["seed"] for one in candidates}) == 40, "own seeds"
    assert {line["how"] for line in records(SCORES)} == {"logprobs"}
    for trainer in ("trl", "unsloth", "axolotl", "llama-factory"):
        assert run("export", "it-preferred.jsonl", "--for", trainer, "--kind", "dpo", "-q").code == 0
        checked = run("check", f"it-preferred-{trainer}-dpo.jsonl", "--for", trainer, "--json")
        assert json.loads(checked.out)["errors"] == {}, checked.out
    assert run("check", "it-preferred.jsonl", "--for", "trl", "-q").code == 0


def test_the_same_again_asks_for_nothing_and_more_asks_for_more(run: Runner) -> None:
    source = corpus()
    with FakeOllama(script=judging) as fake:
        assert run("prefer", source, "-k", 2, "-o", "a.jsonl", "-q", "--margin", 0.1, "--host", fake.url).code == 0
        assert writing(fake) == 24
        done = run("prefer", source, "-k", 2, "-o", "b.jsonl", "--margin", 0.1, "--host", fake.url)
        assert done.code == 0, done.err
        assert writing(fake) == 24
        assert Path("a.jsonl").read_bytes() == Path("b.jsonl").read_bytes()
        check_error(run("prefer", source, "-k", 2, "-o", "b.jsonl", "--host", fake.url), 2, "b.jsonl", "--force")
        assert run("prefer", source, "-k", 3, "-o", "c.jsonl", "-q", "--margin", 0.1, "--host", fake.url).code == 0
        assert writing(fake) == 36
        corpus(count=2)  # what was dropped from the corpus is in no pair
        assert run("prefer", source, "-k", 3, "-o", "d.jsonl", "-q", "--margin", 0.1, "--host", fake.url).code == 0
        assert writing(fake) == 36
        assert len(records("d.jsonl")) <= 2


def test_another_judge_scores_anew_and_is_not_told_of_its_own_words(run: Runner) -> None:
    source = corpus()
    with FakeOllama(script=judging, models=[FakeModel("writes:1b"), FakeModel("judges:8b")]) as fake:
        asked = ("prefer", source, "-k", 2, "-m", "writes:1b", "--margin", 0.1, "--host", fake.url)
        own = run(*asked, "-o", "a.jsonl")
        assert own.code == 0, own.err
        assert "writes:1b judges what it wrote itself" in own.err
        assert "writes:1b was not asked to prove that it can judge" in own.err
        other = run(*asked, "--judge", "judges:8b", "-o", "b.jsonl")
        assert "judges what it wrote itself" not in other.err
        assert Counter(line["judge"] for line in records(SCORES)) == {"writes:1b": 12, "judges:8b": 12}


def test_a_judge_without_log_probabilities_is_asked_by_a_schema(run: Runner) -> None:
    def script(ask: Ask) -> Reply:
        return judging(ask) if "top_logprobs" not in ask.body else Reply("Well")

    with FakeOllama(script=script) as fake:
        done = run("prefer", corpus(), "-k", 2, "--margin", 0.1, "--host", fake.url)
    assert done.code == 0, done.err
    assert {line["how"] for line in records(SCORES)} == {"schema"}


def test_a_judge_that_gives_no_score_ends_it_and_the_responses_stay(run: Runner) -> None:
    source = corpus()
    with FakeOllama(script=lambda ask: Reply("Lovely!") if judged(ask) else default_script(ask)) as fake:
        check_error(run("prefer", source, "-k", 2, "--host", fake.url), 3, "is a valid judgement", "Lovely!", "--judge")
        assert len(records(BESIDE / "candidates.jsonl")) == 12
        assert not Path("it-preferred.jsonl").exists()
        fake.script = lambda ask: judging(ask) if judged(ask) else pytest.fail("the responses are there")
        assert run("prefer", source, "-k", 2, "-q", "--margin", 0.1, "--host", fake.url).code == 0


def test_where_all_are_equal_there_is_no_pair(run: Runner) -> None:
    def script(ask: Ask) -> Reply:
        return Reply("4", top={"4": -0.1}) if judged(ask) else default_script(ask)

    with FakeOllama(script=script) as fake:
        done = run("prefer", corpus(), "-k", 2, "--host", fake.url)
    check_error(done, 1, "6 tie", "--margin")
    assert not Path("it-preferred.jsonl").exists()


def test_a_judge_that_has_not_proved_itself_scores_nothing(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAGPIE_OLLAMA_UNPROVEN")
    source, oracle = corpus(count=3), Oracle("en")

    def blind(ask: Ask) -> Reply:
        return Reply("4", top={"4": -0.1}) if judged(ask) else default_script(ask)

    with FakeOllama(script=blind, models=[FakeModel("blind:1b"), FakeModel("sees:8b")]) as fake:
        asked = ("prefer", source, "-k", 2, "-m", "blind:1b", "--host", fake.url)
        check_error(run(*asked), 3, "has not proved itself as a judge: answer in English has an AUC of 0.50", "--judge")
        assert not SCORES.exists()
        fake.script = lambda ask: oracle(ask) if judged(ask) else pytest.fail("the responses are there")
        done = run(*asked, "--judge", "sees:8b")
        assert "answer in English: proved, AUC 1.00" in done.err
        assert len(records(SCORES)) == 6


def test_what_cannot_be_meant(run: Runner) -> None:
    source = corpus()
    Path("nothing.jsonl").write_text('{"messages": [{"role": "assistant", "content": "Hello."}]}\n', "utf-8")
    with FakeOllama() as fake:
        for words, code, *given in (
            ("-k 1 makes no pair", 2, source, "-k", 1),
            ("nothing lies beside a stream", 2, "-"),
            ("is the input itself", 2, source, "-o", source),
            ("nothing.jsonl holds no instruction data", 1, "nothing.jsonl"),
            ("nobody:1b", 3, source, "-m", "nobody:1b"),
        ):
            check_error(run("prefer", *given, "--host", fake.url), code, words)
        check_error(run("generate", "--prefer", 2, "-o", "-", "--host", fake.url), 2, "--prefer wants a corpus")
        assert not writing(fake)


def test_a_conversation_is_preferred_by_its_last_answer(run: Runner) -> None:
    talk = [{"role": "user", "content": "Hello there."}, {"role": "assistant", "content": "Hello."}]
    last = [{"role": "user", "content": "How do I bake bread?"}, {"role": "assistant", "content": "With flour."}]
    Path("it.jsonl").write_text(json.dumps({"messages": talk + last}) + "\n", "utf-8")
    with FakeOllama(script=judging) as fake:
        assert run("prefer", "it.jsonl", "-k", 4, "-q", "--length-ratio", 0, "--host", fake.url).code == 0
    (pair,) = records("it-preferred.jsonl")
    assert pair["prompt"] == [*talk, last[0]]
    for side in ("chosen", "rejected"):
        assert pair[f"score_{side}"] == worth(pair[side][0]["content"]), "its own score"
    assert len(records(SCORES)) == 4


def test_a_dry_run_shows_what_would_be_asked_and_makes_nothing(run: Runner) -> None:
    with FakeOllama() as fake:
        done = run("prefer", corpus(), "-k", 3, "--dry-run", "--json", "--host", fake.url)
        assert not writing(fake)
    assert json.loads(done.out)["messages"] == [{"role": "user", "content": "How do I bake bread number 0?"}]
    assert not BESIDE.exists()


def test_a_file_in_the_place_of_the_folder(run: Runner) -> None:
    BESIDE.write_text("mine")
    check_error(run("prefer", corpus()), 1, "it.jsonl.magpie")


def test_generate_goes_on_to_pairs_and_a_judge_that_failed_costs_no_record(run: Runner) -> None:
    asked = ("generate", "-n", 5, "--prefer", 2, "-o", "it.jsonl", "--parallel", 2)
    with FakeOllama(script=lambda ask: Reply("Lovely!") if judged(ask) else default_script(ask)) as fake:
        assert run(*asked, "--host", fake.url).code == 3
        made = records("it.jsonl")
        assert len(made) == 5
        fake.script = judging
        done = run(*asked, "--host", fake.url)
        assert done.code == 0, done.err
        assert records("it.jsonl") == made, "the run that lacked its pairs went on"
        pairs = records("it-preferred.jsonl")
        assert {pair["prompt"][0]["content"] for pair in pairs} <= {one["messages"][0]["content"] for one in made}
        assert run(*asked, "--host", fake.url).code == 0
        assert len(records("it.jsonl")) == 10, "and is done now"
        assert len(records(BESIDE / "candidates.jsonl")) == 20
    assert len(records("it-preferred2.jsonl")) >= len(pairs)
