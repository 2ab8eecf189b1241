"""The doctor asks the model: for its template, whether it thinks, how quick it is, and for one sample each way."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

from magpie_ollama.asking.asker import Asker
from magpie_ollama.asking.attempt import attempt
from magpie_ollama.asking.drafts import Draft, draw
from magpie_ollama.asking.retrying import retrying
from magpie_ollama.asking.settings import without_secrets
from magpie_ollama.doctor import speed
from magpie_ollama.doctor.findings import Diagnosis
from magpie_ollama.errors import MagpieError, NoServer, RequestRefused, TemplateError, TransientError
from magpie_ollama.method.ability import Writes, ability
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.method.reasons import EXPLANATIONS, Reason, Stage
from magpie_ollama.method.steering import AUTO, default_steering
from magpie_ollama.method.template import CONTROL, Template, leading_bos, load_preset, preset_for
from magpie_ollama.records import KEPT, Message
from magpie_ollama.run.choosing import AUTO_STEERINGS
from magpie_ollama.run.prepared import Prepared
from magpie_ollama.servers import registry
from magpie_ollama.servers.base import Completion, Sampling, Watch

PROBE_TOKENS = 24
RESPONSES = 2
PRIOR_ATTEMPTS = 0.5
"""How many samples auto's expectation counts for: one sample says more of a model than another model does."""
LONG_SECONDS = 20.0
"""A response that took longer is the only one that is measured."""

EXCERPT = 160
"""Letters of a sample that are shown."""

HELLO: list[Message] = [{"role": "user", "content": "What is the capital of Italy? Answer in one word."}]
MARK = "QZmagpieQsystemQZ"


@dataclass(frozen=True, slots=True)
class Sample:
    """One attempt's instruction; ``asker`` can have it answered. ``accepted`` is the screen's word."""

    asker: Asker
    draft: Draft
    outcome: str

    @property
    def accepted(self) -> bool:
        return self.outcome == KEPT


class Trial:
    """The checks that ask a model, in their order."""

    def __init__(self, asked: Prepared, diagnosis: Diagnosis) -> None:
        self._asked = asked
        self._diagnosis = diagnosis
        self._model = asked.model
        self._server = asked.model.server
        self._language = asked.settings.language
        self._template: Template | None = None
        self._samples: list[Sample] = []
        self._answers: list[tuple[int, bool]] = []

    async def run(self) -> None:
        checks = [
            ("template", "Asking for the template", self._ask_template),
            ("thinking", "Asking for a short answer", self._think),
            ("slots", "Measuring how many requests run at once", self._measure),
            ("confidence", "Asking for log-probabilities", self._log_probabilities),
        ]
        steerings = sorted(AUTO_STEERINGS, key=lambda steering: steering != default_steering(self._language))
        seen = DuplicateIndex()
        checks += [
            (steering, f"One sample: {steering}", partial(self._sample, steering, n, seen))
            for n, steering in enumerate(steerings)
        ]
        checks.append(("response", "Asking for responses", self._respond))
        checks.append(("language", "Looking at what it wrote", self._judge))
        for name, step, check in checks:
            if name in (*steerings, "response", "language") and self._template is None:
                break  # nothing can be sampled, for the reason that was told
            if isinstance(await self._diagnosis.check(name, step, check), NoServer):
                return
        self._estimate()

    # What the server makes of a conversation.

    async def _ask_template(self) -> None:
        override = self._asked.settings.server.template
        template = self._template = await self._asked.prompter.template()
        text = f"{template.source}: {_quoted(template.prefix)}"
        if template.guessed:
            remedy = "if the model was trained on another template, or on none, give it with --template"
            self._diagnosis.warn("template", f"{text}: no template of the model's own is told", remedy)
        elif not template.source.startswith("preset"):
            self._diagnosis.ok("template", text)
        elif override:
            self._diagnosis.ok("template", f"{text}, by --template")
        else:
            remedy = f"look at it with `{self._command('template show')}`; --template gives another"
            self._diagnosis.warn("template", f"{text}, chosen by the model's name: the server cannot render", remedy)
        await self._bos(template)
        self._diagnosis.ok("stops", f"{' '.join(map(_quoted, template.stops))}, and the model's own end token")
        if template.silent:
            text = (
                f"this server hides {template.first_end}, which ends a user's turn: it is looked for by single tokens"
            )
            shown = " and ".join(filter(None, dict.fromkeys(kind.shown_by for kind in registry.kinds())))
            remedy = f"read some instructions; {shown} show it"
            self._diagnosis.warn("turn's end", text, remedy)
        await self._system_role()

    async def _bos(self, template: Template) -> None:
        if template.source.startswith("preset"):
            override = self._asked.settings.server.template
            preset = load_preset(override) if override else preset_for(self._model.name)
            bos = preset.bos if preset else ""
        else:
            bos = leading_bos(await self._model.render(HELLO) or "")
        if not bos:
            self._diagnosis.ok("BOS", "the template writes none")
        elif template.prefix.startswith(bos):
            self._diagnosis.ok("BOS", f"{bos} is written into the prompt: the server adds none")
        else:
            self._diagnosis.ok("BOS", f"{bos} is added by the server, and left out of the prompt")

    async def _system_role(self) -> None:
        try:
            prefix = (await self._asked.prompter.template([{"role": "system", "content": MARK}])).prefix
            carried, why = MARK in prefix, "it leaves the text out"
        except (RequestRefused, TransientError, TemplateError) as error:
            carried, why = False, error.cause.rstrip(".")
        if not carried:
            text = f"the template carries no system message ({why})"
            self._diagnosis.warn(
                "system role", text, "steer with opener or prefix; auto leaves the other steerings out"
            )
        elif CONTROL.search(prefix.partition(MARK)[2]):
            self._diagnosis.ok("system role", "carried, in a turn of its own")
        else:
            self._diagnosis.ok("system role", "carried, at the beginning of the user's turn")

    # How it answers.

    async def _think(self) -> None:
        sampling = Sampling(temperature=0.0, max_tokens=48)
        opened = self._template is not None and self._template.opens_reasoning
        think = opened and self._model.thinks is not False
        ask = partial(self._asked.prompter.reply, HELLO, sampling, think, lambda _: False)
        answer = await retrying(ask, self._model.address)
        told = {True: "this model can reason", False: "this model does not reason", None: "not told by the server"}
        off = f"{told[self._model.thinks]}; off for instructions, and for responses without --think"
        if "<think>" in answer.text:
            cause = "reasoning comes amid the text of a response, though it is off: it is screened while it is written"
            remedy = "start the server with a parser for the model's reasoning, or choose another model"
            self._diagnosis.fail("thinking", MagpieError(cause, remedy))
        elif opened:
            remedy = "choose an -instruct model, or give --max-response-tokens more"
            self._diagnosis.warn(
                "thinking", "the template begins each response with reasoning, though it is off", remedy
            )
        elif answer.reasoning:
            remedy = "choose a model whose reasoning can be switched off, or give --max-response-tokens more"
            self._diagnosis.warn("thinking", "reasoning comes back, though it is off: it costs tokens", remedy)
        elif not answer.text.strip():
            remedy = "look into the server's log; if it says nothing, try another model or --template"
            self._diagnosis.warn("thinking", "the model answered a simple question with nothing", remedy)
        else:
            self._diagnosis.ok("thinking", f"{off}: none came with a short answer")

    async def _measure(self) -> None:
        own = self._server.slots  # there are no others to find
        measured = await speed.measure(self._complete, own or speed.MOST)
        self._diagnosis.tokens_per_second = measured.tokens_per_second
        rates = " · ".join(f"{level}: {rate:.0f}" for level, rate in measured.rates.items())
        if not measured.at_once:
            slots = "too quick to tell how many requests run at once"
        elif min(measured.seen) < measured.tried:
            few, many = min(measured.seen), max(measured.seen)
            number = str(few) if few == many else f"{few} to {many}"
            slots = f"{number} of {measured.tried} requests run at once, seen {len(measured.seen)} times"
        else:
            slots = f"{measured.tried} requests run at once{', perhaps more' if measured.tried > 1 and not own else ''}"
        best = f"{measured.enough} in flight {'are' if measured.enough > 1 else 'is'} enough"
        if measured.growing and measured.at_once in (0, measured.tried):
            best = f"more than {measured.enough} in flight may be quicker still"
        text = f"{slots}; tokens/s with {rates}; {best}"
        if measured.one_by_one:
            self._diagnosis.warn("slots", text, self._server.more_slots)
        else:
            self._diagnosis.ok("slots", text)

    async def _log_probabilities(self) -> None:
        completion = await self._complete(1, lambda _: False)
        if completion.logprob is not None:
            self._diagnosis.ok("confidence", "measured: the server tells log-probabilities")
            return
        text = "not measured: the server tells no log-probabilities; --min-confidence has no effect"
        self._diagnosis.warn("confidence", text, f"{self._server.more_told}, if you want to see how sure the model is")

    async def _complete(self, seed: int, watch: Watch) -> Completion:
        prompt = self._template.prefix if self._template else "The history of the town"
        sampling = replace(self._asked.settings.instruction, max_tokens=PROBE_TOKENS, seed=seed)
        ask = partial(self._model.complete, prompt, sampling, (), watch)
        return await retrying(ask, self._model.address)

    # What it writes.

    async def _sample(self, steering: str, seed: int, seen: DuplicateIndex) -> None:
        asked = self._asked.speaking(self._language, steering)
        if self._language.code != "en":
            await asked.measure_own()
        try:
            await asked.steerings()
        except TemplateError as error:
            self._diagnosis.warn(steering, error.cause, error.remedy)
            return
        asker = asked.asker(seen)
        draft = Draft(draw(asked.settings, 0, seed, steering, asked.settings.instruction.temperature))
        outcome = await attempt(asker, draft, until=Stage.INSTRUCTION)
        self._samples.append(Sample(asker, draft, outcome))
        text = f"{draft.instruction.tokens} tokens: {_excerpt(draft.instruction.text)}"
        if outcome == KEPT:
            self._diagnosis.ok(steering, f"accepted, {text}")
        else:
            self._diagnosis.warn(
                steering, f"rejected as {outcome}, {text}", _remedy(Reason(outcome), self._measuring())
            )

    async def _respond(self) -> None:
        reasons = []
        for sample in [sample for sample in self._samples if sample.accepted][:RESPONSES]:
            started = time.monotonic()
            outcome = await attempt(sample.asker, sample.draft)
            reasons += [Reason(outcome)] if outcome != KEPT else []
            self._answers.append((sample.draft.response.tokens, outcome == KEPT))
            if time.monotonic() - started > LONG_SECONDS:
                break
        if not self._answers:
            return
        tokens = f"{' and '.join(str(tokens) for tokens, _ in self._answers)} tokens"
        if reasons:
            said = " and ".join(f"{reason}: {EXPLANATIONS[reason]}" for reason in dict.fromkeys(reasons))
            remedy = _remedy(reasons[0], self._measuring("--with-responses"))
            self._diagnosis.warn("response", f"{tokens}; {len(reasons)} rejected as {said}", remedy)
        else:
            self._diagnosis.ok("response", f"{tokens}, kept")

    async def _judge(self) -> None:
        """Whether the model writes the language, by as few texts as a check can have."""
        made = [sample.draft.end(sample.outcome) for sample in self._samples]
        found = ability(made, unsteered=self._language.code == "en", enough=max(len(made) - 1, 1))
        if found is None:
            return
        text = f"{found.told(self._model.name, self._language.english)} By {len(made)} samples"
        if found.writes is Writes.YES:
            self._diagnosis.ok("language", text)
        else:
            more = f"compare -l {self._language.code} --temperature 0.5,0.7,1.0"
            self._diagnosis.warn("language", text, f"a larger model may; `{self._command(more)}` tells with more")

    def _estimate(self) -> None:
        rate = self._diagnosis.tokens_per_second
        if not rate or not self._answers:
            missing = "no sample was answered" if rate else "the speed could not be measured"
            remedy = f"`{self._measuring()}` tells more" if self._template else "do first what is said of the template"
            self._diagnosis.warn("1,000 records", f"no estimate: {missing}", remedy)
            return
        chance = chance_of_passing(
            [(sample.draft.drawn.steered.steering, sample.accepted) for sample in self._samples],
            default_steering(self._language) == AUTO,
        )
        spent = [sample.draft.instruction.tokens for sample in self._samples]
        tokens = tokens_a_record(fmean(spent), chance, self._answers)
        self._diagnosis.tokens_for_1000 = 1000 * tokens
        seconds = self._diagnosis.seconds_for_1000 = 1000 * tokens / rate
        took = f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{max(seconds / 60, 1):.0f} min"
        text = f"about {took}: {1000 * tokens:,.0f} tokens at {rate:.0f} a second"
        few = f"{len(self._samples)} samples, {len(self._answers)} answered"
        self._diagnosis.ok("1,000 records", f"{text} (a rough estimate, from {few})")

    def _measuring(self, *more: str) -> str:
        return self._command("compare", "-l", self._language.code, *more)

    def _command(self, name: str, *more: str) -> str:
        """A command to copy that asks the same model in the same way."""
        choice = self._asked.settings.server
        # As it was given: the embedded engine has another name for a repository's model, and finds none by that.
        words = [*more] if choice.model_path else [*more, "-m", choice.model or self._model.name]
        words += registry.option(self._server.kind)
        words += ["--host", choice.host] if choice.host else []
        words += ["--model-path", str(choice.model_path)] if choice.model_path else []
        words += ["--template", choice.template] if choice.template else []
        for key, value in without_secrets(choice.options).items():
            words += ["--num-ctx", str(value)] if key == "num_ctx" else ["--option", f"{key}={json.dumps(value)}"]
        return f"magpie-ollama {name} {shlex.join(words)}"


def chance_of_passing(samples: Sequence[tuple[str, bool]], auto: bool) -> float:
    """The share of instructions that will be accepted, from one sample each steering and whether it was.

    Auto soon draws from the best steering alone, of which one sample says little: with it, the best by what auto
    expects of each together with its sample.

    >>> chance_of_passing([("none", True), ("prefix", True), ("system", False), ("opener", True)], auto=False)
    0.75
    >>> round(chance_of_passing([("exemplar+opener", True), ("prefix", False)], auto=True), 2)
    0.8
    """
    if not auto:
        return fmean(accepted for _, accepted in samples)
    return max(
        (PRIOR_ATTEMPTS * AUTO_STEERINGS[steering] + accepted) / (PRIOR_ATTEMPTS + 1) for steering, accepted in samples
    )


def tokens_a_record(instruction: float, chance: float, answers: Sequence[tuple[int, bool]]) -> float:
    """Generated tokens of one kept record: of the instructions, ``instruction`` tokens each, of which ``chance`` are
    accepted, and of their responses, told as (tokens, whether it was kept).

    Of so few responses one more is counted as kept: two rejected ones do not mean that all are.

    >>> tokens_a_record(30, 0.75, [(200, True), (300, True)])
    290.0
    >>> tokens_a_record(30, 0.75, [(200, True), (300, False)])
    435.0
    """
    kept = (sum(kept for _, kept in answers) + 1) / (len(answers) + 1)
    return (instruction / chance + fmean(tokens for tokens, _ in answers)) / kept


def _remedy(reason: Reason, measuring: str) -> str:
    match reason:
        case Reason.WRONG_LANGUAGE:
            return (
                "choose a steering that was accepted, or with auto, which finds it; "
                f"where none was, choose another model, or measure with `{measuring}`"
            )
        case Reason.TRUNCATED:
            return "one is no proof; if it stays so, raise --max-instruction-tokens, or choose another steering"
        case Reason.RESPONSE_TRUNCATED:
            return "raise --max-response-tokens, or keep such responses with --keep-truncated"
    return reason.remedy or f"one is no proof; `{measuring}` measures it"


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return f"“{line}”" if len(line) <= EXCERPT else f"“{line[:EXCERPT]}…”"


def _quoted(text: str) -> str:
    """With its ends in sight, and line ends as \\n."""
    return json.dumps(text, ensure_ascii=False)
