"""The runs that a corpus was made by: what became of their attempts, and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magpie_ollama.corpus import runs
from magpie_ollama.corpus.runs import Run
from magpie_ollama.run.funnel import Funnel


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
    corpus = corpus.resolve()  # a link's runs are those of the file that it leads to
    folder = corpus.with_name(f"{corpus.name}.magpie") / "runs"
    found, notices = runs.load(folder, {})
    return [_past(run, there.get(run.id, 0)) for run in found], notices


def _past(run: Run, there: int) -> PastRun:
    funnel = _funnel(run)
    settings = _table(run.manifest.get("settings"))
    texts = {key: str(settings.get(key) or "") for key in ("language", "steering", "model", "server")}
    seconds = run.manifest.get("seconds")
    return PastRun(
        id=run.id,
        status=run.status,
        created_at=str(run.manifest.get("created_at") or ""),
        target=run.target,
        kept=funnel.kept,
        there=there,
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
        funnel=funnel,
        **texts,
    )


def _funnel(run: Run) -> Funnel:
    """The one in the manifest; for a run that was killed, or still goes on, what its journal says."""
    told = _table(run.manifest.get("funnel"))
    if run.status == "running" or not told:
        return Funnel.of(run.attempts())
    outcomes, tokens, ways = (
        Counter({str(name): n for name, n in _table(told.get(key)).items() if type(n) is int})
        for key in ("outcomes", "tokens", "ways")
    )
    return Funnel(outcomes, tokens, ways, int(told.get("unknown_language") or 0))


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
