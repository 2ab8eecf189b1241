"""What README and docs show: their pages, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SHELL = ("sh", "console", "bash")


def blocks(text: str) -> Iterator[str]:
    """The shell blocks of a page: indented by four, or fenced as ``sh``."""
    for language, block in _FENCE.findall(text):
        if language in _SHELL:
            yield block
    yield from re.findall(r"(?:^ {4}.*\n(?:\n(?= {4}))?)+", _FENCE.sub("", text), re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    """The words behind ``magpie-ollama`` of each command line in the blocks, in their order; of a pipe, each part."""
    found = []
    for block in blocks(text):
        for line in block.replace("\\\n", " ").splitlines():
            if "magpie-ollama" not in line:
                continue
            words: list[str] = []
            for word in [*shlex.split(line, comments=True), "|"]:
                if word not in ("|", "&&", "&", ";", ">"):
                    words.append(word)
                    continue
                if words[:1] in (["magpie-ollama"], [".venv/bin/magpie-ollama"]):
                    found.append(words[1:])
                words = []
    return found
