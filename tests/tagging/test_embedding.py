"""Vectors of instructions: what a server may answer, and what is left of a run that was killed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest
from fake_ollama import FakeModel, FakeOllama, FakeOpenAI, embedder
from fake_ollama.embedding import vector

from magpie_ollama.errors import CorpusError, MagpieError, ModelMissing, NoServer, RequestRefused, ServerError
from magpie_ollama.servers.base import ServerChoice
from magpie_ollama.tagging import embedding
from magpie_ollama.tagging.judging import JudgingProgress
from magpie_ollama.tagging.vectors import Vectors

TEXTS = [f"word{n} and word{n + 1}, or not word{n + 2}?" for n in range(70)]


def embed(source: Path, url: str, texts: list[str] = TEXTS, kind: str = "ollama", model: str = "") -> object:
    choice = ServerChoice(kind, url, model)
    return asyncio.run(embedding.embed(source, choice, texts, JudgingProgress()))[0]


def asked(fake: FakeOllama) -> int:
    """Texts that it was to embed."""
    return sum(len(one.body["input"]) for one in fake.requests if one.path == "/api/embed" and one.body)


def cosines(texts: list[str]) -> object:
    rows = np.array([vector(text[: embedding.LONGEST]) for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_each_text_is_asked_for_once_and_never_again(tmp_path: Path) -> None:
    source = tmp_path / "it.jsonl"
    with FakeOllama(models=[FakeModel(), embedder()]) as fake:
        found = embed(source, fake.url, [*TEXTS, TEXTS[0]])
        assert asked(fake) == 70
        again = embed(source, fake.url, [*TEXTS[5:], "a new one"])
        assert asked(fake) == 71
    assert found == pytest.approx(cosines([*TEXTS, TEXTS[0]]), abs=1e-3)
    assert again == pytest.approx(cosines([*TEXTS[5:], "a new one"]), abs=1e-3)


def test_what_was_embedded_before_a_failure_is_kept_and_half_a_row_is_not(tmp_path: Path) -> None:
    source = tmp_path / "it.jsonl"
    with FakeOllama(models=[embedder()], embed=lambda text: None if text == TEXTS[69] else vector(text)) as fake:
        with pytest.raises(RequestRefused):
            embed(source, fake.url)
        fake.embed = vector
        (file,) = (tmp_path / "it.jsonl.magpie" / "cache").iterdir()
        os.truncate(file, file.stat().st_size - 7)  # as a kill may leave it
        before = asked(fake)
        found = embed(source, fake.url)
        assert asked(fake) - before == 70 - 63
    assert found == pytest.approx(cosines(TEXTS), abs=1e-3)


@pytest.mark.parametrize(
    "left", [b"", b"{", b'{"model":"other","digest":"","cut":1,"numbers":4}\n' + bytes(99), b"\0" * 5000]
)
def test_a_file_of_vectors_that_is_none_is_made_anew(tmp_path: Path, left: bytes) -> None:
    source = tmp_path / "it.jsonl"
    with FakeOllama(models=[embedder()]) as fake:
        embed(source, fake.url)
        (file,) = (tmp_path / "it.jsonl.magpie" / "cache").iterdir()
        file.write_bytes(left)
        assert embed(source, fake.url) == pytest.approx(cosines(TEXTS), abs=1e-3)


def test_each_model_has_its_own_and_two_commands_do_not_write_at_once(tmp_path: Path) -> None:
    source = tmp_path / "it.jsonl"
    with FakeOllama(models=[embedder("a:1"), embedder("b:1")]) as fake:
        embed(source, fake.url, model="a:1")
        embed(source, fake.url, model="b:1")
        assert asked(fake) == 140
        with (
            Vectors(source, "a:1", fake.models[0].digest, embedding.LONGEST),
            pytest.raises(CorpusError, match="Another command"),
        ):
            embed(source, fake.url, model="a:1")


def test_a_model_whose_vectors_change_is_told_with_what_to_remove(tmp_path: Path) -> None:
    source = tmp_path / "it.jsonl"
    with FakeOllama(models=[embedder()]) as fake:
        embed(source, fake.url, TEXTS[:3])
        fake.embed = lambda text: [1.0, 2.0]
        with pytest.raises(CorpusError, match="vectors of 2 numbers, and made some of 24") as caught:
            embed(source, fake.url)
    assert caught.value.remedy.startswith(f"rm {tmp_path}/it.jsonl.magpie/cache/vectors-")


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (lambda text: [0.0, 0.0], ServerError, "one of zeros"),
        (lambda text: [1.0] * (len(text) % 2 + 1), ServerError, "of 1 or 2 numbers"),
        (lambda text: [], ServerError, "of 0 numbers"),
        (lambda text: ["one"], RequestRefused, "makes no vectors"),
        (lambda text: None, RequestRefused, "the input cannot be embedded"),
    ],
)
def test_what_is_no_vector_is_told(tmp_path: Path, answer: object, error: type[MagpieError], words: str) -> None:
    with FakeOllama(models=[embedder()], embed=answer) as fake, pytest.raises(error, match=words) as caught:  # type: ignore[arg-type]
        embed(tmp_path / "it.jsonl", fake.url)
    assert "-m" in caught.value.remedy


def test_a_model_that_writes_is_no_embedding_model(tmp_path: Path) -> None:
    source = tmp_path / "it.jsonl"
    with FakeOllama(models=[FakeModel("llama3.2")]) as fake:
        with pytest.raises(RequestRefused, match="no embedding model") as caught:
            embed(source, fake.url, model="llama3.2")
        assert "ollama pull bge-m3" in caught.value.remedy
        with pytest.raises(ModelMissing, match=r"only for text: llama3\.2"):
            embed(source, fake.url)
    silent = FakeOllama(models=[FakeModel("old")], version="0.5.0")  # tells no capabilities
    with silent as fake, pytest.raises(RequestRefused, match="this model does not support embeddings"):
        embed(source, fake.url)
    with pytest.raises(NoServer):
        embed(source, fake.url)


@pytest.mark.parametrize("flavour", ["vllm", "llama-server"])
def test_any_openai_server_will_do_and_a_long_text_is_cut(tmp_path: Path, flavour: str) -> None:
    texts = [*TEXTS[:3], "bread and " * 200]
    with FakeOpenAI(flavour, models=[embedder()], context=100) as fake:  # type: ignore[arg-type]
        found = embed(tmp_path / "it.jsonl", fake.url, texts, "openai")
    assert found == pytest.approx(cosines(texts), abs=1e-3)
    with FakeOpenAI(flavour) as fake, pytest.raises(RequestRefused, match="makes no vectors with smollm2"):  # type: ignore[arg-type]
        embed(tmp_path / "it.jsonl", fake.url, texts, "openai")
