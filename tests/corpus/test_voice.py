"""A user's own files: examples, system messages, documents in passages."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magpie_ollama.corpus import voice
from magpie_ollama.errors import MagpieError, UsageError

PARAGRAPH = "The warranty lasts two years. It covers defects of the material, but no damage by water. "


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("e.txt", "How do I prune a rose?\nWrite a haiku about rain.\n\nHow do I prune a rose?\n"),
        ("e.jsonl", '{"instruction": "How do I prune a rose?"}\n{"instruction": "Write a haiku about rain."}\n'),
        ("e.csv", "question\nHow do I prune a rose?\nWrite a haiku about rain.\n"),
    ],
)
def test_sentences_of_ones_own(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    assert voice.pairs(tmp_path / name) == [("How do I prune a rose?", ""), ("Write a haiku about rain.", "")]


def test_pairs_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("instruction,response\nHow do I prune a rose?,In March.\n", "utf-8")
    assert voice.pairs(tmp_path / "e.csv") == [("How do I prune a rose?", "In March.")]


def test_system_messages_keep_their_ids(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps({"id": "nurse", "system": "You help nurses."}) + "\n", "utf-8")
    (tmp_path / "p.txt").write_text("You help nurses.\nYou help pilots.\n", "utf-8")
    assert voice.systems(tmp_path / "p.jsonl") == (voice.Piece("nurse", "You help nurses."),)
    assert [piece.text for piece in voice.systems(tmp_path / "p.txt")] == ["You help nurses.", "You help pilots."]


@given(st.lists(st.text(alphabet="ab .。\n", max_size=600), max_size=12))
def test_passages_hold_the_whole_text_and_are_of_their_size(paragraphs: list[str]) -> None:
    text = "\n\n".join(paragraphs)
    found = list(voice._passages(text))
    assert all(len(passage) <= 2 * voice.PASSAGE for passage in found)
    kept, whole = "".join("".join(found).split()), "".join(text.split())
    assert whole.startswith(kept)
    assert len(whole) - len(kept) < voice.LEAST, "what is left out is too short to ask about"


def test_passages_end_at_paragraphs_and_a_long_one_at_sentences(tmp_path: Path) -> None:
    path = tmp_path / "manual.md"
    path.write_text(f"# Manual\n\n{PARAGRAPH * 8}\r\n\r\n{PARAGRAPH * 30}", "utf-8")
    pieces, files = voice.passages(path)
    assert files == (path,)
    assert [piece.source for piece in pieces] == [f"manual.md#{number}" for number in range(1, len(pieces) + 1)]
    assert pieces[0].text.startswith("# Manual\n\nThe warranty")
    assert all(piece.text.endswith("water.") and len(piece.text) <= voice.PASSAGE for piece in pieces)


def test_a_folder_with_a_pdf(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.pdf").write_bytes(_pdf("The pool is open from May to September, daily from nine to eight."))
    (tmp_path / "a.txt").write_text(PARAGRAPH, "utf-8")
    (tmp_path / "c.jpg").write_bytes(b"\xff\xd8")
    pieces, files = voice.passages(tmp_path)
    assert [file.name for file in files] == ["a.txt", "b.pdf"]
    assert "open from May to September" in pieces[1].text
    assert [name for name, _ in voice.digests(files)] == ["a.txt", "b.pdf"]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("e.txt", b"", "is empty"),
        ("e.txt", b" \n\n x \n", "is empty, or has no passage"),
        ("e.md", b"\0\1\2" * 40, "is binary, or not UTF-8"),
        ("e.txt", "è".encode("latin-1") * 40, "is binary, or not UTF-8"),
        ("e.pdf", b"%PDF-1.4 broken", "cannot be read as a PDF|pypdf is not there"),
        (None, b"", "cannot be read: No such file"),
    ],
)
def test_no_document(tmp_path: Path, name: str | None, data: bytes, said: str) -> None:
    path = tmp_path / (name or "gone.txt")
    if name:
        path.write_bytes(data)
    with pytest.raises(UsageError, match=said) as caught:
        voice.passages(path)
    assert caught.value.remedy


def test_a_folder_without_documents(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no document"):
        voice.passages(tmp_path)


def test_no_examples(tmp_path: Path) -> None:
    (tmp_path / "e.txt").write_text("\n \n", "utf-8")
    with pytest.raises(MagpieError):
        voice.pairs(tmp_path / "e.txt")


def _pdf(text: str) -> bytes:
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    page = writer.add_blank_page(600, 200)
    font = DictionaryObject(
        {NameObject(key): NameObject(value) for key, value in
         (("/Type", "/Font"), ("/Subtype", "/Type1"), ("/BaseFont", "/Helvetica"))}
    )  # fmt: skip
    page[NameObject("/Resources")] = DictionaryObject(
        {NameObject("/Font"): DictionaryObject({NameObject("/F1"): writer._add_object(font)})}
    )
    stream = DecodedStreamObject()
    stream.set_data(f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode())
    page[NameObject("/Contents")] = writer._add_object(stream)
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()
