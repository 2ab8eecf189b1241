"""Where each record of a large file begins, and the few values by which records are chosen and ordered.

Some 50 bytes a record are held: a million take 50 MB. They are kept beside the corpus (``cache/page``; it may be
deleted at any time), so that the next opening reads only what was added since.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from array import array
from collections.abc import Collection, Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from magpie_ollama.corpus import files, lines, system
from magpie_ollama.corpus.appender import write_all
from magpie_ollama.corpus.reading import LONGEST, id_of, object_of
from magpie_ollama.curation.pages import MEASURES, Search
from magpie_ollama.curation.statistics import MOST_VALUES, OTHERS
from magpie_ollama.decoding import Count, Misshapen, decode
from magpie_ollama.records import Tags

FACETS = (
    *("language", "steering", "model", "response_model", "topic", "reason"),
    *(f"tags.{name}" for name in Tags.__annotations__ if name != "language"),  # which the record says itself
)
"""By which records are chosen: keys of theirs with few values, and those of their tags."""

QUALITIES = ("very poor", "poor", "average", "good", "excellent")
_QUALITY = FACETS.index("tags.quality")

_FORMAT = 1
_BATCH = 2000
_ENDS = 2**16
"""Bytes at both ends of what is indexed, by which a file is known again."""

_SAVED = 20_000
"""So many new records make it worth to keep the index again."""

Array = np.ndarray[Any, np.dtype[Any]]


class Index:
    """That of one file, made in a thread and extended where the file grows. Safe to ask meanwhile: what is there so far
    is answered. A file that was replaced is indexed anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.generation = 0
        """Counts how often the file was another one."""
        self._cache = files.folder_beside(path) / "cache" / "page"
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._file: BinaryIO | None = None
        self.seconds = 0.0
        """Spent on reading the file."""
        self._held: tuple[object, Array | None] = (None, None)
        self._forget()
        self._load()

    def _forget(self) -> None:
        self._starts, self._ids, self._numbers = array("Q"), array("Q"), array("I")
        self._codes = [array("H") for _ in FACETS]
        self._values: list[dict[str, int]] = [{"": 0} for _ in self._codes]
        self._measures = [array("f") for _ in MEASURES]
        self._covered = self._lines = self._saved = 0
        self._open = False  # whether the last line had no newline
        self._stamp = (0, 0)
        self.generation += 1
        if self._file is not None:
            self._file.close()
            self._file = None

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def share(self) -> float:
        """How much of the file is indexed, 0 to 1."""
        try:
            size = self.path.stat().st_size
        except OSError:
            return 1.0
        return min(1.0, self._covered / size) if size else 1.0

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def look(self, wait: float = 0.0) -> None:
        """Have a thread read what is new in the file, and wait so many seconds for it. Raises OSError."""
        told = self.path.stat()
        with self._lock:
            if not self.busy and (told.st_size, told.st_mtime_ns) != (self._covered, self._stamp[1]):
                if self._stamp[0] not in (0, told.st_ino) or told.st_size < self._covered:
                    self._forget()
                self._stamp = (told.st_ino, told.st_mtime_ns)
                self._thread = threading.Thread(target=self._extend, name="index", daemon=True)
                self._thread.start()
        if self._thread is not None and wait:
            self._thread.join(wait)

    def close(self) -> None:
        with self._lock:
            self._forget()

    def line(self, entry: int) -> tuple[int, bytes]:
        """The number of a record's line, from 1, and its bytes. Raises IndexError, OSError."""
        with self._lock:
            return self._numbers[entry], self._read(self._starts[entry])

    def holding(self, text: str, seconds: float) -> Array | None:
        """Which records hold the text, as booleans; None where that takes longer than so many seconds."""
        size = len(self)
        asked = (text, self.generation, size)
        if self._held[0] != asked:
            self._held = (asked, self._holding(np.arange(size), text, seconds))
        return self._held[1]

    def _holding(self, every: Array, text: str, seconds: float) -> Array | None:
        mask, end, began = np.zeros(len(every), bool), 0, time.monotonic()
        while end < len(every):
            found, end = self.search(every[: end + _BATCH], end, text, _BATCH + 1, seconds)
            mask[found] = True
            if (time.monotonic() - began) * len(every) > seconds * end:  # at this pace it lasts too long
                return None
        return mask

    def choose(
        self,
        wanted: Mapping[str, str],
        ids: Collection[str] | None = None,
        within: bool = True,
        held: Array | None = None,
    ) -> tuple[Array, dict[str, list[tuple[str, int]]]]:
        """The records that have these values, as booleans; and for each facet how many would have each value, with all
        but this facet as they are. With ``ids``, only those ``within`` them, or without; and only those ``held``."""
        with self._lock:
            size = len(self)
            every = np.ones(size, bool)
            if ids is not None:
                own = np.array([_hash(id) for id in ids], np.uint64)
                every = np.isin(self._view(self._ids), own) == within
            if held is not None:
                every[: len(held)] &= held[:size]
                every[len(held) :] = False  # came meanwhile
            masks = {}
            codes = {name: self._view(column) for name, column in zip(FACETS, self._codes, strict=True)}
            for name, value in wanted.items():
                code = self._values[FACETS.index(name)].get(value)
                masks[name] = np.zeros(size, bool) if code is None else codes[name] == code
            counts = {}
            for facet, known_values in zip(FACETS, self._values, strict=True):
                if len(known_values) < 2:
                    continue
                mask = every.copy()
                for name, one in masks.items():
                    if name != facet:
                        mask &= one
                found = np.bincount(codes[facet][mask], minlength=len(known_values))
                pairs = [(value, int(found[code])) for value, code in known_values.items() if found[code]]
                counts[facet] = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
            for one in masks.values():
                every &= one
            return every, counts

    def order(self, mask: Array, by: str) -> Array:
        """The entries of a mask: by a measure or the "quality" that a judge saw, the lowest first and those without it
        last; "newest" first; else as they stand."""
        entries = np.flatnonzero(mask)
        with self._lock:
            if by in MEASURES:
                values = self._view(self._measures[MEASURES.index(by)])[entries]
                return entries[np.argsort(np.where(values > 0, values, np.inf), kind="stable")]
            if by == "quality":
                known = self._values[_QUALITY]  # in the order of their codes
                ranks = np.array([(*QUALITIES, value).index(value) for value in known])
                return entries[np.argsort(ranks[self._view(self._codes[_QUALITY])[entries]], kind="stable")]
            return entries[::-1] if by == "newest" else entries

    def search(self, order: Array, start: int, text: str, want: int, seconds: float) -> tuple[list[int], int]:
        """The first ``want`` entries of an order from ``start`` on that hold the text, and how far was looked: to the
        end, or as far as the time lasted."""
        if not text.strip():
            return [int(entry) for entry in order[start : start + want]], min(start + want, len(order))
        look, end = Search(text), time.monotonic() + seconds
        found: list[int] = []
        for at in range(start, len(order), _BATCH):
            if time.monotonic() > end:
                return found, at
            block = order[at : at + _BATCH]
            with self._lock:
                begin, stop = int(block[0]), int(block[-1])
                if stop - begin == len(block) - 1 and not self._may_hold(begin, stop, look):
                    continue
                for step, entry in enumerate(block):
                    if look.finds(self._numbers[entry], self._read(self._starts[entry])):
                        found.append(int(entry))
                        if len(found) == want:
                            return found, at + step + 1
        return found, len(order)

    def sample(self, most: int) -> Iterator[tuple[int, bytes]]:
        """Lines of ``most`` records drawn at random, or of all where there are no more; by the place in the file."""
        count = len(self)
        drawn = np.sort(np.random.default_rng(0).choice(count, most, replace=False)) if count > most else range(count)
        for entry in drawn:
            yield self.line(int(entry))

    @staticmethod
    def _view(column: array[Any]) -> Array:
        """Without a copy: while it lives, nothing can be added, so the lock is held."""
        return np.frombuffer(column, column.typecode) if column else np.empty(0, column.typecode)

    def _may_hold(self, first: int, last: int, look: Search) -> bool:
        self._seek(self._starts[first])
        assert self._file is not None
        size = (self._starts[last + 1] if last + 1 < len(self) else self._covered) - self._starts[first]
        return look.may_find(self._file.read(size))

    def _seek(self, start: int) -> None:
        if self._file is None:
            self._file = self.path.open("rb")
        self._file.seek(start)

    def _read(self, start: int) -> bytes:
        self._seek(start)
        assert self._file is not None
        return self._file.readline(LONGEST)

    def _extend(self) -> None:
        began = time.monotonic()
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            file.seek(self._covered)
            while batch := list(islice(file, _BATCH)):
                if not batch[-1].endswith(b"\n") and not object_of(batch[-1]):
                    batch.pop()  # it is being written, or was torn
                with self._lock:
                    for line in batch:
                        self._take(line)
                if len(batch) < _BATCH:
                    break
        self.seconds += time.monotonic() - began
        if len(self) - self._saved >= _SAVED:
            self._save()

    def _take(self, line: bytes) -> None:
        start, self._covered = self._covered, self._covered + len(line)
        ended, self._open = not self._open, not line.endswith(b"\n")
        self._lines += ended
        if not ended or not line.strip():
            return
        data: dict[str, Any] = object_of(line)
        self._starts.append(start)
        self._numbers.append(self._lines)
        self._ids.append(_hash(id_of(self._lines, line, data)))
        table = data.get("tags")
        tags: dict[str, Any] = table if type(table) is dict else data
        value: Any
        for name, column, known in zip(FACETS, self._codes, self._values, strict=True):
            value = tags.get(name[5:]) if name.startswith("tags.") else data.get(name)
            code = known.get(value) if type(value) is str else 0
            if code is None:
                value = lines.whole_text(value) if len(known) < MOST_VALUES else OTHERS
                code = known.setdefault(value, len(known))
            column.append(code)
        for name, measures in zip(MEASURES, self._measures, strict=True):
            value = data.get(name)
            measures.append(value if type(value) in (float, int) and 0 <= value <= 1 else 0.0)

    def _save(self) -> None:
        with self._lock:
            head = _Head(
                (_FORMAT, sys.byteorder),
                len(self),
                self._covered,
                self._lines,
                self._open,
                self._stamp[1],
                self._ends(self._covered),
                [list(known) for known in self._values],
            )
            self._saved = len(self)
            # It is only a cache, and the folder may be another's.
            with contextlib.suppress(OSError):
                files.make_folder(self._cache.parent.parent)
                files.make_folder(self._cache.parent)
                with files.temporary(self._cache.parent) as (fd, new):
                    try:
                        write_all(fd, lines.encode(msgspec.to_builtins(head)))
                        for column in self._columns():
                            write_all(fd, column.tobytes())
                    finally:
                        os.close(fd)
                    system.replace(new, self._cache)

    def _load(self) -> None:
        """What an earlier process found, where the file still begins so."""
        with contextlib.suppress(OSError, Misshapen, EOFError):
            with os.fdopen(system.open_plain(self._cache, os.O_RDONLY), "rb") as file:
                head = decode(file.readline(), _Head)
                now = self.path.stat()
                same = now.st_mtime_ns == head.changed or now.st_size > head.covered
                if head.format != (_FORMAT, sys.byteorder) or not same or head.ends != self._ends(head.covered):
                    return
                for column in self._columns():
                    column.fromfile(file, head.records)
            self._values = [{value: code for code, value in enumerate(known)} for known in head.values]
            self._covered, self._lines, self._open = head.covered, head.lines, head.open
            self._stamp = (now.st_ino, head.changed)
            self._saved = len(self)
            return
        self._forget()

    def _columns(self) -> list[array[Any]]:
        return [self._starts, self._ids, self._numbers, *self._codes, *self._measures]

    def _ends(self, size: int) -> str:
        """Of the first bytes, by their ends."""
        with self.path.open("rb") as file:
            digest = blake2b(file.read(min(size, _ENDS)), digest_size=16)
            file.seek(max(0, size - _ENDS))
            digest.update(file.read(min(size, _ENDS)))
        return digest.hexdigest()


class _Head(msgspec.Struct):
    """The cache's first line; behind it the columns, as the machine holds them. ``changed`` is the file's time."""

    format: tuple[int, str]
    records: Count
    covered: Count
    lines: Count
    open: bool
    changed: int
    ends: str
    values: list[list[str]]


def _hash(id: str) -> int:
    return int.from_bytes(blake2b(id.encode("utf-8", "replace"), digest_size=8).digest(), "little")
