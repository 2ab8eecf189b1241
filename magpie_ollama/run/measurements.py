"""What was measured of each way, kept for the next run of the same model in the same language.

One JSON file a model (by digest) in the user's data folder; it may be deleted at any time. ``measured_as`` is that of
``Settings``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import platformdirs

from magpie_ollama.corpus import system
from magpie_ollama.run.ways import Tally
from magpie_ollama.servers.base import Model

REMEMBERED = 500.0
"""Attempts a way: older ones fade, so that a changed language file shows."""


def folder() -> Path:
    """MAGPIE_OLLAMA_DATA_DIR, else the platform's place for a user's data."""
    given = os.environ.get("MAGPIE_OLLAMA_DATA_DIR")
    return Path(given) if given else platformdirs.user_data_path("magpie-ollama", appauthor=False)


def load(model: Model, measured_as: str) -> dict[str, Tally]:
    """What each way came to so far; {} where nothing is known, or readable."""
    names = [field.name for field in fields(Tally)]
    found = {}
    ways = _read(model).get(measured_as)
    for way, values in ways.items() if isinstance(ways, dict) else ():
        try:
            found[str(way)] = Tally(*(float(values[name]) for name in names))
        except (KeyError, TypeError, ValueError):
            continue
    return found


def add(model: Model, measured_as: str, tallies: Mapping[str, Tally]) -> None:
    """Adds a run's tallies. A folder that cannot be written loses them: they are a convenience."""
    everything = _read(model)
    known = load(model, measured_as)
    for way, tally in tallies.items():
        if tally.attempts:
            known[way] = known.get(way, Tally()).plus(tally).scaled(REMEMBERED)
    everything[measured_as] = {way: {k: round(v, 2) for k, v in asdict(tally).items()} for way, tally in known.items()}
    path = _path(model)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}.new")
        new.write_text(json.dumps(everything, indent=1), encoding="utf-8")
        system.replace(new, path)
    except OSError:
        return


def _read(model: Model) -> dict[str, Any]:
    try:
        value = json.loads(_path(model).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _path(model: Model) -> Path:
    # By digest: a name may get other weights tomorrow. A server that tells none is known by the model's name.
    name = re.sub(r"[^\w.-]+", "_", model.digest or model.name)
    return folder() / "measurements" / f"{name[:80]}.json"
