"""Files on their way to a dataset repository of the Hugging Face Hub. Needs huggingface_hub (the extra ``hub``)."""

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
)

CARD = "README.md"

_DATA = (".jsonl", ".json", ".parquet", ".csv", ".arrow")

LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token with write access"


def check_name(name: str) -> None:
    """Raises UsageError unless ``name`` is OWNER/NAME."""
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name, re.ASCII) or len(name) > 96:
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
        raise UsageError("Push needs huggingface_hub", "install it with `pip install 'magpie-ollama[hub]'`") from None
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
def _told(name: str, endpoint: str) -> Iterator[None]:
    """Errors of the Hub and of the way to it, in this tool's words."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except HfHubHTTPError as error:
        raise _refusal(error, name, endpoint) from error
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
            raise ServerError(f"The upload failed: {said}", "mend that, then run the same command again") from error
        raise


def _is_of_the_network(error: Exception) -> bool:
    """By name: the library's HTTP client has been requests, httpx and httpx2 in turn."""
    return isinstance(error, ConnectionError) or any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


def _refusal(error: Any, name: str, endpoint: str) -> MagpieError:
    status = error.response.status_code if error.response is not None else 0
    said = getattr(error, "server_message", None) or _first_line(error)
    owner = name.partition("/")[0]
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
        return RequestRefused(f"The Hub refused the upload: {said}", "mend that, then run the same command again")
    return ServerError(f"The upload to {endpoint} failed: {said}", "run the same command again")


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
