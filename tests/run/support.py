"""A whole session in this process, against a fake server."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import stamina
from fake_ollama import Exchange
from fake_ollama.base import FakeServer

from magpie_ollama.asking.settings import Settings
from magpie_ollama.corpus import Corpus
from magpie_ollama.errors import MagpieError
from magpie_ollama.method import languages
from magpie_ollama.records import Record
from magpie_ollama.run import own
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import Session, open_session
from magpie_ollama.servers.base import ServerChoice

GERMAN = "Wie kann ich meinen Garten im Winter vor dem Frost schützen und was brauche ich dafür?"
QUESTION = "How can I grow tomatoes on a tiny balcony in a noisy city?"
ANSWER = "Start with a clear goal and write it down. Ask somebody who has done it before. Keep notes."


def settings(fake: FakeServer, target: int, **changes: Any) -> Settings:
    """For English without steering, four in flight; ``options`` are the server's, the rest fields of ``Settings``."""
    choice = ServerChoice(
        changes.pop("kind", "ollama"), fake.url, changes.pop("model", ""), options=changes.pop("options", {})
    )
    language = languages.find(changes.pop("language", "en"))
    changes.setdefault("parallel", 4)
    return Settings(choice, language, changes.pop("steering", "none"), target, **changes)


@dataclass
class Outcome:
    """What a session came to. ``error`` is what ended it, None where it reached its end; ``records`` are those in
    the corpus at that time, ``kept`` those that the caller was given."""

    path: Path
    error: BaseException | None = None
    progress: Progress = field(default_factory=Progress)
    kept: list[Record] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def manifests(self) -> list[dict[str, Any]]:
        found = [json.loads(path.read_text("utf-8")) for path in self._runs.glob("*.json")]
        return sorted(found, key=lambda manifest: int(manifest["number"]))

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """The journals of all runs, in the order of the attempts."""
        found = [attempt for path in sorted(self._runs.glob("*.attempts.jsonl")) for attempt in read(path)]
        return sorted(found, key=lambda attempt: int(attempt["index"]))

    @property
    def outcomes(self) -> list[str]:
        return [attempt["outcome"] for attempt in self.attempts]

    @property
    def _runs(self) -> Path:
        return self.path.with_name(f"{self.path.name}.magpie") / "runs"


def read(path: Path) -> list[dict[str, Any]]:
    """Every line has to be JSON, and whole."""
    if not path.exists():
        return []
    text = path.read_text("utf-8")
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def generate(
    asked: Settings,
    path: Path,
    meanwhile: Callable[[Session, asyncio.Task[Any]], Awaitable[object]] | None = None,
    keep: Callable[[Record], None] | None = None,
) -> Outcome:
    """One run. ``meanwhile`` is awaited while it goes on, and gets the session and the task of the run."""
    outcome = Outcome(path)

    async def go() -> None:
        with Corpus.open(path, sync="never") as corpus:
            async with open_session(asked, corpus, outcome.progress) as session:
                task = asyncio.create_task(session.generate(keep or outcome.kept.append))
                if meanwhile is not None:
                    await meanwhile(session, task)
                await task
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, "no task is left behind"

    try:
        asyncio.run(go())
    except (MagpieError, asyncio.CancelledError) as error:
        outcome.error = error
    outcome.records = read(path)
    gc.collect(1)
    return outcome


@contextmanager
def impatient(cap: bool = True) -> Iterator[None]:
    """Retries without the waits between them; without ``cap``, many more, since no time passes."""
    stamina.set_testing(True, attempts=1000, cap=cap)
    try:
        yield
    finally:
        stamina.set_testing(False)


async def until(condition: Callable[[], object]) -> None:
    """For what becomes so in another task, or on the server's side of a socket, where no event tells of it."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.002)


def generating(fake: FakeServer) -> list[Exchange]:
    """The requests that made a model write for the run (not those that only load it, render, or measure its own)."""
    made = [exchange for exchange in fake.requests if exchange.generation >= 0]
    return [exchange for exchange in made if (exchange.body.get("options") or {}).get("num_predict") != own.TOKENS]
