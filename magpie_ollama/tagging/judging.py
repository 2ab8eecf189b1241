"""A model judges records: in parallel, each judgement written down as it comes, invalid ones asked for again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from magpie_ollama.asking.opening import opened
from magpie_ollama.asking.retrying import broken, retrying
from magpie_ollama.asking.watchdog import watched
from magpie_ollama.corpus.reading import Row
from magpie_ollama.errors import RequestRefused, ServerError
from magpie_ollama.method import languages
from magpie_ollama.records import Message
from magpie_ollama.servers.base import ServerChoice
from magpie_ollama.servers.loaded import LoadedModel
from magpie_ollama.tagging import scales, scoring
from magpie_ollama.tagging.answers import FIRST, Answers
from magpie_ollama.tagging.judgements import Judgements
from magpie_ollama.tagging.planted import Shown
from magpie_ollama.tagging.proof import Proofs, Rate, prove
from magpie_ollama.tagging.scales import Judgement, Pair
from magpie_ollama.tagging.scoring import Scorer

BARREN = 5
"""After so many records without a valid answer, and none with one, the judge is given up."""

SHOWN = 200
"""Characters of a judge's words that an error tells."""


@dataclass(slots=True)
class JudgingProgress:
    """The state of the judging, for whoever displays it. ``total`` are the records that were not judged before;
    ``invalid`` counts answers without valid tags, ``unjudged`` records that never got any. ``deed`` is what is done to
    a record."""

    total: int = 0
    judged: int = 0
    invalid: int = 0
    unjudged: int = 0
    in_flight: int = 0
    step: str = ""
    started: float = 0.0
    deed: str = "judged"
    notices: list[str] = field(default_factory=list)

    def enter(self, step: str, detail: str = "", done: int = 0, total: int = 0) -> None:
        self.step = f"{step}: {detail}" if detail else step

    @property
    def done(self) -> int:
        return self.judged + self.unjudged

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started if self.started else 0.0

    def per_minute(self) -> float:
        return 60 * self.done / self.seconds if self.seconds else 0.0

    def seconds_left(self) -> float | None:
        """By the rate so far; None before the first judgement."""
        return (self.total - self.done) * self.seconds / self.done if self.done else None


class Judging:
    """A model at work as a judge. ``stop`` has it begin no more; those in flight are finished."""

    proven_on: Sequence[str] = ("quality", "safety")

    def __init__(
        self,
        model: LoadedModel,
        parallel: int,
        progress: JudgingProgress,
        option: str = "-m",
        words: tuple[str, ...] = (),
        language: bool = False,
        guard: LoadedModel | None = None,
        reward: LoadedModel | None = None,
    ) -> None:
        """``option`` is the one that names the judge. ``words`` of ``scales.WORDS`` are asked for as well. With
        ``language``, so is the response's, by one token; with a ``guard``, safety is its word; with a ``reward`` model,
        so is the record's reward."""
        self.model = model.name
        self.server = model.server
        others = [f"language {scoring.mark()}"] * language + ([f"guard {guard.name}"] if guard else [])
        others += [f"reward {reward.name}"] if reward else []
        self.judge = scales.load(words, *others)
        asked = {"intent": "intent" in words, "language": language, "reward": reward is not None}
        self.more = tuple(key for key, wanted in asked.items() if wanted)
        self.proven_on = (*self.proven_on, *(key for key in self.more if key != "intent"))
        self.stopped = False
        self._option = option
        self._answers = Answers(model, progress.notices)
        self._guard = Answers(guard, progress.notices) if guard else None
        self._scorer = Scorer(model, progress.notices) if language else None
        self._schema = scales.schema(self.judge)
        self.loaded = model
        self._reward = reward
        self._parallel = parallel
        self._progress = progress
        self._unrated = 0

    def stop(self) -> None:
        self.stopped = True

    async def prove(self, spoken: Mapping[str, Sequence[tuple[str, str]]], kept: Path) -> Proofs:
        """The proofs of what is asked for, by language; ``spoken`` has good pairs for those without exemplars, and
        ``kept`` is the model's file of proofs. Raises MagpieError."""
        proofs: Proofs = {}
        for code, own in spoken.items():
            self._progress.step = f"Proving the judge in {languages.english(code)}"
            # One scale after the other: each has its own prompt in the server's cache.
            rated: Rate = partial(self._rating, code)
            asked: list[tuple[LoadedModel, Rate, Sequence[str], str]]
            asked = [(self.loaded, rated, type(self).proven_on, self.judge.mark)]
            if self._scorer is not None:
                rated = self._scorer.rating(("language",), code)
                asked.append((self.loaded, rated, ("language",), scoring.mark()))
            if self._reward is not None:
                asked.append((self._reward, self._rewarded, ("reward",), self._reward.digest or self._reward.name))
            proofs[code] = {}
            for model, rate, names, mark in asked:
                proofs[code] |= await prove(model, rate, names, code, mark, kept, self._parallel, own)
        self._answers.invalid = self._progress.invalid = 0
        return proofs

    async def _rewarded(self, shown: Shown) -> dict[str, float]:
        return {"reward": await self._reward_of(shown)}

    async def _reward_of(self, pair: Pair) -> float:
        """Raises ServerError where the server has no rewards."""
        assert self._reward is not None
        asked, said = (scales.shortened(text, scales.LONGEST) for text in (pair.instruction, pair.response))
        reward = await retrying(partial(self._reward.score, asked, said), self._reward.address)
        if reward is None:
            raise ServerError(
                f"{self._reward.address} gives no rewards: it has no /score",
                "start vLLM with a reward model: `vllm serve MODEL --runner pooling`, and name it with --reward",
            )
        return reward

    async def _rating(self, language: str, shown: Shown) -> dict[str, float]:
        tags = await self._tags(shown, language)
        if tags is None:
            self._unrated += 1
            if self._unrated >= BARREN:
                self._check_it_judges(self._unrated)
            return {}
        return self._ratings(tags)

    def _ratings(self, tags: Judgement) -> dict[str, float]:
        """What one answer says on the scales of the class's ``proven_on``."""
        found = {"quality": 1.0 + [*self.judge.scales["quality"]].index(tags["quality"])}
        found["safety"] = float(tags["safety"] == "safe")
        return found

    async def run(self, read: Callable[[], Iterable[Row]], judgements: Judgements) -> None:
        """Judges the rows that ``read`` gives, but for those that are judged already; and then those that were added
        meanwhile. Raises the ``MagpieError`` that ended it: what was judged is written down. One of them is that the
        first ``BARREN`` records, or all where there are fewer, got no valid answer."""
        tried: set[str] = set()
        while not self.stopped:
            self._progress.step = "Reading the records"
            more = await asyncio.to_thread(lambda: sum(1 for _ in self._pending(read(), judgements, set(tried))))
            self._progress.step = ""
            if not more:
                return
            self._progress.total += more
            await self._judge_all(self._pending(read(), judgements, tried), judgements)
            if not self.stopped:
                self._check_it_judges(self._progress.unjudged)

    def _pending(self, rows: Iterable[Row], judgements: Judgements, tried: set[str]) -> Iterator[Row]:
        """Those without tags of this judge, each pair of instruction and response once. ``tried`` has the keys of those
        given out before, and gets these."""
        for row in rows:
            key = scales.key(row)
            if judgements.tags(key) is not None:
                self._answers.valid = True
            elif key not in tried:
                tried.add(key)
                yield row

    async def _judge_all(self, rows: Iterator[Row], judgements: Judgements) -> None:
        progress = self._progress
        progress.started = progress.started or time.monotonic()
        async with watched(self.loaded.server, lambda: progress.in_flight) as group:
            await asyncio.wait([group.create_task(self._work(rows, judgements)) for _ in range(self._parallel)])

    async def _work(self, rows: Iterator[Row], judgements: Judgements) -> None:
        while not self.stopped and (row := next(rows, None)) is not None:
            await self.tags(row, judgements)
            self._progress.total = max(self._progress.total, self._progress.done)  # the file may have grown

    async def tags(self, row: Row, judgements: Judgements) -> Judgement | None:
        """Of one row, written down before they are returned; None where the judge gave no valid ones. Raises as ``run``
        does."""
        progress = self._progress
        progress.in_flight += 1
        try:
            tags = await self._all_tags(row, row.text("language"))
        except RequestRefused:
            if not self._answers.valid:  # else it is this record's fault: others were judged
                raise
            tags = None
        finally:
            progress.in_flight -= 1
        if tags is None:
            progress.unjudged += 1
            if progress.unjudged >= BARREN:
                self._check_it_judges(progress.unjudged)
        else:
            judgements.add(scales.key(row), tags)
            progress.judged += 1
        return tags

    async def _tags(self, pair: Pair, language: str) -> Judgement | None:
        """What the judge says in one answer, and the guard."""
        tags = await self._answers.get(
            lambda longest: scales.request(self.judge, pair, longest),
            scales.LONGEST,
            self._schema,
            lambda text: scales.parse(text, self.judge, self.model),
            FIRST.max_tokens * (1 + len(self.judge.words)),
        )
        if tags is not None and self._guard is not None:
            word = await self._guard.get(partial(_turns, pair), scales.LONGEST, None, scales.guarded)
            tags = {**tags, "safety": word[0], "hazards": word[1]} if word is not None else None
        self._progress.invalid = self._answers.invalid + (self._guard.invalid if self._guard else 0)
        return tags

    async def _all_tags(self, pair: Pair, language: str) -> Judgement | None:
        tags = await self._tags(pair, language)
        if tags is not None and self._scorer is not None:
            said = pair.response.strip()
            score = await self._scorer.score(_turns(pair, len(said)), "language", language) if said else None
            tags["language"] = [*self.judge.scales["quality"]][round(score.value) - 1] if score else ""
            tags["language_score"] = f"{score.value:.2f} by {score.how}" if score else ""
        if tags is not None and self._reward is not None:
            tags["reward"] = repr(await self._reward_of(pair))
        return tags

    def _check_it_judges(self, unjudged: int) -> None:
        """Raises ServerError where all that was asked came to nothing: a file of empty tags is no result."""
        progress = self._progress
        if self._answers.valid or not unjudged:
            return
        if self._answers.failure is not None and not progress.invalid:
            raise broken(self._answers.failure) from self._answers.failure
        said = " ".join(self._answers.said.split())
        words = f"it said: {said[:SHOWN]}{' ...' if len(said) > SHOWN else ''}" if said else "the last was empty"
        raise ServerError(
            f"None of {progress.invalid} answers of {self.model} is a valid judgement; {words}",
            f"choose another judge with {self._option}, or a server that holds a model to a JSON schema",
        )


@asynccontextmanager
async def open_judge(
    choice: ServerChoice,
    parallel: int,
    progress: JudgingProgress,
    words: tuple[str, ...] = (),
    language: bool = False,
    guard: str = "",
    reward: ServerChoice | None = None,
) -> AsyncIterator[Judging]:
    """Opens the judge, each step told in ``progress``, a ``guard`` model on the same server, and a ``reward`` model.

    The small model of the embedded engine is no judge that steps in by itself.
    """
    async with AsyncExitStack() as stack:
        choices = (choice, choice.beside(guard) if guard else None, reward)
        model, second, third = [
            await stack.enter_async_context(opened(one, parallel, progress, stands_in=False)) if one else None
            for one in choices
        ]
        assert model is not None
        yield Judging(model, parallel, progress, words=words, language=language, guard=second, reward=third)


def _turns(pair: Pair, longest: int) -> list[Message]:
    asked, said = (scales.shortened(text, longest) for text in (pair.instruction, pair.response))
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
