"""The path of a corpus that is not there yet, and that corpus, opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from magpie_ollama.corpus import Corpus


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "it.jsonl"


@pytest.fixture
def corpus(path: Path) -> Iterator[Corpus]:
    with Corpus.open(path) as corpus:
        yield corpus
