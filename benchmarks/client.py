"""What the client costs: CPU and records a second against bare httpx on the same streams, blocks of the loop, memory.

    python benchmarks/client.py [--records 600] [--parallel 4,64] [--rounds 5]
    python benchmarks/client.py --blocks 100000     # the longest callbacks, with so many records in the corpus already
    python benchmarks/client.py --soak 20000        # 200 in flight, the memory at every twentieth of the way

The mocked Ollama runs in a process of its own, without latency, with streams of 40 pieces. A record is two streams,
the instruction's and the response's. The tool is measured as a user has it: watches, screening, duplicates, corpus
and journal on the disk, live display. Bare httpx sends requests of the same size, splits the same streams into lines
and does nothing with them: once with a single client, as httpx is meant to be used, and once with a client for each
request in flight, as the tool has it, since httpcore walks its whole pool for every request. The ratios are to the
cheaper of the two. All take turns, each round in processes of their own: user and system time and the wall clock,
without imports and the loading of the language model. The tool's last attempts, dropped in flight once the target is
there, weigh on a short run.

The client's own ceiling is what it would do on a core of its own with a server that never lets it wait: records a
second of its CPU. Records a second of the clock are told as well; where the mock shares the client's core (with two,
give it its own: ``--mock-core``), they hold the mock's work on both sides, and whatever else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent / "tests"
SOAK_PARALLEL = 200
BLOCKS_PARALLEL = 64
BLOCKS_SHOWN = 5
SAMPLES = 20
QUESTION = "How can I grow tomatoes on a tiny balcony? Please keep it simple. " * 3

Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=600)
    parser.add_argument("--parallel", default="4,64")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--blocks", type=int, metavar="CORPUS")
    parser.add_argument("--soak", type=int, metavar="RECORDS")
    parser.add_argument("--mock-core", type=int, help="the core that the mock is bound to (Linux)")
    parser.add_argument("--job", choices=sorted(JOBS), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        print(json.dumps(JOBS[given.job](given.url, given.records, int(given.parallel), given.blocks or 0)))
        return
    with mock(given.mock_core) as url:
        if given.soak:
            show_soak(run("soak", url, given.soak, SOAK_PARALLEL))
        elif given.blocks is not None:
            show_blocks(run("blocks", url, given.records, BLOCKS_PARALLEL, given.blocks), given.blocks)
        else:
            for parallel in map(int, given.parallel.split(",")):
                compare(url, given.records, parallel, given.rounds)
            start_up()


@contextmanager
def mock(core: int | None) -> Iterator[str]:
    command = [sys.executable, "-m", "fake_ollama", "--chunks", "40", "--parallel", "256"]
    with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        if core is not None:
            os.sched_setaffinity(server.pid, {core})
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def run(job: str, url: str, records: int, parallel: int, corpus: int = 0) -> Figures:
    numbers = ["--records", str(records), "--parallel", str(parallel), "--blocks", str(corpus)]
    command = [sys.executable, __file__, "--job", job, "--url", url, *numbers]
    answer: Figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return answer


def compare(url: str, records: int, parallel: int, rounds: int) -> None:
    jobs = ["tool", "bare", "apart"]
    made: dict[str, list[Figures]] = {job: [] for job in jobs}
    for number in range(rounds):
        for job in jobs[:: -1 if number % 2 else 1]:  # in turns, so that a machine that warms up favours none
            made[job].append(run(job, url, records, parallel))
    names = {"tool": "the tool", "bare": "bare httpx", "apart": "bare httpx, clients apart"}
    print(f"{parallel} in flight, {rounds} rounds of {records} records: median (lowest to highest)")
    for job in jobs:
        spent = spread([1000 * made_once["cpu"] for made_once in made[job]])
        ceiling = spread([1 / made_once["cpu"] for made_once in made[job]], 0)
        speed = spread([1 / made_once["seconds"] for made_once in made[job]], 0)
        print(f"  {names[job]:<26}{spent} ms CPU a record; {ceiling} records a CPU second, {speed} a second")
    bare = min(jobs[1:], key=lambda job: statistics.median(made_once["cpu"] for made_once in made[job]))
    pairs = list(zip(made["tool"], made[bare], strict=True))
    cpu_ratio = spread([ours["cpu"] / theirs["cpu"] for ours, theirs in pairs])
    ceiling = spread([theirs["cpu"] / ours["cpu"] for ours, theirs in pairs])
    speed = spread([theirs["seconds"] / ours["seconds"] for ours, theirs in pairs])
    print(f"  against {names[bare]}: CPU a record {cpu_ratio} x; the ceiling {ceiling} x, on the clock {speed} x")
    attempts = statistics.mean(made_once["attempts"] for made_once in made["tool"])
    peak = max(made_once["peak_mb"] for made_once in made["tool"])
    print(f"  {attempts:.2f} attempts a record; {peak:.0f} MB at most")


def spread(values: list[float], digits: int = 2) -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def tool(url: str, records: int, parallel: int, corpus: int) -> Figures:
    from magpie_ollama.method import languages, screening

    screening.prepare(languages.find("en"))

    async def job() -> Figures:
        async with session(url, records, parallel) as opened:
            before, started = cpu(), time.monotonic()
            made = await opened.generate()
            return {"attempts": opened.progress.attempts_here / made.kept, **figures(before, started, made.kept)}

    return asyncio.run(job())


class Unseen(io.StringIO):
    """A terminal that nobody looks at."""

    def write(self, text: str) -> int:
        return len(text)


@asynccontextmanager
async def session(url: str, records: int, parallel: int, corpus: int = 0) -> AsyncIterator[Any]:
    """As ``magpie-ollama generate`` opens it, its display on a terminal that nobody sees."""
    from rich.console import Console

    from magpie_ollama.asking.settings import Settings
    from magpie_ollama.corpus.corpus import Corpus
    from magpie_ollama.display.live import Display
    from magpie_ollama.method import languages
    from magpie_ollama.run.progress import Progress
    from magpie_ollama.run.session import open_session
    from magpie_ollama.servers.base import ServerChoice

    settings = Settings(
        ServerChoice(kind="ollama", host=url), languages.find("en"), "none", records, parallel=parallel, seed=0
    )
    progress = Progress(target=records)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "en.jsonl"
        if corpus:
            path.write_text("".join(old_records(corpus)), "utf-8")
        console = Console(file=Unseen(), force_terminal=True, width=100, height=40)
        with Corpus.open(path) as opened:
            async with (
                Display(progress, "benchmark", console, "live"),
                open_session(settings, opened, progress) as ready,
            ):
                yield ready


def old_records(count: int) -> Iterator[str]:
    """Lines of a corpus that was there before; its instructions have nothing in common with the mock's."""
    rng = random.Random(0)
    for _ in range(count):
        words = ("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(20))
        messages = [{"role": "user", "content": " ".join(words)}, {"role": "assistant", "content": "An answer."}]
        yield json.dumps({"messages": messages}) + "\n"


def bare(url: str, records: int, parallel: int, corpus: int, apart: bool = False) -> Figures:
    import httpx

    sampling = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, "num_predict": 256}
    common = {"model": "smollm2:135m", "stream": True, "think": False}
    stops = ["<|im_end|>", "<|im_start|>"]

    async def job() -> Figures:
        size = 1 if apart else parallel
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=size)
        clients = [httpx.AsyncClient(base_url=url, timeout=None, limits=limits) for _ in range(-(-parallel // size))]
        numbers = iter(range(records))

        async def read(client: httpx.AsyncClient, path: str, body: dict[str, object]) -> None:
            async with client.stream("POST", path, json=body) as response:
                async for _ in response.aiter_lines():
                    pass

        async def work(client: httpx.AsyncClient) -> None:
            for number in numbers:
                options = {**sampling, "seed": number}
                raw = {"raw": True, "prompt": "<|im_start|>user\n", "logprobs": True}
                await read(client, "/api/generate", {**common, **raw, "options": {**options, "stop": stops}})
                messages = [{"role": "user", "content": QUESTION}]
                await read(client, "/api/chat", {**common, "messages": messages, "truncate": False, "options": options})

        before, started = cpu(), time.monotonic()
        await asyncio.gather(*(work(clients[number // size]) for number in range(parallel)))
        made = figures(before, started, records)
        for client in clients:
            await client.aclose()
        return made

    return asyncio.run(job())


def apart(url: str, records: int, parallel: int, corpus: int) -> Figures:
    return bare(url, records, parallel, corpus, apart=True)


def blocks(url: str, records: int, parallel: int, corpus: int) -> Figures:
    """The longest callbacks of the event loop in a run from its beginning, with nothing loaded before, and the longest
    of its writes and syncs while requests are in flight."""
    spent: list[tuple[float, float, str]] = []
    disk = {"write": 0.0, "fsync": 0.0}
    run_callback = asyncio.Handle._run
    watching = Watching()

    def timed(handle: asyncio.Handle) -> None:
        watching.begin()
        wall, own = time.perf_counter(), time.thread_time()
        run_callback(handle)
        spent.append((time.thread_time() - own, time.perf_counter() - wall, watching.end()))
        spent.sort(reverse=True)
        del spent[BLOCKS_SHOWN:]

    def clocked(name: str, progress: Any) -> None:
        plain = getattr(os, name)

        def call(*args: Any) -> Any:
            started = time.perf_counter()
            try:
                return plain(*args)
            finally:
                if progress.in_flight and threading.current_thread() is threading.main_thread():
                    disk[name] = max(disk[name], time.perf_counter() - started)

        setattr(os, name, call)

    async def job() -> None:
        async with session(url, records, parallel, corpus) as opened:
            asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]
            for name in disk:
                clocked(name, opened.progress)
            await opened.generate()
            asyncio.Handle._run = run_callback  # type: ignore[method-assign]

    asyncio.run(job())
    return {"spent": spent, "disk": disk}


class Watching:
    """Notes where the main thread stands when a callback takes long: the innermost function of this project, and of
    all."""

    AFTER = 0.01

    def __init__(self) -> None:
        self._began = 0.0
        self._where = ""
        self._main = threading.get_ident()
        threading.Thread(target=self._look, daemon=True).start()

    def begin(self) -> None:
        self._where, self._began = "", time.perf_counter()

    def end(self) -> str:
        self._began = 0.0
        return self._where

    def _look(self) -> None:
        while True:
            time.sleep(self.AFTER / 4)
            if self._began and not self._where and time.perf_counter() - self._began > self.AFTER:
                inner = frame = sys._current_frames().get(self._main)
                while frame is not None and "magpie_ollama" not in frame.f_code.co_filename:
                    frame = frame.f_back
                if inner is not None and frame is not None:
                    self._where = f"{frame.f_code.co_qualname}, in {inner.f_code.co_qualname}"


def show_blocks(made: Figures, corpus: int) -> None:
    print(f"longest callbacks of the loop, {BLOCKS_PARALLEL} in flight, {corpus} records in the corpus before:")
    for own, wall, where in made["spent"]:
        print(f"  {1000 * own:6.1f} ms CPU, {1000 * wall:6.1f} ms on the clock  {where}")
    longest = ", ".join(f"{name} {1000 * seconds:.1f} ms" for name, seconds in made["disk"].items())
    print(f"  longest waits for the disk in the loop: {longest}")


def soak(url: str, records: int, parallel: int, corpus: int) -> Figures:
    async def job() -> Figures:
        samples: list[tuple[int, float]] = []
        async with session(url, records, parallel) as opened:

            def look(_: object) -> None:
                kept = opened.run.kept
                if kept % (records // SAMPLES) == 0:
                    samples.append((kept, resident_mb()))

            before, started = cpu(), time.monotonic()
            made = await opened.generate(keep=look)
            return {"samples": samples, **figures(before, started, made.kept)}

    return asyncio.run(job())


def show_soak(made: Figures) -> None:
    print(f"{SOAK_PARALLEL} in flight: {1 / made['seconds']:.0f} records/s, {1000 * made['cpu']:.1f} ms CPU a record")
    for kept, resident in made["samples"]:
        print(f"  {kept:>7} records  {resident:6.1f} MB")
    sizes = [resident for _, resident in made["samples"]]
    quarter = SAMPLES // 4
    second, last = (statistics.mean(part) for part in (sizes[quarter : 2 * quarter], sizes[-quarter:]))
    print(f"  the last quarter is {100 * (last / second - 1):+.1f} % against the second")


def start_up() -> None:
    """The time of --help as a multiple of an empty Python."""

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


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if os.uname().sysname == "Linux" else 2**20)


def resident_mb() -> float:
    """Of this process, now. Linux and macOS."""
    answer = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], check=True, capture_output=True, text=True)
    return int(answer.stdout) / 1024


def figures(cpu_before: float, started: float, records: int) -> Figures:
    seconds = (time.monotonic() - started) / records
    return {"cpu": (cpu() - cpu_before) / records, "seconds": seconds, "peak_mb": peak_mb()}


JOBS: dict[str, Callable[[str, int, int, int], Figures]] = {
    "tool": tool,
    "bare": bare,
    "apart": apart,
    "blocks": blocks,
    "soak": soak,
}

if __name__ == "__main__":
    main()
