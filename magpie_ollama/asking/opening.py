"""Which server, and which of its models."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Protocol

from magpie_ollama.asking.retrying import retrying
from magpie_ollama.corpus.corpus import Corpus
from magpie_ollama.errors import (
    ModelMissing,
    NoServer,
    NotThisServer,
    RequestRefused,
    ServerError,
    TemplateError,
    UsageError,
)
from magpie_ollama.method.languages import Language
from magpie_ollama.servers import registry, weights
from magpie_ollama.servers.base import Model, OnStep, PullProgress, Server, ServerChoice
from magpie_ollama.servers.loaded import LoadedModel

registry.kinds()  # now, while Ctrl-C just ends the process: some of what they import hides it

NO_EMBEDDER = (
    "name one with -m: `ollama pull bge-m3` fetches one of 100 languages (1.2 GB); the embedded engine takes a GGUF "
    "file of one with --model-path"
)

ENGLISH = "en"
"""All that the small model speaks."""


class Steps(Protocol):
    """Whoever shows what is under way, and what the user should read."""

    notices: list[str]

    def enter(self, step: str, detail: str = "", done: int = 0, total: int = 0) -> None: ...


@asynccontextmanager
async def opened(
    choice: ServerChoice,
    parallel: int,
    steps: Steps,
    corpus: Corpus | None = None,
    spoken: Collection[Language] = (),
    stands_in: bool = True,
    meanwhile: Callable[[], object] = lambda: None,
) -> AsyncIterator[LoadedModel]:
    """Connects (``connect``), finds the model and loads it (``load``). Closes the server at the end."""
    steps.enter("Looking for the server")
    server, version, notice = await connect(choice, parallel, corpus, steps.enter, spoken, stands_in)
    try:
        steps.notices += filter(None, [notice, *server.notices])
        server.notices = steps.notices
        yield await load(server, version, choice, steps, meanwhile)
    finally:
        await server.close()


async def connect(
    choice: ServerChoice,
    parallel: int,
    corpus: Corpus | None,
    on_step: OnStep = lambda *said: None,
    spoken: Collection[Language] = (),
    stands_in: bool = True,
) -> tuple[Server, str, str]:
    """The server, its version, and a notice for the user ("" for none). The caller closes the server. ``on_step`` is
    told what takes long; ``spoken`` are the languages that the model will be asked for.

    ``auto`` is Ollama where it answers. The embedded engine steps in for it only where the user named neither a model
    nor an address, asks for no language but English, and the corpus is new or that engine's own: a small model must not
    write into somebody's corpus, and in a language that it does not speak, because Ollama was not started. With
    ``stands_in`` False it never does. Nor does a model of Ollama that nobody named write into a corpus that is the
    engine's.
    """
    try:
        server, version = await _begin(choice, parallel, on_step)
        if choice.kind == registry.AUTO and not _named(choice) and _is_small(corpus):
            await server.close()
            raise UsageError(
                "This corpus is of the embedded engine's small model, and Ollama's do not step in.",
                "go on with --server embedded, name Ollama's model with -m, or choose another -o",
            )
        return server, version, ""
    except (NoServer, NotThisServer) as error:
        if choice.kind != registry.AUTO or choice.model_path is not None or not stands_in:
            raise
        notice = _stand_in(choice, error, corpus, spoken)
    return *await _begin(replace(choice, kind=registry.STAND_IN), parallel, on_step), notice


async def load(
    server: Server, version: str, choice: ServerChoice, steps: Steps, meanwhile: Callable[[], object] = lambda: None
) -> LoadedModel:
    """The model of ``choice`` in memory. ``meanwhile`` is done in a thread while it loads."""
    steps.enter("Looking for the model")

    def on_pull(step: PullProgress) -> None:
        steps.enter(f"Pulling {choice.model}", step.status, step.completed, step.total)

    model = await choose_model(server, choice.model, choice.pull, on_pull, choice.embeds)
    steps.enter(f"Loading {model.name}")
    if not choice.embeds:  # loaded as one that writes, it would be loaded again
        await asyncio.gather(
            retrying(lambda: server.load(model.name), server.address),
            asyncio.to_thread(meanwhile),
        )
    # Its context is known once it is loaded.
    model = await retrying(lambda: server.describe(model.name), server.address)
    steps.enter("")
    return LoadedModel.of(server, version, model)


async def check_models(choice: ServerChoice, models: Sequence[str]) -> None:
    """Raises where one of several models is not there, before hours go into the others."""
    if len(models) < 2 or choice.pull or _kind(choice).has_weights:
        return
    server, _, _ = await connect(replace(choice, model=models[0]), 1, None)
    try:
        for model in models:
            await choose_model(server, model, pull=False, on_pull=lambda step: None)
    finally:
        await server.close()


async def choose_model(
    server: Server,
    wanted: str,
    pull: bool,
    on_pull: Callable[[PullProgress], None] = lambda step: None,
    embeds: bool = False,
) -> Model:
    """The model ``wanted``, or the only one there is of those that write, or that embed. ``pull`` fetches a missing one
    where the server can.

    Raises ``ModelMissing``, ``UsageError`` where there are several, ``TemplateError`` for one that only embeds, and
    ``RequestRefused`` for one that does not.
    """
    model = await _find(server, wanted, pull, on_pull, embeds)
    if embeds and model.embeds is False:
        raise RequestRefused(f"{model.name} writes text: it is no embedding model.", NO_EMBEDDER)
    if not embeds and not model.generates:  # before it is loaded, which the server would refuse in words of its own
        raise TemplateError(f"{model.name} is an embedding model: it writes no text.", "choose a chat model with -m")
    return model


async def _find(
    server: Server, wanted: str, pull: bool, on_pull: Callable[[PullProgress], None], embeds: bool
) -> Model:
    def fits(model: Model) -> bool:
        return model.embeds is not False if embeds else model.generates

    if wanted:
        if server.has_weights:
            return await server.describe((await server.models())[0])
        try:
            return await server.describe(wanted)
        except ModelMissing as error:
            if pull and (steps := server.pull(wanted)) is not None:
                async for step in steps:
                    on_pull(step)
                return await server.describe(wanted)
            there = await server.models()
            raise ModelMissing(f"{error.cause}{_list(' It has', there)}", error.remedy) from error
    described = []
    failure: ServerError | None = None
    for name in await server.models():
        try:
            described.append(await server.describe(name))
        except ServerError as error:
            if not name.endswith("cloud"):
                raise
            failure = error  # nobody is signed in, or online: those that are here can still be asked
    fitting = sorted(model.name for model in described if fits(model))
    if failure is not None and not fitting:
        raise failure
    if len(fitting) > 1:
        raise UsageError(
            f"{server.address} has {len(fitting)} models: {', '.join(fitting)}.",
            f"choose one with -m, for example -m {fitting[0]}",
        )
    if not fitting and embeds:
        only = f", only for text: {', '.join(model.name for model in described)}" if described else ""
        raise ModelMissing(f"{server.address} has no embedding model yet{only}.", NO_EMBEDDER)
    if not fitting:
        only = f", only for embedding: {', '.join(model.name for model in described)}" if described else ""
        raise ModelMissing(
            f"{server.address} has no chat model yet{only}.",
            "fetch one, for example with `ollama pull llama3.2`, or add -m NAME --pull",
        )
    return next(model for model in described if fits(model))


def _kind(choice: ServerChoice) -> type[Server]:
    """Raises ``UsageError`` where there is no such kind, or it takes no weights."""
    if choice.kind == registry.AUTO:
        return registry.kind(registry.USUAL if choice.model_path is None else registry.STAND_IN)
    kind = registry.kind(choice.kind)
    if choice.model_path is not None and not kind.has_weights:
        raise UsageError(
            f"--model-path goes with --server {registry.STAND_IN}, not {choice.kind}.", "name the model with -m"
        )
    return kind


async def _begin(choice: ServerChoice, parallel: int, on_step: OnStep) -> tuple[Server, str]:
    server = await _kind(choice).begin(choice, parallel, on_step)
    try:
        return server, await retrying(server.version, server.address)
    except BaseException:
        await server.close()
        raise


def _stand_in(choice: ServerChoice, error: ServerError, corpus: Corpus | None, spoken: Collection[Language]) -> str:
    """What is told where the embedded engine steps in for an Ollama that is not there. Raises where it does not."""
    small = weights.small_weights()
    foreign = [language.english for language in spoken if language.code != ENGLISH]
    if _named(choice) or not weights.is_available() or small is None:
        raise NoServer(
            error.cause, f"{error.remedy}; or run without Ollama: {_without_ollama(choice, foreign)}"
        ) from error
    why, meant = "", "say so with --server embedded"
    if foreign:
        why = f"it speaks English only, and no {' or '.join(foreign)}"
        meant += ", with -m OWNER/REPOSITORY of a GGUF model that does"
    elif corpus is not None and corpus.records and not _is_small(corpus):
        why = f"this corpus is of {', '.join(sorted(corpus.models()))}"
        meant += ", or choose another -o"
    if why:
        raise NoServer(
            f"{error.cause} The embedded engine's {small.stem} does not step in: {why}.",
            f"{error.remedy}; or {meant}",
        ) from error
    return f"{error.cause} The embedded engine steps in with {small.stem}, a small English model."


def _named(choice: ServerChoice) -> bool:
    """Whether the user said what is to be asked."""
    return bool(choice.model or choice.model_path or choice.host or os.environ.get("OLLAMA_HOST"))


def _is_small(corpus: Corpus | None) -> bool:
    """Whether all records of the corpus are of the small model."""
    if corpus is None or not corpus.records:
        return False
    return (small := weights.small_weights()) is not None and corpus.models() == {small.stem}


def _without_ollama(choice: ServerChoice, foreign: Sequence[str]) -> str:
    """What this machine lacks for the embedded engine: the engine, its weights, or only the word."""
    if not weights.is_available():
        return f"{weights.engine_remedy()}, and give --server embedded"
    if foreign:
        return f"--server embedded with -m OWNER/REPOSITORY of a GGUF model that speaks {' and '.join(foreign)}"
    if weights.small_weights() is None:
        return f"--server embedded, and {weights.WEIGHTS_REMEDY}"
    return "--server embedded" + (" without -m" if choice.model else "")


def _list(lead: str, names: list[str]) -> str:
    return f"{lead}: {', '.join(sorted(names))}." if names else ""
