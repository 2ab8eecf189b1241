"""The folder that is served: the files in it, and none outside."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from magpie_ollama.corpus.reading import is_stream
from magpie_ollama.errors import UsageError

DEEPEST = 3
"""Folders within folders that are looked through."""

MOST = 500
"""Files that are listed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """``name`` is the path from the folder, with slashes."""

    name: str
    size: int
    changed: float


class Folder:
    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def file(self, name: str) -> Path:
        """The JSONL file of that name. Raises UsageError for one that is not there, is hidden, or lies outside, by
        whatever way: a link that leads out is none of the folder's."""
        parts = name.split("/")
        wanted = all(part and not part.startswith(".") and "\\" not in part for part in parts) and "\0" not in name
        if wanted and parts[-1].endswith(".jsonl"):
            with suppress(OSError):  # a name that is too long
                resolved = self.root.joinpath(*parts).resolve()
                if resolved.is_relative_to(self.root) and not is_stream(resolved) and resolved.is_file():
                    return resolved
        raise UsageError(f"There is no file {name!r:.200} in this folder", "choose one of those that are listed")

    def entries(self) -> list[Entry]:
        """The JSONL files, the newest first."""
        found: list[Entry] = []
        for place, folders, names in os.walk(self.root):
            depth = len(Path(place).relative_to(self.root).parts)
            folders[:] = sorted(
                one for one in folders if depth < DEEPEST and not one.startswith(".") and not one.endswith(".magpie")
            )
            for name in sorted(names):
                if not name.endswith(".jsonl") or name.startswith(".") or len(found) >= MOST:
                    continue
                path = Path(place, name)
                try:
                    told = path.stat()
                    inside = path.resolve().is_relative_to(self.root)
                except OSError:
                    continue
                if inside and path.is_file():
                    found.append(Entry(path.relative_to(self.root).as_posix(), told.st_size, told.st_mtime))
        return sorted(found, key=lambda entry: -entry.changed)
