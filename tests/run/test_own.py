"""A model's own measure is asked for once, at each temperature, and only where a server tells it."""

from __future__ import annotations

from pathlib import Path

from fake_ollama import FakeModel, FakeOllama

from magpie_ollama.run import measurements, own

from .support import generate, read, settings


def asked(fake: FakeOllama) -> int:
    bodies = [exchange.body for exchange in fake.requests if exchange.generation >= 0]
    return sum((body.get("options") or {}).get("num_predict") == own.TOKENS for body in bodies)


def test_it_is_asked_for_once_and_makes_fluency(tmp_path: Path) -> None:
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        generate(settings(fake, 3, language="it", steering="system"), tmp_path / "it.jsonl")
        assert asked(fake) == own.DRAWS
        generate(settings(fake, 3, language="it", steering="system"), tmp_path / "it.jsonl")
        assert asked(fake) == own.DRAWS
    records = read(tmp_path / "it.jsonl")
    assert len(records) == 6
    assert all(record["fluency"] > 0 for record in records)
    assert all(0 < record["known_words"] <= 1 and 0 < record["response_known_words"] <= 1 for record in records)


def test_english_needs_none(tmp_path: Path) -> None:
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        generate(settings(fake, 2), tmp_path / "en.jsonl")
        assert asked(fake) == 0
    assert {record["fluency"] for record in read(tmp_path / "en.jsonl")} == {0.0}


def test_a_damaged_file_is_measured_anew(tmp_path: Path) -> None:
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        generate(settings(fake, 2, language="it", steering="system"), tmp_path / "it.jsonl")
        (kept,) = (measurements.folder() / "measurements").glob("*.own.json")
        kept.write_text('{"1": "high"}', "utf-8")
        generate(settings(fake, 2, language="it", steering="system"), tmp_path / "it.jsonl")
        assert asked(fake) == 2 * own.DRAWS
