"""Useful records a minute: the tool against a sequential loop and against batches of two phases, on one engine.

    python benchmarks/useful.py [-l en,es] [--rounds 3] [--seconds 150] [--chart docs/useful.svg] [--json]

One embedded engine with one model serves all three in turn (see baselines.py), round after round of equal time in
rotating order, with the same limits and temperatures; one screen outside them judges every pair (see judge.py). What
the tool's --steering auto learns in one round it knows in the next, as for any user; it begins with nothing. A round
lasts until what was begun in it has ended; what the tool drops then counts among its tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from magpie_ollama.asking.settings import Settings
from magpie_ollama.asking.templates import Prompter
from magpie_ollama.corpus import Corpus
from magpie_ollama.method import languages
from magpie_ollama.method.detection import check
from magpie_ollama.method.languages import Language
from magpie_ollama.method.steering import default_steering
from magpie_ollama.servers import processors, weights
from magpie_ollama.servers.base import ServerChoice
from magpie_ollama.servers.embedded import EmbeddedServer
from magpie_ollama.servers.loaded import LoadedModel

from baselines import Round, Sequential, Tool, TwoPhases  # isort: skip
from chart import Bar, Group, bars  # isort: skip
from judge import Judge  # isort: skip

TOOL = "magpie-ollama"
SEQUENTIAL = "sequential"
TWO_PHASES = "two phases"
NAMES = {
    TOOL: "magpie-ollama",
    SEQUENTIAL: "one at a time, as magpie-ollama-datagen",
    TWO_PHASES: "batches of two phases, as distilabel",
}

ENDLESS = 1_000_000
"""Records that a run is asked for: more than it makes before the round is over."""


class System(Protocol):
    async def run(self, seconds: float) -> Round: ...


@dataclass(slots=True)
class Account:
    """What one system came to in one language. ``rates`` are useful records a minute, one a round."""

    seconds: float = 0.0
    attempts: int = 0
    records: int = 0
    useful: int = 0
    tokens: int = 0
    useful_tokens: int = 0
    rates: list[float] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)

    def enter(self, made: Round, judge: Judge) -> None:
        useful = 0
        for pair in made.pairs:
            reason = judge(pair)
            if reason is None:
                useful += 1
                self.useful_tokens += pair.tokens
            else:
                self.rejected[reason] += 1
        self.seconds += made.seconds
        self.attempts += made.attempts
        self.records += len(made.pairs)
        self.useful += useful
        self.tokens += made.tokens
        self.rates.append(60 * useful / made.seconds)

    @property
    def rate(self) -> float:
        return 60 * self.useful / self.seconds

    @property
    def share(self) -> float:
        """Of all generated tokens, those of useful records."""
        return self.useful_tokens / self.tokens if self.tokens else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "seconds": round(self.seconds, 1),
            "attempts": self.attempts,
            "records": self.records,
            "useful": self.useful,
            "useful_a_minute": round(self.rate, 2),
            "rounds_useful_a_minute": [round(rate, 2) for rate in self.rates],
            "tokens": self.tokens,
            "tokens_a_second": round(self.tokens / self.seconds, 1),
            "share_of_tokens_in_useful": round(self.share, 3),
            "not_useful": dict(self.rejected.most_common()),
        }


@dataclass(frozen=True, slots=True)
class Ratio:
    """The tool's useful records a minute over a baseline's: of all rounds together, and the range over the rounds.

    A baseline without any useful record makes it infinite.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, tool: Account, other: Account) -> Ratio:
        rounds = [_over(a, b) for a, b in zip(tool.rates, other.rates, strict=True)]
        return cls(_over(tool.rate, other.rate), min(rounds), max(rounds))

    def __str__(self) -> str:
        return f"{_times(self.value)} ({_times(self.low)} to {_times(self.high)})"

    def to_dict(self) -> dict[str, float | None]:
        values = {"value": self.value, "low": self.low, "high": self.high}
        return {name: round(value, 2) if math.isfinite(value) else None for name, value in values.items()}


def _over(one: float, other: float) -> float:
    if other:
        return one / other
    return math.inf if one else 1.0


def _times(value: float) -> str:
    return f"{value:.1f} x" if math.isfinite(value) else "∞"


async def measure(given: argparse.Namespace) -> tuple[str, dict[str, dict[str, Account]]]:
    """What was measured on, in words, and the accounts by language and system."""
    options = {"num_thread": given.threads} if given.threads else {}
    server = EmbeddedServer(weights.find_weights("", given.model_path), given.parallel, options)
    found: dict[str, dict[str, Account]] = {}
    try:
        version = await server.version()
        model = LoadedModel.of(server, version, await server.describe((await server.models())[0]))
        say(f"{model.name}, {version}")
        for code in given.languages.split(","):
            with tempfile.TemporaryDirectory() as folder, Corpus.open(Path(folder) / f"{code}.jsonl") as corpus:
                found[code] = await compare(given, server.slots, model, languages.find(code), corpus)
    finally:
        await server.close()
    return f"{model.name}, {given.threads or processors.threads()} threads", found


async def compare(
    given: argparse.Namespace, slots: int, model: LoadedModel, language: Language, corpus: Corpus
) -> dict[str, Account]:
    choice = ServerChoice(kind="embedded", options={"num_thread": given.threads} if given.threads else {})
    steering = default_steering(language)
    settings = Settings(choice, language, steering, ENDLESS, seed=0, parallel=given.parallel)
    systems: dict[str, System] = {
        TOOL: Tool(model, corpus, settings),
        SEQUENTIAL: Sequential(model, language, settings),
        TWO_PHASES: TwoPhases(model, language, settings, slots, given.batch),
    }
    template = await Prompter(model).template()
    judges = {name: Judge(language, template) for name in systems}
    accounts = {name: Account() for name in systems}
    check("The detector is loaded before the clock starts.", language.code)
    order = list(systems)
    for number in range(given.rounds):
        for name in order:
            account = accounts[name]
            account.enter(await systems[name].run(given.seconds), judges[name])
            say(f"{language.code} round {number + 1} of {given.rounds}: {name} {account.rates[-1]:.1f} useful a minute")
        order = order[1:] + order[:1]
    return accounts


def report(found: dict[str, dict[str, Account]]) -> None:
    for code, accounts in found.items():
        print(f"\n{languages.find(code).english}: useful records a minute")
        heads = "attempts  records  useful  a minute    tokens  tokens/s  share"
        print(f"{'':13} {heads}")
        for name, account in accounts.items():
            print(
                f"{name:13} {account.attempts:8,} {account.records:8,} {account.useful:7,} {account.rate:9.1f} "
                f"{account.tokens:9,} {account.tokens / account.seconds:9.0f} {account.share:6.0%}"
            )
        for name in (SEQUENTIAL, TWO_PHASES):
            print(f"{TOOL} / {name}: {Ratio.of(accounts[TOOL], accounts[name])}")
        for name, account in accounts.items():
            if account.rejected:
                told = ", ".join(f"{count} {reason}" for reason, count in account.rejected.most_common(5))
                print(f"not useful of {name}: {told}")
    print("\nshare: of all generated tokens, those of useful records. Ratios: all rounds, and the range over rounds.")


def to_dict(found: dict[str, dict[str, Account]]) -> dict[str, Any]:
    return {
        code: {
            "systems": {name: account.to_dict() for name, account in accounts.items()},
            "ratios": {name: Ratio.of(accounts[TOOL], accounts[name]).to_dict() for name in (SEQUENTIAL, TWO_PHASES)},
        }
        for code, accounts in found.items()
    }


def draw(engine: str, found: dict[str, dict[str, Account]]) -> str:
    groups = []
    for code, accounts in found.items():
        shown = []
        for name, account in accounts.items():
            note = "" if name == TOOL else str(Ratio.of(accounts[TOOL], account))
            shown.append(Bar(NAMES[name], account.rate, min(account.rates), max(account.rates), note))
        groups.append(Group(languages.find(code).english, shown))
    subtitle = f"{engine}. Lines and brackets: range over rounds. x: magpie-ollama's rate over this one."
    return bars("Useful records a minute", subtitle, groups)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-l", "--languages", default="en,es")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=150.0, help="of one system in one round (default 150)")
    parser.add_argument(
        "--parallel", type=int, default=4, help="in flight, for tool and batches alike (0: tool's auto)"
    )
    parser.add_argument("--batch", type=int, default=50, help="instructions a batch (default 50, distilabel's)")
    parser.add_argument("--threads", type=int, default=0, help="of the engine (default: all)")
    parser.add_argument("--model-path", type=Path, help="a GGUF file instead of the packaged SmolLM2-135M-Instruct")
    parser.add_argument("--chart", type=Path, metavar="PATH", help="write an SVG chart")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MAGPIE_OLLAMA_DATA_DIR"] = folder  # what the user's own runs have measured stays out of it
        engine, found = asyncio.run(measure(given))
    if given.chart:
        given.chart.write_text(draw(engine, found), "utf-8")
    if given.json:
        print(json.dumps({"engine": engine, "languages": to_dict(found)}, indent=2))
    else:
        report(found)


if __name__ == "__main__":
    main()
