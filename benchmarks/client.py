"""What the client costs: CPU a record against bare httpx reading the same streams, memory, start-up, size.

    python benchmarks/client.py [--records 600] [--parallel 4,64] [--rounds 3]

The mocked Ollama runs in a process of its own, without latency, with streams of 40 pieces. A record is two streams,
the instruction's and the response's. Bare httpx reads the lines of the same two streams and does nothing with them.
Both are measured in turn, in processes of their own: user and system time, without the imports.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=600)
    parser.add_argument("--parallel", default="4,64")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--job", choices=["tool", "bare"], help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        job = {"tool": tool, "bare": bare}[given.job]
        print(json.dumps(job(given.url, given.records, int(given.parallel))))
        return
    with subprocess.Popen(
        [sys.executable, "-m", "fake_ollama", "--chunks", "40", "--parallel", "256"],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        try:
            for parallel in given.parallel.split(","):
                compare(url, given.records, parallel, given.rounds)
        finally:
            server.terminate()
    start_up()


def compare(url: str, records: int, parallel: str, rounds: int) -> None:
    ratios, ceilings = [], []
    for _ in range(rounds):
        ours, theirs = (run(job, url, records, parallel) for job in ("tool", "bare"))
        ratios.append(ours["cpu"] / theirs["cpu"])
        ceilings.append(theirs["seconds"] / ours["seconds"])
        print(
            f"{parallel:>3} in flight: {1000 * ours['cpu']:.2f} ms CPU a record, bare httpx "
            f"{1000 * theirs['cpu']:.2f} ms: {ratios[-1]:.2f} x; {1 / ours['seconds']:.0f} records/s, bare httpx "
            f"{1 / theirs['seconds']:.0f}; peak {ours['peak_mb']:.0f} MB"
        )
    print(
        f"{parallel:>3} in flight: CPU {statistics.median(ratios):.2f} x bare httpx "
        f"({min(ratios):.2f} to {max(ratios):.2f}), records a second {statistics.median(ceilings):.2f} x"
    )


def run(job: str, url: str, records: int, parallel: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--job", job, "--url", url, "--records", str(records), "--parallel", parallel]
    answer: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


def tool(url: str, records: int, parallel: int) -> dict[str, float]:
    from magpie_ollama.corpus.corpus import Corpus
    from magpie_ollama.method import languages
    from magpie_ollama.method.detection import check
    from magpie_ollama.run.funnel import Progress
    from magpie_ollama.run.session import open_session
    from magpie_ollama.run.settings import ServerChoice, Settings

    check("The language model is loaded before the clock starts.", "en")
    settings = Settings(
        ServerChoice(kind="ollama", host=url), languages.find("en"), "none", records, parallel=parallel, seed=0
    )

    async def job() -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder, Corpus.open(Path(folder) / "en.jsonl") as corpus:
            async with open_session(settings, corpus, Progress(target=records)) as session:
                before, started = _cpu(), time.monotonic()
                made = await session.generate()
                return _figures(before, started, made.kept)

    return asyncio.run(job())


def bare(url: str, records: int, parallel: int) -> dict[str, float]:
    import httpx

    async def job() -> dict[str, float]:
        # Pools as httpx makes them; a limit would only slow it down.
        async with httpx.AsyncClient(
            base_url=url, timeout=None, limits=httpx.Limits(max_connections=None, max_keepalive_connections=parallel)
        ) as client:
            numbers = iter(range(records))

            async def read(path: str, body: dict[str, object]) -> None:
                async with client.stream("POST", path, json=body) as response:
                    async for _ in response.aiter_lines():
                        pass

            async def work() -> None:
                for number in numbers:
                    options = {"seed": number, "num_predict": 256}
                    common = {"model": "smollm2:135m", "stream": True, "options": options}
                    raw = {"raw": True, "prompt": "<|im_start|>user\n", "logprobs": True}
                    await read("/api/generate", {**common, **raw})
                    question = [{"role": "user", "content": f"Question {number}?"}]
                    await read("/api/chat", {**common, "messages": question})

            before, started = _cpu(), time.monotonic()
            await asyncio.gather(*(work() for _ in range(parallel)))
            return _figures(before, started, records)

    return asyncio.run(job())


def start_up() -> None:
    """The time of --help as a multiple of an empty Python, and the size of the base install."""

    def seconds(*command: str) -> float:
        times = []
        for _ in range(9):
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - started)
        return statistics.median(times)

    script = str(Path(sys.executable).with_name("magpie-ollama"))
    ratio = seconds(sys.executable, script, "--help") / seconds(sys.executable, "-c", "pass")
    print(f"--help: {ratio:.1f} x python -c pass")


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _figures(cpu_before: float, started: float, records: int) -> dict[str, float]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if os.uname().sysname == "Linux" else 2**20)
    return {
        "cpu": (_cpu() - cpu_before) / records,
        "seconds": (time.monotonic() - started) / records,
        "peak_mb": peak,
    }


if __name__ == "__main__":
    main()
