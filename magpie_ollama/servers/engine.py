"""The embedded engine's own process: ``python engine.py``, which imports nothing of this package.

llama.cpp's server runs in it, since a GGUF file is somebody else's: a chat template that loops never lets the engine
begin, one that recurses ends its process by SIGSEGV, and one that grows takes all memory. A process can be killed.

The first line of stdin is a JSON object: ``path``, ``alias``, ``key``, ``slots``, ``context`` (tokens, of all slots
together), ``threads`` and ``embeds`` (vectors are wanted, and no texts). One line of JSON on stdout answers:
``address``, or ``error`` with ``memory`` (whether that was wanting). It ends when stdin does, as it does however its
parent ends.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
from typing import Any

_PARENT_DEATH_SIGNAL = 1


def main() -> None:
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the engine has to say must not come between
    if sys.platform == "linux":  # the thread below cannot run while the engine loads a model
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    asked = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
        file.write("1000")  # where memory runs out, Linux ends this process and not the user's others
    try:
        server = _open(asked)
        told = {"address": server.listening_address}
    except Exception as error:
        told = {"error": str(error) or type(error).__name__, "memory": isinstance(error, MemoryError)}
    print(json.dumps(told), file=answer, flush=True)
    threading.Event().wait()


def _open(asked: dict[str, Any]) -> Any:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = asked["path"]
    parameters.model_alias = {asked["alias"]}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [asked["key"]]
    parameters.verbosity = 0
    parameters.n_parallel = asked["slots"]
    parameters.n_ctx = asked["context"]
    parameters.cpuparams.n_threads = asked["threads"]
    parameters.cpuparams.poll = 0  # waiting threads sleep: on a busy machine twice as quick as spinning
    if asked["embeds"]:
        parameters.embedding = True
        parameters.n_batch = parameters.n_ubatch = asked["context"] // asked["slots"]  # a text must fit into one
    return xllamacpp.Server(parameters)


def _end_with_stdin() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
