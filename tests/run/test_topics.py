"""A run on topics: what is sent, what is kept, what is measured; and its continuing."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

from fake_ollama import Ask, FakeOllama, Reply, default_script
from run.support import generate, generating, settings, until

from magpie_ollama.method import languages, topics
from magpie_ollama.method.steering import steer
from magpie_ollama.run import measurements
from magpie_ollama.run.session import Session

ULTRA = topics.mix("magpie-ultra")


def test_magpie_ultra_in_200_records(tmp_path: Path) -> None:
    """Each topic is within one of its share of what was kept, whatever of its attempts failed."""

    def script(ask: Ask) -> Reply | str:
        fails = ask.kind == "raw" and (ask.seed or 0) % 3 == 0 and "mathematics" in ask.prompt
        return "" if fails else default_script(ask)

    with FakeOllama(script=script, parallel=8) as fake:
        made = generate(
            settings(fake, 200, steering="exemplar+opener", topics="magpie-ultra", parallel=8, seed=1),
            tmp_path / "en.jsonl",
        )
    assert made.error is None
    kept = Counter(record["topic"] for record in made.records)
    assert kept == {topic: round(200 * share) for topic, share in ULTRA.shares.items()}
    assert Counter(one["topic"] for one in made.attempts if one["outcome"] == "kept") == kept
    assert made.progress.funnel.topics["maths"].total() > 30 > made.progress.funnel.topics["code"].total()
    assert made.manifests[0]["settings"]["topics"] == "magpie-ultra"


def test_the_exact_prompts_of_an_attempt(tmp_path: Path) -> None:
    with FakeOllama() as fake:
        made = generate(
            settings(fake, 4, language="it", steering="exemplar+opener", topics="maths:1,code:1", parallel=1, seed=5),
            tmp_path / "it.jsonl",
        )
    assert made.error is None
    raw = {one.body["options"]["seed"]: one.body for one in generating(fake) if one.path == "/api/generate"}
    chats = {one.body["options"]["seed"]: one.body for one in generating(fake) if one.path == "/api/chat"}
    assert [record["topic"] for record in made.records] in (["maths", "code"] * 2, ["code", "maths"] * 2)
    for record in made.records:
        spoken = topics.load(record["topic"]).spoken(languages.load("it"))
        steered = steer("exemplar+opener", spoken, record["seed"], system=spoken.system)
        turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in steered.messages)
        assert raw[record["seed"]]["prompt"] == steered.prompt(f"{turns}<|im_start|>user\n")
        asked = {"role": "user", "content": record["messages"][0]["content"]}
        assert chats[record["seed"]]["messages"] == [*steered.messages, asked]
        assert steered.messages[0]["content"] == topics.load(record["topic"]).voices["it"].system


def test_where_a_language_has_no_data(tmp_path: Path) -> None:
    with FakeOllama() as fake:
        made = generate(
            settings(fake, 3, language="cy", steering="exemplar", topics="maths", seed=2, max_attempts=9),
            tmp_path / "cy.jsonl",
        )
    assert any("No Welsh data for maths" in notice for notice in made.progress.notices)
    assert {one["steering"] for one in made.attempts} == {"system+opener"}
    english, welsh = topics.load("maths").voices["en"].system, languages.load("cy")
    for one in generating(fake):
        if one.path == "/api/generate":
            assert f"{welsh.system}\n\n{english}" in one.body["prompt"]
            assert one.body["prompt"].endswith(tuple(o for kind in welsh.openers.values() for o in kind))


def test_auto_measures_each_topic_for_itself(tmp_path: Path) -> None:
    """Where the instructions of one fail with exemplars, and those of the other do not, each takes what serves it."""

    def script(ask: Ask) -> Reply | str:
        shown = "mathematics" in ask.prompt and ask.prompt.count("<|im_start|>user") > 1
        return "" if ask.kind == "raw" and shown else default_script(ask)

    with FakeOllama(script=script, parallel=4) as fake:
        asked = settings(fake, 80, steering="auto", topics="maths:1,code:1", seed=3, parallel=1)
        made = generate(asked, tmp_path / "en.jsonl")
    assert made.error is None
    drawn = {
        t: Counter(r["steering"].split("+")[0] for r in made.records if r["topic"] == t) for t in ("maths", "code")
    }
    assert set(drawn["maths"]) <= {"system", "prefix"}
    assert drawn["code"]["exemplar"] > 0, drawn
    names = {asked.on(topics.load(topic)).measured_as for topic in drawn}
    (path,) = (measurements.folder() / "measurements").glob("*.json")
    assert set(json.loads(path.read_text("utf-8"))) == names
    assert len(names) == 2


def test_a_run_is_continued_with_its_shares(tmp_path: Path) -> None:
    async def meanwhile(session: Session, task: asyncio.Task[Any]) -> None:
        await until(lambda: session.progress.kept >= 7)
        session.stop()

    path = tmp_path / "en.jsonl"
    with FakeOllama() as fake:
        asked = settings(fake, 40, steering="system", topics="magpie-ultra")
        generate(asked, path, meanwhile)
        made = generate(asked, path)
    assert made.error is None
    assert len(made.manifests) == 1
    kept = Counter(record["topic"] for record in made.records)
    assert all(abs(kept[topic] - 40 * share) <= 1 for topic, share in ULTRA.shares.items())


def test_a_hopeless_topic_is_dropped_with_a_note(tmp_path: Path) -> None:
    def script(ask: Ask) -> Reply | str:
        return "" if ask.kind == "raw" and "mathematics" in ask.prompt else default_script(ask)

    with FakeOllama(script=script) as fake:
        made = generate(settings(fake, 20, steering="system", topics="maths:1,code:1", seed=4), tmp_path / "en.jsonl")
    assert made.error is None
    assert Counter(record["topic"] for record in made.records) == {"code": 20}
    assert any("The topic maths is dropped: 0 of its 80 attempts" in notice for notice in made.progress.notices)
