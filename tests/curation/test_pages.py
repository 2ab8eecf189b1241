"""Pages of any line, and lines of any file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from corpus.support import record

from magpie_ollama.corpus import lines, reading
from magpie_ollama.curation import pages
from magpie_ollama.curation.pages import Page, Search, opened, page
from magpie_ollama.display.record import fields
from magpie_ollama.records import tags

PAIR = [("instruction", "Chi?"), ("response", "Io.")]


def line(value: Any, **options: Any) -> bytes:
    return json.dumps(value, **options).encode() + b"\n"


@pytest.mark.parametrize(
    "value",
    [
        {"messages": [{"role": "user", "content": "Chi?"}, {"role": "assistant", "content": "Io."}], "schema": 1},
        {"conversations": [{"from": "human", "value": "Chi?"}, {"from": "gpt", "value": "Io."}]},
        {"instruction": "Chi?", "output": "Io."},
        {"prompt": "Chi?", "completion": "Io."},
    ],
)
def test_the_pair_of_each_shape_with_its_fields(value: dict[str, Any]) -> None:
    assert page(3, line({"id": "a", **value, "language": "it"})) == Page(3, {"id": "a", "language": "it"}, PAIR)


def test_what_nobody_judged_is_not_shown() -> None:
    made = lines.values(record())
    assert page(1, lines.encode(made)).fields["tags"] == {}
    judged = page(1, lines.encode(made | {"tags": tags({"quality": "good", "judge": "m"})}))
    assert judged.fields["tags"] == {"quality": "good", "judge": "m"}
    assert not {"tags {}", "reward 0.0", "fluency 0.0"} & set(fields(page(1, lines.encode(made))))
    assert "tags quality good, judge m" in fields(judged)


def test_all_turns_and_the_reasoning() -> None:
    turns = [("system", "S"), ("user", "Chi?"), ("assistant", "Io."), ("user", "E lui?"), ("assistant", "Lui.")]
    value = {"messages": [{"role": role, "content": text} for role, text in turns]}
    assert page(1, line(value)).texts == [("system", "S"), *PAIR, ("user", "E lui?"), ("assistant", "Lui.")]
    value["messages"].append(None)
    assert page(1, line(value)).texts[-1] == ("no turn", "None")
    told = page(1, line({"instruction": "Chi?", "output": "Io.", "reasoning": "Mah."}))
    assert told.texts == [PAIR[0], ("reasoning", "Mah."), PAIR[1]]


@pytest.mark.parametrize(
    ("bad", "wrong", "texts"),
    [
        (b"{broken\n", "is not valid JSON", [("line", "{broken")]),
        (b'"text"\n', "is no JSON object", [("line", '"text"')]),
        (b'{"a": "\xff"}\n', "is not UTF-8", [("line", '{"a": "\ufffd"}')]),
        (b'{"a": 1}\n', "has no instruction", []),
    ],
)
def test_a_line_that_is_no_record_is_a_page_too(bad: bytes, wrong: str, texts: list[tuple[str, str]]) -> None:
    found = page(7, bad)
    assert found.wrong.startswith(wrong)
    assert found.texts == texts


def test_a_line_too_long_to_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "LONGEST", 100)
    assert "is longer than" in page(1, line({"instruction": "x" * 1000})).wrong


def test_lines_are_found_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "BLOCK", 5)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"one\n\nthree\nfour, torn")
    with opened(path) as lines:
        assert (lines.count, lines.complete) == (0, False)
        assert lines.extend()
        assert (lines.count, lines[0], lines.complete) == (2, b"one\n", False)
        with pytest.raises(IndexError):
            lines[2]
        while lines.extend():
            pass
        assert [lines[n] for n in range(lines.count)] == [b"one\n", b"\n", b"three\n", b"four, torn"]
        with path.open("ab") as file:  # a run goes on
            file.write(b" no more\nfive\n")
        while lines.extend():
            pass
        assert (lines.count, lines[3], lines[4]) == (5, b"four, torn no more\n", b"five\n")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("perché no", True),
        ("PERCHÉ   NO", True),
        ("perche", False),
        ("雪", True),
        ("exemplar+opener", True),
        ("abc", False),
        ('say "no"', True),
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_search(text: str, found: bool, ascii_only: bool) -> None:
    value = {"instruction": 'Perché\nno? Say "no".', "output": "雪", "steering": "exemplar+opener"}
    assert Search(text).finds(1, line(value, ensure_ascii=ascii_only)) is found


@pytest.mark.parametrize("ascii_only", [True, False])
def test_words_are_found_whatever_stands_between_them(ascii_only: bool) -> None:
    between = {
        " ": True,
        "\n": True,
        "\t \r\n": True,
        "\u00a0": True,
        "\u3000": True,
        " and ": False,
        "": False,
        "n": False,
    }
    for space, found in between.items():
        value = line({"instruction": f"Why SNOW{space}falls on roads?", "output": "So."}, ensure_ascii=ascii_only)
        assert Search("snow falls").finds(1, value) is found, repr(space)
        assert Search("falls on roads").finds(1, value), repr(space)


def test_a_huge_line_has_one_constant() -> None:
    assert pages.LONGEST == reading.LONGEST
