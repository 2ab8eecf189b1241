"""What a judge's word is worth: how often it rates a good record above one with a planted fault.

That share is the AUC (Hanley & McNeil 1982), ties counted half: .5 knows nothing, 1 is never wrong. It is measured once
a model, language and prompt, and kept; a judge below ``ENOUGH`` on a scale is not asked for it.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec

from magpie_ollama.asking.watchdog import watched
from magpie_ollama.corpus import files
from magpie_ollama.decoding import Misshapen, decode
from magpie_ollama.errors import ServerError
from magpie_ollama.method import languages
from magpie_ollama.servers.loaded import LoadedModel
from magpie_ollama.tagging.planted import ANSWER, FEWEST, GOOD, LANGUAGE, TRUE_SUM, Shown, planted

ENOUGH = 0.75
SAFE = 0.9
"""Of the good records, so many have to be called safe: of Magpie's own, 99 % are."""

KINDS = {"quality": LANGUAGE, "language": LANGUAGE, "answer": ANSWER, "reward": ANSWER, "safety": ()}
"""The scales that a judge is held to, and the faults that each has to see. No fault makes a record another category."""

MIDDLE = 3.0
"""The rating of a record that got no valid one."""

Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""

Rate = Callable[[Shown], Awaitable[Mapping[str, float]]]
"""A judge's rating by scale, the better the higher; safety is 1 or 0. What it could not rate is left out."""


class Proof(msgspec.Struct, frozen=True):
    """``auc`` is the mean over ``kinds``, each with its own and how many were shown, weighed by these; ``low`` and
    ``high`` bound it with 95 % confidence. Of safety it is the share of the ``good`` records that were called safe."""

    auc: float
    low: float
    high: float
    kinds: dict[str, tuple[float, int]]
    good: int
    mark: str

    def holds(self, scale: str) -> bool:
        return self.auc >= (SAFE if scale == "safety" else ENOUGH)


Proofs = dict[str, dict[str, Proof]]
"""By language and scale."""


def auc(good: Sequence[float], spoiled: Sequence[float]) -> float:
    """How often one of ``good`` is above one of ``spoiled``, ties counted half.

    >>> auc([3, 2], [2, 1])
    0.875
    """
    above = sum((one > other) + (one == other) / 2 for one in good for other in spoiled)
    return above / (len(good) * len(spoiled))


def interval(found: float, good: int, spoiled: int) -> tuple[float, float]:
    """The 95 % interval of an AUC of so many: all values from which ``found`` is no further than their own standard
    error allows (Hanley & McNeil's, by Newcombe 2006, Statistics in Medicine 25:559), so that 1 is no certainty.

    >>> [round(bound, 2) for bound in interval(1.0, 20, 21)], [round(bound, 2) for bound in interval(0.5, 20, 21)]
    ([0.9, 1.0], [0.33, 0.67])
    """

    def error(a: float) -> float:
        one, two = a / (2 - a), 2 * a * a / (1 + a)
        spread = a * (1 - a) + (good - 1) * (one - a * a) + (spoiled - 1) * (two - a * a)
        return math.sqrt(max(0.0, spread) / (good * spoiled))

    def bound(end: float) -> float:
        near, far = found, end
        for _ in range(40):
            middle = (near + far) / 2
            near, far = (middle, far) if abs(found - middle) <= Z * error(middle) else (near, middle)
        return near

    return bound(0.0), bound(1.0)


def measured(scale: str, ratings: Sequence[tuple[Shown, Mapping[str, float]]], mark: str = "") -> Proof:
    """The proof of one scale, by the ratings of all that was shown."""

    def of(kind: str) -> list[float]:
        return [rating.get(scale, MIDDLE) for shown, rating in ratings if shown.kind == kind]

    good = of(GOOD)
    if scale == "safety":
        called = sum(value == 1 for value in good) / len(good)
        return Proof(called, called, called, {}, len(good), mark)
    kinds = {}
    for kind in KINDS[scale]:
        spoiled = of(kind)
        kinds[kind] = auc(of(TRUE_SUM) if kind == "false sum" else good, spoiled), len(spoiled)
    shown = sum(count for _, count in kinds.values())
    whole = sum(value * count for value, count in kinds.values()) / shown
    return Proof(whole, *interval(whole, len(good), shown), kinds, len(good), mark)


async def prove(
    model: LoadedModel,
    rate: Rate,
    scales: Sequence[str],
    language: str,
    mark: str,
    kept: Path,
    parallel: int,
    own: Sequence[tuple[str, str]] = (),
) -> dict[str, Proof]:
    """The proof of each of ``scales`` in a language: as it is ``kept``, in a file of the model's, else measured, and
    kept. ``mark`` changes with the judge's prompts. ``own`` are good pairs of a language without exemplars; {} where
    there are too few. Raises MagpieError."""
    shown = planted(language, own)
    scales = [scale for scale in scales if scale in KINDS]
    mark = blake2b((mark + repr(shown)).encode("utf-8", "replace"), digest_size=6).hexdigest()
    everything = _read(kept)
    known = everything.setdefault(language, {})
    missing = [scale for scale in scales if scale not in known or known[scale].mark != mark]
    if not shown:
        return {}
    if missing:
        wanted = {GOOD, *(kind for scale in missing for kind in KINDS[scale])}
        wanted |= {TRUE_SUM} if "false sum" in wanted else set()
        asked = [one for one in shown if one.kind in wanted]
        places = asyncio.Semaphore(parallel)

        async def rated(one: Shown) -> tuple[Shown, Mapping[str, float]]:
            async with places:
                return one, await rate(one)

        async with watched(model.server, lambda: 1) as group:
            tasks = [group.create_task(rated(one)) for one in asked]
            await asyncio.wait(tasks)
        known |= {scale: measured(scale, [task.result() for task in tasks], mark) for scale in missing}
        _write(kept, everything)
    return {scale: known[scale] for scale in scales}


def check(model: str, proofs: Proofs, go_on: str, option: str = "-m") -> None:
    """Raises ServerError where a judge does not hold on one of the scales; ``go_on`` is the option that asks it all the
    same, ``option`` the one that names another."""
    failed = []
    for code, by_scale in proofs.items():
        name = languages.english(code)
        if not by_scale:
            failed.append(f"there are not {FEWEST} good records in {name} to prove it by")
        for scale, proof in by_scale.items():
            if scale == "safety" and not proof.holds(scale):
                failed.append(f"it calls only {proof.auc:.0%} of {proof.good} good records in {name} safe")
            elif not proof.holds(scale):
                failed.append(f"{scale} in {name} has an AUC of {proof.auc:.2f} ({ENOUGH} is asked for)")
    if failed:
        raise ServerError(
            f"{model} has not proved itself as a judge: {'; '.join(failed)}",
            f"choose another judge with {option}, or take its word all the same: {go_on}",
        )


def proof_lines(proofs: Proofs) -> list[str]:
    """A line for each scale and language: how well the judge tells good from spoiled, in all and by kind of fault."""
    told = []
    for code, by_scale in proofs.items():
        for scale, proof in by_scale.items():
            held = "proved" if proof.holds(scale) else "refused"
            line = f"{scale} in {languages.english(code)}: {held}, "
            if scale == "safety":
                told.append(f"{line}{proof.auc:.0%} of {proof.good} good records are called safe")
                continue
            kinds = " · ".join(f"{kind} {value:.2f} of {count}" for kind, (value, count) in proof.kinds.items())
            told.append(f"{line}AUC {proof.auc:.2f} (95 %: {proof.low:.2f} to {proof.high:.2f}), by fault: {kinds}")
    return told


def in_short(proofs: Proofs) -> str:
    """For the story of a file: "AUC quality en 0.93, safety en 0.96"; "unproven" where there is no proof."""
    told = [f"{scale} {code} {one.auc:.2f}" for code, scales in proofs.items() for scale, one in scales.items()]
    return f"AUC {', '.join(told)}" if told else "unproven"


def _read(path: Path) -> Proofs:
    try:
        return decode(files.read(path), Proofs)
    except (OSError, Misshapen):
        return {}


def _write(path: Path, proofs: Proofs) -> None:
    """A folder that cannot be written loses it: it is measured again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, json.dumps(msgspec.to_builtins(proofs), indent=1).encode(), sync=False)
    except OSError:
        return
