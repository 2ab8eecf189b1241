"""The runs that a corpus was made by: what became of their attempts, and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from magpie_ollama.corpus import runs
from magpie_ollama.corpus.files import folder_beside
from magpie_ollama.corpus.runs import Run
from magpie_ollama.decoding import Count, Misshapen, convert
from magpie_ollama.errors import CorpusError
from magpie_ollama.records import Funnel, Name


class _Settings(msgspec.Struct):
    language: str = ""
    steering: str = ""
    model: str = ""
    server: str = ""


class _Counts(msgspec.Struct):
    outcomes: dict[Name, Count] = {}
    tokens: dict[Name, Count] = {}
    steerings: dict[Name, Count] = {}
    unknown_language: Count = 0
    unjudged_words: Count = 0


class _Manifest(msgspec.Struct):
    """What is told of a run beside what continuing it asks for. Without ``funnel`` it was killed, or still goes on."""

    settings: _Settings = msgspec.field(default_factory=_Settings)
    created_at: str = ""
    seconds: float = 0.0
    funnel: _Counts | None = None


@dataclass(frozen=True, slots=True)
class PastRun:
    """``kept`` is what the run appended, ``there`` what of it the file holds now. ``seconds`` of generating, 0.0 where
    it was not told: a run that was killed."""

    id: str
    status: str
    language: str
    steering: str
    model: str
    server: str
    created_at: str
    target: int
    kept: int
    there: int
    seconds: float
    funnel: Funnel

    def to_dict(self) -> dict[str, Any]:
        funnel, kept = self.funnel, self.funnel.kept
        return {
            **{name: getattr(self, name) for name in self.__slots__ if name != "funnel"},
            "tokens": funnel.all_tokens,
            "tokens_per_kept": round(funnel.all_tokens / kept, 1) if kept else 0.0,
            "funnel": funnel.to_dict(),
        }


def history(corpus: Path, there: Mapping[str, int]) -> tuple[list[PastRun], list[str]]:
    """The runs of a corpus, oldest first, and a notice for each whose manifest cannot be read.

    ``there`` counts the records in the file by run. No runs where the folder beside the corpus is gone.
    """
    # Resolved: a link's runs are those of the file that it leads to.
    found, notices = runs.load(folder_beside(corpus.resolve()) / "runs", {})
    past = []
    for run in found:
        try:
            past.append(_past(run, convert(run.manifest, _Manifest), there.get(run.id, 0)))
        except (Misshapen, CorpusError) as error:
            notices.append(f"The run {run.id} cannot be told: {error.args[0]}")
    return past, notices


def _past(run: Run, told: _Manifest, there: int) -> PastRun:
    counts = None if run.status == "running" else told.funnel
    if counts is None:
        funnel = Funnel.of(run.attempts())
    else:
        outcomes, tokens, steerings = map(Counter, (counts.outcomes, counts.tokens, counts.steerings))
        funnel = Funnel(outcomes, tokens, steerings, counts.unknown_language, counts.unjudged_words)
    return PastRun(
        id=run.id,
        status=run.status,
        created_at=told.created_at,
        target=run.target,
        kept=funnel.kept,
        there=there,
        seconds=told.seconds,
        funnel=funnel,
        language=told.settings.language,
        steering=told.settings.steering,
        model=told.settings.model,
        server=told.settings.server,
    )
