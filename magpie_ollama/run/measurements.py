"""What was measured of each arm (a steering at a temperature), kept for the next run of its model in its language.

One JSON file a model (by digest) in the user's data folder; it may be deleted at any time. ``measured_as`` is that of
``Settings``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import msgspec
import platformdirs
from msgspec import Meta

from magpie_ollama.corpus import files
from magpie_ollama.decoding import Misshapen, decode
from magpie_ollama.run.choosing import Arm, Tally
from magpie_ollama.servers.base import Model

REMEMBERED = 500.0
"""Attempts an arm: older ones fade, so that a changed language file shows."""


_Name = Annotated[str, Meta(pattern=r"\A[a-z+]{1,100}@[0-9.]{1,10}\Z")]
_Tokens = Annotated[float, Meta(ge=0, le=1e12)]


class _Measured(msgspec.Struct):
    """A ``Tally`` in a file: whatever else stands there would decide what auto draws, or never let it draw."""

    attempts: Annotated[float, Meta(gt=0, le=REMEMBERED)]
    kept: Annotated[float, Meta(ge=0, le=REMEMBERED)]
    worth: Annotated[float, Meta(ge=0, le=REMEMBERED)]
    kept_tokens: _Tokens
    lost_tokens: _Tokens
    prompt_tokens: _Tokens

    def __post_init__(self) -> None:
        if not self.worth <= self.kept <= self.attempts:
            raise ValueError("more worth than kept, or kept than tried")


def folder() -> Path:
    """MAGPIE_OLLAMA_DATA_DIR, else the platform's place for a user's data."""
    given = os.environ.get("MAGPIE_OLLAMA_DATA_DIR")
    return Path(given) if given else platformdirs.user_data_path("magpie-ollama", appauthor=False)


def load(model: Model, measured_as: str) -> dict[Arm, Tally]:
    """What each arm came to so far; {} where nothing is known, or readable."""
    told = _read(model).get(measured_as, {})
    return {Arm.parse(name): Tally(*msgspec.structs.astuple(one)) for name, one in told.items()}


def add(model: Model, measured_as: str, tallies: Mapping[Arm, Tally]) -> None:
    """Adds a run's tallies. A folder that cannot be written loses them: they are a convenience."""
    everything: dict[str, object] = {**_read(model)}
    known = load(model, measured_as)
    for arm, tally in tallies.items():
        if tally.attempts:
            known[arm] = known.get(arm, Tally()).plus(tally).scaled(REMEMBERED)
    everything[measured_as] = {
        str(arm): {k: round(v, 2) for k, v in asdict(tally).items()} for arm, tally in known.items()
    }
    place = path(model)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(everything, indent=1, default=msgspec.structs.asdict)
        files.write(place, text.encode(), sync=False)
    except OSError:
        return


def _read(model: Model) -> dict[str, dict[_Name, _Measured]]:
    try:
        return decode(files.read(path(model)), dict[str, dict[_Name, _Measured]])
    except (OSError, Misshapen):
        return {}


def path(model: Model, of: str = "") -> Path:
    """Where what was measured of a model is kept; ``of`` names anything else but its steerings."""
    # By digest: a name may get other weights tomorrow. A server that tells none is known by the model's name.
    name = re.sub(r"[^\w.-]+", "_", model.digest or model.name)
    return folder() / "measurements" / f"{name[:80]}{of and f'.{of}'}.json"
