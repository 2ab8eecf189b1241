"""A card in what others wrote: what stays, what is renewed, what is refused."""

from __future__ import annotations

import pytest

from magpie_ollama.curation.readme import marked, merged
from magpie_ollama.errors import UsageError

CARD = """---
pretty_name: "x"
language:
- "it"
size_categories:
- "n<1K"
tags:
- "synthetic"
configs:
- config_name: default
  data_files:
  - split: train
    path: "data/train.jsonl"
---

# x

3 pairs.
"""
NEWER = CARD.replace("3 pairs", "5 pairs").replace('"it"', '"nl"').replace("synthetic", "other")


def test_a_card_as_it_was_written_is_replaced() -> None:
    for there in (marked(CARD), marked(CARD).replace("\n", "\r\n"), marked(CARD) + "\n\n"):
        assert merged(NEWER, there.encode(), "README.md") == (marked(NEWER), [])
    assert merged(CARD, b"", "README.md") == (marked(CARD), [])


def test_words_before_and_behind_stay_and_once_only() -> None:
    there = marked(CARD).replace("---\n\n<!--", "---\n# Mine\n\n<!--") + "\nCite *me*.\n"
    text, told = merged(NEWER, there.encode(), "README.md")
    assert text.count("# Mine") == text.count("Cite *me*.") == text.count("5 pairs") == 1
    assert "3 pairs" not in text and '- "nl"' in text and '- "other"' in text
    assert "renewed in it" in told[0]
    assert merged(NEWER, text.encode(), "README.md")[0] == text


def test_fields_of_others_stay_but_for_what_the_data_says() -> None:
    theirs = """---
# a comment
license: cc-by-4.0
language: [en, "it"]
dataset_info:
  features:
  - name: messages
    list:
    - name: role
  num_examples: 3
"pretty_name": Ricette
size_categories:
- 1M<n<10M
extra_gated_prompt: |
  Read: this.

  And that.
---
"""
    text, told = merged(CARD, theirs.encode(), "README.md")
    head = text.partition("\n---\n")[0]
    for kept in ("# a comment", "license: cc-by-4.0", 'pretty_name": Ricette', "  Read: this.\n\n  And that."):
        assert kept in head
    for gone in ("dataset_info", "num_examples", "1M<n", "[en,", 'pretty_name: "x"'):
        assert gone not in head
    assert head.count("language:") == head.count("pretty_name") == head.count("size_categories:") == 1
    assert '- "it"' in head and "size_categories, language, dataset_info" in told[0]
    again, _ = merged(NEWER, text.encode(), "README.md")
    assert "license: cc-by-4.0" in again and "Ricette" in again and '- "nl"' in again
    assert again.count("5 pairs") == 1 and "3 pairs" not in again


@pytest.mark.parametrize("path, kept", [("data/train.jsonl", True), ("data/old.parquet", False)])
def test_their_configs_stay_where_they_name_the_data(path: str, kept: bool) -> None:
    theirs = f"---\nconfigs:\n- config_name: both\n  data_files: {path}\n---\n"
    assert ("config_name: both" in merged(CARD, theirs.encode(), "README.md")[0]) is kept


@pytest.mark.parametrize("old", ["3 pairs", "<!-- magpie-ollama: end -->"])
def test_an_edited_part_is_refused(old: str) -> None:
    with pytest.raises(UsageError, match=r"edited README\.md") as told:
        merged(NEWER, marked(CARD).replace(old, "mine").encode(), "README.md")
    assert "--replace-card" in told.value.remedy


@pytest.mark.parametrize(
    "there", ["# Only words", "---\nno end", "---\n---\nx", "--- \n\n: [\n---\n", "<!-- magpie-ollama"]
)
def test_strange_cards_lose_nothing(there: str) -> None:
    text, _ = merged(CARD, there.encode(), "README.md")
    assert "3 pairs" in text
    assert all(word in text for word in there.replace("---", "").split())


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(UsageError, match="no text in UTF-8"):
        merged(CARD, b"\xff", "README.md")
