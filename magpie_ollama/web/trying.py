"""The room to try a model in: one attempt, as `generate` makes it, told while it is made; and what is kept."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from starlette.responses import StreamingResponse

from magpie_ollama import prompts
from magpie_ollama.asking.opening import connect, opened
from magpie_ollama.asking.settings import settings_of, without_secrets
from magpie_ollama.corpus import lines
from magpie_ollama.corpus.appender import Appender, failure
from magpie_ollama.corpus.corpus import Corpus, MemoryCorpus
from magpie_ollama.display.characters import printable
from magpie_ollama.errors import MagpieError, ShortOfTarget, UsageError
from magpie_ollama.method import languages
from magpie_ollama.method.reasons import Reason
from magpie_ollama.method.screening import prepare
from magpie_ollama.method.steering import AUTO, NONE, parse_steering
from magpie_ollama.method.template import CONTROL, ROLES
from magpie_ollama.records import MAX_SEED, Message, Record
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import Session
from magpie_ollama.servers import registry
from magpie_ollama.servers.base import Completion, Sampling, Server, ServerChoice, Watch
from magpie_ollama.servers.loaded import LoadedModel

STEERINGS = (AUTO, NONE, "prefix", "system", "system+opener", "exemplar", "exemplar+opener", "opener")

KEPT_OPEN = 2
"""Models: two may be side by side."""

REMEMBERED = 200
"""Attempts that can still be kept."""

RECORDS, LABELS, PAIRS = "tried.jsonl", "tried-kto.jsonl", "tried-pairs.jsonl"
"""Where what is kept goes, in the folder that is served: records, responses with a thumb, and edited responses beside
what the model wrote."""

Tell = Callable[[Mapping[str, Any]], None]

_TEMPLATE = re.compile(rf"(?:(?:{CONTROL.pattern})+(?:(?:{'|'.join(ROLES)})\b)?\s*)+")
"""Control tokens, with the role that stands between them."""


@dataclass(slots=True)
class _Made:
    """An attempt that was kept, and which of its three files have it already."""

    record: Record
    done: set[str] = field(default_factory=set)


class _Steps(Progress):
    """Progress that is told."""

    tell: Tell

    def enter(self, step: str, detail: str = "", done: int = 0, total: int = 0) -> None:
        super().enter(step, detail, done, total)
        share = f" {100 * done // total} %" if total else ""
        self.tell({"step": f"{step} {detail}".strip() + share})


class _Heard:
    """A server whose texts are told as they come; all else is the server's own."""

    def __init__(self, server: Server, progress: Progress, bare: str, tell: Tell) -> None:
        self._server = server
        self._progress = progress
        self._bare = bare
        self._tell = tell

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def complete(
        self, model: str, prompt: str, sampling: Sampling, stops: Sequence[str], watch: Watch
    ) -> Awaitable[Completion]:
        if self._progress.step:  # it is measured, and no attempt yet
            return self._server.complete(model, prompt, sampling, stops, watch)
        if self._of == "instruction":
            self._tell({"prompt": parts(prompt, self._bare)})
        return self._server.complete(model, prompt, sampling, stops, self._telling(watch))

    def chat(
        self, model: str, messages: Sequence[Message], sampling: Sampling, think: bool, watch: Watch, *more: Any
    ) -> Awaitable[Completion]:
        return self._server.chat(model, messages, sampling, think, self._telling(watch), *more)

    @property
    def _of(self) -> str:
        return "response" if self._progress.newest else "instruction"

    def _telling(self, watch: Watch) -> Watch:
        of = self._of

        def look(text: str) -> bool:
            self._tell({of: printable(text)})
            return watch(text)

        return look


class Trying:
    def __init__(self, root: Path, choice: ServerChoice) -> None:
        """``choice`` is what the command was given: a page may choose another model or kind, and no other address."""
        self._root = root
        self._choice = choice
        self._models: OrderedDict[tuple[str, str], tuple[LoadedModel, AsyncExitStack]] = OrderedDict()
        self._users: dict[tuple[str, str], int] = {}
        self._opening = asyncio.Lock()
        self._made: OrderedDict[str, _Made] = OrderedDict()
        self._writing = threading.Lock()

    def form(self) -> dict[str, Any]:
        """What may be chosen."""
        spoken = sorted((language.english, code) for code, language in _languages().items())
        return {
            "kinds": [registry.AUTO, *registry.KINDS],
            "server": self._choice.kind,
            "model": self._choice.model,
            "languages": [(code, " · ".join({name: 0, _languages()[code].native: 0})) for name, code in spoken],
            "topics": prompts.names("topics"),
            "steerings": STEERINGS,
        }

    async def models(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The names of the models that a server has. Raises ``MagpieError`` where there is none."""
        choice = self._chosen({**given, "model": ""})
        if choice.kind != registry.AUTO and registry.kind(choice.kind).has_weights:
            return {"models": []}
        server, _, notice = await connect(choice, 1, None)
        try:
            return {"models": [] if server.has_weights else await server.models(), "notice": notice}
        finally:
            await server.close()

    async def attempt(self, given: Mapping[str, Any]) -> StreamingResponse:
        """One attempt as lines of JSON. A browser that goes away ends it, and with it the request to the server."""
        language = languages.find(str(given.get("language", "en")))
        said: dict[str, Any] = {"temperature": _number(given.get("temperature")), "max_attempts": 1, "keep_rejected": 0}
        if isinstance(given.get("seed"), int):
            said["seed"] = given["seed"] % MAX_SEED
        if topics := str(given.get("topics") or ""):
            if topics not in prompts.names("topics"):  # a file is not named from here
                raise UsageError(f"There is no topic {topics!r:.60}", "choose one of the list")
            said["topics"] = topics
        steering = parse_steering(str(given.get("steering") or AUTO))
        settings = settings_of(self._chosen(given), language, steering, 1, said, parallel=1)
        told: asyncio.Queue[Mapping[str, Any] | None] = asyncio.Queue()
        told.put_nowait({"command": self._command(settings.server, given, language.code, steering)})

        async def make() -> None:
            progress = _Steps()
            progress.tell = told.put_nowait
            try:
                async with self._using(settings.server, progress, language) as model:
                    session = Session(settings, model, MemoryCorpus(), progress)
                    bare = (await session.prompter.template()).prefix
                    heard = cast(Server, _Heard(model.server, progress, bare, told.put_nowait))
                    session = Session(settings, replace(model, server=heard), MemoryCorpus(), progress)
                    with suppress(ShortOfTarget):
                        await session.generate(lambda record: told.put_nowait(self._remember(record)))
                    if progress.funnel.rejected():
                        told.put_nowait(_rejected(progress.funnel.rejected()[0][0]))
            except MagpieError as error:
                told.put_nowait({"error": error.cause, "next": error.remedy})
            except Exception as error:
                told.put_nowait({"error": f"{type(error).__name__}: {error}", "next": "this is a bug: report it"})
            finally:
                told.put_nowait({"notices": progress.notices})
                told.put_nowait(None)

        async def lines_of() -> AsyncIterator[str]:
            task = asyncio.create_task(make())
            try:
                while (one := await told.get()) is not None:
                    yield json.dumps(one) + "\n"
            finally:
                task.cancel()
                await asyncio.wait([task])

        return StreamingResponse(lines_of(), media_type="application/x-ndjson")

    def keep(self, given: Mapping[str, Any]) -> dict[str, str]:
        """Writes an attempt down. In words, where. Raises UsageError, CorpusError."""
        made, action = self._made.get(str(given.get("id"))), given.get("action")
        if made is None:
            raise UsageError("That attempt is forgotten", "write another one")
        with self._writing:
            if action in ("up", "down"):
                row = {"prompt": made.record.messages[:-1], "completion": made.record.messages[-1:]}
                return self._once(made, LABELS, {**row, "label": action == "up", "reason": ""})
            if action == "keep":
                return self._record(made, made.record)
            if action != "edit" or not str(given.get("text", "")).strip():
                raise UsageError("Nothing was written in place of the response", "write something, or leave it")
            *asked, answer = made.record.messages
            better: Message = {"role": "assistant", "content": str(given["text"]).strip()}
            if better["content"] == answer["content"]:
                raise UsageError("The response is as it was", "change it, or keep it")
            pair = {"prompt": asked, "chosen": [better], "rejected": [answer], "reason": ""}
            if kept := RECORDS not in made.done:  # before the pair: what fails here can be pressed again
                self._record(made, replace(made.record, messages=[*asked, better], response_known_words=0.0))
            told = self._once(made, PAIRS, pair)["told"]
            return {"told": f"{told}; the record, with the edited response, to {RECORDS}" if kept else told}

    async def close(self) -> None:
        for _, stack in self._models.values():
            await stack.aclose()

    def _remember(self, record: Record) -> dict[str, Any]:
        self._made[record.id] = _Made(replace(record, run=""))
        while len(self._made) > REMEMBERED:
            self._made.popitem(last=False)
        shown = ("id", "instruction", "response", "model", "confidence", "known_words", "steering")
        told = {name: getattr(record, name) for name in shown}
        texts = {name: printable(told[name]) for name in ("instruction", "response")}
        return {"kept": {**told, **texts, "exact": record.response}}

    def _record(self, made: _Made, record: Record) -> dict[str, str]:
        if RECORDS in made.done:
            raise UsageError(f"It is in {RECORDS} already", "write another one")
        with Corpus.open(self._root / RECORDS) as corpus:
            corpus.append(record)
        made.done.add(RECORDS)
        return {"told": f"Kept in {RECORDS}"}

    def _once(self, made: _Made, name: str, row: Mapping[str, Any]) -> dict[str, str]:
        if name in made.done:
            raise UsageError(f"It is in {name} already", "write another one")
        path = self._root / name
        try:
            appender = Appender(path, create=not path.exists(), sync="always")
        except OSError as error:
            raise failure(error, path) from error
        try:
            appender.end_line()
            appender.append(lines.encode(row))
        finally:
            appender.close()
        made.done.add(name)
        return {"told": f"Written to {name}"}

    def _chosen(self, given: Mapping[str, Any]) -> ServerChoice:
        kind = str(given.get("server") or self._choice.kind)
        if kind != registry.AUTO:
            registry.kind(kind)
        own = kind == self._choice.kind
        chosen = self._choice if own else self._choice.beside("", kind)
        return replace(chosen, model=str(given.get("model") or ("" if not own else self._choice.model)), pull=False)

    def _command(self, choice: ServerChoice, given: Mapping[str, Any], code: str, steering: str) -> str:
        words = ["magpie-ollama", "generate", "-l", code, "-n", "100", "-s", steering]
        words += ["--server", choice.kind] if choice.kind != registry.AUTO else []
        pairs = {
            "-m": choice.model,
            "--host": choice.host,
            "--template": choice.template,
            "--topics": given.get("topics"),
        }
        pairs |= {"--model-path": choice.model_path} if choice.model_path else {}
        words += [word for name, value in pairs.items() if value for word in (name, str(value))]
        for name, value in without_secrets(choice.options).items():
            words += ["--option", f"{name}={value}"] if name != "num_ctx" else ["--num-ctx", str(value)]
        return shlex.join([*words, "--temperature", f"{_number(given.get('temperature')):g}"])

    @asynccontextmanager
    async def _using(
        self, choice: ServerChoice, progress: Progress, language: languages.Language
    ) -> AsyncIterator[LoadedModel]:
        """A model, which stays open for the next attempt."""
        key = (choice.kind, choice.model)
        async with self._opening:
            if key not in self._models:
                idle = [one for one in self._models if not self._users.get(one)]
                for one in idle[: max(0, len(self._models) + 1 - KEPT_OPEN)]:
                    await self._models.pop(one)[1].aclose()
                stack = AsyncExitStack()
                asks = opened(choice, 1, progress, spoken=[language], meanwhile=lambda: prepare(language))
                self._models[key] = await stack.enter_async_context(asks), stack
            self._models.move_to_end(key)
            self._users[key] = self._users.get(key, 0) + 1
        failed = False
        try:
            yield self._models[key][0]
        except MagpieError:
            failed = True
            raise
        finally:
            self._users[key] -= 1
            if failed and not self._users[key] and key in self._models:  # the server may be another one by now
                await self._models.pop(key)[1].aclose()


def parts(prompt: str, bare: str) -> list[tuple[str, str]]:
    """A prompt as pieces of its template and of what steers: ("template" or "steering", text). ``bare`` is the template
    without any steering.

    >>> parts("<|im_start|>user\\nspanish:", "<|im_start|>user\\n")
    [('template', '<|im_start|>user\\n'), ('steering', 'spanish:')]
    """
    header = bare.rstrip("\n")
    start = max((found.start() for found in CONTROL.finditer(header)), default=0)
    front, own, rest = prompt.rpartition(header[start:])  # of the turn that the model goes on with
    steering = rest.lstrip("\n")
    own += rest[: len(rest) - len(steering)]
    if front == header[:start]:
        front, own = "", front + own
    pieces, at = [], 0
    for found in _TEMPLATE.finditer(front):
        pieces += [("steering", front[at : found.start()]), ("template", found[0])]
        at = found.end()
    pieces += [("steering", front[at:]), ("template", own), ("steering", steering)]
    return [(kind, text) for kind, text in pieces if text]


def _rejected(name: str) -> dict[str, str]:
    reason = next((one for one in Reason if one == name), None)
    return {"rejected": name, "words": reason.words if reason else "", "stage": reason.stage.value if reason else ""}


def _languages() -> dict[str, languages.Language]:
    return {code: languages.load(code) for code in languages.codes()}


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 1.0
