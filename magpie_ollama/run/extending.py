"""The run in which the records of a file go on: the model asks on as their user, and answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Any

from magpie_ollama.asking.drafts import Draft, Turn, draw
from magpie_ollama.asking.said import Turns
from magpie_ollama.asking.settings import Settings
from magpie_ollama.corpus.corpus import Corpus
from magpie_ollama.corpus.forms import Wanted
from magpie_ollama.corpus.questions import Question
from magpie_ollama.corpus.reading import Row, Rows
from magpie_ollama.corpus.runs import Run
from magpie_ollama.errors import NotACorpus, ShortOfTarget, UnknownLanguage
from magpie_ollama.method import languages, topics
from magpie_ollama.method.detection import identify
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.method.languages import Language
from magpie_ollama.records import FIRST, Message
from magpie_ollama.run.pipeline import Keep
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.seen import phrases
from magpie_ollama.run.session import Plan, Session, opening
from magpie_ollama.run.sources import Listed
from magpie_ollama.servers.loaded import LoadedModel


@dataclass(slots=True)
class Conversations:
    """Those of a file that can go on to ``turns``: by their ids in the order of the file, each with its language. About
    1 kB each. ``passed_over`` counts the others by the words for why."""

    path: Path
    found: dict[str, tuple[Question, Language]] = field(default_factory=dict)
    passed_over: Counter[str] = field(default_factory=Counter)
    notice: str = ""

    def leave_out_those_of(self, corpus: Corpus) -> None:
        """Those that it has, by the sources of its records."""
        if corpus.path is not None and corpus.records:
            for row in Rows(corpus.path, skip_bad=True):
                self.found.pop(row.text("source"), None)

    @property
    def languages(self) -> list[Language]:
        """The most frequent first."""
        by_code = {language.code: language for _, language in self.found.values()}
        return [by_code[code] for code, _ in Counter(one.code for _, one in self.found.values()).most_common()]


def read(
    path: Path,
    turns: Turns,
    language: Language | None = None,
    *,
    skip_bad: bool = False,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Conversations:
    """``language`` is that of rows which name none; None reads their texts. Raises what ``Rows`` does, and NotACorpus
    where nothing can go on."""
    rows = Rows(path, skip_bad=skip_bad, on_progress=on_progress, wanted=Wanted(text=True))
    made = Conversations(path)
    for row in rows:
        spoken = _language(row, language)
        if row.said.reason:
            made.passed_over["unanswered"] += 1
        elif row.said.asks >= turns.most:
            made.passed_over["as long already"] += 1
        elif spoken is None:
            made.passed_over["in a language without data"] += 1
        else:
            source = row.id if row.data.get("id") not in (None, "") else f"{path.name}#{row.number}"
            messages = [Message(role=turn.role, content=turn.text) for turn in row.said.turns]  # type: ignore[typeddict-item]
            if source in made.found:
                made.passed_over["with an id that was there before"] += 1
            topic = row.text("topic") if row.data.keys() >= set(FIRST) else ""
            made.found.setdefault(source, (Question(row.number, source, tuple(messages), topic=topic), spoken))
    made.notice = rows.notice()
    if not made.found:
        told = ", ".join(f"{count} {why}" for why, count in made.passed_over.items())
        remedy = "give more --turns, or another file"
        if made.passed_over.keys() == {"unanswered"}:
            remedy = f"answer them first: magpie-ollama respond {quote(str(path))}"
        raise NotACorpus(f"{path} has no conversation to go on with: {told}", remedy)
    return made


def _language(row: Row, given: Language | None) -> Language | None:
    named = row.text("language")
    try:
        if named or given is not None:
            return languages.find(named) if named else given
    except UnknownLanguage:
        return None
    code = identify(row.instruction)
    return languages.load(code) if code in languages.codes() else None


class Extending(Session):
    """``found`` are the conversations that the corpus does not have yet; each is tried up to ``tries`` times."""

    judges = False

    def __init__(
        self,
        settings: Settings,
        model: LoadedModel,
        corpus: Corpus,
        progress: Progress,
        found: Conversations,
        tries: int,
        responder: LoadedModel | None = None,
        phased: bool = False,
    ) -> None:
        super().__init__(settings, model, corpus, progress, responder, phased)
        self.conversations = found
        self.tries = tries
        self.lack(len(found.found))

    async def plan(self) -> Plan:
        front = await self.front()
        unfinished = self._unfinished()
        source = next(iter(self.conversations.found))
        draft = self.begin(source, 0, unfinished.seed if unfinished else self.settings.seed or 0, front)
        template = await self.prompter.template(draft.before())
        kept = unfinished.kept if unfinished else 0
        return Plan(
            draft.steered(), template, template.prefix, kept, self.settings.target, unfinished.id if unfinished else ""
        )

    async def generate(self, keep: Keep = lambda record: None) -> Run:
        """Goes on with what is left. Raises ``ShortOfTarget`` where some could not go on, the ``MagpieError`` that
        ended the run before."""
        front = await self.front()
        template = await self.prompter.template(front or ())
        self._note(template)
        run = self.run = self._begin(template, [self.steer(self.settings.steering, 0)], front or ())
        said = phrases(self.corpus)

        def begin(source: str, index: int, seed: int) -> Draft:
            return self.begin(source, index, seed, front)

        source = Listed(self.conversations.found, run, begin, self.tries)
        await self._go(run, source, DuplicateIndex(), template, keep, said)
        return run

    def begin(self, source: str, index: int, seed: int, front: tuple[Message, ...] | None) -> Draft:
        question, language = self.conversations.found[source]
        settings = replace(self.settings, language=language, rules=replace(self.settings.screening, language=language))
        if (topic := topics.shipped(question.topic)) is not None:  # with its message and its rules
            settings = settings.on(topic)
        said = [message for message in question.messages if message["role"] != "system"]
        turns = [Turn(message["role"], message["content"], complete=True) for message in said]  # type: ignore[arg-type]
        temperature = settings.instruction.temperature
        drawn, more = draw(settings, index, seed, self.settings.steering, temperature), len(turns) // 2 + 1
        drawn = replace(drawn, turns=max(drawn.turns, more), least=max(drawn.least, more), topic=question.topic)
        if front:  # the template carries a system message
            own = [message for message in question.messages if message["role"] == "system"]
            text = self.settings.system or settings.system or language.system_multi_turn
            front = tuple(own[:1]) or (Message(role="system", content=settings.how_hard(text)),)
        return Draft(drawn, turns, question=question, rules=settings.screening, front=front, retries=settings.retries)

    def _identity(self) -> Mapping[str, Any]:
        identity = {**super()._identity(), "language": "", "conversations": self.conversations.path.name}
        del identity["language_data"]  # of many
        return identity

    def _short(self, run: Run) -> ShortOfTarget:
        short = super()._short(run)
        cause = short.cause.replace("Kept", "Extended", 1)
        return ShortOfTarget(cause, "run the same command again: it tries the others by other seeds")


def open_extending(
    settings: Settings, corpus: Corpus, progress: Progress, found: Conversations, tries: int
) -> AbstractAsyncContextManager[Extending]:
    """The models are opened by visible steps of ``progress``; ``tries`` has each conversation."""
    told = [f"Passed over {count} of {found.path.name}: {why}." for why, count in found.passed_over.items()]
    progress.notices += [*filter(None, [found.notice]), *told]

    own = sorted({question.topic for question, _ in found.found.values()} - {""})
    own = [name for name in own if topics.shipped(name) is None]
    if own and not settings.system:
        progress.notices.append(
            f"Of the topics {', '.join(own)} the package has no system message: their conversations go on by the "
            "language's. --system gives one."
        )
    return opening(
        settings,
        corpus,
        progress,
        found.languages,
        lambda model, *others: Extending(settings, model, corpus, progress, found, tries, *others),
    )
