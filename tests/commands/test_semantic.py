"""``dedup --semantic`` and ``stats --neighbours``, from the file to what is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands.support import Runner, check_error, records
from fake_ollama import FakeModel, FakeOllama, embedder

FIRST = "How is bread baked at home?"
AGAIN = "At home, how is bread baked?"  # the same words: the same vector
ASKED = [FIRST, "What does a compiler do with a loop?", AGAIN, "Name three rivers of Italy.", FIRST.upper()]


def write(path: Path, asked: list[str] = ASKED) -> Path:
    path.write_text("".join(json.dumps({"instruction": text, "output": f"{text} So."}) + "\n" for text in asked))
    return path


def test_dedup_removes_what_says_the_same_in_other_words(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl")
    assert json.loads(run("dedup", source, "--json").out)["removed"] == {"duplicate": 1}
    with FakeOllama(models=[FakeModel(), embedder()]) as fake:
        done = run("dedup", source, "--semantic", "-o", "new.jsonl", "--show", "--host", fake.url)
        told = run("dedup", source, "--semantic", "--show", "--json", "-q", "--host", fake.url)
    assert done.code == 0, done.err
    assert [record["instruction"] for record in records("new.jsonl")] == [ASKED[0], ASKED[1], ASKED[3]]
    assert f"semantic_duplicate\n  kept     line 1  {FIRST}\n  removed  line 3  {AGAIN}" in done.out
    assert "1  semantic_duplicate  an earlier instruction in other words" in done.out
    report = json.loads(told.out)
    assert report["removed"] == {"semantic_duplicate": 1, "duplicate": 1}
    assert [pair["reason"] for pair in report["pairs"]] == ["semantic_duplicate", "duplicate"]


def test_a_default_names_the_model_that_writes_and_none_for_vectors(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl")
    assert run("config", "set", "model", "llama3.2").code == 0
    with FakeOllama(models=[FakeModel("llama3.2"), embedder()]) as fake:
        for variable in ("", "llama3.2"):
            done = run("dedup", source, "--semantic", "--host", fake.url, MAGPIE_OLLAMA_MODEL=variable)
            assert done.code == 0, done.err


def test_stats_tells_distances_and_keeps_them_beside(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl")
    with FakeOllama(models=[embedder()]) as fake:
        done = run("stats", source, "--neighbours", "--show", "--host", fake.url)
        told = json.loads(run("stats", source, "--neighbours", "--json", "--show", "--host", fake.url).out)
    assert done.code == 0, done.err
    assert "neighbours  3 records (60 %) nearer than 0.05 to another" in done.out
    assert f"0.00 away\n  one      line 1  {FIRST}\n  other    line 3  {AGAIN}" in done.out
    beside = records("it.jsonl.magpie/neighbours.jsonl")
    assert [row["id"] for row in beside] == [f"line {number}" for number in range(1, 6)]
    assert [row["repeat_count"] for row in beside] == [2, 0, 2, 0, 2]
    assert [row["min_similar_conversation_id"] for row in beside] == ["line 1", "", "line 1", "", "line 1"]
    assert [row["min_neighbor_distance"] < 0.001 for row in beside] == [True, False, True, False, True]
    assert (told["neighbours"]["repeated"], told["neighbours"]["model"]) == (3, "nomic-embed-text:latest")
    assert [(pair["line"], pair["neighbour_line"]) for pair in told["pairs"]] == [(1, 3), (5, 1)]
    assert json.loads(run("stats", source, "--json").out)["neighbours"] is None


def test_a_failure_writes_nothing_and_says_what_to_do(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl")
    with FakeOllama(models=[FakeModel("llama3.2")]) as fake:
        refused = run("dedup", source, "--semantic", "-m", "llama3.2", "-o", "new.jsonl", "-q", "--host", fake.url)
    check_error(refused, 3, "llama3.2:latest writes text", "ollama pull bge-m3")
    check_error(run("dedup", source, "--semantic", "-o", "new.jsonl", "-q", "--host", fake.url), 3, "No Ollama answers")
    check_error(run("dedup", source, "--semantic", "--exact"), 2, "leave out one of the two")
    check_error(run("stats", source, "--show"), 2, "add --neighbours")
    check_error(run("dedup", "-", "--semantic"), 2, "give it a file")
    assert not Path("new.jsonl").exists()


@pytest.mark.parametrize("command", ["dedup", "stats"])
def test_what_is_labelled_as_bad_is_not_embedded(run: Runner, own_folder: Path, command: str) -> None:
    rows = [{"prompt": text, "completion": "It is so.", "label": text != AGAIN} for text in ASKED]
    source = own_folder / "kto.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--semantic"] if command == "dedup" else ["--neighbours"]
    with FakeOllama(models=[embedder()]) as fake:
        assert run(command, source, *options, "--host", fake.url).code == 0
        asked = [one.body["input"] for one in fake.requests if one.path == "/api/embed" and one.body]
    assert asked == [[text for text in ASKED if text != AGAIN]]
