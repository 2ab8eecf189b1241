"""The page, asked as its own browser asks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from corpus.support import record
from starlette.testclient import TestClient

from magpie_ollama.corpus import lines
from magpie_ollama.servers.base import ServerChoice
from magpie_ollama.web.app import application
from magpie_ollama.web.guard import TOKEN_HEADER, Access

HERE = "http://127.0.0.1:8427"


@contextmanager
def opened(root: Path, host: str = "", model: str = "") -> Iterator[TestClient]:
    """A browser on this machine, with the page's token in the headers of what it sends."""
    access = Access()
    choice = ServerChoice("ollama", host, model)
    with TestClient(application(root, access, choice), base_url=HERE, follow_redirects=False) as client:
        client.headers[TOKEN_HEADER] = access.page_token
        yield client


def write(path: Path, *more: dict[str, Any]) -> list[dict[str, Any]]:
    """A corpus with a record for each of ``more``, which are added to it or replace what it says."""
    made = [lines.values(record(seed=number, text=f"Domanda {number}?")) | one for number, one in enumerate(more)]
    path.write_bytes(b"".join(map(lines.encode, made)))
    return made


def cards(page: str) -> list[dict[str, Any]]:
    """The records of a page: what stands in their attributes, and their whole text."""
    found = []
    for text in re.findall(r"<article class=\"record.*?</article>", page, re.DOTALL):
        data = dict(re.findall(r"data-(entry|mark|seen)=\"(\w*)\"", text))
        place = re.findall(r"data-place=\"(.*?)\"", text)
        places = [json.loads(one.replace("&#34;", '"')) for one in place]
        found.append(
            {
                "entry": int(data["entry"]),
                "mark": data["mark"],
                "seen": int(data["seen"]),
                "text": text,
                "places": places,
            }
        )
    return found
