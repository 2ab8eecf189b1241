"""The judges' prompts as data: each file has both scales whole, in its own language."""

from __future__ import annotations

import re

import pytest

from magpie_ollama import prompts
from magpie_ollama.method import languages
from magpie_ollama.method.detection import identify
from magpie_ollama.tagging.planted import Shown
from magpie_ollama.tagging.scoring import SCALES, request

CODES = [name for name in prompts.names("judges") if name != "magpie"]


def test_there_are_twelve_and_more() -> None:
    assert len(CODES) >= 12
    assert set(CODES) <= set(languages.codes())


@pytest.mark.parametrize("code", CODES)
def test_each_has_both_scales_in_its_language(code: str) -> None:
    data = prompts.read(prompts.folder("judges") / f"{code}.toml")
    assert data.keys() == set(SCALES)
    for scale, table in data.items():
        assert table.keys() == {"system", "request"}
        system, asked = table["system"], table["request"]
        assert re.findall(r"^(\d) ?[:：]", system, re.MULTILINE) == list("12345"), "five steps, from bad to good"
        assert sorted(re.findall(r"\{(\w+)\}", asked)) == sorted(
            {"language": ["response"], "answer": ["instruction", "response"]}[scale]
            + ["language"] * (code == "en" and scale == "language")
        )
        assert ("{language}" in system) is (code == "en" and scale == "language")
        assert re.search(r"1\D+5", asked) and asked.rstrip()[-1] in ":：", "it ends where the digit stands"
        assert identify(system) == code


@pytest.mark.parametrize("code", CODES)
def test_what_is_judged_stands_in_it_as_it_is(code: str) -> None:
    for scale in SCALES:
        (system, asked) = request(Shown("", "{response}", "{language} \\1").turns, scale, code)
        assert "{language} \\1" in asked["content"]
        assert ("{response}" in asked["content"]) is (scale == "answer")
        assert "{" not in system["content"]
