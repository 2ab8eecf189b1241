"""The dataset card, read by the Hub's own library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard

from magpie_ollama.corpus.reading import Rows
from magpie_ollama.curation import statistics
from magpie_ollama.curation.card import card

TURNS = [{"role": "user", "content": "Quanto fa 2 + 2?"}, {"role": "assistant", "content": "4."}]
OWN = {
    "messages": TURNS,
    "language": "it",
    "model": "llama3.2:latest",
    "server": "ollama",
    "steering": "system",
    "run": "r",
}
RUN = {"there": 2, "funnel": {"outcomes": {"kept": 3, "wrong_language": 6, "truncated": 1, "dropped": 4}}}


def made(path: Path, *rows: dict[str, Any], runs: tuple[Any, ...] = (), licence: str = "") -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return card("maria/Ricette: it", ["data/train.jsonl"], statistics.of(Rows(path)), runs, licence)


def metadata(text: str) -> dict[str, Any]:
    found: dict[str, Any] = DatasetCard(text).data.to_dict()
    return found


def test_the_metadata_is_what_the_hub_reads(tmp_path: Path) -> None:
    norwegian = {**OWN, "language": "no"}
    text = made(tmp_path / "a.jsonl", OWN, OWN, norwegian, {**OWN, "language": "zh-Hans"}, licence="cc-by-4.0")
    assert metadata(text) == {
        "pretty_name": "Ricette: it",
        "language": ["it", "no", "zh"],
        "license": "cc-by-4.0",
        "task_categories": ["text-generation"],
        "size_categories": ["n<1K"],
        "language_creators": ["machine-generated"],
        "tags": ["synthetic", "magpie", "magpie-ollama", "instruction-tuning"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train.jsonl"}]}],
    }


def test_without_a_licence_none_is_claimed(tmp_path: Path) -> None:
    text = made(tmp_path / "a.jsonl", OWN)
    assert "license" not in metadata(text)
    assert "No licence was chosen" in text
    assert "subject to that model's own licence (here: `llama3.2:latest`)" in text


def test_it_tells_models_languages_steerings_and_the_funnel(tmp_path: Path) -> None:
    text = made(tmp_path / "a.jsonl", OWN, {**OWN, "steering": "opener"}, runs=(RUN, {**RUN, "there": 0}))
    assert "written by `llama3.2:latest`. They were made with magpie-ollama" in text
    assert "| Italian (`it`) | 2 | 5 words | 1 word |" in text
    assert "| steering | `system` (50 %), `opener` (50 %) |" in text
    assert "In 1 run, 10 attempts gave 3 records, of which 2 are here." in text
    assert "| `wrong_language` | 6 | 60.0 % |" in text
    assert "dropped" not in text


def test_topics_and_conversations_are_told(tmp_path: Path) -> None:
    talk = {**OWN, "topic": "maths", "messages": [*OWN["messages"], *OWN["messages"]]}
    text = made(tmp_path / "a.jsonl", OWN, talk)
    assert "| topic | `maths` (50 %); 1 record names none |" in text
    assert "Conversations of several turns of the user: 1, of up to 2." in text
    assert "Conversations" not in made(tmp_path / "b.jsonl", OWN)


def test_tags_are_told_with_their_judge(tmp_path: Path) -> None:
    tags = {"quality": "good", "difficulty": "easy", "category": "Math", "safety": "safe", "judge": "qwen3:8b"}
    text = made(tmp_path / "a.jsonl", {**OWN, "tags": tags})
    assert "Given by `qwen3:8b` as a judge" in text
    assert "| safety | `safe` |" in text


def test_columns_of_other_tools_are_no_tags_of_a_judge(tmp_path: Path) -> None:
    dolly = {"instruction": "Quanto?", "output": "Tanto.", "category": "open_qa", "tags": {"quality": "poor"}}
    assert "## Tags" not in made(tmp_path / "a.jsonl", dolly)
    mixed = made(tmp_path / "b.jsonl", dolly, {**OWN, "tags": {"category": "Math", "judge": "qwen3:8b"}})
    assert "| category | `Math` |" in mixed
    assert "poor" not in mixed


def test_synthetic_is_said_of_what_tells_so_and_of_nothing_else(tmp_path: Path) -> None:
    foreign = {"instruction": "Quanto?", "output": "Tanto."}
    assert "**This data is synthetic.**" in made(tmp_path / "a.jsonl", OWN)
    mixed = made(tmp_path / "b.jsonl", OWN, foreign)
    assert "**At least 1 of the 2 records is synthetic**" in mixed
    assert "1 of them was made with magpie-ollama" in mixed
    assert "language_creators" not in metadata(mixed)
    unknown = made(tmp_path / "c.jsonl", foreign)
    assert "**The records do not tell who wrote them.**" in unknown
    assert metadata(unknown)["tags"] == ["instruction-tuning"]
    assert "Magpie" not in unknown
    named = made(tmp_path / "d.jsonl", {**foreign, "model_name": "m"})
    assert "**This data is synthetic.**" in named
    assert metadata(named)["tags"] == ["synthetic", "instruction-tuning"]


def test_answers_to_a_persons_questions_are_no_questions_of_a_models(tmp_path: Path) -> None:
    answered = {**OWN, "model": "", "response_model": "big:8b"}
    text = made(tmp_path / "a.jsonl", answered)
    assert "Their responses were written by `big:8b`" in text
    assert "**The responses are synthetic.**" in text
    for wrong in ("the Magpie method", "The instructions show what the model", "wrote the instructions"):
        assert wrong not in text
    assert "language_creators" not in metadata(text)
    assert metadata(text)["tags"] == ["synthetic", "magpie-ollama", "instruction-tuning"]
    both = made(tmp_path / "b.jsonl", OWN, answered)
    assert "The responses of 1 of them were written by `big:8b`" in both
    assert "1 of them was made with magpie-ollama by the Magpie method" in both
    assert "do not tell" not in both


def test_names_from_a_file_cannot_break_the_card(tmp_path: Path) -> None:
    text = made(tmp_path / "a.jsonl", {**OWN, "model": "a`|\n# b\n---\nlicense: mit", "language": 'x"\n- y'})
    assert "license" not in metadata(text)
    assert "language" not in metadata(text)
    assert "| model | `a'/ # b --- license: mit` |" in text


def test_what_some_records_name_is_not_said_of_all(tmp_path: Path) -> None:
    foreign = {"instruction": "Quanto?", "output": "Tanto."}
    tagged = {**OWN, "tags": {"quality": "good", "judge": "qwen3:8b"}}
    text = made(tmp_path / "a.jsonl", tagged, foreign, foreign, {**foreign, "model": "m"})
    assert "written by `llama3.2:latest` (25 %), `m` (25 %); 2 records name none." in text
    assert "| server | `ollama` (25 %); 3 records name none |" in text
    assert (
        "Given by `qwen3:8b` as a judge, on the scales of Magpie, to 1 of the 4 records; shares are of these." in text
    )
    assert "Each line that magpie-ollama made has `messages`" in text


def test_imported_records_have_no_runs_to_miss(tmp_path: Path) -> None:
    imported = {**OWN, "server": "import", "steering": "", "run": ""}
    assert "manifest" not in made(tmp_path / "a.jsonl", imported)
    assert "left no manifest" in made(tmp_path / "b.jsonl", OWN)
