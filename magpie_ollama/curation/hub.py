"""Files on their way to a dataset repository of the Hugging Face Hub, and from one. Needs huggingface_hub (the
extra ``hub``)."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from magpie_ollama.errors import (
    Busy,
    MagpieError,
    NoServer,
    RequestRefused,
    ServerError,
    TransientError,
    Unauthorized,
    UsageError,
    extra,
)

CARD = "README.md"

_NAME = r"[\w-][\w.-]*/[\w-][\w.-]*"

_DATA = (".jsonl", ".json", ".parquet", ".csv", ".arrow")

LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token with write access"


_ENDINGS = (".jsonl", ".json", ".parquet", ".csv", ".tsv")
"""Of the data files that are read, packed or not."""


def check_name(name: str) -> None:
    """Raises UsageError unless ``name`` is OWNER/NAME."""
    if not re.fullmatch(_NAME, name, re.ASCII) or len(name) > 96:
        raise UsageError(f"{name!r} is no name of a dataset", "write OWNER/NAME, for example maria/ricette-it")


class Published(NamedTuple):
    """``private`` is what the dataset is now; ``warnings`` are the Hub's, on the card."""

    url: str
    private: bool
    warnings: list[str]


def publish(
    name: str,
    files: Mapping[str, Path | bytes],
    message: str,
    merge: Callable[[bytes], bytes],
    *,
    private: bool,
    progress: bool,
) -> Published:
    """Uploads all ``files`` (by their paths in the repository) in one commit. A ``CARD`` that is there already is given
    to ``merge`` before anything is uploaded, and what that makes of it takes the place of ours.

    The repository is made where it is not there. One that is there keeps its visibility; a public one is refused where
    ``private`` is asked for. The token is the one of HF_TOKEN or of the login. Raises UsageError, ServerError.
    """
    try:
        import huggingface_hub
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError:
        raise UsageError("Push needs huggingface_hub", extra("hub")) from None
    if not progress:
        disable_progress_bars()
    # The variable is read here, and not only when huggingface_hub is first imported.
    api = huggingface_hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="magpie-ollama")
    with _told(name, api.endpoint), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        if not huggingface_hub.get_token():
            raise Unauthorized("There is no token of the Hugging Face Hub", LOGIN)
        private, state = _open(api, name, private)
        there = {file.rfilename for file in state.siblings or ()} if state else set()
        if CARD in there:
            files = {**files, CARD: merge(_read(api, name, state.sha))}
        operations = [huggingface_hub.CommitOperationAdd(path, content) for path, content in files.items()]
        api.create_commit(
            name,
            operations,
            commit_message=message,
            repo_type="dataset",
            parent_commit=state.sha if CARD in there else None,  # the Hub refuses it where somebody was faster
        )
    told = [str(warning.message) for warning in caught if warning.category is UserWarning]
    others = sorted(path for path in there - set(files) if path.endswith(_DATA))
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        told.append(f"The dataset {name} has other data files, which stay there: {', '.join(others[:3])}{more}.")
    return Published(f"{api.endpoint}/datasets/{name}", private, told)


def is_name(text: str) -> bool:
    """Whether it is OWNER/NAME[:SPLIT], and no path: neither a file's name nor one below a folder that is there."""
    name = text.partition(":")[0]
    path = re.sub(r"\.(gz|zst)$", "", name).endswith((*_ENDINGS, ".txt", ".toml"))
    return bool(re.fullmatch(_NAME, name, re.ASCII)) and not path and not os.path.lexists(Path(name).parent)


def fetch(text: str) -> Path:
    """The data file that OWNER/NAME[:SPLIT] or OWNER/NAME:PATH means, in the Hub's cache on this machine. Raises
    UsageError, ServerError."""
    try:
        import huggingface_hub
    except ImportError:
        remedy = f"install it with `{extra('hub')}`, or give a file that is there"
        raise UsageError(f"There is no file {text}, and the Hub needs huggingface_hub", remedy) from None
    name, _, wanted = text.partition(":")
    api = huggingface_hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="magpie-ollama")
    with _told(name, api.endpoint, "download"):
        info = api.dataset_info(name)
        chosen = _chosen([file.rfilename for file in info.siblings or ()], name, wanted)
        return Path(api.hf_hub_download(name, chosen, repo_type="dataset", revision=info.sha))


def _chosen(paths: list[str], name: str, wanted: str) -> str:
    """The one data file of a split, or of that path. Raises UsageError where there is none, or another one."""
    data = sorted(path for path in paths if re.sub(r"\.(gz|zst)$", "", path).endswith(_ENDINGS))
    if wanted in data or (len(data) == 1 and not wanted):
        return wanted or data[0]
    split = re.compile(rf"(?:^|[/_.-]){re.escape(wanted or 'train')}(?:[/_.-]|$)")
    found = [path for path in data if split.search(path)]
    if len(found) == 1:
        return found[0]
    some = found or data
    more = f" and {len(some) - 5} more" if len(some) > 5 else ""
    listed = f"{', '.join(some[:5])}{more}" if some else "no data file at all"
    raise UsageError(
        f"{name} has {f'{len(found)} files' if found else 'no file'} of the split {wanted or 'train'}: {listed}",
        f"name one: {name}:{some[0]}" if some else "name another dataset",
    )


def _open(api: Any, name: str, private: bool) -> tuple[bool, Any]:
    """Whether the dataset, which is there now, is private; and what the Hub knows of it, None for a new one."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.repo_info(name, repo_type="dataset")
    except RepositoryNotFoundError:
        api.create_repo(name, repo_type="dataset", private=private, exist_ok=True)
        return private, None
    if private and not info.private:
        raise UsageError(
            f"The dataset {name} is there already, and public",
            "add --public to publish to it, make it private on the Hub, or choose another name",
        )
    return bool(info.private), info


def _read(api: Any, name: str, revision: str) -> bytes:
    with TemporaryDirectory() as folder:
        found = api.hf_hub_download(name, CARD, repo_type="dataset", revision=revision, local_dir=folder)
        return Path(found).read_bytes()


@contextmanager
def _told(name: str, endpoint: str, what: str = "upload") -> Iterator[None]:
    """Errors of the Hub and of the way to it, in this tool's words. ``what`` was under way."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except HfHubHTTPError as error:
        raise _refusal(error, name, endpoint, what) from error
    except OfflineModeIsEnabled as error:
        raise NoServer(
            "The Hugging Face Hub is switched off by HF_HUB_OFFLINE", "unset it: HF_HUB_OFFLINE=0"
        ) from error
    except HFValidationError as error:
        raise UsageError(f"The Hub takes no dataset {name!r}: {_first_line(error)}", "choose another name") from error
    except MagpieError:
        raise
    except Exception as error:
        if _is_of_the_network(error):
            raise NoServer(
                f"The Hugging Face Hub cannot be reached at {endpoint} ({type(error).__name__})",
                "check the connection and HF_ENDPOINT, then run the same command again",
            ) from error
        if isinstance(error, ValueError | RuntimeError | OSError):  # of the Hub's answers, hf_xet, or the disk
            said = " ".join(str(error).split())
            raise ServerError(f"The {what} failed: {said}", "mend that, then run the same command again") from error
        raise


def _is_of_the_network(error: Exception) -> bool:
    """By name: the library's HTTP client has been requests, httpx and httpx2 in turn."""
    return isinstance(error, ConnectionError) or any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


def _refusal(error: Any, name: str, endpoint: str, what: str) -> MagpieError:
    status = error.response.status_code if error.response is not None else 0
    said = getattr(error, "server_message", None) or _first_line(error)
    owner = name.partition("/")[0]
    if what == "download" and status in (401, 403, 404):
        return RequestRefused(
            f"There is no file {name}, and the Hub has no dataset of that name for this token ({said})",
            f"check the name; one that is private or gated needs a token, and its terms accepted: {LOGIN}",
        )
    if status == 401:
        return Unauthorized(f"The Hub does not take the token ({said})", LOGIN)
    if status == 403:
        return Unauthorized(
            f"The token may not write to {name} ({said})",
            f"use a token with write access to {owner}, or another OWNER: `hf auth whoami` tells yours",
        )
    if status == 404:
        return RequestRefused(f"The Hub has no place {name} ({said})", "check OWNER/NAME; `hf auth whoami` tells yours")
    if status == 429:
        return Busy(f"The Hub takes no more requests for now ({said})", "wait a while, then run the same command again")
    if status >= 500:
        return TransientError(f"The Hub at {endpoint} failed ({said})", "wait a while, then run the same command again")
    if status >= 400:
        return RequestRefused(f"The Hub refused the {what}: {said}", "mend that, then run the same command again")
    return ServerError(f"The {what} failed at {endpoint}: {said}", "run the same command again")


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
