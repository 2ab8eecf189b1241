"""Records of a file, from Python."""

from __future__ import annotations

import doctest
import json
import sys
from pathlib import Path

import pytest
from fake_ollama import FakeModel, FakeOllama

from magpie_ollama import MagpieError, generate, read, to_dataset
from magpie_ollama.api import reading
from magpie_ollama.errors import UsageError

TURNS = ({"role": "user", "content": "Quanto fa due più due?"}, {"role": "assistant", "content": "Quattro."})


def test_a_corpus_is_read_as_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        made = list(generate("en", 2, host=fake.url, output=path))
    assert list(read(path)) == made
    assert made[0].run
    dataset = to_dataset(path)
    assert dataset.to_list() == [record.to_dict() for record in made]


def test_another_tools_rows(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("instruction,output\nWho sails?,Sailors do.\nWho sings?,\n", "utf-8")
    answered, asked = read(path)
    assert (answered.instruction, answered.response, answered.server) == ("Who sails?", "Sailors do.", "import")
    assert answered.id.startswith("line ")
    assert [turn["content"] for turn in asked.messages] == ["Who sings?"]
    (tmp_path / "one.jsonl").write_text(json.dumps({"messages": TURNS, "language": "Italian"}) + "\n{}\n", "utf-8")
    with pytest.raises(MagpieError, match="Line 2"):
        list(read(tmp_path / "one.jsonl"))
    with pytest.warns(UserWarning, match="Passed over line 2"):
        (record,) = read(tmp_path / "one.jsonl", skip_bad=True)
    assert record.language == "it"
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "missing.jsonl")


def test_without_datasets_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError) as caught:
        to_dataset(tmp_path / "it.jsonl")
    assert caught.value.remedy == "pip install datasets"


def test_the_examples_of_its_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("it.jsonl").write_text(json.dumps({"messages": TURNS, "language": "it", "model": "m:1b"}) + "\n", "utf-8")
    found = doctest.testmod(reading)
    assert (found.failed, found.attempted) == (0, 2)
