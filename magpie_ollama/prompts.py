"""Where the prompt data lies: ``prompts/`` of the wheel, else of the checkout.

A wheel carries the folder inside the package; an editable install leaves it where it stands, beside the
package. One resolver serves both, since no build backend maps a top-level folder into an editable install.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from magpie_ollama.errors import UsageError

LARGEST = 2**22
"""Bytes of a file. The package's own have up to 20,000."""


@cache
def folder(kind: str) -> Path:
    """The folder of one kind of data: "languages", "templates"."""
    package = Path(__file__).parent
    inside = package / "prompts" / kind
    return inside if inside.is_dir() else package.parent / "prompts" / kind


def names(kind: str) -> list[str]:
    """Names of the data files of a kind, without their ending, sorted."""
    return sorted(path.stem for path in folder(kind).glob("*.toml"))


def read(path: Path) -> dict[str, Any]:
    """The content of a TOML file, or a ``UsageError`` that names the file and the place."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)  # a device has no end
        if len(data) > LARGEST:
            raise UsageError(f"{path} is longer than {LARGEST >> 20} MB.", "give a TOML file of prompts")
        return tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "check its path and its rights") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text.", "save it as UTF-8") from error
    except (ValueError, RecursionError) as error:  # a number of many digits, lists within lists
        raise UsageError(f"{path} is not TOML: {error}.", "mend that line") from error
