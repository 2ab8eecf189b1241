"""One run from beginning to end: server, model, template, corpus, pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from magpie_ollama.asking.opening import opened
from magpie_ollama.asking.retrying import retrying
from magpie_ollama.asking.settings import Settings
from magpie_ollama.corpus.corpus import Corpus
from magpie_ollama.corpus.runs import Run, Status
from magpie_ollama.errors import ShortOfTarget
from magpie_ollama.method.detection import told_by
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.method.followups import Phrases
from magpie_ollama.method.reasons import Reason
from magpie_ollama.method.screening import prepare
from magpie_ollama.method.steering import AUTO, Steered
from magpie_ollama.method.template import Template
from magpie_ollama.records import Funnel, Message
from magpie_ollama.run import continuing, measurements
from magpie_ollama.run.choosing import Arm, AutoSteering, FixedSteering
from magpie_ollama.run.phases import PHASE
from magpie_ollama.run.pipeline import Keep, Pipeline
from magpie_ollama.run.prepared import Prepared
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.seen import index, phrases
from magpie_ollama.run.sources import Drawing, Source
from magpie_ollama.servers.loaded import LoadedModel


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
        phased: bool = False,
    ) -> None:
        """``phased``: see ``Pipeline``."""
        super().__init__(settings, model, progress)
        self._phased = phased
        self.corpus = corpus
        self.run: Run | None = None
        self._pipeline: Pipeline | None = None
        self._stopped = False
        self._told = len(corpus.notices)

    async def plan(self) -> Plan:
        """The plan of the first attempt, with nothing generated and nothing written."""
        steering = (await self.steerings())[0]
        unfinished = self._unfinished()
        if unfinished is None:
            self._tell_of_corpus()
        seed = unfinished.seed + unfinished.next_index if unfinished else self.settings.seed or 0
        steered = self.steer(steering, seed)
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
        allowed = await self.steerings()
        template = await self.prompter.template(self.steer(allowed[0], 0).messages)
        front = await self.front()
        self._note(template)
        run = self.run = self._begin(template, allowed, front or ())
        steerings: FixedSteering | AutoSteering = FixedSteering(Arm(allowed[0], self.settings.instruction.temperature))
        if self.settings.steering == AUTO:
            earlier = measurements.load(self.model, self.settings.measured_as)
            steerings = AutoSteering(self.arms(allowed), run.seed + run.next_index, earlier)
            steerings.recall(run.attempts())
        progress = self.progress
        progress.enter("Reading the corpus" if self.corpus.records else "")
        try:
            seen = await asyncio.to_thread(index, self.corpus, lambda: self._stopped)
            said = await asyncio.to_thread(phrases, self.corpus, lambda: self._stopped) if front is not None else None
        except asyncio.CancelledError:
            self.stop()  # the end of the thread is waited for
            raise
        progress.enter("")
        if self.settings.language.code != "en":
            await self.measure_own()
        try:
            await self._go(run, Drawing(self.settings, run, steerings, front), seen, template, keep, said)
        finally:
            if isinstance(steerings, AutoSteering):
                measurements.add(self.model, self.settings.measured_as, steerings.tallies())
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
        self._pipeline = Pipeline(self, source, self.corpus, run, seen, keep, reasons, self._phased, said)
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
                status = "done"
            progress.notices += self.corpus.notices[self._told :]
            run.update(funnel=progress.funnel.to_dict(), seconds=self._seconds(run))
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

    def _begin(self, template: Template, allowed: Sequence[str], front: Sequence[Message] = ()) -> Run:
        settings = self.settings
        unfinished = self._unfinished()
        if unfinished is not None:
            self.progress.notices.append(
                f"Continuing run {unfinished.id}: {unfinished.kept} of {settings.target} are there."
            )
            unfinished.resume(settings.target)
            return unfinished
        self._tell_of_corpus()
        return self.corpus.start_run(self._identity(), self._manifest(template, allowed, front), settings.target)

    def _tell_of_corpus(self) -> None:
        """What a new run adds to."""
        corpus, model, target = self.corpus, self.model, self.settings.target
        told = [
            continuing.adding(target, corpus.records, corpus.models(), model.name) if corpus.records else "",
            continuing.remade(corpus.runs, model),
            continuing.waiting(corpus.runs, self._identity(), model, target),
        ]
        self.progress.notices += filter(None, told)

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
        return ShortOfTarget(
            f"Kept {run.kept} of {run.target} after {self.progress.funnel.attempts} attempts{told}.",
            remedy,
        )

    def _identity(self) -> Mapping[str, Any]:
        identity = self.settings.identity(self.model.name, self.model.server.kind)
        if self.responder is not self.model:
            identity |= {"response_model": self.responder.name, "response_server": self.responder.server.kind}
        return identity

    def _manifest(self, template: Template, allowed: Sequence[str], front: Sequence[Message] = ()) -> dict[str, Any]:
        """``front`` is that of conversations."""
        steered = (message for steering in allowed for message in self.steer(steering, 0).messages)
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
            "language_told_by": told_by(self.settings.language.code),
            "system_multi_turn": next((message["content"] for message in front), ""),
            "system": next((message["content"] for message in steered if message["role"] == "system"), ""),
        }

    def _seconds(self, run: Run) -> float:
        return round(float(run.manifest.get("seconds", 0.0)) + self.progress.seconds, 1)


async def _holds(model: LoadedModel) -> bool:
    """Whether its server says that it has the model in memory."""
    return await retrying(model.in_memory, model.address) is not None


@asynccontextmanager
async def open_session(settings: Settings, corpus: Corpus, progress: Progress) -> AsyncIterator[Session]:
    """The model is opened by visible steps of ``progress``."""
    progress.notices += corpus.notices
    language = settings.language

    def load_data() -> None:
        if unchecked := prepare(language):
            progress.notices.append(unchecked)

    async with AsyncExitStack() as stack:
        responder = None
        if settings.responder is not None:  # first, so that one that is not there is refused before anything is loaded
            responder = await stack.enter_async_context(opened(settings.responder, settings.parallel, progress))
        held = responder is not None and await _holds(responder)
        asks = opened(settings.server, settings.parallel, progress, corpus, [language], meanwhile=load_data)
        model = await stack.enter_async_context(asks)
        phased = responder is not None and held and not await _holds(responder)
        session = Session(settings, model, corpus, progress, phased)
        if responder is not None:
            session.answered_by(responder)
        if phased and responder is not None:
            progress.notices.append(
                f"{model.name} and {responder.name} are not in memory together: {PHASE} instructions are written at a "
                "time, then answered, so that each model is loaded once for all of them."
            )
        yield session
