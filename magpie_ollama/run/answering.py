"""The run that answers a user's own questions: which of them are left, and which nobody could answer."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import orjson

from magpie_ollama.asking.drafts import Draft, Drawn, Turn
from magpie_ollama.asking.said import TRIES
from magpie_ollama.asking.settings import Settings
from magpie_ollama.corpus import files, lines
from magpie_ollama.corpus.appender import Appender, failure
from magpie_ollama.corpus.corpus import Corpus
from magpie_ollama.corpus.questions import Question, Questions, answered, key
from magpie_ollama.corpus.runs import Run
from magpie_ollama.decoding import Misshapen, decode
from magpie_ollama.errors import ShortOfTarget, TemplateError, UsageError
from magpie_ollama.method import languages
from magpie_ollama.method.detection import Verdict, check, identify
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.method.languages import ANY, Language
from magpie_ollama.method.reasons import Reason
from magpie_ollama.method.steering import NONE, Steered, parse_steering, steer
from magpie_ollama.records import DROPPED, KEPT, KEYS, Attempt, Message, Record
from magpie_ollama.run.pipeline import Keep
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import Session, opening
from magpie_ollama.run.sources import Listed, Source
from magpie_ollama.servers.loaded import LoadedModel


def answer_language(name: str) -> Language | None:
    """The language that answers have to be in: "any" holds them to none, "" is each question's own (None)."""
    name = name.strip()
    return languages.ANY if name.lower() == "any" else languages.find(name) if name else None


def answer_steering(text: str) -> str:
    """The canonical name of what may stand before a question; "" for the default. Raises ``UsageError``."""
    steering = parse_steering(text) if text else ""
    if not {*steering.split("+")} <= {"", NONE, "system", "exemplar"}:
        raise UsageError(
            f"The steering {steering} is for instructions that a model writes.", "choose none, system or exemplar"
        )
    return steering


class Unanswered(msgspec.Struct, frozen=True):
    """A question that all trials failed for: a line of ``unanswered.jsonl``, which can be asked like any other file."""

    messages: list[Message]
    source: str
    row: int
    reason: str
    tries: int


@dataclass(slots=True)
class Job:
    """The questions of a file on their way into a corpus. A question is known by its turns: what the corpus answers
    is never asked again, whatever became of the file's rows or the run's journal.

    ``language`` None is each question's own; ``steering`` "" a system message in it, or none where that is English.
    ``each`` has so many answers. ``left`` are to be asked, by their rows, ``there`` were answered before, ``failed`` by
    their keys could not be.
    """

    questions: Questions
    corpus: Corpus
    language: Language | None
    steering: str = ""
    tries: int = TRIES
    retry: bool = False
    each: int = 1
    left: dict[int, Question] = field(default_factory=dict)
    there: int = 0
    failed: dict[bytes, Unanswered] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    _found: Counter[bytes] = field(default_factory=Counter)
    _spoken: dict[int, Language] = field(default_factory=dict)
    _others: dict[bytes, Unanswered] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._found, columns = self._look()
        done = {identity for identity, count in self._found.items() if count >= self.each}
        asked = {question.key: question for question in self.questions.asked}
        self.there = len(asked.keys() & done)
        for identity, one in self._listed().items():
            if identity not in done:
                (self.failed if identity in asked else self._others)[identity] = one
        skipped = done if self.retry else done | self.failed.keys()
        self.left = {
            question.row: replace(question, further={name: question.further.get(name, "") for name in columns})
            for identity, question in asked.items()
            if identity not in skipped
        }
        self.notices += filter(None, [self.questions.notice])
        if missing := [name for name in self.questions.further if name not in columns]:
            self.notices.append(
                f"Left out {', '.join(missing)}: the corpus has records without, and a column that begins amid a file "
                "is one that `datasets` refuses. A new -o takes all columns."
            )
        self._detect()

    @property
    def path(self) -> Path | None:
        """Where those that failed are listed."""
        corpus = self.corpus.path
        return files.folder_beside(corpus) / "unanswered.jsonl" if corpus else None

    def lacking(self) -> Iterator[Question]:
        """Those that are left, each as often as it lacks an answer."""
        for question in self.left.values():
            yield from [question] * (self.each - self._found[question.key])

    def spoken(self, question: Question) -> Language:
        """The language that its answer has to be in."""
        return self.language or self._spoken[question.row]

    def languages(self) -> list[Language]:
        """Those of the questions that are left, the most frequent first."""
        spoken = [self.spoken(question) for question in self.left.values()]
        by_code = {language.code: language for language in spoken}
        return [by_code[code] for code, _ in Counter(language.code for language in spoken).most_common()]

    def steered(self, question: Question, settings: Settings, seed: int) -> Steered:
        language = self.spoken(question)
        steering = NONE if language is ANY else self.steering or (NONE if language.code == "en" else "system")
        return steer(steering, language, seed, system=question.system or settings.system, exemplars=settings.exemplars)

    def short(self) -> ShortOfTarget | None:
        """What is left, None where all is answered."""
        asked = len(self.questions.asked)
        if not self.left and not self.failed:
            return None
        open_ = {question.key for question in self.left.values()} | self.failed.keys()
        reasons = Counter(one.reason for one in self.failed.values())
        words = {reason.value: reason for reason in Reason}
        told = ", ".join(f"{count} {name}" for name, count in reasons.most_common())
        first = words.get(next(iter(reasons), ""))
        told += f" ({first}: {first.words})" if first else ""
        left = "1 is" if len(open_) == 1 else f"{len(open_)} are"
        remedy = "add --retry to ask them again, or give another model or --tries"
        if first is Reason.RESPONSE_TOO_LONG:
            remedy = "raise --num-ctx, and add --retry"
        if self.path is not None and self.failed:
            remedy += f"; they are listed in {self.path}"
        questions = f"{asked} question{'s' if asked != 1 else ''}"
        return ShortOfTarget(
            f"Answered {asked - len(open_)} of {questions}, {left} left{': ' if told else '.'}{told}",
            remedy if self.failed else "run the same command again to go on",
        )

    def _look(self) -> tuple[Counter[bytes], tuple[str, ...]]:
        """How often the corpus answers what, by its key, and the further columns that its records can have."""
        path = self.corpus.path
        if path is None or not path.exists():
            return Counter(), self.questions.further
        found: Counter[bytes] = Counter()
        first: Mapping[str, Any] | None = None
        with path.open("rb") as file:
            for line in file:
                found[answered(line)] += 1
                first = orjson.loads(line) if first is None and line.strip() else first
        del found[b""]
        if first is None:
            return Counter(), self.questions.further
        return found, tuple(name for name, value in first.items() if name not in KEYS and type(value) is str)

    def _listed(self) -> dict[bytes, Unanswered]:
        path, found = self.path, {}
        if path is not None and path.exists():
            for line in files.read(path).splitlines():
                try:
                    one = decode(line, Unanswered)
                except Misshapen:  # torn
                    continue
                found[key(one.messages)] = one
        return found

    def _detect(self) -> None:
        if self.language is not None:
            return
        known = set(languages.codes())
        codes = {one.row: one.language if one.language in known else identify(one.text) for one in self.left.values()}
        usual = Counter(code for code in codes.values() if code in known).most_common(1)
        main = usual[0][0] if usual else "en"
        for row, one in self.left.items():
            code = codes[row] or main
            # “Explain recursion” is likeliest in French: of so few words the file's other questions tell more.
            if one.language != code != main and check(one.text, main) is not Verdict.NO:
                code = main
            self._spoken[row] = languages.load(code) if code in known else ANY

    def settle(self, question: Question, outcome: str, tries: int) -> None:
        """What became of one for good. Raises CorpusError."""
        del self.left[question.row]
        self.failed.pop(question.key, None)
        if outcome != KEPT:
            one = Unanswered(list(question.messages), question.source, question.row, outcome, tries)
            self.failed[question.key] = one
            self._list([one], append=True)

    def close(self) -> None:
        """Lists what failed and is not answered yet, and nothing else. Raises CorpusError."""
        self._list([*self._others.values(), *self.failed.values()], append=False)

    def _list(self, some: Iterable[Unanswered], *, append: bool) -> None:
        path = self.path
        content = b"".join(lines.encode(msgspec.structs.asdict(one)) for one in some)
        if path is None or (not content and not path.exists()):
            return
        try:
            if append:
                with_end = Appender(path, create=not path.exists(), sync="never")
                with_end.end_line()
                with_end.append(content)
                with_end.close()
            elif content:
                files.write(path, content)
            else:
                path.unlink()
        except OSError as error:
            raise failure(error, path) from error


class Asking:
    """Attempts at questions, in their order; one whose response is rejected comes again behind the others."""

    def __init__(self, job: Job, begin: Callable[[Question, int], Draft]) -> None:
        self._job = job
        self._begin = begin
        self._waiting = deque((question, 0) for question in job.left.values())
        self._asked: dict[int, tuple[Question, int]] = {}

    def next(self) -> Draft | None:
        if not self._waiting:
            return None
        question, trial = self._waiting.popleft()
        self._asked[question.row] = question, trial
        return self._begin(question, trial)

    def learn(self, attempt: Attempt) -> None:
        question, trial = self._asked.pop(attempt.index)
        if attempt.outcome == DROPPED:
            return
        hopeless = attempt.outcome == Reason.RESPONSE_TOO_LONG  # with any seed
        if attempt.outcome == KEPT or hopeless or trial + 1 >= self._job.tries:
            self._job.settle(question, attempt.outcome, trial + 1)
        else:
            self._waiting.append((question, trial + 1))

    def remember(self, record: Record) -> None: ...

    def shares(self) -> dict[str, float]:
        return {}


class Answering(Session):
    """A session whose questions a user brings."""

    judges = False

    def __init__(self, settings: Settings, model: LoadedModel, progress: Progress, job: Job) -> None:
        super().__init__(settings, model, job.corpus, progress)
        self.job = job
        self.lack(sum(1 for _ in job.lacking()))

    def begin(self, question: Question, index: int = 0, seed: int = 0, trial: int = 0) -> Draft:
        steered = self.job.steered(question, self.settings, seed)
        said = [message for message in question.messages if message["role"] != "system"]
        turns = [Turn(message["role"], message["content"], complete=True) for message in said]  # type: ignore[arg-type]
        drawn = Drawn(index, seed, steered, 0.0, sum(turn.role == "user" for turn in turns))
        rules = replace(self.settings.screening, language=self.job.spoken(question))
        return Draft(drawn, turns, question=question, rules=rules, trial=trial)

    async def generate(self, keep: Keep = lambda record: None) -> Run:
        """Answers what is left. Raises ``ShortOfTarget`` where a question remains, the ``MagpieError`` that ended the
        run before."""
        first = await self.check()
        template = await self.prompter.template(first.drawn.steered.messages)
        self._note(template)
        run = self.run = self._begin(template, [first.drawn.steered])
        try:
            await self._go(run, self._source(run), DuplicateIndex(), template, keep)
        finally:
            self.job.close()
        return run

    def _source(self, run: Run) -> Source:
        return Asking(self.job, lambda one, trial: self.begin(one, one.row, run.seed + one.row, trial))

    async def check(self) -> Draft:
        """The first question, as it would be asked. Raises where the template cannot carry the system messages."""
        drafts = map(self.begin, self.job.left.values())
        first = next(drafts)
        if carried := next((draft for draft in (first, *drafts) if draft.drawn.steered.messages), None):
            try:
                await self._carry(carried.drawn.steered)
            except TemplateError as error:
                raise TemplateError(
                    error.cause, "give --template; or -s none, where no row has a system message"
                ) from error
        return first

    def _identity(self) -> Mapping[str, Any]:
        own = {"language": self.job.language.code if self.job.language else "", "steering": self.job.steering}
        identity = {**super()._identity(), **own, "questions": self.job.questions.path.name}
        if self.job.language is None:
            del identity["language_data"]  # of many
        return identity

    def _short(self, run: Run) -> ShortOfTarget:
        return self.job.short() or super()._short(run)


class Preferring(Answering):
    """A session in which each question has several answers. One that is rejected is tried ``TRIES`` times in all."""

    async def generate(self, keep: Keep = lambda record: None) -> Run:
        """Raises the ``MagpieError`` that ended the run; what lacks an answer after all tries is told."""
        try:
            return await super().generate(keep)
        except ShortOfTarget:
            assert self.run is not None
            told = f"{self.run.target - self.run.kept} responses were rejected in all {TRIES} tries"
            self.progress.notices.append(f"{told}: the same command asks for them again.")
            return self.run

    def _source(self, run: Run) -> Source:
        return Listed(self.job.lacking(), run, self.begin, TRIES)


def open_answering(settings: Settings, job: Job, progress: Progress) -> AbstractAsyncContextManager[Answering]:
    """The model is opened by visible steps of ``progress``. Several answers ``each`` make it ``Preferring``."""
    progress.notices += job.notices
    kind = Answering if job.each == 1 else Preferring
    return opening(
        settings, job.corpus, progress, job.languages(), lambda model, *_: kind(settings, model, progress, job)
    )
