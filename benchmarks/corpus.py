"""What the commands for a corpus cost at scale, beside ``wc -l`` and ``cat`` of the same file in the same run.

    python benchmarks/corpus.py [--records 1000000] [--folder DIR] [--only filter,dedup]

Each command runs as a process of its own; its peak memory is what the system counted. The corpus is made here, of words
of the languages' exemplars: 1.3 KB a record, 2 % repeated instructions and 3 % with one word changed. ``generate`` adds
one record by the mocked Ollama, to the corpus and to a new file: the difference is what opening costs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parent.parent / "tests"
TOOL = str(Path(sys.executable).with_name("magpie-ollama"))
LANGUAGES = ("it", "en", "es", "de")


class Cost(NamedTuple):
    seconds: float
    cpu: float
    peak: int
    """Bytes resident at most."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="Where the corpus is made, or was: it is used again.")
    parser.add_argument("--only", default="", help="Some of the rows, by the beginning of their names.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
        corpus = (given.folder or Path(scratch)) / f"corpus-{given.records}.jsonl"
        if not corpus.exists():
            make(corpus, given.records)
        measure(corpus, Path(scratch), tuple(filter(None, given.only.split(","))))


def measure(corpus: Path, scratch: Path, only: tuple[str, ...]) -> None:
    size = corpus.stat().st_size
    print(f"{corpus.name}: {size / 1e6:.0f} MB")
    print(f"{'':32} {'seconds':>8} {'CPU':>8} {'MB/s':>7} {'peak MB':>8} {'x wc':>7} {'x cat':>7}")
    new = scratch / "new.jsonl"
    wc, cat = run("wc", "-l", corpus), run("cat", corpus)
    show("wc -l", wc, size, wc, cat)
    show("cat", cat, size, wc, cat)
    commands: dict[str, tuple[object, ...]] = {
        "stats": ("stats", corpus),
        "filter --min-words 5": ("filter", corpus, "--min-words", 5, "--min-response-words", 20, "-o", new),
        "filter -l it,es": ("filter", corpus, "-l", "it,es", "-o", new),
        "filter --redetect (1/20 of it)": ("filter", corpus, "-l", "it", "--redetect", "-o", new),
        "filter --magpie": ("filter", corpus, "--magpie", "-o", new),
        "export --to messages": ("export", corpus, "--to", "messages", "-o", new),
        "export --to alpaca": ("export", corpus, "--to", "alpaca", "-o", new),
        "dedup": ("dedup", corpus, "-o", new),
        "dedup --exact": ("dedup", corpus, "--exact", "-o", new),
    }
    for name, command in commands.items():
        if only and not name.startswith(only):
            continue
        if "1/20" in name:
            part = head(corpus, scratch / "part.jsonl", size // 20)
            show(name, run(TOOL, command[0], part, *command[2:]), part.stat().st_size, wc, cat)
        else:
            show(name, run(TOOL, *command), size, wc, cat)
        new.unlink(missing_ok=True)
    if not only or "generate".startswith(only):
        openings(corpus, scratch, size, wc, cat)


def openings(corpus: Path, scratch: Path, size: int, wc: Cost, cat: Cost) -> None:
    """``generate`` of one record: to a corpus that was never open, to the same again, and to a new file."""
    own = scratch / "own.jsonl"
    own.write_bytes(corpus.read_bytes())
    with fake_ollama() as url:

        def generate(path: Path) -> Cost:
            return run(TOOL, "generate", "-l", "en", "-n", 1, "-o", path, "--host", url, "-q", "--steering", "none")

        generate(scratch / "warm.jsonl")
        empty = generate(scratch / "empty.jsonl")
        for name in ("generate: first opening", "generate: second opening"):
            cost = generate(own)
            show(name, Cost(cost.seconds - empty.seconds, cost.cpu - empty.cpu, cost.peak), size, wc, cat)


def show(name: str, cost: Cost, size: int, wc: Cost, cat: Cost) -> None:
    pace = size / 1e6 / max(cost.seconds, 1e-3)
    print(
        f"{name:32} {cost.seconds:8.1f} {cost.cpu:8.1f} {pace:7.0f} {cost.peak / 1e6:8.0f} "
        f"{cost.seconds / wc.seconds:7.1f} {cost.seconds / cat.seconds:7.1f}",
        flush=True,
    )


def run(*command: object) -> Cost:
    """Raises CalledProcessError."""
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            sys.exit(f"{' '.join(map(str, command))}\n{said.read().decode()}")
    unit = 1024 if sys.platform == "linux" else 1
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


@contextmanager
def fake_ollama() -> Iterator[str]:
    command = [sys.executable, "-m", "fake_ollama", "--chunks", "4"]
    with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def head(path: Path, part: Path, size: int) -> Path:
    with path.open("rb") as file:
        data = file.read(size)
    part.write_bytes(data[: data.rindex(b"\n") + 1])
    return part


def make(path: Path, records: int) -> None:
    from magpie_ollama.method import languages

    draw = random.Random(0)
    words = {code: _words(languages.load(code)) for code in LANGUAGES}
    sentences = {code: [_sentence(draw, words[code]) for _ in range(5000)] for code in LANGUAGES}
    earlier: list[tuple[str, str]] = []
    with path.open("wb") as file:
        for seed in range(records):
            code = draw.choice(LANGUAGES)
            instruction = " ".join([_sentence(draw, words[code]), *draw.choices(sentences[code], k=draw.randrange(2))])
            if earlier and draw.random() < 0.05:
                code, instruction = draw.choice(earlier)
                if draw.random() < 0.6:
                    parts = instruction.split()
                    parts[draw.randrange(len(parts))] = draw.choice(words[code])
                    instruction = " ".join(parts)
            elif len(earlier) < 10_000:
                earlier.append((code, instruction))
            response = " ".join(draw.choices(sentences[code], k=draw.randint(4, 16)))
            file.write(
                json.dumps(_record(draw, seed, code, instruction, response), ensure_ascii=False).encode() + b"\n"
            )


def _words(language: object) -> list[str]:
    exemplars = language.exemplars  # type: ignore[attr-defined]
    return sorted({word for exemplar in exemplars for word in f"{exemplar.instruction} {exemplar.response}".split()})


def _sentence(draw: random.Random, words: list[str]) -> str:
    return " ".join(draw.choices(words, k=draw.randint(8, 18))).capitalize() + "."


def _record(draw: random.Random, seed: int, code: str, instruction: str, response: str) -> dict[str, object]:
    return {
        "id": f"{draw.getrandbits(128):032x}",
        "messages": [{"role": "user", "content": instruction}, {"role": "assistant", "content": response}],
        "language": code,
        "model": "llama3.2:latest",
        "server": "ollama",
        "steering": draw.choice(("system", "exemplar+opener")),
        "seed": seed,
        "run": "20261122-162134-cd3d",
        "created_at": "2026-11-22T16:21:50+00:00",
        "instruction_tokens": 30,
        "response_tokens": 200,
        "finish_reason": "stop",
        "reasoning": "",
        "confidence": round(draw.uniform(0.4, 0.9), 3),
        "schema": 1,
    }


if __name__ == "__main__":
    main()
