"""The language experiment: the same number of attempts for each model, language and steering, and what they came to."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from functools import partial, reduce
from itertools import product
from pathlib import Path
from shlex import quote
from typing import Annotated

from jsonlines import InvalidLineError
from msgspec import Meta

from magpie_ollama.asking.asker import Asker
from magpie_ollama.asking.attempt import attempt
from magpie_ollama.asking.drafts import Draft, draw
from magpie_ollama.asking.retrying import retrying
from magpie_ollama.asking.settings import Settings
from magpie_ollama.asking.watchdog import watched
from magpie_ollama.corpus import runs, system
from magpie_ollama.corpus.appender import Appender
from magpie_ollama.corpus.lines import encode, parse
from magpie_ollama.decoding import Count, Misshapen, convert
from magpie_ollama.errors import CorpusError, TemplateError, UsageError
from magpie_ollama.method.detection import check
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.method.languages import Language
from magpie_ollama.method.reasons import Reason, Stage
from magpie_ollama.method.steering import AUTO
from magpie_ollama.records import KEPT, Attempt, Index, Name
from magpie_ollama.run import measurements
from magpie_ollama.run.choosing import Arm, AutoSteering, FixedSteering, Tally, passed
from magpie_ollama.run.prepared import Prepared
from magpie_ollama.servers.base import Completion, Model, ServerChoice

PROBE_TOKENS = 24
ATTEMPT_TOKENS = 70
"""Tokens of an attempt, for the estimate of the time: 50 to 90, measured in five languages on SmolLM2-135M."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt of an experiment, as it stands in its JSONL file. ``steering`` is the cell's, ``drawn`` what it took
    (another one only in a cell of auto), at ``temperature``; ``prompt_tokens`` and ``worth`` are those of ``Attempt``.
    ``verdict`` is the detector's word on the text: "yes", "no", "unknown".
    ``settings`` tells the rows of one experiment from those of another in the same file, ``digest`` those of a model
    from those of another that had its name ("": not told, as in files of earlier versions).
    """

    settings: str
    model: str
    language: str
    steering: Name
    index: Index
    seed: int
    drawn: Name
    outcome: Name
    verdict: Name
    complete: bool
    confidence: Annotated[float, Meta(ge=0, le=1)]
    tokens: Count
    response_tokens: Count
    seconds: Annotated[float, Meta(ge=0, lt=2**53)]
    text: str
    response: str
    digest: str = ""
    temperature: Annotated[float, Meta(ge=0, le=5)] = 1.0
    known_words: Annotated[float, Meta(ge=0, le=1)] = 0.0
    fluency: Annotated[float, Meta(ge=0, lt=2**53)] = 0.0
    drawn_temperature: Annotated[float, Meta(ge=0, le=5)] = 1.0
    prompt_tokens: Count = 0
    worth: Annotated[float, Meta(ge=0, le=1)] = 1.0

    @property
    def useful(self) -> bool:
        return self.outcome == KEPT

    @property
    def attempt(self) -> Attempt:
        return Attempt(
            self.index,
            self.outcome,
            self.drawn,
            self.tokens,
            self.response_tokens,
            self.verdict,
            self.known_words,
            self.fluency,
            self.drawn_temperature,
            self.prompt_tokens,
            self.worth,
        )

    @property
    def cell(self) -> Cell:
        return Cell(self.model, self.language, self.steering, self.temperature)


LATER = {field.name for field in fields(Tried) if field.default is not MISSING}
"""Keys that files of earlier versions lack."""


@dataclass(frozen=True, slots=True)
class Cell:
    model: str
    language: str
    steering: str
    temperature: float = 1.0


class Results:
    """The rows of an experiment, by cell, in a JSONL file that is continued where it is there already."""

    def __init__(self, path: Path, settings: str) -> None:
        self.path = path
        self.settings = settings
        self.rows: dict[Cell, list[Tried]] = {}
        if not path.parent.is_dir():
            raise UsageError(f"The folder {path.parent} does not exist", f"mkdir -p {quote(str(path.parent))}")
        try:
            system.check_kind(path.resolve(), stat.S_IFREG)
            for row in _read(path):
                if row.settings == settings:
                    self.of(row.cell).append(row)
        except OSError as error:
            raise self._unusable(error.strerror) from error
        if not path.exists() and not os.access(path.parent, os.W_OK):  # now, and not after the model was loaded
            raise self._unusable("its folder cannot be written to")
        self._file = self._open() if path.exists() else None

    def of(self, cell: Cell) -> list[Tried]:
        return self.rows.setdefault(cell, [])

    def add(self, row: Tried) -> None:
        if self._file is None:  # nothing is made before there is something to write
            self._file = self._open()
        self._file.append(encode(asdict(row)))
        self.of(row.cell).append(row)

    def only(self, model: Model) -> int:
        """Leaves out the rows of another model that had this one's name; they stay in the file. Returns how many."""
        left_out = 0
        for cell, rows in self.rows.items():
            if cell.model == model.name and model.digest:
                own = [row for row in rows if row.digest in ("", model.digest)]
                left_out += len(rows) - len(own)
                rows[:] = own
        return left_out

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self) -> Appender:
        try:
            file = Appender(self.path.resolve(), create=not self.path.exists(), sync="second")
            file.end_line()
        except OSError as error:
            raise self._unusable(error.strerror) from error
        return file

    def _unusable(self, why: str | None) -> CorpusError:
        return CorpusError(f"{self.path} cannot be used: {why}", "choose another place with -o, for example -o compare")


def newest_rows(path: Path) -> dict[Cell, list[Tried]]:
    """The rows of a file by cell, those of the experiment that its last row is of. Raises CorpusError."""
    rows = list(_read(path))
    found: dict[Cell, list[Tried]] = {}
    for row in rows:
        if row.settings == rows[-1].settings:
            found.setdefault(row.cell, []).append(row)
    return found


def _read(path: Path) -> Iterable[Tried]:
    if not path.exists():
        return
    names = {field.name for field in fields(Tried)}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            value = parse(line)
        except InvalidLineError:
            continue  # half a line is all that a crash leaves
        if value is None:
            continue
        try:
            row = convert(value, Tried)
            if value.keys() | LATER != names:
                raise Misshapen("it has other keys")
        except Misshapen as error:
            raise CorpusError(
                f"{path}, line {number}, is no row of an experiment ({error})",
                "mend or remove that line, or choose another place with -o",
            ) from error
        yield row


@dataclass(frozen=True, slots=True)
class Asked:
    """What an experiment is asked to do, besides the settings that all its cells share."""

    languages: Sequence[Language]
    steerings: Sequence[str]
    temperatures: Sequence[float]
    attempts: int
    with_responses: bool


def fingerprint(settings: Settings, with_responses: bool, own: Language | None = None) -> str:
    """Tells experiments apart that must not be mixed: all but the cells and their number of attempts. ``own`` is a
    language of the user's, which is not known by its code."""
    identity = settings.identity("", "")
    for key in ("language", "language_data", "steering"):
        del identity[key]
    del identity["instruction"]["temperature"]
    # Two servers, or files of weights, may have one name for different models. As they are given, where they are:
    # files of earlier versions go on.
    for key in ("kind", "host", "model_path"):
        if (given := getattr(settings.server, key)) != getattr(ServerChoice(), key):
            identity[key] = str(given)
    if own is not None:
        identity["own_language"] = replace(settings, language=own).identity("", "")["language_data"]
    return runs.fingerprint({**identity, "with_responses": with_responses})


class Experiment:
    """Runs the cells of one model after another, a language and a steering at a time."""

    def __init__(self, prepared: Prepared, asked: Asked, results: Results) -> None:
        self._prepared = prepared
        self._asked = asked
        self._results = results
        self._progress = prepared.progress
        if others := results.only(prepared.model):
            self._progress.notices.append(
                f"{prepared.model.name} is another model than it was in {others:,} attempts of {results.path}: "
                "they stay there, and its cells begin anew."
            )

    async def tokens_per_second(self) -> float:
        """Of the server with all its attempts in flight, by a short probe."""
        prepared = self._prepared
        template = await prepared.prompter.template()
        sampling = replace(prepared.settings.instruction, max_tokens=PROBE_TOKENS)
        started = time.monotonic()

        def ask(seed: int) -> Awaitable[Completion]:
            return prepared.model.complete(template.prefix, sampling.seeded(seed), (), lambda _: False)

        tries = (retrying(partial(ask, seed), prepared.model.address) for seed in range(prepared.settings.parallel))
        completions = await asyncio.gather(*tries)
        return sum(completion.tokens for completion in completions) / max(time.monotonic() - started, 0.001)

    def seconds_expected(self, tokens_per_second: float) -> float:
        """For what is left to do of this model."""
        left = sum(max(0, self._asked.attempts - len(self._results.of(cell))) for cell in self.cells())
        tokens = ATTEMPT_TOKENS + (0.5 * 300 if self._asked.with_responses else 0)
        return left * tokens / max(tokens_per_second, 0.1)

    def cells(self) -> list[Cell]:
        model = self._prepared.model.name
        asked = self._asked
        return [Cell(model, language.code, *way) for language, way in product(asked.languages, self._ways())]

    def _ways(self) -> list[tuple[str, float]]:
        """Steerings with their temperatures; auto has but one cell, and chooses among them."""
        asked = self._asked
        each = product(asked.steerings, asked.temperatures)
        ways = [(steering, 1.0 if steering == AUTO else temperature) for steering, temperature in each]
        return list(dict.fromkeys(ways))

    async def run(self) -> None:
        for language, (steering, temperature) in product(self._asked.languages, self._ways()):
            await self._cell(language, steering, temperature)

    async def _cell(self, language: Language, steering: str, temperature: float) -> None:
        prepared = self._prepared.speaking(language, steering, temperature)
        await prepared.measure_own()
        rows = self._results.of(Cell(prepared.model.name, language.code, steering, temperature))
        done = {row.index for row in rows}
        missing = [index for index in range(self._asked.attempts) if index not in done]
        if not missing:
            return
        try:
            allowed = await prepared.steerings()
        except TemplateError as error:
            self._progress.notices.append(f"{steering} is left out: {error.cause}")
            return
        first = prepared.settings.seed or 0
        steerings: FixedSteering | AutoSteering = FixedSteering(
            Arm(allowed[0], prepared.settings.instruction.temperature)
        )
        if steering == AUTO:
            # From the shipped prior alone: what the experiment's other cells found must not help it.
            steerings = AutoSteering(prepared.arms(allowed), first)
            steerings.recall(row.attempt for row in rows)
        seen = DuplicateIndex()
        for row in rows:
            if row.useful:
                seen.add(row.text)
        asker = prepared.asker(seen)
        queue = iter(missing)

        async def work() -> None:
            for index in queue:
                draft = Draft(draw(prepared.settings, index, first + index, *steerings.choose()))
                row = await self._attempt(asker, draft, prepared, steering)
                steerings.learn(row.attempt)
                self._results.add(row)

        workers: list[asyncio.Task[None]] = []
        async with watched(prepared.model.server, lambda: sum(not worker.done() for worker in workers)) as group:
            workers += [group.create_task(work()) for _ in range(prepared.settings.parallel)]
            await asyncio.wait(workers)
        if steering != AUTO:
            tally = reduce(Tally.plus, (Tally.of(row.attempt) for row in rows[-len(missing) :]), Tally())
            measurements.add(prepared.model, prepared.settings.measured_as, {steerings.choose(): tally})

    async def _attempt(self, asker: Asker, draft: Draft, prepared: Prepared, steering: str) -> Tried:
        started = time.monotonic()
        until = None if self._asked.with_responses else Stage.INSTRUCTION
        outcome = await attempt(asker, draft, until=until)
        ended, asked = draft.end(outcome), draft.instruction
        if passed(ended):
            self._progress.newest = asked.text
        language = prepared.settings.language
        verdict = ended.language or str(check(asked.text, language.code, scripts=language.scripts))
        return Tried(
            settings=self._results.settings,
            model=prepared.model.name,
            language=language.code,
            steering=steering,
            index=draft.drawn.index,
            seed=draft.drawn.seed,
            drawn=ended.steering,
            outcome=outcome,
            verdict="no" if outcome == Reason.WRONG_LANGUAGE else verdict,
            complete=asked.complete,
            confidence=asked.confidence,
            tokens=ended.instruction_tokens,
            response_tokens=ended.response_tokens,
            seconds=round(time.monotonic() - started, 3),
            text=asked.text,
            response=draft.response.text if outcome == KEPT and self._asked.with_responses else "",
            digest=prepared.model.digest,
            temperature=prepared.settings.instruction.temperature,
            known_words=asked.known_words,
            fluency=asked.fluency,
            drawn_temperature=ended.temperature,
            prompt_tokens=ended.prompt_tokens,
            worth=ended.worth,
        )
