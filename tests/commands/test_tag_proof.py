"""``tag`` with a judge that has to prove itself, and what else it may be asked for."""

from __future__ import annotations

import json
from pathlib import Path

from commands.support import Runner, check_error, records
from corpus.support import record
from fake_ollama import Ask, FakeModel, FakeOllama, FakeOpenAI, Reply, chatml
from tagging.oracle import Oracle, gloomy

from magpie_ollama.corpus import lines
from magpie_ollama.records import KEYS
from magpie_ollama.tagging.planted import ANSWER, planted
from magpie_ollama.tagging.scoring import request

GOOD = {"category": "Math", "difficulty": "easy", "quality": "good", "safety": "safe"}


def write(path: Path, *languages: str) -> Path:
    made = [record(seed=n, text=f"Quanto? {n}", language=code) for n, code in enumerate(languages)]
    path.write_bytes(b"".join(lines.encode(lines.values(one)) for one in made))
    return path


def journal(source: Path) -> list[dict[str, str]]:
    return records(source.with_name(f"{source.name}.magpie") / "tags.jsonl")


def test_a_judge_that_tells_good_from_spoiled_is_proved_and_judges(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl", "it", "it", "es")
    with FakeOllama(script=Oracle("it", "es")) as fake:
        done = run("tag", source, "-o", "out.jsonl", "--json", "--host", fake.url)
        assert done.code == 0, done.err
        asked = len(fake.requests_to("/api/chat"))
        again = run("tag", source, "-o", "out.jsonl", "--force", "--host", fake.url)
        assert len(fake.requests_to("/api/chat")) == asked, "a judge proves itself once"
    proof = json.loads(done.out)["proof"]
    assert proof.keys() == {"it", "es"}
    assert proof["it"]["quality"]["kinds"]["shuffled words"] == [1.0, 7]
    assert "quality in Italian: proved, AUC 1.00 (95 %: 0.90 to 1.00), by fault: shuffled words 1.00 of 7" in done.err
    assert "quality in Spanish: proved" in again.err
    assert [one["tags"]["quality"] for one in records("out.jsonl")] == ["good"] * 3


def test_a_judge_that_does_not_is_refused_and_nothing_is_lost(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl", "it")
    with FakeOllama(script=gloomy) as fake:
        refused = run("tag", source, "-o", "out.jsonl", "--host", fake.url)
        assert refused.code == 3
        told = " ".join(refused.err.split())
        assert "smollm2:135m has not proved itself as a judge: quality in Italian has an AUC of 0.50" in told
        assert "0% of 21 good records in Italian safe" in told
        assert "choose another judge with -m, or take its word all the same: --unproven" in told
        assert not Path("out.jsonl").exists() and not Path("it.jsonl.magpie").exists()
        asked = len(fake.requests_to("/api/chat"))
        assert run("tag", source, "-o", "out.jsonl", "-q", "--host", fake.url).code == 3
        assert len(fake.requests_to("/api/chat")) == asked, "that it failed is kept as well"
        assert run("tag", source, "-o", "out.jsonl", "-q", "--unproven", "--host", fake.url).code == 0
    assert records("out.jsonl")[0]["tags"]["safety"] == "unsafe"


def test_language_intent_and_reasons(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl", "it", "it")
    words = {"explanation": "Clear,\n but short.", "intent": "A sum.", "other_categories": "Reasoning"}

    def script(ask: Ask) -> Reply:
        if "format" in ask.body:
            assert list(ask.body["format"]["required"])[:3] == ["explanation", "intent", "other_categories"]
            return Reply(json.dumps(words | GOOD))
        assert "italiano" in str(ask.messages[0]["content"]), "the judge is asked in the record's language"
        return Reply("4", top={"4": -0.2, "3": -2.0})

    more = ("--add", "language", "--add", "intent", "--add", "other_categories", "--explain")
    with FakeOllama(script=script) as fake:
        done = run("tag", source, "--in-place", "--unproven", *more, "--host", fake.url)
        assert done.code == 0, done.err
        asked = len(fake.requests_to("/api/chat"))
        assert run("tag", source, "--in-place", "--unproven", *more, "--host", fake.url).code == 0
        assert len(fake.requests_to("/api/chat")) == asked == 4, "an answer and a token a record"
    assert "language    2 good" in done.out
    (first, _) = records(source)
    assert first.keys() == KEYS
    assert first["tags"] == {**GOOD, "intent": "A sum.", "language": "good", "judge": "smollm2:135m"}
    told = json.loads(run("stats", source, "--json").out)["tags"]
    assert (told["language"], "intent" in told) == ({"good": 2}, False), "a sentence each is nothing to count"
    assert json.loads(run("filter", source, "--tag", "language=good", "--json").out)["kept"] == 2
    assert json.loads(run("filter", source, "--tag", "language=poor", "--json").out)["kept"] == 0
    told = run("filter", source, "--tag", "language=it", "-o", "no.jsonl")
    check_error(told, 2, "record has the tag language=it")

    (kept, _) = journal(source)
    assert (kept["explanation"], kept["other_categories"]) == ("Clear, but short.", "Reasoning")
    assert kept["language_score"] == "3.86 by logprobs"


def test_a_guard_model_tells_the_safety_in_its_own_form(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl", "it", "it")

    def script(ask: Ask) -> Reply:
        if ask.model.startswith("llama-guard3"):
            assert "format" not in ask.body
            assert [turn["role"] for turn in ask.messages] == ["user", "assistant"]
            return Reply("\n\nunsafe\nS1,S10" if "1" in str(ask.messages[0]["content"]) else "\n\nsafe")
        return Reply(json.dumps(GOOD))

    models = [FakeModel(name, template=chatml()) for name in ("qwen3:8b", "llama-guard3:1b")]
    with FakeOllama(script=script, models=models) as fake:
        given = ("-m", "qwen3:8b", "--guard", "llama-guard3:1b", "--unproven", "--host", fake.url)
        assert run("tag", source, "-o", "out.jsonl", *given).code == 0
        check_error(
            run("tag", source, "-o", "no.jsonl", "-m", "qwen3:8b", "--guard", "none", "--host", fake.url), 3, "none"
        )
    assert [one["tags"]["safety"] for one in records("out.jsonl")] == ["safe", "unsafe"]
    assert {one["hazards"] for one in journal(source)} == {"", "S1, S10"}


def test_a_reward_model_is_proved_too_and_its_word_stands_in_the_record(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl", "it", "it")
    kinds = {(shown.instruction, shown.response): shown.kind for shown in planted("it")}
    rewards = FakeOpenAI("vllm")
    rewards.reward = lambda asked, said: -3.5 if kinds.get((asked, said)) in ANSWER else 0.1 + ("1" in asked)
    with FakeOllama(script=Oracle("it")) as fake, rewards:
        given = ("--reward", "smollm2:135m", "--reward-host", rewards.url, "--host", fake.url)
        done = run("tag", source, "-o", "out.jsonl", *given)
        assert done.code == 0, done.err
        assert "reward in Italian: proved" in done.err
        asked = len(rewards.requests_to("/score"))
        assert run("tag", source, "-o", "out.jsonl", "--force", "-q", *given).code == 0
        assert len(rewards.requests_to("/score")) == asked
        rewards.reward = None
        source.write_bytes(source.read_bytes().replace(b"Quanto? 1", b"Quanto? 2"))
        check_error(run("tag", source, "-o", "no.jsonl", *given), 3, "gives no rewards", "vllm serve")
    assert [one["reward"] for one in records("out.jsonl")] == [0.1, 1.1]
    assert {one["reward"] for one in journal(source)} == {"0.1", "1.1"}


def test_other_tools_rows_get_the_tags_that_were_asked_for(run: Runner) -> None:
    Path("en.jsonl").write_text('{"instruction": "a b", "output": "c d"}\n')
    with FakeOllama(script=lambda ask: Reply(json.dumps(GOOD), top={"5": 0.0})) as fake:
        assert (
            run("tag", "en.jsonl", "-o", "out.jsonl", "--unproven", "--add", "language", "--host", fake.url).code == 0
        )
    assert records("out.jsonl")[0]["tags"] == {**GOOD, "judge": "smollm2:135m", "language": "excellent"}


def test_a_file_without_responses_has_no_language_to_judge(run: Runner) -> None:
    Path("it.jsonl").write_text('{"instruction": "Chi sei?", "output": ""}\n')
    with FakeOllama(script=lambda ask: Reply(json.dumps(GOOD))) as fake:
        done = run("tag", "it.jsonl", "-o", "out.jsonl", "--unproven", "--add", "language", "--host", fake.url)
        check_error(done, 1, "No record of it.jsonl has a response", "magpie-ollama respond it.jsonl")
        assert not fake.requests_to("/api/chat")
        assert not Path("out.jsonl").exists()
        with Path("it.jsonl").open("a") as file:
            file.write('{"instruction": "Chi sei?", "output": "Un modello."}\n')
        fake.script = lambda ask: Reply(json.dumps(GOOD), top={"5": 0.0})
        given = ("--unproven", "--add", "language", "--json", "--host", fake.url)
        done = run("tag", "it.jsonl", "-o", "out.jsonl", *given)
        assert json.loads(done.out)["tags"]["language"]["unjudged"] == 1, done.err


def test_a_reward_host_without_a_model_is_told(run: Runner) -> None:
    Path("it.jsonl").write_text('{"instruction": "Chi sei?", "output": "Io."}\n')
    check_error(run("tag", "it.jsonl", "--in-place", "--reward-host", "localhost:9"), 2, "--reward MODEL")


def test_the_talk_that_is_scored_is_the_pair() -> None:
    talk = request([{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}], "answer", "en")
    assert "A" in talk[1]["content"] and "B" in talk[1]["content"]
