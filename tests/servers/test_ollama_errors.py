"""What Ollama refuses, and what is not Ollama: each has its error, with what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_ollama import FakeModel, FakeOllama, chatml, smollm2
from servers.support import ASKED, MODEL, canned, chat, served

from magpie_ollama import errors
from magpie_ollama.errors import (
    ModelMissing,
    NoServer,
    NotThisServer,
    OutOfMemory,
    PromptTooLong,
    RequestRefused,
    ServerError,
    TransientError,
    Unauthorized,
)
from magpie_ollama.servers.ollama import OllamaServer, refusal


# Every row of the table of errors in what is known of Ollama, as the recordings have the texts.
@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (404, "model 'x' not found", ModelMissing),
        (404, 'model "x" not found, try pulling it first', ModelMissing),
        (400, "raw mode does not support template, system, or context", RequestRefused),
        (400, '"x" does not support thinking', RequestRefused),
        (500, 'option "num_ctx" must be of type integer', RequestRefused),
        (503, "server busy, please try again.  maximum pending requests exceeded", errors.Busy),
        (500, "model requires more system memory (48.2 GiB) than is available (15.1 GiB)", OutOfMemory),
        (500, "llama-server process has terminated: out-of-memory during startup (signal 9)", OutOfMemory),
        (500, "llama runner process has terminated: cudaMalloc failed: out of memory", OutOfMemory),
        (
            500,
            "llama-server process has terminated: exit status 1: ggml_backend_cpu_buffer_type_alloc_buffer: "
            "failed to allocate buffer of size 19192545280",
            OutOfMemory,
        ),
        (500, "llama-server process has terminated: vk::Device::allocateMemory: ErrorOutOfDeviceMemory", OutOfMemory),
        (500, "llama runner process has terminated: exit status 2", TransientError),
        (500, "llama-server process has terminated: exit status 2", TransientError),
        (500, "an error was encountered while running the model: unexpected EOF", TransientError),
        (400, "the input length exceeds the context length", PromptTooLong),
        (400, '{"error":{"message":"request (3026 tokens) exceeds the available context size"}}', PromptTooLong),
        (401, "unauthorized", Unauthorized),
        (403, "forbidden", errors.Forbidden),
        (429, "too many requests", errors.Busy),
        (502, "", errors.Busy),
        (504, "", errors.Busy),
        (301, "", ServerError),
    ],
)
def test_refusals(status: int, text: str, error: type[ServerError]) -> None:
    found = refusal(status, json.dumps({"error": text}) if text else "<html>", "http://h:1", "x")
    assert type(found) is error
    assert found.cause.endswith(".")
    assert found.remedy, "there is always something to do next"
    assert error is ModelMissing or text in found.cause, "the server's own words"


def test_a_cloud_model_that_nobody_is_signed_in_for() -> None:
    answer = json.dumps({"error": "unauthorized", "signin_url": "https://ollama.com/connect"})
    found = refusal(401, answer, "http://h:1", "big-cloud")
    assert type(found) is Unauthorized
    assert found.cause.startswith("big-cloud runs in Ollama's cloud")
    assert "ollama signin" in found.remedy


@pytest.mark.parametrize("body", ["", "[1]", '"text"', '{"error": null}', '{"message": "x"}', "<html>"])
def test_refusals_of_any_shape(body: str) -> None:
    assert type(refusal(404, body, "http://h:1", "x")) in (NotThisServer, ModelMissing)
    assert type(refusal(500, body, "http://h:1", "x")) is TransientError


# What is not Ollama.


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>router</html>"),
        (200, b"[]"),
        (200, b'"0.33.0"'),
        (200, b"{}"),
        (200, b'{"version": 3}'),
        (200, b""),
        (404, b"404 page not found"),
        (404, b'{"detail":"Not Found"}'),
        (301, b""),
        (405, b"no"),
        (500, b'{"error": "oops"}'),
        (502, b"<html>Bad Gateway</html>"),
        (200, b"\x1f\x8b broken", {"Content-Encoding": "gzip"}),
    ],
    ids=lambda answer: f"{answer[0]}-{answer[1][:12].decode('latin-1')}",
)
def test_not_ollama(answer: Any) -> None:
    with canned({"/api/version": answer}) as url, pytest.raises(NotThisServer) as caught:
        served(OllamaServer(url), lambda server: server.version())
    assert caught.value.cause == f"What answers at {url} is not Ollama."
    assert "--server openai" in caught.value.remedy


@pytest.mark.parametrize("body", [b"[]", b"{", b"null", b'{"models": 1}', b'{"models": [{"model": 1}]}', b"<html>"])
def test_lists_of_another_shape(body: bytes) -> None:
    with canned({"/api/tags": (200, body)}) as url, pytest.raises(NotThisServer):
        served(OllamaServer(url), lambda server: server.models())


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b"<html>"])
def test_objects_that_are_none(body: bytes) -> None:
    with canned({"/api/chat": (200, body), "/api/generate": (200, body)}) as url:
        for call in (
            lambda server: server.render(MODEL, ASKED),
            lambda server: server.adds_bos(MODEL, "<s>"),
            lambda server: server.load(MODEL),
        ):
            with pytest.raises(NotThisServer):
                served(OllamaServer(url), call)
        with pytest.raises(TransientError):
            served(OllamaServer(url), chat())


def test_nothing_answers() -> None:
    with FakeOllama() as fake:
        pass
    for call in (
        lambda server: server.version(),
        lambda server: server.models(),
        lambda server: server.describe(MODEL),
    ):
        with pytest.raises(NoServer) as caught:
            served(OllamaServer(fake.url), call)
        assert caught.value.cause == f"No Ollama answers at {fake.url}."
        assert caught.value.remedy.startswith("start it with `ollama serve`")


def test_stop_strings_in_gos_quotes() -> None:
    strange = 'stop                           "<|im_end|>"\nstop    "a\\"b"\nstop  "\\x00é"\nstop plain\nnum_ctx 7'
    model = FakeModel(MODEL, chatml(), parameters=strange)
    with FakeOllama(models=[model]) as fake:
        told = served(OllamaServer(fake.url), lambda server: server.describe(MODEL))
    assert told.stops == ("<|im_end|>", 'a"b', "\x00é", "plain")


def test_models_without_a_tag_and_with_one_are_one() -> None:
    with FakeOllama(models=[smollm2("mine")]) as fake:
        described = [
            served(OllamaServer(fake.url), lambda server, name=name: server.describe(name))  # type: ignore[misc]
            for name in ("mine", "mine:latest")
        ]
    assert described[0] == described[1]
    assert described[0].name == "mine:latest"
    assert described[0].digest
