"""The scores of responses to one question each, written down as they come: ``scores.jsonl`` beside their file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from magpie_ollama.asking.watchdog import watched
from magpie_ollama.corpus.reading import Row
from magpie_ollama.errors import RequestRefused, ServerError
from magpie_ollama.records import Message
from magpie_ollama.servers.loaded import LoadedModel
from magpie_ollama.tagging import scales, scoring
from magpie_ollama.tagging.judgements import Judgements
from magpie_ollama.tagging.judging import BARREN, SHOWN, JudgingProgress
from magpie_ollama.tagging.scales import Judge, Judgement

SCALE = "answer"
"""How well a response answers its instruction; see ``tagging.scoring``."""


class Scores(Judgements):
    """Those of ``model``: {"value": 1 to 5, "how": by what the judge told it}."""

    name = "scores.jsonl"

    def __init__(self, source: Path, model: str) -> None:
        probe = scoring.request([{"role": "user", "content": ""}, {"role": "assistant", "content": ""}], SCALE, "")
        mark = blake2b(repr(probe).encode(), digest_size=4).hexdigest()
        super().__init__(source, Judge("", "", {}, (), f"{SCALE} {mark}"), model)

    def value(self, row: Row) -> float | None:
        found = self.tags(scales.key(row))
        return None if found is None else float(found["value"])

    def _checked(self, value: dict[str, Any]) -> Judgement | None:
        score: Any = value.get("value")
        is_score = type(score) in (int, float) and scoring.LOWEST <= score <= scoring.HIGHEST
        return {"value": score} if is_score else None


class Scoring:
    """A model at work on scores. ``stop`` has it begin no more; those in flight are finished."""

    def __init__(self, model: LoadedModel, scores: Scores, parallel: int, progress: JudgingProgress) -> None:
        self.stopped = False
        self._model = model
        self._scorer = scoring.Scorer(model, progress.notices)
        self._scores = scores
        self._parallel = parallel
        self._progress = progress

    def stop(self) -> None:
        self.stopped = True

    async def run(self, rows: Sequence[Row]) -> None:
        """Scores those that have no score yet, each text once. Raises the ``MagpieError`` that ended it: what was
        scored is written down. One of them is that the first ``BARREN``, or all where there are fewer, got none."""
        missing = {scales.key(row): row for row in rows if self._scores.value(row) is None}
        progress, waiting = self._progress, iter(missing.values())
        progress.total, progress.started = len(missing), time.monotonic()
        if missing:
            async with watched(self._model.server, lambda: progress.in_flight) as group:
                await asyncio.wait([group.create_task(self._work(waiting)) for _ in range(self._parallel)])
        if progress.unjudged and not len(self._scores):
            raise self._in_vain()

    async def _work(self, waiting: Iterator[Row]) -> None:
        progress = self._progress
        while not self.stopped and (row := next(waiting, None)) is not None:
            turns = [Message(role=turn.role, content=turn.text) for turn in row.said.turns]  # type: ignore[typeddict-item]
            progress.in_flight += 1
            try:
                score = await self._scorer.score(turns, SCALE, row.text("language"))
            except RequestRefused:
                if not len(self._scores):  # else it is this record's fault: others were scored
                    raise
                score = None
            finally:
                progress.in_flight -= 1
            progress.invalid = self._scorer.answers.invalid
            if score is not None:
                self._scores.add(scales.key(row), {"value": score.value, "how": score.how, "judge": self._model.name})
                progress.judged += 1
            else:
                progress.unjudged += 1
                if progress.unjudged >= BARREN and not len(self._scores):
                    raise self._in_vain()

    def _in_vain(self) -> ServerError:
        said = " ".join(self._scorer.answers.said.split()) or "nothing"
        return ServerError(
            f"{self._model.name} gives no score, by log-probabilities or a JSON schema; it said: {said:.{SHOWN}}",
            "choose another judge with --judge; the responses are kept, and are not asked for again",
        )
