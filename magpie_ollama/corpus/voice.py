"""A user's own voice, out of files: exchanges to show, system messages to take in turn, documents in passages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from magpie_ollama.corpus import forms, questions
from magpie_ollama.corpus.reading import Rows
from magpie_ollama.errors import CorpusError, MagpieError, NotACorpus, UsageError, extra

T = TypeVar("T")

PASSAGE = 1000
"""Characters up to which the paragraphs of a document make one passage: about 250 tokens of English. A longer paragraph
is parted at the ends of its sentences."""

LEAST = 40
"""Characters that a passage has: a heading alone, or a page's number, is about nothing."""

LARGEST = 2**26
"""Bytes of a document."""

DOCUMENTS = (".txt", ".md", ".pdf")

_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])")


@dataclass(frozen=True, slots=True)
class Piece:
    """A system message or a passage; ``source`` is the row's own id, or FILE#number."""

    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Own:
    """What attempts take in turn. ``digests`` are the SHA-256 of the files by their names."""

    systems: tuple[Piece, ...] = ()
    passages: tuple[Piece, ...] = ()
    digests: tuple[tuple[str, str], ...] = ()


NOTHING = Own()


def pairs(path: Path) -> list[tuple[str, str]]:
    """Exchanges of a file of any form; the response is "" where there is none, as in a text of one sentence a line.

    Raises UsageError and NotACorpus.
    """
    rows = _rows(
        path,
        lambda path: list(Rows(path, wanted=forms.Wanted(text=True), asked="")),
        "write a sentence a line, or pairs in columns called question and answer",
    )
    found = list(dict.fromkeys((row.instruction.strip(), row.response.strip()) for row in rows))
    if found := [pair for pair in found if pair[0]]:
        return found
    raise NotACorpus(f"{path} has no example in it", "write a sentence a line, or pairs as CSV or JSONL")


def _rows(path: Path, read: Callable[[Path], T], remedy: str) -> T:
    """A reader's remedy names options that are for questions: columns have their usual names here."""
    try:
        return read(path)
    except CorpusError as error:
        raise UsageError(error.cause, remedy) from error


def systems(path: Path) -> tuple[Piece, ...]:
    """A message per row: the column ``system``, else the first of the usual ones; of a text, each line."""
    try:
        found = questions.read(path, column="system")
    except MagpieError:
        found = _rows(path, questions.read, "write a message a line, or call its column `system`")
    return tuple(Piece(one.source, one.text.strip()) for one in found.asked)


def passages(path: Path) -> tuple[tuple[Piece, ...], tuple[Path, ...]]:
    """The passages of a document, or of all in a folder and below it, and the files that they are from.

    Raises UsageError, with one sentence for what is empty or no text.
    """
    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.suffix.lower() in DOCUMENTS and one.is_file())
        if not files:
            raise UsageError(f"{path} holds no document ({', '.join(DOCUMENTS)}).", "give a file, or another folder")
    else:
        files = [path]
    found = []
    for file in files:
        pieces = list(_passages(_text(file)))
        if not pieces:
            raise UsageError(f"{file} is empty, or has no passage of {LEAST} characters.", "give a text to ask about")
        found += [Piece(f"{file.name}#{number}", piece) for number, piece in enumerate(pieces, 1)]
    return tuple(found), tuple(files)


def digests(files: Sequence[Path]) -> tuple[tuple[str, str], ...]:
    return tuple((file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise UsageError(f"{path} is longer than {LARGEST >> 20} MB.", "part it into smaller files")
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "check its path and its rights") from error
    if data.startswith(b"%PDF"):
        return _pdf(path)
    try:
        if b"\0" in data:
            raise ValueError
        return data.decode("utf-8-sig")
    except ValueError:
        raise UsageError(
            f"{path} is binary, or not UTF-8: no text can be read.", "give a .txt, .md or .pdf file; save text as UTF-8"
        ) from None


def _pdf(path: Path) -> str:
    try:
        import pypdf
    except ImportError:
        raise UsageError(f"{path} is a PDF, and pypdf is not there.", extra("pdf")) from None
    try:
        return "\n\n".join(page.extract_text() for page in pypdf.PdfReader(path).pages)
    except Exception as error:  # pypdf's parser meets damaged files with errors of any kind
        raise UsageError(f"{path} cannot be read as a PDF: {error!s:.100}.", "save it anew, or as text") from error


def _passages(text: str) -> Iterator[str]:
    passage = ""
    for part in _parts(text.replace("\r\n", "\n")):
        if passage and len(passage) + len(part) > PASSAGE:
            yield passage
            passage = ""
        passage = f"{passage}\n\n{part}" if passage else part
    if len(passage) >= LEAST:
        yield passage


def _parts(text: str) -> Iterator[str]:
    """Paragraphs, and of those that are too long, as many sentences as fit."""
    for paragraph in filter(None, map(str.strip, _PARAGRAPH.split(text))):
        if len(paragraph) <= PASSAGE:
            yield paragraph
            continue
        part = ""
        for sentence in _SENTENCE.split(paragraph):
            if part and len(part) + len(sentence) > PASSAGE:
                yield part
                part = ""
            part = f"{part} {sentence}".strip()[: 2 * PASSAGE]
        yield part
