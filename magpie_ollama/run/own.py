"""A model's own measure: how sure it is of what it writes unsteered, which fluency is told against."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from functools import partial
from statistics import median
from typing import Annotated

from msgspec import Meta

from magpie_ollama.asking.asker import confidence_of
from magpie_ollama.asking.retrying import retrying
from magpie_ollama.asking.templates import Prompter
from magpie_ollama.corpus import files
from magpie_ollama.decoding import Misshapen, decode
from magpie_ollama.errors import RequestRefused, TransientError
from magpie_ollama.method.fluency import per_letter
from magpie_ollama.method.languages import load
from magpie_ollama.method.screening import count_words
from magpie_ollama.run import measurements
from magpie_ollama.servers.base import Completion, Model, Sampling
from magpie_ollama.servers.loaded import LoadedModel

DRAWS = 4
TOKENS = 28
"""Of each: a beginning tells enough, and a run in another language waits for it."""

_Own = dict[str, Annotated[float, Meta(ge=0, le=1)]]


async def own_confidence(model: LoadedModel, prompter: Prompter, sampling: Sampling) -> float:
    """The median confidence per letter of unsteered beginnings of a user's turn, which are English of nearly every
    model, at the sampling's temperature. Asked of a model once, and kept beside the measurements; 0.0 where the server
    tells no log-probabilities."""
    known, mark = _read(model), f"{sampling.temperature:g}"
    if mark in known:
        return known[mark]
    template = await prompter.template()

    def ask(seed: int) -> Awaitable[Completion]:
        short = Sampling(sampling.temperature, TOKENS, seed=seed)
        return model.complete(template.prefix, short, template.stops, lambda text: False)

    try:
        made = await asyncio.gather(*(retrying(partial(ask, seed), model.address) for seed in range(DRAWS)))
    except (RequestRefused, TransientError):
        return 0.0
    texts = [one for one in made if count_words(one.text, load("en").spaces) > 2]
    told = [per_letter(confidence, one.text) for one in texts if (confidence := confidence_of(one))]
    if not told:
        return 0.0
    _write(model, {**known, mark: round(median(told), 4)})
    return round(median(told), 4)


def _read(model: Model) -> _Own:
    try:
        return decode(files.read(measurements.path(model, "own")), _Own)
    except (OSError, Misshapen):
        return {}


def _write(model: Model, own: _Own) -> None:
    """A folder that cannot be written loses it: it is measured again."""
    path = measurements.path(model, "own")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, json.dumps(own, indent=1).encode(), sync=False)
    except OSError:
        return
