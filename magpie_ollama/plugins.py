"""What other packages bring by their entry points: kinds of servers, topics, and checks. docs/plugins.md tells how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

Check = Callable[[str, str, str], bool]
"""Whether there is something wrong with a text: with an instruction, where the second is "", or with the response to
the second. The third is the language's code."""

found: Counter[str] = Counter()
"""How many texts each check found something in."""

_failures: list[str] = []


def take_notices() -> list[str]:
    """What is to be told at the end of a command or iterator, once: which plugins failed, and which checks found
    something."""
    told = [*_failures, *(f"The plugin's check {name} rejected {count:,} texts." for name, count in found.items())]
    found.clear()
    _failures.clear()
    return told


@cache
def named(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group, "servers", "topics" or "checks", by name. The installed packages are looked through
    once, and not before somebody asks."""
    return {one.name: one for one in entry_points(group=f"magpie_ollama.{group}")}


@cache
def topic_files() -> dict[str, Path]:
    """The TOML files of plugins' folders, by the topics' names. A plugin that cannot be loaded is a notice."""
    files: dict[str, Path] = {}
    for name, entry in named("topics").items():
        try:
            loaded = entry.load()
            folder = Path(loaded if isinstance(loaded, str | Path) else loaded.__path__[0])
            files |= {path.stem: path for path in sorted(folder.iterdir()) if path.suffix == ".toml"}
        except Exception as error:  # of any kind: it is another's code
            _failed("topics", name, error)
    return files


@cache
def checks() -> dict[str, Check]:
    """The plugins' checks by name. One that cannot be loaded is a notice."""
    loaded: dict[str, Check] = {}
    for name, entry in named("checks").items():
        try:
            loaded[name] = _callable(entry.load())
        except Exception as error:
            _failed("check", name, error)
    return loaded


def object_to(text: str, asked: str, language: str) -> bool:
    """Whether a plugin's check finds something wrong, which is counted in ``found``. One that raises is left out from
    then on, and is a notice."""
    for name, check in list(checks().items()):
        try:
            if check(text, asked, language):
                found[name] += 1
                return True
        except Exception as error:
            checks().pop(name, None)
            _failed("check", name, error)
    return False


def forget() -> None:
    """As if nothing had been looked for yet: packages may have come since."""
    for one in (named, topic_files, checks):
        one.cache_clear()
    found.clear()
    _failures.clear()


def _callable(loaded: Any) -> Check:
    if not callable(loaded):
        raise TypeError(f"{loaded!r:.60} cannot be called")
    check: Check = loaded
    return check


def _failed(what: str, name: str, error: Exception) -> None:
    _failures.append(f"The plugin's {what} {name} failed and is left out: {type(error).__name__}: {error!s:.200}")
