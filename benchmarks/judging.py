"""What a judge costs, and what the engine's small model is worth as one.

    python benchmarks/judging.py [--records 8] [--rounds 2] [--threads 1] [--proof en,es] [--json]

The same responses (exemplars of the package) are judged on the embedded engine in three ways, in turns: a score by
the probabilities of one token, the same score by a JSON schema, and the four tags of ``tag`` by theirs. ``--proof``
measures the AUC on planted faults instead (docs/judging.md), by scale, kind of fault and language.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import mean
from typing import Any

from magpie_ollama.asking.opening import opened
from magpie_ollama.servers.base import ServerChoice
from magpie_ollama.servers.loaded import LoadedModel
from magpie_ollama.tagging import scales, scoring
from magpie_ollama.tagging.answers import Answers
from magpie_ollama.tagging.judging import Judging, JudgingProgress
from magpie_ollama.tagging.planted import GOOD, Shown, planted
from magpie_ollama.tagging.proof import Proofs, proof_lines, prove

Way = Callable[[Shown], Awaitable[object]]


class Untold(scoring.Scorer):
    """A judge of a server that tells no log-probabilities."""

    async def _by_token(self, messages: Any) -> None:
        return None


async def speeds(model: LoadedModel, records: int, rounds: int) -> dict[str, list[float]]:
    """Judged records a minute of each way, one a round. The first record of each is asked before: it fills the cache
    with the judge's own prompt, as the first of many does."""
    token, untold, answers = scoring.Scorer(model, []), Untold(model, []), Answers(model, [])
    untold._in_vain = scoring.IN_VAIN
    judge = scales.load()

    async def tags(shown: Shown) -> object:
        ask = lambda longest: scales.request(judge, shown, longest)  # noqa: E731
        parse = lambda text: scales.parse(text, judge, model.name)  # noqa: E731
        return await answers.get(ask, scales.LONGEST, scales.schema(judge), parse)

    ways: dict[str, Way] = {
        "one token": lambda shown: token.score(shown.turns, "answer", "en"),
        "score by schema": lambda shown: untold.score(shown.turns, "answer", "en"),
        "four tags by schema": tags,
    }
    good = [shown for shown in planted("en") if shown.kind == GOOD]
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, judged in ways.items():
            await judged(good[-1])
            started = time.monotonic()
            for shown in good[:records]:
                await judged(shown)
            found[name].append(60 * records / (time.monotonic() - started))
    return found


async def proofs(model: LoadedModel, codes: list[str]) -> Proofs:
    found: Proofs = {}
    with tempfile.TemporaryDirectory() as folder:
        kept, progress = Path(folder) / "kept.json", JudgingProgress()
        judging = Judging(model, 1, progress)
        scorer = scoring.Scorer(model, [])
        for code in codes:
            found |= await judging.prove({code: []}, kept)
            for scale in scoring.SCALES:  # one after the other: each has its own prompt in the engine's cache
                rate = scorer.rating((scale,), code)
                found[code] |= await prove(model, rate, (scale,), code, scoring.mark(), kept, 1)
    return found


async def measured(given: argparse.Namespace) -> dict[str, Any]:
    choice = ServerChoice("embedded", options={"num_thread": given.threads})
    async with opened(choice, 1, JudgingProgress()) as model:
        if given.proof:
            told = await proofs(model, given.proof.split(","))
            if not given.json:
                print(model.name, *proof_lines(told), sep="\n")
            return {code: {scale: proof.auc for scale, proof in one.items()} for code, one in told.items()}
        found = await speeds(model, given.records, given.rounds)
    if not given.json:
        for name, rates in found.items():
            ratios = [rate / other for rate, other in zip(rates, found["four tags by schema"], strict=True)]
            told = f"{mean(rates):6.1f} records/min, {mean(ratios):.1f} times ({min(ratios):.1f} to {max(ratios):.1f})"
            print(f"{name:<20} {told}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--proof", default="", metavar="CODES")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = asyncio.run(measured(given))
    if given.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
