"""What a judge is asked, and what it may answer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from corpus.support import without_privileges

from magpie_ollama.corpus.reading import Row, Rows
from magpie_ollama.curation import tagging
from magpie_ollama.curation.judgements import Judgements
from magpie_ollama.curation.tagging import KEYS, LONGEST, parse
from magpie_ollama.errors import CorpusError

JUDGE = tagging.load()
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
    system, user = tagging.request(JUDGE, row(tmp_path / "a.jsonl", "Di' {response} e {instruction}", "{instruction}"))
    assert all(value in system["content"] for scale in JUDGE.scales.values() for value in scale)
    assert "<instruction>\nDi' {response} e {instruction}\n</instruction>" in user["content"]
    assert "<response>\n{instruction}\n</response>" in user["content"]
    assert "{scales}" not in system["content"]


def test_a_long_text_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    long = "a" * LONGEST + "END"
    _, user = tagging.request(JUDGE, row(tmp_path / "a.jsonl", long, ""), 100)
    assert f"{'a' * 75}\n[...]\n{'a' * 22}END" in user["content"]
    assert "(none)" in user["content"]


def test_half_a_surrogate_pair_is_no_part_of_what_a_judge_is_asked(tmp_path: Path) -> None:
    _, user = tagging.request(JUDGE, row(tmp_path / "a.jsonl", "Che cosa vuol dire \ud83d?"))
    assert "Che cosa vuol dire \ufffd?" in user["content"]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", ["", "Good", 3, None, ["good"]])
def test_a_value_off_its_scale_is_no_judgement(key: str, value: object) -> None:
    assert parse(json.dumps(GOOD), JUDGE, "m") == {**GOOD, "judge": "m"}
    assert parse(json.dumps({**GOOD, key: value}), JUDGE, "m") is None
    assert parse(json.dumps({name: GOOD[name] for name in KEYS if name != key}), JUDGE, "m") is None


@pytest.mark.parametrize("answer", ["", "{", '"good"', "[]", '{ "quality": "good", "diffic', "[" * 100_000])
def test_an_answer_that_is_no_object_is_no_judgement(answer: str) -> None:
    assert parse(answer, JUDGE, "m") is None


def test_the_schema_asks_for_what_parse_takes() -> None:
    schema = tagging.schema(JUDGE)
    first = {key: value["enum"][0] for key, value in schema["properties"].items()}
    assert parse(json.dumps(first), JUDGE, "m") is not None
    assert sorted(schema["required"]) == sorted(KEYS)


def test_tags_are_a_key_more_in_the_line(tmp_path: Path) -> None:
    plain = row(tmp_path / "a.jsonl", "x", "y", n=1)
    tags = {**GOOD, "judge": "m"}
    assert json.loads(tagging.tagged(plain, tags)) == {"instruction": "x", "output": "y", "n": 1, "tags": tags}


class TestJudgements:
    def test_they_are_there_again_for_the_same_judge_only(self, tmp_path: Path) -> None:
        one = row(tmp_path / "a.jsonl")
        key = tagging.key(one)
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
    def test_beside_a_file_where_nothing_can_be_written_a_copy_is_the_way(self, tmp_path: Path) -> None:
        shut = tmp_path / "shut"
        shut.mkdir(mode=0o555)
        with (
            without_privileges(shut / "a.jsonl"),
            Judgements(shut / "a.jsonl", JUDGE, "m") as judgements,
            pytest.raises(CorpusError, match="permission denied") as told,
        ):
            judgements.add("k", {**GOOD, "judge": "m"})
        assert "copy it to a folder that can be written to" in told.value.remedy
