"""Each finding: on rows that have it, and on none that have not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from magpie_ollama.corpus.reading import Rows
from magpie_ollama.curation.checking import ERRORS, FINDINGS, Check, grams
from magpie_ollama.curation.preferences import Kind
from magpie_ollama.curation.trainers import SHAPES, TRAINERS, Trainer


def u(text: str = "Come?") -> dict[str, str]:
    return {"role": "user", "content": text}


def a(text: str = "Così.") -> dict[str, str]:
    return {"role": "assistant", "content": text}


def gpt(*texts: str) -> list[dict[str, str]]:
    return [{"from": "gpt" if at % 2 else "human", "value": text} for at, text in enumerate(texts)]


def check(path: Path, trainer: Trainer, *rows: Any, kind: Kind | None = None, **more: Any) -> Check:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    checked = Check(trainer, kind, **more)
    checked.file(path.name, Rows(path, skip_bad=True, asked=""))
    return checked


PAIR = {"prompt": [u()], "chosen": [a()], "rejected": [a("So.")]}
KTO = {"prompt": [u()], "completion": [a()], "label": True}
SFT = {"prompt": [u()], "completion": [a()]}


@pytest.mark.parametrize(
    ("trainer", "row", "finding"),
    [
        ("trl", {"conversations": gpt("Come?", "Così.")}, "keys"),
        ("trl", {**SFT, "messages": [u(), a()]}, "two_forms"),
        ("trl", {"messages": [{"role": "human", "content": "Come?"}, a()]}, "roles"),
        ("trl", {"messages": [u(), u(), a()]}, "roles"),
        ("trl", {"messages": [u(), {"role": "system", "content": "Sii breve."}, a()]}, "roles"),
        ("trl", {"messages": [u(), a(), u()]}, "roles"),
        ("trl", {**PAIR, "rejected": [u("So.")]}, "roles"),
        ("trl", {**PAIR, "rejected": a("So.")}, "turns"),
        ("trl", {**PAIR, "rejected": [a()]}, "same"),
        ("trl", {**PAIR, "chosen": [a(" ")]}, "empty"),
        ("trl", {**KTO, "label": 1}, "label"),
        ("trl", {"messages": [u(), a()], "label": False}, "labelled_bad"),
        ("axolotl", {"conversations": gpt("Come?", "Così.")}, "keys"),
        ("axolotl", {**KTO}, "turns"),
        ("llama-factory", {"conversations": gpt("Come?", "Così.", "E poi?")}, "odd_turns"),
        ("llama-factory", {"conversations": gpt("Come?", "Così.")[::-1]}, "roles"),
        ("llama-factory", {"conversations": gpt("Come?"), "chosen": [a()], "rejected": [a("So.")]}, "turns"),
        ("llama-factory", PAIR, "keys"),
        ("llama-factory", {"conversations": gpt("Come?", "Così."), "kto_tag": "no"}, "label"),
        (
            "llama-factory",
            {"conversations": gpt("Chi?", "Io."), **dict.fromkeys(("chosen", "rejected"), gpt("", "Così.")[1])},
            "odd_turns",
        ),
        ("unsloth", {"messages": [u(), a("")]}, "empty"),
    ],
)
def test_what_is_wrong_with_a_row(tmp_path: Path, trainer: Trainer, row: dict[str, Any], finding: str) -> None:
    found = check(tmp_path / "a.jsonl", trainer, row).found
    assert finding in found.counts and finding in ERRORS
    assert found.where[finding] == ["a.jsonl:1"]
    assert found.errors


@pytest.mark.parametrize(
    ("trainer", "kind", "row"),
    [
        ("trl", "sft", {"messages": [{"role": "system", "content": ""}, u(), a(), u("E poi?"), a("Basta.")]}),
        ("trl", "sft", SFT),
        ("trl", "dpo", PAIR),
        ("trl", "dpo", {"chosen": [u(), a()], "rejected": [u(), a("So.")]}),
        ("trl", "kto", {**KTO, "label": False}),
        ("trl", "prompt", {"prompt": [u()]}),
        ("axolotl", "sft", {"messages": [u(), a()]}),
        ("axolotl", "dpo", PAIR),
        ("axolotl", "dpo", {**PAIR, "chosen": a(), "rejected": a("So.")}),
        ("axolotl", "kto", {"prompt": "Come?", "completion": "Così.", "label": False, "system": ""}),
        (
            "llama-factory",
            "sft",
            {"conversations": [{"from": "system", "value": "Sii breve."}, *gpt("Come?", "Così.")]},
        ),
        ("llama-factory", "sft", {"instruction": "Come?", "input": "", "output": "Così."}),
        (
            "llama-factory",
            "dpo",
            {"conversations": gpt("Come?"), "chosen": gpt("", "Così.")[1], "rejected": gpt("", "So.")[1]},
        ),
        ("llama-factory", "kto", {"conversations": gpt("Come?", "Così."), "kto_tag": False}),
        ("llama-factory", "prompt", {"instruction": "Come?", "system": "", "history": [["Chi?", "Io."]]}),
        ("unsloth", "sft", {"conversations": gpt("Come?", "Così.")}),
    ],
)
def test_what_is_right_is_known_for_what_it_is(
    tmp_path: Path, trainer: Trainer, kind: str, row: dict[str, Any]
) -> None:
    found = check(tmp_path / "a.jsonl", trainer, row).found
    assert (found.kind, dict(found.counts)) == (kind, {})


def test_columns_that_change_amid_a_file(tmp_path: Path) -> None:
    rows = [SFT, {**SFT, "source": "x"}, {"prompt": [u("Chi?")], "completion": [{**a(), "reasoning_content": ""}]}]
    assert check(tmp_path / "a.jsonl", "trl", *rows).found.where["columns"] == ["a.jsonl:2", "a.jsonl:3"]
    rows = [{"instruction": "Come?", "history": []}, {"instruction": "Chi?", "history": [["Come?", "Così."]]}]
    assert "columns" not in check(tmp_path / "a.jsonl", "llama-factory", *rows).found.counts


def test_an_instruction_in_two_splits(tmp_path: Path) -> None:
    checked = check(tmp_path / "train.jsonl", "trl", PAIR, {**PAIR, "rejected": [a("No.")]})
    (tmp_path / "test.jsonl").write_text(json.dumps({**PAIR, "prompt": [u("COME")]}) + "\n")
    checked.file("test.jsonl", Rows(tmp_path / "test.jsonl"))
    assert checked.found.where == {"across": ["test.jsonl:1"]}, "several pairs of one instruction are none of it"


def test_a_row_once_more_and_one_that_is_too_long(tmp_path: Path) -> None:
    found = check(tmp_path / "a.jsonl", "trl", SFT, SFT, {**SFT, "completion": [a("Così. " * 10)]}, max_tokens=10).found
    assert found.where == {"doubled": ["a.jsonl:2"], "too_long": ["a.jsonl:3"]}
    assert not found.errors


def test_words_of_a_benchmark(tmp_path: Path) -> None:
    benchmark = frozenset(grams("Natalia sold clips to 48 of her friends, in April!"))
    rows = [
        {"messages": [u("What is 2 + 2?"), a("Well: natalia sold clips to 48 of her friends in May.")]},
        {"messages": [u("Natalia sold clips to 48 of them"), a("She did.")]},
    ]
    assert check(tmp_path / "a.jsonl", "trl", *rows, benchmark=benchmark).found.where == {"benchmark": ["a.jsonl:1"]}
    assert len({*grams("小明有五个苹果他吃了两个")}) == 12 - 7, "a sign is a word"


def pairs(*lengths: tuple[int, int]) -> list[dict[str, Any]]:
    return [
        {"prompt": [u(f"Come {at}?")], "chosen": [a("a" * chosen)], "rejected": [a("b" * rejected)]}
        for at, (chosen, rejected) in enumerate(lengths)
    ]


def test_lengths_that_give_the_answer_away(tmp_path: Path) -> None:
    biased = check(tmp_path / "a.jsonl", "trl", *pairs(*[(100 + n, 50 + n) for n in range(20)]))
    lengths = biased.end()
    assert lengths is not None
    assert (lengths.wanted, lengths.other, lengths.longer) == (109.5, 59.5, 1.0)
    assert lengths.effect == pytest.approx(50 / 5.9161, abs=0.01), "in standard deviations"
    assert biased.found.counts == {"length": 1}
    fair = check(tmp_path / "a.jsonl", "trl", *pairs(*[(100 + n, 119 - n) for n in range(20)]))
    assert fair.end() == (109.5, 109.5, 0.0, 0.5)
    assert not fair.found.counts


def test_lengths_of_labelled_rows_and_a_label_that_none_has(tmp_path: Path) -> None:
    rows = [
        {**KTO, "prompt": [u(f"{n}?")], "label": n % 2 == 0, "completion": [a("x" * (9 + n % 2))]} for n in range(9)
    ]
    both = check(tmp_path / "a.jsonl", "trl", *rows)
    assert (lengths := both.end()) is not None
    assert (lengths.wanted, lengths.other, lengths.longer) == (9.0, 10.0, None)
    one = check(tmp_path / "a.jsonl", "trl", *rows[::2])
    assert one.end() is None
    assert one.found.counts == {"one_label": 1}


def test_a_kind_that_was_asked_for_is_not_guessed(tmp_path: Path) -> None:
    assert check(tmp_path / "a.jsonl", "trl", SFT, kind="dpo").found.counts == {"keys": 1}
    assert not check(tmp_path / "a.jsonl", "trl", PAIR, kind="kto").found.counts, "which splits pairs by itself"


def test_every_trainer_has_a_shape_of_every_kind() -> None:
    assert SHAPES.keys() == TRAINERS.keys()
    assert all(shapes for kinds in SHAPES.values() for shapes in kinds.values())
    assert len(FINDINGS) == len({*FINDINGS.values()})
