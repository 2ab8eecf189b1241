"""One run from beginning to end: server, model, template, corpus, pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from magpie_ollama.asking.attempt import attempt
from magpie_ollama.asking.drafts import Draft, Drawn, Turn
from magpie_ollama.asking.opening import opened
from magpie_ollama.asking.retrying import retrying
from magpie_ollama.asking.settings import Settings
from magpie_ollama.corpus.corpus import Corpus
from magpie_ollama.corpus.runs import Run, Status
from magpie_ollama.errors import ShortOfTarget
from magpie_ollama.method.detection import told_by
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.method.followups import Phrases
from magpie_ollama.method.languages import Exemplar, Language
from magpie_ollama.method.reasons import Reason
from magpie_ollama.method.screening import prepare
from magpie_ollama.method.steering import AUTO, Steered
from magpie_ollama.method.template import Template
from magpie_ollama.method.topics import WITHOUT_DATA
from magpie_ollama.records import KEPT, UNWANTED, Funnel, Message
from magpie_ollama.run import continuing, measurements
from magpie_ollama.run.choosing import Arm, AutoSteering, FixedSteering
from magpie_ollama.run.phases import PHASE
from magpie_ollama.run.pipeline import Gate, Keep, Pipeline
from magpie_ollama.run.prepared import Prepared
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.scheduling import Schedule
from magpie_ollama.run.seen import index, phrases
from magpie_ollama.run.sources import Drawing, Source
from magpie_ollama.servers.loaded import LoadedModel

S = TypeVar("S", bound="Session")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do: the first attempt's prompt, and what is left to make."""

    steered: Steered
    template: Template
    prompt: str
    kept: int
    target: int
    continues: str


class Session(Prepared):
    """With a corpus to write to."""

    def __init__(
        self,
        settings: Settings,
        model: LoadedModel,
        corpus: Corpus,
        progress: Progress,
        responder: LoadedModel | None = None,
        phased: bool = False,
    ) -> None:
        """``responder`` answers in place of the model; ``phased``: see ``Pipeline``. ``at_target`` is how a run ends
        that has its records: one that is not done is gone on with by the same command."""
        super().__init__(settings, model, progress)
        if responder is not None:
            self.answered_by(responder)
        self._phased = phased
        self.corpus = corpus
        self.run: Run | None = None
        self.gate: Gate | None = None
        self.at_target: Status = "done"
        self._asked = settings
        self._pipeline: Pipeline | None = None
        self._stopped = False
        self._told = len(corpus.notices)

    async def plan(self) -> Plan:
        """The plan of the first attempt, with nothing generated and nothing written."""
        groups, allowed = await self._groups()
        topic = self._schedule().next() or ""
        unfinished = self._unfinished()
        if unfinished is None:
            self._tell_of_corpus()
        seed = unfinished.seed + unfinished.next_index if unfinished else self.settings.seed or 0
        steered = groups[topic].steer(allowed[topic][0], seed)
        template = await self.prompter.template(steered.messages)
        return Plan(
            steered,
            template,
            steered.prompt(template.prefix),
            unfinished.kept if unfinished else 0,
            self.settings.target,
            unfinished.id if unfinished else "",
        )

    async def generate(self, keep: Keep = lambda record: None) -> Run:
        """Makes the records. Raises the ``MagpieError`` that ended the run short; what was kept stays."""
        await self._answer_examples()
        groups, allowed = await self._groups()
        steered = [groups[topic].steer(one, 0) for topic, steerings in allowed.items() for one in steerings]
        template = await self.prompter.template(steered[0].messages)
        fronts = {topic: await group.front() for topic, group in groups.items()}
        front, *_ = fronts.values()
        self._note(template)
        run = self.run = self._begin(template, steered, front or ())
        steerings = {topic: self._steerings(group, allowed[topic], run) for topic, group in groups.items()}
        schedule = self._schedule()
        schedule.recall(run.attempts())
        settings = {topic: group.settings for topic, group in groups.items()}
        progress, bound = self.progress, self.settings.attempt_bound
        source = Drawing(settings, run, steerings, schedule, bound, progress.notices, fronts)
        progress.enter("Reading the corpus" if self.corpus.records else "")
        try:
            seen = await asyncio.to_thread(index, self.corpus, lambda: self._stopped)
            talks = self.settings.turns.most > 1
            said = await asyncio.to_thread(phrases, self.corpus, lambda: self._stopped) if talks else None
        except asyncio.CancelledError:
            self.stop()  # the end of the thread is waited for
            raise
        progress.enter("")
        if self.settings.language.code != "en":
            await self.measure_own()
        try:
            await self._go(run, source, seen, template, keep, said)
        finally:
            for topic, chosen in steerings.items():
                if isinstance(chosen, AutoSteering):
                    measurements.add(self.model, settings[topic].measured_as, chosen.tallies())
        return run

    async def _go(
        self,
        run: Run,
        source: Source,
        seen: DuplicateIndex,
        template: Template,
        keep: Keep,
        said: Phrases | None = None,
    ) -> None:
        """Goes on with the run by the attempts of ``source``; ``said`` are the later turns that the corpus has."""
        progress = self.progress
        progress.funnel = Funnel.of(run.attempts())
        progress.kept, progress.target = run.kept, run.target
        reasons = (self.settings.think or template.opens_reasoning) and self.responder.thinks is not False
        self._pipeline = Pipeline(self, source, self.corpus, run, seen, keep, reasons, self._phased, said, self.gate)
        if self._stopped:  # while the template was asked for, or the corpus read
            self._pipeline.stop()
        status: Status = "failed"
        try:
            await self._pipeline.run()
            status = "interrupted"
            if not self._stopped and run.kept < run.target:
                raise self._short(run)
        except ShortOfTarget:
            status = "short"
            raise
        except asyncio.CancelledError:
            status = "interrupted"
            raise
        finally:
            if run.kept >= run.target:  # also where the caller left with the last record in hand
                status = self.at_target
            progress.notices += self.corpus.notices[self._told :]
            seconds = round(float(run.manifest.get("seconds", 0.0)) + progress.seconds, 1)
            run.update(funnel=progress.funnel.to_dict(), seconds=seconds)
            run.finish(status)

    def stop(self) -> int:
        """Ends the run in good order; see ``Pipeline.stop``."""
        self._stopped = True
        return self._pipeline.stop() if self._pipeline else 0

    def _note(self, template: Template) -> None:
        """What is worth knowing of the model before a run."""
        name, kind = self.model.name, self.model.server.kind
        if template.opens_reasoning and not self.settings.think:
            self.progress.notices.append(f"{name} reasons before each response, whatever is asked: that costs tokens.")
        if template.silent:
            self.progress.notices.append(
                f"This {kind} hides {template.first_end}, which ends a user's turn of {name}: it is looked "
                "for at the ends of sentences, by single tokens. Look whether answers stand in the instructions."
            )
        if template.guessed:
            self.progress.notices.append(
                f"{name} brings no chat template that this {kind} tells: it renders ChatML, perhaps as a "
                "guess. If the model was trained on another one, or on none, give it with --template."
            )

    async def _answer_examples(self) -> None:
        """Has the model answer the exemplars that have no response: a user's own sentences."""
        language = self.settings.language
        if all(exemplar.response for exemplar in language.exemplars):
            return
        self.progress.enter("Answering your examples")
        asker, answered = self.asker(DuplicateIndex()), []
        for number, (asked, response) in enumerate(language.exemplars):
            drawn = Drawn(number, self.settings.seed or 0, self.steer("system", 0), 0.0)
            draft = Draft(drawn, [Turn("user", asked, complete=True)])
            outcome = KEPT if response else await attempt(asker, draft)
            if outcome == KEPT:
                answered.append(Exemplar(asked, response or draft.response.text))
            else:
                self.progress.notices.append(f"Your example is left out, its answer failed ({outcome}): {asked:.60}")
        self.progress.enter("")
        if not answered:
            raise ShortOfTarget("None of the examples could be answered.", "give pairs, as CSV or JSONL")
        self.settings = replace(self.settings, language=replace(language, exemplars=tuple(answered)))

    async def _groups(self) -> tuple[dict[str, Prepared], dict[str, list[str]]]:
        """By topic: what asks for it, and the steerings that it may take, which are looked for once."""
        groups = self.topics()
        carried: dict[str, list[str]] = {}
        for group in groups.values():
            if group.settings.steering not in carried:
                carried[group.settings.steering] = await group.steerings()
        if (mixture := self.settings.mixture) is not None:
            language = self.settings.language
            foreign = [name for name, topic in mixture.topics.items() if language.code not in topic.voices]
            if foreign:
                self.progress.notices.append(
                    f"No {language.english} data for {', '.join(foreign)}: asked for in English, with {WITHOUT_DATA}."
                )
        return groups, {topic: carried[group.settings.steering] for topic, group in groups.items()}

    def _schedule(self) -> Schedule:
        mixture = self.settings.mixture
        return Schedule(mixture.shares if mixture else {"": 1.0}, self.settings.target)

    def _steerings(self, group: Prepared, allowed: Sequence[str], run: Run) -> FixedSteering | AutoSteering:
        if group.settings.steering != AUTO:
            return FixedSteering(Arm(allowed[0], self.settings.instruction.temperature))
        earlier = measurements.load(self.model, group.settings.measured_as)
        steerings = AutoSteering(group.arms(allowed), run.seed + run.next_index, earlier)
        steerings.recall(attempt for attempt in run.attempts() if attempt.topic == group.settings.topic)
        return steerings

    def _begin(self, template: Template, steered: Sequence[Steered], front: Sequence[Message] = ()) -> Run:
        settings = self.settings
        unfinished = self._unfinished()
        if unfinished is not None:
            self.progress.notices.append(
                f"Continuing run {unfinished.id}: {unfinished.kept} of {settings.target} are there."
            )
            unfinished.resume(settings.target)
            return unfinished
        self._tell_of_corpus()
        return self.corpus.start_run(self._identity(), self._manifest(template, steered, front), settings.target)

    def _tell_of_corpus(self) -> None:
        """What a new run adds to."""
        corpus, model, target = self.corpus, self.model, self.settings.target
        told = [
            continuing.adding(target, corpus.records, corpus.models(), model.name) if corpus.records else "",
            continuing.remade(corpus.runs, model),
            continuing.waiting(corpus.runs, self._identity(), model, target),
        ]
        self.progress.notices += filter(None, told)

    def lack(self, records: int) -> None:
        """Has so many more made, whatever the run that is continued was to have; 0 goes on with none."""
        unfinished = self.corpus.unfinished(self._identity(), self.model.digest) if records else None
        self.settings = replace(self.settings, target=records + (unfinished.kept if unfinished else 0))

    def _unfinished(self) -> Run | None:
        """The run to continue. One that has more than the target was asked for more, and waits for that."""
        unfinished = self.corpus.unfinished(self._identity(), self.model.digest)
        return unfinished if unfinished is not None and unfinished.kept <= self.settings.target else None

    def _short(self, run: Run) -> ShortOfTarget:
        reasons = self.progress.funnel.rejected()
        told, remedy = (
            "",
            "run the same command again to go on, raise --max-attempts, or try another --steering or model",
        )
        if reasons:
            # A newer tool may have counted others.
            first = next((reason for reason in Reason if reason == reasons[0][0]), None)
            told = f"; rejected: {', '.join(f'{count} {name}' for name, count in reasons)}"
            told += f" ({first}: {first.words})" if first else ""
            remedy = first.remedy + ", then run the same command again" if first and first.remedy else remedy
            if reasons[0][0] == UNWANTED:
                remedy = "run the same command again to go on, ask for less with --where, or try another model or judge"
        return ShortOfTarget(
            f"Kept {run.kept} of {run.target} after {self.progress.funnel.attempts} attempts{told}.",
            remedy,
        )

    def _identity(self) -> Mapping[str, Any]:
        identity = self._asked.identity(self.model.name, self.model.server.kind)
        if self.responder is not self.model:
            identity |= {"response_model": self.responder.name, "response_server": self.responder.server.kind}
        return {**identity, **(self.gate.identity if self.gate else {})}

    def _manifest(
        self, template: Template, steered: Sequence[Steered], front: Sequence[Message] = ()
    ) -> dict[str, Any]:
        """``front`` is that of conversations."""
        messages = (message for one in steered for message in one.messages)
        return {
            "server": self.model.server.kind,
            "server_version": self.model.version,
            "address": self.model.server.address,
            "model": self.model.name,
            "model_digest": self.model.digest,
            "response_model": self.responder.name if self.responder is not self.model else "",
            "context": self.model.context,
            "template": {
                "prefix": template.prefix,
                "suffix": template.suffix,
                "stops": list(template.stops),
                "source": template.source,
            },
            "files": dict(self.settings.own.digests),
            **({"in_turn": list(self.settings.in_turn)} if self.settings.in_turn else {}),
            "language_told_by": told_by(self.settings.language.code),
            "system_multi_turn": next((message["content"] for message in front), ""),
            "system": next((message["content"] for message in messages if message["role"] == "system"), ""),
        }


async def _holds(model: LoadedModel) -> bool:
    """Whether its server says that it has the model in memory."""
    return await retrying(model.in_memory, model.address) is not None


@asynccontextmanager
async def opening(
    settings: Settings,
    corpus: Corpus,
    progress: Progress,
    spoken: Sequence[Language],
    made: Callable[[LoadedModel, LoadedModel | None, bool], S],
) -> AsyncIterator[S]:
    """The models are opened by visible steps of ``progress``; ``made`` makes a session of the one that asks, another
    that answers, and whether the memory holds one of them only."""
    progress.notices += corpus.notices

    def load_data() -> None:
        progress.notices.extend(filter(None, map(prepare, spoken)))

    async with AsyncExitStack() as stack:
        responder = None
        if settings.responder is not None:  # first, so that one that is not there is refused before anything is loaded
            responder = await stack.enter_async_context(opened(settings.responder, settings.parallel, progress))
        held = responder is not None and await _holds(responder)
        asks = opened(settings.server, settings.parallel, progress, corpus, spoken, meanwhile=load_data)
        model = await stack.enter_async_context(asks)
        phased = responder is not None and held and not await _holds(responder)
        session = made(model, responder, phased)
        if phased and responder is not None:
            progress.notices.append(
                f"{model.name} and {responder.name} are not in memory together: {PHASE} instructions are written at a "
                "time, then answered, so that each model is loaded once for all of them."
            )
        yield session


def open_session(settings: Settings, corpus: Corpus, progress: Progress) -> AbstractAsyncContextManager[Session]:
    return opening(
        settings,
        corpus,
        progress,
        [settings.language],
        lambda model, *others: Session(settings, model, corpus, progress, *others),
    )
