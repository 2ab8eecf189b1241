"""A corpus as pages to read: any line of a large file at once, and what is on it."""

from __future__ import annotations

import re
import sys
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import jsonlines

from magpie_ollama.corpus import lines, names, shapes, sniffing
from magpie_ollama.corpus.reading import FORMS, LONGEST, object_of
from magpie_ollama.errors import NotACorpus

BLOCK = 4 * 2**20
"""Bytes indexed in one go: some milliseconds."""


@dataclass(frozen=True, slots=True)
class Page:
    """What is on one line. ``fields`` are its values but the texts; ``texts`` are (role, text), where the first user's
    turn is the "instruction" and the answer to it the "response". ``wrong`` says why a line is no record; its one text
    is then the line itself."""

    number: int
    fields: dict[str, Any]
    texts: list[tuple[str, str]]
    wrong: str = ""


def page(number: int, line: bytes) -> Page:
    """The page of a line, whatever it holds. ``number`` counts from 1."""
    wrong = ""
    value: Any = None
    if len(line) >= LONGEST:
        wrong = f"is longer than {LONGEST >> 20} MB"
        line = line[:BLOCK]
    else:
        try:
            value = lines.reader([line]).read()
        except jsonlines.InvalidLineError as error:
            wrong = sniffing.fault(error)
        else:
            if isinstance(value, (dict, list)):
                value = lines.exact(line)
                value = value if isinstance(value, dict) else shapes.as_row(value)
            else:
                wrong = "is no JSON object"
    if wrong:
        return Page(number, {}, [("line", line.decode(errors="replace").rstrip("\n"))], wrong)
    found = shapes.find(value, line)
    if isinstance(found, str):
        return Page(number, value, [], found)
    exact = shapes.literal(line)
    texts = _turns(shapes.raw_turns(exact, found.columns) if exact else []) or [
        ("instruction", found.instruction),
        ("response", found.response),
    ]
    if thought := shapes.thought(value):
        texts.insert(-1, ("reasoning", thought))
    hidden = {"reasoning", "schema", *(found.columns[:1] if found.detail else found.columns)}
    fields = {key: v for key, v in value.items() if key not in hidden}
    if type(fields.get("tags")) is dict:
        fields["tags"] = {key: v for key, v in fields["tags"].items() if v != ""}  # not judged
    return Page(number, fields, texts)


def _turns(turns: list[Any]) -> list[tuple[str, str]]:
    """All turns of a conversation, of whose form ``shapes`` made sure up to the first answer; with what they hold
    beside their texts, as calls of tools."""
    texts = []
    first = {"user": "instruction", "assistant": "response"}
    for turn in turns:
        if not isinstance(turn, dict):
            texts.append(("no turn", str(turn)))
            continue
        who, said = names.given(turn, names.WHO), names.given(turn, names.SAID)
        for read in shapes.turns_of(turn):
            role = str(turn[who]) if read.role == "tool" else read.role  # a call, or what it gave back
            name = first.pop(role, role) if role == "user" or "user" not in first else role
            text = read.text or str(turn.get(said) or "")
            beside = {key: value for key, value in turn.items() if who and key not in (who, said) and value}
            texts.append((name, "\n".join(filter(None, (text, lines.shown(beside) if beside else "")))))
    return texts


class Lines:
    """The lines of an open file, by index from 0. Where they begin is found out bit by bit, with ``extend``.

    A file that grows meanwhile is followed: what was added is found by the next ``extend``.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._starts = array("Q", [0])
        self._scanned = 0
        self.size = file.seek(0, 2)

    @property
    def count(self) -> int:
        """Lines found so far; a last one without its newline counts once all is found."""
        return len(self._starts) - 1 + (self.complete and self._starts[-1] < self.size)

    @property
    def complete(self) -> bool:
        return self._scanned >= self.size

    def number(self, index: int) -> int:
        return index + 1

    def place(self, number: int) -> int:
        return number - 1

    @property
    def share(self) -> float:
        """How much of the file is indexed, 0 to 1."""
        return self._scanned / self.size if self.size else 1.0

    def extend(self) -> bool:
        """Index one block more. False at the end of the file."""
        self._file.seek(self._scanned)
        block = self._file.read(BLOCK)
        at = block.find(b"\n")
        while at >= 0:
            self._starts.append(self._scanned + at + 1)
            at = block.find(b"\n", at + 1)
        self._scanned += len(block)
        self.size = max(self.size, self._scanned)
        return bool(block)

    def __getitem__(self, index: int) -> bytes:
        """The bytes of a line, at most ``LONGEST``. Raises IndexError for one that is not there (yet)."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        self._file.seek(self._starts[index])
        return self._file.readline(LONGEST)


@contextmanager
def opened(path: Path) -> Iterator[Lines]:
    """The lines of a file. What can be read only once (``Path("-")`` is stdin) goes to a temporary file first."""
    if path != Path("-") and path.is_file():
        with path.open("rb") as file:
            yield Lines(file)
        return
    with tempfile.TemporaryFile() as copy:
        import shutil

        if path == Path("-"):
            shutil.copyfileobj(sys.stdin.buffer, copy)
        else:
            with path.open("rb") as stream:
                shutil.copyfileobj(stream, copy)
        yield Lines(copy)


class Ordered:
    """Lines of a file in another order, all of them found."""

    complete = True
    share = 1.0

    def __init__(self, lines: Lines, order: Sequence[int]) -> None:
        """``order`` are the indexes of ``lines``, in the order they are wanted in."""
        self._lines = lines
        self._order = order

    @property
    def count(self) -> int:
        return len(self._order)

    def extend(self) -> bool:
        return False

    def number(self, index: int) -> int:
        return self._order[index] + 1

    def place(self, number: int) -> int:
        """The index of a line; -1 where it is not among them."""
        return self._order.index(number - 1) if number - 1 in self._order else -1

    def __getitem__(self, index: int) -> bytes:
        return self._lines[self._order[index]]


def from_line(lines: Lines, start: int) -> Iterator[Page]:
    """The pages from line ``start`` on, without blank lines."""
    for index in count(start - 1):
        while index >= lines.count:
            if not lines.extend():
                return
        if lines[index].strip():
            yield page(index + 1, lines[index])


def check(lines: Lines, path: Path) -> None:
    """Raises NotACorpus where no line is a record. Single bad ones are shown as what they are."""
    wrong = "it is empty"
    for found in from_line(lines, 1):
        if not found.wrong:
            return
        wrong = f"line {found.number} {found.wrong}" if wrong == "it is empty" else wrong
    raise NotACorpus(f"{path} holds no instruction data: {wrong}", FORMS)


MEASURES = ("confidence", "known_words", "response_known_words")


def doubt(line: bytes) -> float:
    """How doubtful a record is: its lowest measure, 0 to 1, and 1.0 where none was measured. -1.0 for a line that is
    no record."""
    if not (record := object_of(line)):
        return -1.0
    measured = [record.get(name) for name in MEASURES]
    return min((float(one) for one in measured if isinstance(one, int | float) and one > 0), default=1.0)


_BETWEEN = rb"(?:\s|\\[nrtf]|[\x80-\xff])+"
"""What may stand between two words in the bytes of a line."""


def _is_plain(char: str) -> bool:
    return char.isalnum() and (char.isascii() or char.lower() == char.upper())


class Search:
    """Looks for words, in any case and with any space between them, in the texts and fields of pages."""

    def __init__(self, text: str) -> None:
        """``text`` has at least one word."""
        words = text.split()
        self.pattern = re.compile(r"\s+".join(map(re.escape, words)), re.IGNORECASE)
        # Quicker looks, before the pattern. The bytes of a line hold the words as they stand, unless they are
        # written in escapes or in the other case of a letter beyond ASCII.
        self._word = max(words, key=len).lower()
        plain = [word.lower() for word in words if all(map(_is_plain, word))]
        together = len(plain) == len(words) > 1
        self._bytes = max(plain, key=len, default="").encode()
        self._quick = re.compile(_BETWEEN.join(word.encode() for word in plain)) if together else None

    def may_find(self, data: bytes) -> bool:
        """False where no line of these bytes holds it: a quick look."""
        low = data.lower()
        held = self._bytes in low and (self._quick is None or self._quick.search(low) is not None)
        return held or b"\\u" in data

    def finds(self, number: int, line: bytes) -> bool:
        if not self.may_find(line):
            return False
        found = page(number, line)
        fields = (value for value in found.fields.values() if isinstance(value, str))
        texts = (*fields, *(text for _, text in found.texts))
        return any(self._word in text.lower() and self.pattern.search(text) for text in texts)
