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
from magpie_ollama.servers import connections
from magpie_ollama.servers.ollama import OllamaServer
from magpie_ollama.servers.ollama_errors import refusal


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


@pytest.mark.parametrize(
    "error",
    [
        '{"error":{"code":400,"message":"request (301 tokens) exceeds the available context size","n_ctx":256}}',
        'llama-server: {"message":"request (301 tokens) exceeds the available context size"}',
        {"message": "request (301 tokens) exceeds the available context size", "code": 400},
        {"error": {"error": "request (301 tokens) exceeds the available context size."}},
    ],
)
def test_an_error_within_an_error_is_read(error: Any) -> None:
    found = refusal(400, json.dumps({"error": error}), "http://h:1", "x")
    assert type(found) is PromptTooLong
    assert found.cause.endswith("request (301 tokens) exceeds the available context size.")
    assert "{" not in found.cause


@pytest.mark.parametrize("error", ["a" * 10**6, '{"error":' * 20_000, "{" * 10**5, [[["x"]]], 7, True, {"a": 1}])
def test_an_error_of_any_shape_and_length_is_told_in_short(error: Any) -> None:
    found = refusal(500, json.dumps({"error": error}), "http://h:1", "x")
    assert type(found) is TransientError
    assert len(found.cause) < 600


OFFLINE = 'Post "https://ollama.com:443/api/show?ts=1": dial tcp: lookup ollama.com on 10.255.255.53:53: no such host'


@pytest.mark.parametrize(
    ("status", "text", "model", "error", "cause", "remedy"),
    [
        (502, OFFLINE, "gpt-oss:120b-cloud", TransientError, "which was not reached", "check the network"),
        (500, "dial tcp 34.36.133.15:443: i/o timeout", "big-cloud", TransientError, "was not reached", "network"),
        (403, "ollama cloud is disabled: remote model details are unavailable", "big-cloud", errors.Forbidden,
         "which is switched off", "OLLAMA_NO_CLOUD"),
        (502, "dial tcp 127.0.0.1:11434: connect: connection refused", "x", errors.Busy, "busy", "wait"),
        (500, 'unknown renderer "glm-4.6"', "x", errors.TemplateError, '"glm-4.6"', "too old or too new"),
        (500, "llama runner process has terminated: error loading model: unknown model architecture: 'x'", "x",
         RequestRefused, "cannot run x", "too old or too new"),
        (400, "invalid model name", "bad name", ModelMissing, "no name of a model", "ollama list"),
    ],
)  # fmt: skip
def test_refusals_that_are_told_by_their_words(
    status: int, text: str, model: str, error: type[Exception], cause: str, remedy: str
) -> None:
    found = refusal(status, json.dumps({"error": text}), "http://h:1", model)
    assert type(found) is error
    assert cause in found.cause
    assert remedy in found.remedy


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


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{"capabilities": "completion"}', "$.capabilities"),
        (b'{"parameters": ["stop"]}', "$.parameters"),
        (b'{"model_info": [1]}', "$.model_info"),
    ],
)
def test_a_model_of_another_shape_is_told_with_its_place(body: bytes, where: str) -> None:
    answers = {"/api/show": (200, body), "/api/tags": (200, b"{}"), "/api/ps": (200, b'{"models": null}')}
    with canned(answers) as url, pytest.raises(NotThisServer) as caught:
        served(OllamaServer(url), lambda server: server.describe(MODEL))
    assert f"{url}/api/show does not answer as Ollama does" in caught.value.cause
    assert where in caught.value.cause


def test_a_model_of_which_next_to_nothing_is_told() -> None:
    info = b'{"capabilities": null, "parameters": null, "model_info": {"x.context_length": "many"}}'
    answers = {"/api/show": (200, info), "/api/tags": (200, b'{"models": null}'), "/api/ps": (200, b"{}")}
    with canned(answers) as url:
        found = served(OllamaServer(url), lambda server: server.describe(MODEL))
    assert (found.name, found.context, found.stops, found.thinks, found.generates) == (MODEL, 0, (), None, True)


@pytest.mark.parametrize("path", ["/api/tags", "/api/show", "/api/ps", "/api/version"])
def test_an_answer_without_bound_is_given_up(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LONGEST_ANSWER", 10_000)
    fine = {"/api/show": (200, b"{}"), "/api/tags": (200, b"{}"), "/api/ps": (200, b"{}")}
    with (
        canned({**fine, path: (200, b'{"models": [' + b" " * 10**6 + b"]}")}) as url,
        pytest.raises(ServerError) as caught,
    ):
        call = (lambda server: server.version()) if path == "/api/version" else lambda server: server.describe(MODEL)
        served(OllamaServer(url), call)
    assert "is not Ollama" in caught.value.cause or "endless" in caught.value.cause


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


def test_a_pull_that_answers_in_another_shape() -> None:
    async def go(server: OllamaServer) -> None:
        async for _ in server.pull(MODEL):
            pass

    for body in (b"[]", b"7", b"<html>", b'{"status": 7}', b'{"completed": "x"}', b"[" * 10**5):
        with canned({"/api/pull": (200, body)}) as url, pytest.raises(NotThisServer):
            served(OllamaServer(url), go)
