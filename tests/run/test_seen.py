"""The index of what a corpus has, kept between openings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from corpus.support import record

from magpie_ollama.corpus import Corpus, MemoryCorpus
from magpie_ollama.method import duplicates, index_state
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.run import seen

TEXTS = [
    f"Scrivi una lettera di presentazione per il lavoro numero {n} in una città che comincia per {n}." for n in range(9)
]


def test_it_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "WORTH_KEEPING", 3)
    path = tmp_path / "it.jsonl"
    with Corpus.open(path) as corpus:
        assert len(seen.index(corpus)) == 0
        for text in TEXTS[:5]:
            corpus.append(record(text=text))
    with Corpus.open(path) as corpus:
        assert len(seen.index(corpus)) == 5
        corpus.append(record(text=TEXTS[5]))
    added: list[str] = []
    add_many = DuplicateIndex.add_many

    def adding(self: DuplicateIndex, texts: Iterable[str]) -> None:
        added.extend(texts)
        add_many(self, added)

    monkeypatch.setattr(DuplicateIndex, "add_many", adding)
    with Corpus.open(path) as corpus:
        index = seen.index(corpus)
    assert added == [TEXTS[5]]
    assert len(index) == 6
    assert all(index.find(text) == "duplicate" for text in TEXTS[:6])
    assert index.find("Hello! " + TEXTS[2]) == "near_duplicate"
    assert index.find("Qual è la capitale della Francia?") == ""


@pytest.mark.parametrize("more", ['{"messages": [{"role": "us', '{"instruction": "a", "output": "b"}\n', '"text"\n'])
def test_what_another_program_adds_meanwhile_is_passed_over(tmp_path: Path, more: str) -> None:
    path = tmp_path / "it.jsonl"
    with Corpus.open(path) as corpus:
        corpus.append(record(text=TEXTS[0]))
    with Corpus.open(path) as corpus:
        with path.open("a", encoding="utf-8") as file:
            file.write(more)
        assert len(seen.index(corpus)) == 1


def test_what_is_stopped_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "WORTH_KEEPING", 3)
    path = tmp_path / "it.jsonl"
    with Corpus.open(path) as corpus:
        for text in TEXTS:
            corpus.append(record(text=text))
    asked = iter(range(len(TEXTS) + 1))
    with Corpus.open(path) as corpus:
        assert len(seen.index(corpus, lambda: next(asked) >= 5)) == 5
    with Corpus.open(path) as corpus:
        assert corpus.recall() == b""
        assert len(seen.index(corpus)) == len(TEXTS)


def test_a_corpus_in_memory_has_none() -> None:
    assert len(seen.index(MemoryCorpus())) == 0


def test_an_index_comes_back_from_its_bytes() -> None:
    index = DuplicateIndex()
    index.add_many([*TEXTS, TEXTS[0]])
    again = index_state.from_bytes(index_state.to_bytes(index))
    assert again is not None
    assert len(again) == len(index)
    again.add("Una nuova istruzione, che prima non c'era ancora.")
    assert again.find(TEXTS[3]) == again.find("una nuova istruzione che prima non c'era ancora") == "duplicate"
    assert again.find(TEXTS[3] + " Grazie!") == "near_duplicate"


@pytest.mark.parametrize("cut", [0, 1, 100, 150, -1, -128])
def test_other_bytes_give_none(cut: int) -> None:
    index = DuplicateIndex()
    index.add_many(TEXTS)
    assert index_state.from_bytes(index_state.to_bytes(index)[:cut]) is None


def test_an_index_of_other_hashes_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    index = DuplicateIndex()
    index.add_many(TEXTS)
    state = index_state.to_bytes(index)
    monkeypatch.setattr(index_state, "normalise", str.upper)  # as another version of Unicode's tables might
    assert index_state.from_bytes(state) is None


@pytest.mark.parametrize("dropped", "×€#&|≠")
def test_an_index_of_another_normal_form_is_not_taken(monkeypatch: pytest.MonkeyPatch, dropped: str) -> None:
    index = DuplicateIndex()
    index.add_many(TEXTS)
    state = index_state.to_bytes(index)
    kept = duplicates._is_kept
    monkeypatch.setattr(duplicates, "_KEPT", {" "})
    monkeypatch.setattr(duplicates, "_is_kept", lambda char: char != dropped and kept(char))
    assert index_state.from_bytes(state) is None
