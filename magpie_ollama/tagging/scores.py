"""The scores of responses, each by itself, written down as they come: ``scores.jsonl`` beside their file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from magpie_ollama.corpus.reading import Row
from magpie_ollama.records import Message
from magpie_ollama.servers.loaded import LoadedModel
from magpie_ollama.tagging import scales, scoring
from magpie_ollama.tagging.judgements import Judgements
from magpie_ollama.tagging.judging import Judging, JudgingProgress
from magpie_ollama.tagging.scales import Judgement, Pair

SCALE = "answer"
"""How well a response answers its instruction; see ``tagging.scoring``."""


class Scores(Judgements):
    """{"value": 1 to 5, "how": by what the judge told it}."""

    name = "scores.jsonl"

    def value(self, row: Row) -> float | None:
        found = self.tags(scales.key(row))
        return None if found is None else float(found["value"])

    def _checked(self, value: dict[str, Any]) -> Judgement | None:
        score: Any = value.get("value")
        is_score = type(score) in (int, float) and scoring.LOWEST <= score <= scoring.HIGHEST
        return {"value": score} if is_score else None


class Scoring(Judging):
    """A judge that scores responses on ``SCALE``, with all that was said before them."""

    proven_on: Sequence[str] = (SCALE,)

    def __init__(self, model: LoadedModel, parallel: int, progress: JudgingProgress) -> None:
        super().__init__(model, parallel, progress, "--judge")
        self._scored_by = scoring.Scorer(model, progress.notices)
        self._answers = self._scored_by.answers
        self.judge = replace(self.judge, mark=f"{SCALE} {scoring.mark()}")

    async def _tags(self, pair: Pair, language: str) -> Judgement | None:
        turns = [Message(role="user", content=pair.instruction), Message(role="assistant", content=pair.response)]
        if isinstance(pair, Row):
            turns = [Message(role=one.role, content=one.text) for one in pair.said.turns]  # type: ignore[typeddict-item]
        score = await self._scored_by.score(turns, SCALE, language)
        self._progress.invalid = self._answers.invalid
        if score is None:
            return None
        self._answers.valid = True
        return {"value": score.value, "how": score.how, "judge": self.model}

    def _ratings(self, tags: Judgement) -> dict[str, float]:
        return {SCALE: tags["value"]}
