"""How many attempts in flight pay on the embedded engine: each number by itself, and what `--parallel auto` makes.

    python benchmarks/parallel.py [--parallel 1,2,4,8,16,auto] [--rounds 2] [--seconds 90] [-l en] [--json]

Each has an engine of its own, with as many slots as the tool gives it (8 at most; for auto 4), round after round in
rotating order. Tokens a second are those until the time is over; records a minute count the time until the responses
in flight are there as well. Auto's begin with its search, which a long run pays once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from magpie_ollama.asking.settings import Settings
from magpie_ollama.corpus import MemoryCorpus
from magpie_ollama.method import languages
from magpie_ollama.method.detection import check
from magpie_ollama.method.steering import default_steering
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import Session
from magpie_ollama.servers import weights
from magpie_ollama.servers.base import ServerChoice
from magpie_ollama.servers.embedded import EmbeddedServer
from magpie_ollama.servers.loaded import LoadedModel

from useful import ENDLESS, say  # isort: skip

AUTO = "auto"


@dataclass(slots=True)
class Level:
    """One value a round: tokens a second, kept records a minute, and the number in flight at the end."""

    tokens: list[float] = field(default_factory=list)
    records: list[float] = field(default_factory=list)
    ended_at: list[int] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {
            "tokens_a_second": [round(value, 1) for value in self.tokens],
            "records_a_minute": [round(value, 2) for value in self.records],
            "ended_at": self.ended_at,
        }


async def measure(given: argparse.Namespace, parallel: int, seed: int, level: Level) -> None:
    options = {"num_thread": given.threads} if given.threads else {}
    server = EmbeddedServer(weights.find_weights("", given.model_path), parallel, options)
    language = languages.find(given.language)
    settings = Settings(
        ServerChoice(kind="embedded", options=options),
        language,
        default_steering(language),
        ENDLESS,
        seed=seed,
        parallel=parallel,
    )
    progress = Progress(target=ENDLESS)
    tokens = 0
    try:
        version = await server.version()
        facts = await server.describe((await server.models())[0])
        model = LoadedModel.of(server, version, facts)
        session = Session(settings, model, MemoryCorpus(), progress)

        def stop() -> None:
            nonlocal tokens
            tokens = progress.tokens
            session.stop()

        begun = time.monotonic()
        asyncio.get_running_loop().call_later(given.seconds, stop)
        await session.generate()
        seconds = time.monotonic() - begun
    finally:
        await server.close()
    level.tokens.append(tokens / given.seconds)
    level.records.append(60 * progress.kept_here / seconds)
    level.ended_at.append(progress.level)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parallel", default=f"1,2,4,8,16,{AUTO}")
    parser.add_argument("-l", "--language", default="en")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=90.0, help="of one number in one round (default 90)")
    parser.add_argument("--threads", type=int, default=0, help="of the engine (default: all)")
    parser.add_argument("--model-path", type=Path, help="a GGUF file instead of the packaged SmolLM2-135M-Instruct")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    check("The detector is loaded before the clock starts.", given.language)
    levels = {name: Level() for name in given.parallel.split(",")}
    order = list(levels)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MAGPIE_OLLAMA_DATA_DIR"] = folder
        for number in range(given.rounds):
            for name in order:
                level = levels[name]
                asyncio.run(measure(given, 0 if name == AUTO else int(name), 1000 * number, level))
                say(f"round {number + 1} of {given.rounds}: {name} in flight, {level.tokens[-1]:.0f} tokens/s")
            order = order[1:] + order[:1]
    if given.json:
        print(json.dumps({name: level.to_dict() for name, level in levels.items()}, indent=2))
        return
    print("in flight    tokens/s (range)         records/min (range)")
    for name, level in levels.items():
        chose = f"  took {' and '.join(map(str, level.ended_at))}" if name == AUTO else ""
        print(f"{name:9} {_spread(level.tokens):>22} {_spread(level.records):>25}{chose}")


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    main()
