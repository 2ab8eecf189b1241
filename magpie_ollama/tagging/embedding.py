"""A model makes vectors of instructions, each written down as it comes: a second run asks for those that are missing
only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from magpie_ollama.asking.opening import opened
from magpie_ollama.asking.retrying import retrying
from magpie_ollama.errors import ModelMissing, NotThisServer, PromptTooLong, RequestRefused, ServerError
from magpie_ollama.servers.base import ServerChoice
from magpie_ollama.servers.loaded import LoadedModel
from magpie_ollama.tagging.judging import JudgingProgress
from magpie_ollama.tagging.vectors import Vectors

TOGETHER = 32
"""Texts a request: servers spread them over their slots. A kill costs one request."""

LONGEST = 2000
"""Characters of a text that are embedded: some five hundred tokens, which is what many such models take."""

SHORTEST = 125
"""A model that takes no more than so many characters is none for instructions."""


async def embed(
    source: Path, choice: ServerChoice, texts: Sequence[str], progress: JudgingProgress
) -> tuple[NDArray[np.float32], str]:
    """The vectors of the instructions ``texts`` of ``source``, of length 1, a row each; and the model's name. Raises
    ``MagpieError``; what was embedded by then is written down."""
    texts = [text[:LONGEST] for text in texts]
    async with opened(replace(choice, embeds=True), 1, progress, stands_in=False) as model:
        with Vectors(source, model.name, model.digest, LONGEST) as vectors:
            missing = [text for text in dict.fromkeys(texts) if text not in vectors]
            progress.total, progress.started = len(missing), time.monotonic()
            left = iter(missing)
            while batch := list(islice(left, TOGETHER)):
                progress.in_flight = len(batch)
                vectors.add(batch, await _vectors(model, batch, asked_before=progress.judged > 0))
                progress.judged += len(batch)
                progress.in_flight = 0
            return vectors.of(texts), model.name


async def _vectors(model: LoadedModel, texts: Sequence[str], asked_before: bool) -> NDArray[np.float32]:
    longest = LONGEST
    while True:
        try:
            told = await retrying(partial(model.embed, [text[:longest] for text in texts]), model.address)
        except PromptTooLong:
            longest //= 2
            if longest < SHORTEST:
                raise
        except (RequestRefused, ModelMissing, NotThisServer) as error:
            if asked_before:
                raise
            raise RequestRefused(
                f"{model.address} makes no vectors with {model.name}: {error.cause}",
                "name an embedding model with -m, or a server that has one with --host",
            ) from error
        else:
            return _checked(told, len(texts), model.name)


def _checked(told: Sequence[Sequence[float]], count: int, model: str) -> NDArray[np.float32]:
    """As an array, of vectors of length 1."""
    lengths = sorted({len(vector) for vector in told})
    found = np.array(told, np.float32) if len(told) == count and len(lengths) == 1 else np.empty((0, 0), np.float32)
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    if not found.size or not np.isfinite(norms).all() or not norms.all():
        what = f"{len(told)} vectors of {' or '.join(map(str, lengths)) or 'no'} numbers"
        raise ServerError(
            f"{model} gave no vector of each text, but {what if not found.size else 'one of zeros'} for {count} texts.",
            "name another embedding model with -m, or update the server",
        )
    return np.asarray(found / norms, np.float32)
