"""``generate --preview``: three pairs on the screen, and how long the run would take."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.text import Text

from magpie_ollama.asking.settings import Settings
from magpie_ollama.commands.making import make
from magpie_ollama.corpus.corpus import StdoutCorpus
from magpie_ollama.curation.pages import page
from magpie_ollama.display import consoles, record
from magpie_ollama.display.words import counted, duration
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import Session, open_session

PAIRS = 3
ATTEMPTS = 30
"""In which a model that makes three is worth a run."""


class _Held(StdoutCorpus):
    """Lines that are kept for the screen, and go nowhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[bytes] = []

    def _write(self, line: bytes) -> None:
        self.lines.append(line)


async def preview(settings: Settings, given: dict[str, Any]) -> int:
    few = replace(settings, target=min(PAIRS, settings.target), max_attempts=settings.max_attempts or ATTEMPTS)
    progress = Progress(target=few.target)
    title = f"{settings.language.english} · {settings.steering} · preview"

    def show(session: Session, console: Console) -> None:
        if not given["as_json"]:
            record.show((page(number, line) for number, line in enumerate(held.lines, 1)), consoles.stdout())
        consoles.say(console, Text(f"Nothing was written. {_estimate(progress, settings.target)}", "bold"))

    def as_dict(session: Session) -> dict[str, Any]:
        seconds = round(_seconds(progress, settings.target)) if progress.kept_here else None
        return {"records": [json.loads(line) for line in held.lines], "seconds": seconds, "target": settings.target}

    async def planned(session: Session) -> Callable[[], None]:
        raise AssertionError("--dry-run comes first")

    with _Held() as held:
        return await make(open_session(few, held, progress), held, progress, title, given, planned, show, as_dict)


def _seconds(progress: Progress, target: int) -> float:
    return target * progress.seconds / progress.kept_here


def _estimate(progress: Progress, target: int) -> str:
    if not progress.kept_here:
        return f"Not one pair passed of {counted(progress.attempts_here, 'attempt')}."
    told = f"{counted(progress.kept_here, 'record')} in {counted(progress.attempts_here, 'attempt')}"
    took = duration(_seconds(progress, target))
    return f"Without --preview, {counted(target, 'record')} take about {took}: a rough estimate, from {told}."
