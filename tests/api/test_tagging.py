"""A model's judgement on each record, from Python."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import pytest
from fake_ollama import FakeModel, FakeOllama, Reply

from magpie_ollama import read, tag
from magpie_ollama.errors import MagpieError, UsageError

GOOD = '{ "category": "Math", "difficulty": "easy", "quality": "good", "safety": "safe" }'


def write(path: Path, count: int) -> Path:
    texts = [("Quanto fa due più due?", "Quattro."), *((f"Quanto {n}?", f"Tanto {n}.") for n in range(1, count))]
    turns = [[{"role": "user", "content": asked}, {"role": "assistant", "content": said}] for asked, said in texts]
    path.write_text("".join(json.dumps({"id": f"{n}", "messages": one}) + "\n" for n, one in enumerate(turns)), "utf-8")
    return path


def test_each_record_comes_with_its_tags_and_the_file_is_written(tmp_path: Path) -> None:
    source, output = write(tmp_path / "it.jsonl", 5), tmp_path / "tagged.jsonl"
    with FakeOllama(script=lambda ask: Reply("?" if "Quanto 3" in str(ask.messages[-1]) else GOOD)) as fake:
        made = list(tag(source, host=fake.url, output=output, unproven=True))
        asked = len(fake.requests_to("/api/chat"))
        assert list(tag(source, host=fake.url, in_place=True, unproven=True)) == made
        assert len(fake.requests_to("/api/chat")) < 2 * asked, "but for the one without a judgement"
    assert [record.id for record in made] == ["0", "1", "2", "3", "4"]
    assert [record.tags["quality"] for record in made] == ["good", "good", "good", "", "good"]
    assert {record.tags["judge"] for record in made} == {"smollm2:135m"}
    assert list(read(output)) == list(read(source)) == made
    assert (tmp_path / "it.jsonl.bak").exists()


def test_who_stops_stops_the_work(tmp_path: Path) -> None:
    source = write(tmp_path / "it.jsonl", 30)
    with FakeOllama(script=lambda ask: Reply(GOOD)) as fake:
        records = tag(source, host=fake.url, output=tmp_path / "tagged.jsonl", parallel=2, unproven=True)
        for _ in range(3):
            next(records)
        records.close()
        assert 3 <= len(fake.requests_to("/api/chat")) <= 4
        assert not (tmp_path / "tagged.jsonl").exists()
        assert len(list(tag(source, host=fake.url, unproven=True))) == 30
        assert len(fake.requests_to("/api/chat")) == 30, "what was judged is not asked for again"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"add": ["langage"]}, "langage"),
        ({"output": "a.jsonl", "in_place": True}, "output and in_place"),
        ({"output": "it.jsonl"}, "the input itself"),
        ({"reward_host": "x"}, "reward model"),
        ({"parallel": -1}, "parallel must be"),
    ],
)
def test_what_may_not_stand_there_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(write(tmp_path / "it.jsonl", 1).parent)
    with pytest.raises(UsageError, match=words):
        tag("it.jsonl", **given)


def test_a_judge_that_does_not_judge(tmp_path: Path) -> None:
    source = write(tmp_path / "it.jsonl", 2)
    with (
        FakeOllama(script=lambda ask: Reply("Well.")) as fake,
        pytest.raises(MagpieError, match="valid judgement"),
    ):
        list(tag(source, host=fake.url, unproven=True))


def test_the_example_of_its_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path / "it.jsonl", 1).parent)
    with FakeOllama(models=[FakeModel("m:1b")], script=lambda ask: Reply(GOOD)) as fake:
        monkeypatch.setenv("OLLAMA_HOST", fake.url)
        example = doctest.DocTestParser().get_doctest(tag.__doc__ or "", {"tag": tag}, "tag", None, 0)
        assert doctest.DocTestRunner().run(example) == doctest.TestResults(0, 1)
