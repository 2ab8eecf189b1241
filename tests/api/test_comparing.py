"""Which steering works for which language, from Python."""

from __future__ import annotations

import asyncio
import doctest
import json
from pathlib import Path

import pytest
from fake_ollama import Ask, FakeModel, FakeOllama, Reply, question

from magpie_ollama import acompare, compare
from magpie_ollama.errors import UsageError


def script(ask: Ask) -> Reply:
    return Reply(question(int(ask.options.get("seed", 0)), "it"))


def test_figures_of_each_cell_and_the_same_again_asks_nothing(tmp_path: Path) -> None:
    output = tmp_path / "it"
    with FakeOllama(models=[FakeModel("m:1b")], script=script) as fake:
        given = {"steering": "system,prefix", "host": fake.url, "output": str(output)}
        found = compare("it", 4, **given)
        asked = len(fake.requests_to("/api/generate"))
        assert asyncio.run(acompare("it", 4, **given)) == found
        assert len(fake.requests_to("/api/generate")) <= asked + 1, "which loads the model"
    assert [(one.cell.steering, one.attempts) for one in found] == [("system", 4), ("prefix", 4)]
    assert sum(one.best for one in found) == 1
    assert len([json.loads(line) for line in output.with_suffix(".jsonl").read_text("utf-8").splitlines()]) == 8


def test_what_may_not_stand_there_is_refused() -> None:
    for given, words in (({"n": 1}, "n must be 2"), ({"temperature": "9"}, "0 to 5"), ({"output": "-"}, "no file")):
        with pytest.raises(UsageError, match=words):
            compare("it", **given)


def test_the_example_of_its_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with FakeOllama(models=[FakeModel("m:1b")], script=script) as fake:
        monkeypatch.setenv("OLLAMA_HOST", fake.url)
        example = doctest.DocTestParser().get_doctest(compare.__doc__ or "", {"compare": compare}, "compare", None, 0)
        assert doctest.DocTestRunner().run(example) == doctest.TestResults(0, 1)
