"""What a judge is asked, and what it may answer."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from corpus.support import without_privileges

from magpie_ollama.corpus.reading import Row, Rows
from magpie_ollama.errors import CorpusError
from magpie_ollama.records import tags
from magpie_ollama.tagging import scales
from magpie_ollama.tagging.judgements import Judgements
from magpie_ollama.tagging.scales import KEYS, LONGEST, parse

JUDGE = scales.load()
GOOD = {"quality": "good", "difficulty": "easy", "category": "Math", "safety": "safe"}


def row(path: Path, instruction: str = "Quanto fa 2 + 2?", response: str = "4.", **more: object) -> Row:
    path.write_text(json.dumps({"instruction": instruction, "output": response, **more}) + "\n", "utf-8")
    return next(iter(Rows(path)))


def test_the_scales_are_magpies() -> None:
    assert list(JUDGE.scales["quality"]) == ["very poor", "poor", "average", "good", "excellent"]
    assert list(JUDGE.scales["difficulty"]) == ["very easy", "easy", "medium", "hard", "very hard"]
    assert len(JUDGE.scales["category"]) == 12
    assert {"Coding & Debugging", "Role playing", "Others"} <= JUDGE.scales["category"].keys()
    assert sorted(JUDGE.scales) == sorted(KEYS)


def test_the_judge_is_told_every_value_and_shown_the_pair(tmp_path: Path) -> None:
    system, user = scales.request(JUDGE, row(tmp_path / "a.jsonl", "Di' {response} e {instruction}", "{instruction}"))
    assert all(value in system["content"] for scale in JUDGE.scales.values() for value in scale)
    assert "<instruction>\nDi' {response} e {instruction}\n</instruction>" in user["content"]
    assert "<response>\n{instruction}\n</response>" in user["content"]
    assert "{scales}" not in system["content"]


def test_a_long_text_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    long = "a" * LONGEST + "END"
    _, user = scales.request(JUDGE, row(tmp_path / "a.jsonl", long, ""), 100)
    assert f"{'a' * 75}\n[...]\n{'a' * 22}END" in user["content"]
    assert "(none)" in user["content"]


def test_half_a_surrogate_pair_is_no_part_of_what_a_judge_is_asked(tmp_path: Path) -> None:
    _, user = scales.request(JUDGE, row(tmp_path / "a.jsonl", "Che cosa vuol dire \ud83d?"))
    assert "Che cosa vuol dire \ufffd?" in user["content"]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", ["", "fine", "not safe", "easy/hard", "very", 3, None, ["good"]])
def test_a_value_off_its_scale_is_no_judgement(key: str, value: object) -> None:
    assert parse(json.dumps(GOOD), JUDGE, "m") == {**GOOD, "judge": "m"}
    assert parse(json.dumps({**GOOD, key: value}), JUDGE, "m") is None
    assert parse(json.dumps({name: GOOD[name] for name in KEYS if name != key}), JUDGE, "m") is None


PLAIN = json.dumps(GOOD)


@pytest.mark.parametrize(
    "answer",
    [
        f"```json\n{json.dumps(GOOD, indent=2)}\n```",
        f"Here is my judgement of {{it}}:\n{PLAIN}\nI hope it helps.",
        f"<think>At first {PLAIN.replace('good', 'poor')}, but then {{</think>\n{PLAIN}",
        f"<|channel|>final<|message|>{PLAIN}",
        f"{PLAIN[:-1]}, \n}}",
        f"[{PLAIN}]",
        f'{{"judgement": {PLAIN}}}',
        str(GOOD),
        json.dumps({**GOOD, "reason": 'clear {as it is}, "well put"'}),
        json.dumps({name.title(): value.upper() for name, value in GOOD.items()}),
        json.dumps({**GOOD, "quality": "Good.", "safety": " SAFE (no harm)"}),
        json.dumps({**GOOD, "quality": "4. good: it is clear", "category": "Mathematics"}),
        json.dumps({"input_quality": "good", "difficulty": "easy", "task category": "math", "Safety": "safe"}),
    ],
)
def test_what_stands_around_the_object_and_how_its_values_are_spelled_does_not_count(answer: str) -> None:
    assert parse(answer, JUDGE, "m") == {**GOOD, "judge": "m"}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("coding & debugging", "Coding & Debugging"),
        ("coding_and_debugging", "Coding & Debugging"),
        ("Coding", "Coding & Debugging"),
        ("Role-Play", "Role playing"),
        ("information_seeking", "Information seeking"),
        ("Other", "Others"),
        ("seeking", None),
        ("writing", None),
        ("Math, Reasoning", None),
        ("Math or Reasoning", None),
    ],
)
def test_a_category_in_other_words_is_the_one_that_can_be_meant(given: str, meant: str | None) -> None:
    found = parse(json.dumps({**GOOD, "category": given}), JUDGE, "m")
    assert (found and found["category"]) == meant


def test_of_two_objects_the_last_counts_even_where_it_is_wrong() -> None:
    assert parse(f"{PLAIN} {PLAIN.replace('good', 'poor')}", JUDGE, "m") == {**GOOD, "quality": "poor", "judge": "m"}
    assert parse(f"{PLAIN} No: {PLAIN.replace('good', 'so-so')}", JUDGE, "m") is None


@pytest.mark.parametrize("piece", ["{", '{"', '{"quality":', '{"quality" ', "{'", '{"\\', '{"quality":"good",', "a(;"])
def test_an_answer_without_end_is_read_in_bounded_time(piece: str) -> None:
    started = time.process_time()
    assert parse(piece * 1_000_000, JUDGE, "m") is None
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "answer",
    ["", "{", "**Quality**: good\n**Difficulty**: easy", '"good"', "[]", '{ "quality": "good", "diffic', "[" * 100_000],
)
def test_an_answer_that_is_no_object_is_no_judgement(answer: str) -> None:
    assert parse(answer, JUDGE, "m") is None


def test_the_schema_asks_for_what_parse_takes() -> None:
    schema = scales.schema(JUDGE)
    first = {key: value["enum"][0] for key, value in schema["properties"].items()}
    assert parse(json.dumps(first), JUDGE, "m") is not None
    assert sorted(schema["required"]) == sorted(KEYS)


def test_tags_are_a_key_more_in_the_line(tmp_path: Path) -> None:
    plain = row(tmp_path / "a.jsonl", "x", "y", n=1)
    given = {**GOOD, "judge": "m"}
    assert json.loads(scales.tagged(plain, given)) == {"instruction": "x", "output": "y", "n": 1, "tags": given}


def test_tags_have_their_place_in_a_record_of_schema_2(tmp_path: Path) -> None:
    before = {"tags": {**tags(), "intent": "to know"}, "reward": 0.0, "schema": 2}
    plain = row(tmp_path / "a.jsonl", "x", "y", **before)
    line = json.loads(scales.tagged(plain, {**GOOD, "judge": "m"}))
    assert list(line) == ["instruction", "output", *before], "no key more, and none in another place"
    assert line["tags"] == {**tags(), **GOOD, "judge": "m"}, "what another judge said does not stand under this one"
    again = row(tmp_path / "b.jsonl", "x", "y", tags=line["tags"], schema=2)
    assert scales.tagged(again, {**GOOD, "judge": "m"}) is again.line


class TestJudgements:
    def test_they_are_there_again_for_the_same_judge_only(self, tmp_path: Path) -> None:
        one = row(tmp_path / "a.jsonl")
        key = scales.key(one)
        with Judgements(tmp_path / "a.jsonl", JUDGE, "m") as judgements:
            assert judgements.tags(key) is None
            judgements.add(key, {**GOOD, "judge": "m"})
        assert Judgements(tmp_path / "a.jsonl", JUDGE, "m").tags(key) == {**GOOD, "judge": "m"}
        assert len(Judgements(tmp_path / "a.jsonl", JUDGE, "other")) == 0

    def test_half_a_line_is_passed_over_and_never_glued_to(self, tmp_path: Path) -> None:
        source = tmp_path / "a.jsonl"
        with Judgements(source, JUDGE, "m") as judgements:
            judgements.add("1", {**GOOD, "judge": "m"})
        with judgements.path.open("ab") as file:
            file.write(b'{"record":"2","qual')
        with Judgements(source, JUDGE, "m") as judgements:
            assert len(judgements) == 1
            judgements.add("3", {**GOOD, "judge": "m"})
        assert len(Judgements(source, JUDGE, "m")) == 2

    @pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
    def test_beside_a_file_where_nothing_can_be_written_a_copy_is_the_steering(self, tmp_path: Path) -> None:
        shut = tmp_path / "shut"
        shut.mkdir(mode=0o555)
        with (
            without_privileges(shut / "a.jsonl"),
            Judgements(shut / "a.jsonl", JUDGE, "m") as judgements,
            pytest.raises(CorpusError, match="permission denied") as told,
        ):
            judgements.add("k", {**GOOD, "judge": "m"})
        assert "copy it to a folder that can be written to" in told.value.remedy
