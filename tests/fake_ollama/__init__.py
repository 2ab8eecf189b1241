"""Fake model servers on real sockets, for tests and benchmarks.

    with FakeOllama(version="0.33.0", models=[FakeModel("qwen3:8b", template=chatml())]) as fake:
        fake.script = lambda ask: Reply("How tall is Mont Blanc?")
        fake.fail_next(2, "busy")
        ...  # talk to fake.url
        assert fake.requests[0].body["raw"] is True

They answer as the recordings in `recordings/` show that real ones do, and
tests/servers/test_fake_conforms.py holds them to that.
"""

from .base import Exchange, FakeServer
from .faults import Fault
from .generation import Ask, Reply, goes_on
from .models import FakeModel, embedder, smollm2, stop_parameters
from .openai import FakeOpenAI
from .script import answer, chunked_script, default_script, language_of, question
from .server import FakeOllama
from .templates import Template, base_model, chatml, gemma, harmony, llama3, lone, mistral

__all__ = [
    "Ask",
    "Exchange",
    "FakeModel",
    "FakeOllama",
    "FakeOpenAI",
    "FakeServer",
    "Fault",
    "Reply",
    "Template",
    "answer",
    "base_model",
    "chatml",
    "chunked_script",
    "default_script",
    "embedder",
    "gemma",
    "goes_on",
    "harmony",
    "language_of",
    "llama3",
    "lone",
    "mistral",
    "question",
    "smollm2",
    "stop_parameters",
]
