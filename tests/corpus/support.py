"""What the corpus tests share: records to append, processes to kill, and a user without privileges."""

from __future__ import annotations

import codecs
import contextlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from magpie_ollama import errors
from magpie_ollama.corpus import lines
from magpie_ollama.records import FIRST, Record, new_id

PACKAGE = Path(errors.__file__).parents[1]
"""Where magpie_ollama was imported from, checkout or wheel: other processes take it from there too."""

TESTS = Path(__file__).parents[1]


def record(run: str = "r", seed: int = 0, text: str = "Come posso?", **changes: Any) -> Record:
    values: dict[str, Any] = {
        "id": new_id(),
        "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Così. 你好"}],
        "language": "it",
        "model": "m:1b",
        "server": "ollama",
        "steering": "system",
        "seed": seed,
        "run": run,
        "created_at": "2026-11-22T10:15:00+00:00",
        "instruction_tokens": 3,
        "response_tokens": 4,
        "finish_reason": "stop",
        "reasoning": "",
        "confidence": 0.5,
    }
    return Record(**{**values, **changes})


def first(path: Path, *more: dict[str, Any], run: str = "") -> list[dict[str, Any]]:
    """A corpus of schema 1: a line for each of ``more``, which are added to it or replace what it says."""
    made = []
    for number, changes in enumerate(more):
        values = lines.values(record(run, number, f"Come posso fare {number} volte?"))
        made.append({key: values[key] for key in FIRST} | {"schema": 1} | changes)
    path.write_bytes(b"".join(map(lines.encode, made)))
    return made


def ids(path: Path) -> list[str]:
    """The ids in a corpus, read as another tool would: every line has to be JSON."""
    return [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").split("\n") if line]


def python(code: str, *args: object, **options: Any) -> subprocess.Popen[str]:
    """Another Python that runs ``code``, with its stdin, stdout and stderr on pipes.

    ``-P``: else it would take the package from the current folder first, whatever is under test.
    """
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{PACKAGE}{os.pathsep}{TESTS}"},
        **options,
    )


@contextlib.contextmanager
def without_privileges(folder: Path) -> Iterator[None]:
    """As a user whom permissions bind. Root, which CI containers run as, would write to anything."""
    if os.geteuid() != 0:
        yield
        return
    # What is loaded when it is first wanted may lie where that user may not read.
    codecs.lookup("utf-8-sig")
    importlib.import_module("magpie_ollama.commands.generating")
    shut = [parent for parent in folder.parents if not parent.stat().st_mode & 0o001]
    for parent in shut:  # pytest keeps its folders from other users
        parent.chmod(parent.stat().st_mode | 0o011)
    nobody = 65534
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)
        for parent in shut:
            parent.chmod(parent.stat().st_mode & ~0o011)
