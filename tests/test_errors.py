"""What an error says of itself."""

from __future__ import annotations

import pytest

from magpie_ollama.errors import CorpusError, NoServer


@pytest.mark.parametrize("remedy", ["", "start it with `ollama serve`"])
def test_an_error_says_what_to_do_next(remedy: str) -> None:
    error = NoServer("No Ollama answers at 127.0.0.1.", remedy)
    assert str(error) == "No Ollama answers at 127.0.0.1." + (f"\nnext: {remedy}" if remedy else "")


def test_a_cause_alone_is_an_error() -> None:
    assert str(CorpusError("it.jsonl is locked")) == "it.jsonl is locked"
