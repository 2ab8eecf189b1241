"""What a new run is told of the corpus that it adds to: other models, other weights, and runs that are not done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from shlex import quote
from typing import Any

from magpie_ollama.asking.said import BY_PATH
from magpie_ollama.asking.settings import Settings
from magpie_ollama.corpus.runs import Run
from magpie_ollama.servers.base import Model

SHOWN = 4
"""So many settings that differ are named, and so many models."""

LONGEST = 40
"""Letters of a setting's value."""

OPTIONS = {"language": "-l", "language_data": "--language-file", "steering": "-s", "model": "-m", "options": "--option"}
OPTIONS |= dict.fromkeys(("questions", "conversations"), "the file")
"""Of the settings that are none of ``asking.said``."""


def adding(target: int, records: int, models: Iterable[str], model: str) -> str:
    """That ``target`` records are added to those that ``models`` wrote.

    >>> adding(3, 20, ["m:1"], "m:1")
    'Adding 3 to the 20 records there.'
    >>> adding(3, 20, ["m:1", "n:1"], "m:1")
    'Adding 3 to the 20 records there, which are by m:1 and n:1; the new ones are by m:1.'
    """
    told = f"Adding {target} to the {records} record{'s' if records > 1 else ''} there"
    others = sorted(models)
    if set(others) <= {model}:
        return f"{told}."
    names = others if len(others) <= SHOWN else [*others[: SHOWN - 1], f"{len(others) - SHOWN + 1} others"]
    return f"{told}, which are by {_listed(names)}; the new ones are by {model}."


def remade(runs: Sequence[Run], model: Model) -> str:
    """That the model's name stood for other weights in an earlier run; "" where it did not, or where nobody knows."""
    for run in reversed(runs):
        before = run.manifest.get("model_digest")
        if run.manifest.get("model") == model.name and before:
            if model.digest in ("", before):
                return ""
            return (
                f"{model.name} is another model than it was in run {run.id} (digest {short(model.digest)}, then "
                f"{short(str(before))}): a new run begins."
            )
    return ""


def waiting(runs: Sequence[Run], settings: Mapping[str, Any], model: Model, target: int) -> str:
    """That the newest run with records that is not done waits, in what it differs from one of ``settings``, and how it
    is continued; "" where there is none."""
    for run in reversed(runs):
        if run.status == "done" or not 0 < run.kept < run.target:
            continue
        told = f"Run {run.id} waits with {run.kept} of its {run.target} records"
        if run.is_of_another(model.digest):
            return f"{told}, for the model as it was."
        own = run.manifest.get("settings")
        different = list(_different(own if isinstance(own, dict) else {}, settings))
        if different:
            more = [f"{len(different) - SHOWN} more"] if len(different) > SHOWN else []
            return f"{told}: it has {_listed(different[:SHOWN] + more)}; the same command with those continues it."
        if run.kept > target:
            return f"{told}: -n {run.target} continues it."
        return f"{told}: it was begun by another version of this tool, and cannot be continued."
    return ""


def left(asked: Sequence[Settings], runs: Sequence[Run]) -> list[Settings]:
    """Those of one command's languages that are still to be made: all of them, unless its last round was left."""
    if len(asked) == 1:
        return list(asked)
    codes = [settings.language.code for settings in asked]
    newest: dict[str, Run] = {}
    for run in runs:
        own = run.manifest.get("settings")
        if not isinstance(own, dict) or run.manifest.get("in_turn") != codes:
            continue
        code = own.get("language")
        if code in codes and _is_of(own, asked[codes.index(code)]):
            newest.pop(code, None)
            newest[code] = run  # the last key is the last run
    reached = codes.index(list(newest)[-1]) if newest else -1
    going_on = [
        settings
        for place, (code, settings) in enumerate(zip(codes, asked, strict=True))
        if place > reached or (code in newest and newest[code].status != "done")
    ]
    return going_on or list(asked)


def _is_of(own: Mapping[str, Any], settings: Settings) -> bool:
    """Whether a run has these settings; its model and server are its own where they are not named."""
    model, kind = str(own.get("model")), str(own.get("server"))
    return model.startswith(settings.server.model) and not list(_different(own, settings.identity(model, kind)))


def short(digest: str) -> str:
    """A digest's first letters, which tell two apart.

    >>> short("sha256:0123456789abcdef")
    '0123456789ab'
    """
    return digest.removeprefix("partial-").removeprefix("sha256:")[:12]


def _different(old: Mapping[str, Any], new: Mapping[str, Any], group: str = "") -> Iterator[str]:
    """The settings that both have and that differ: "-s system (here auto)"."""
    new = json.loads(json.dumps(new, default=str))  # as a manifest gives it back
    for key in (key for key in new if key in old and old[key] != new[key]):
        if key in ("instruction", "response", "rules") and isinstance(old[key], dict):
            yield from _different(old[key], new[key], key)
        elif key != "language_data" or old.get("language") == new.get("language"):
            yield f"{_option(group, key)} {_value(old[key])} (here {_value(new[key])})"


def _option(group: str, key: str) -> str:
    said = BY_PATH.get(f"{group}.{key}" if group else key)
    return said.option if said else OPTIONS.get(key, f"--{key.replace('_', '-')}")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict):
        value = " ".join(f"{key}={one}" for key, one in value.items())
    if value in (None, ""):
        return "none"
    text = str(value)
    return quote(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
