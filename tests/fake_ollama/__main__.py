"""A fake server as a process of its own, for benchmarks: `python -m tests.fake_ollama --chunks 40`."""

from __future__ import annotations

import argparse
import contextlib
import signal
import threading

from .base import FakeServer
from .openai import FakeOpenAI
from .script import chunked_script, default_script
from .server import FakeOllama


def main() -> None:
    parser = argparse.ArgumentParser(prog="fake_ollama", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--flavour", choices=["ollama", "vllm", "llama-server", "plain"], default="ollama")
    parser.add_argument("--version", default="0.33.0", help="of Ollama")
    parser.add_argument("--chunks", type=int, default=0, help="tokens of every reply; 0: as the text has")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each token")
    parser.add_argument("--parallel", type=int, default=64)
    given = parser.parse_args()
    script = chunked_script(given.chunks) if given.chunks else default_script
    fake: FakeServer
    if given.flavour == "ollama":
        fake = FakeOllama(
            version=given.version, parallel=given.parallel, delay=given.delay, script=script, port=given.port
        )
    else:
        fake = FakeOpenAI(given.flavour, parallel=given.parallel, delay=given.delay, script=script, port=given.port)
    fake.keeps_log = False
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    with fake, contextlib.suppress(KeyboardInterrupt):
        print(fake.url, flush=True)
        stopped.wait()


if __name__ == "__main__":
    main()
