"""The Ollama server: exact requests, and what it makes of every answer that a real one has given."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from fake_ollama import FakeModel, FakeOllama, Fault, Reply, embedder, llama3, mistral, stop_parameters
from servers.support import ASKED, GENERATIONS, MODEL, OPTIONS, SAMPLING, canned, chat, complete, never, says, served

from magpie_ollama import errors
from magpie_ollama.errors import (
    MagpieError,
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
from magpie_ollama.records import Message
from magpie_ollama.servers.base import Completion, PullProgress
from magpie_ollama.servers.ollama import OllamaServer

# Requests.


@GENERATIONS
def test_complete(version: str) -> None:
    with FakeOllama(version=version, script=says("Hi there?", logprob=-0.5)) as fake:
        made = served(OllamaServer(fake.url, {"num_ctx": 2048}), complete(stops=("<|im_end|>", "</s>")))
    assert [(one.path, one.body) for one in fake.requests] == [
        (
            "/api/generate",
            {
                "model": MODEL,
                "prompt": "<|im_start|>user\n",
                "raw": True,
                "think": False,
                "stream": True,
                "logprobs": True,
                "truncate": False,
                "options": {"num_ctx": 2048, **OPTIONS, "stop": ["<|im_end|>", "</s>"]},
            },
        )
    ]
    assert made == Completion("Hi there?", "", "stop", 3, 0, 4, -1.5)


@GENERATIONS
def test_chat(version: str) -> None:
    with FakeOllama(version=version, script=says("Because.")) as fake:
        made = served(OllamaServer(fake.url, {"num_thread": 2}), chat())
    assert [(one.path, one.body) for one in fake.requests] == [
        (
            "/api/chat",
            {
                "model": MODEL,
                "messages": ASKED,
                "think": False,
                "stream": True,
                "truncate": False,
                "options": {"num_thread": 2, **OPTIONS},
            },
        )
    ]
    assert (made.text, made.finish_reason, made.tokens, made.logprob) == ("Because.", "stop", 3, None)


@GENERATIONS
def test_load_and_describe(version: str) -> None:
    model = FakeModel("smollm2:135m", parameters=stop_parameters("<|im_end|>"), capabilities=("completion", "thinking"))
    with FakeOllama(version=version, models=[model, embedder()], default_context=2048) as fake:
        server = OllamaServer(fake.url, {"num_ctx": 1024})

        async def go(server: OllamaServer) -> Any:
            before = await server.describe(MODEL)
            await server.load(MODEL)
            return before, await server.describe(MODEL), await server.describe("nomic-embed-text")

        before, loaded, embeds = served(server, go)
    assert (before.name, before.digest, before.context) == (MODEL, model.digest, 8192), "as trained"
    assert loaded.context == 1024, "as loaded"
    assert loaded.stops == ("<|im_end|>",)
    assert loaded.thinks is True
    assert loaded.generates
    assert not embeds.generates
    assert embeds.name == "nomic-embed-text:latest", "as the server lists it"
    (load,) = fake.requests_to("/api/generate")
    assert load.body == {"model": MODEL, "stream": False, "options": {"num_ctx": 1024}}
    assert [one.body for one in fake.requests_to("/api/show")][:1] == [{"model": MODEL}]


@pytest.mark.parametrize(
    ("version", "prompt"), [("0.24.0", True), ("0.33.0", True), ("0.11.5", True), ("0.11.4", False), ("0.6.0", False)]
)
def test_render(version: str, prompt: bool) -> None:
    with FakeOllama(version=version) as fake:
        rendered = served(OllamaServer(fake.url, {"num_ctx": 512}), lambda server: server.render(MODEL, ASKED))
    assert [(one.path, one.body) for one in fake.requests] == [
        (
            "/api/chat",
            {
                "model": MODEL,
                "messages": ASKED,
                "stream": False,
                "think": False,
                "truncate": False,
                "_debug_render_only": True,
                "options": {"num_ctx": 512, "num_predict": 1},
            },
        )
    ]
    told = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    assert rendered == (told if prompt else None)


@GENERATIONS
@pytest.mark.parametrize("adds", [True, False])
def test_adds_bos(version: str, adds: bool) -> None:
    with FakeOllama(version=version, models=[FakeModel(MODEL, llama3(), adds_bos=adds)]) as fake:
        bos = "<|begin_of_text|>"
        found = served(OllamaServer(fake.url), lambda server: server.adds_bos(MODEL, bos))
    assert found is adds
    assert fake.requests[0].body == {
        "model": MODEL,
        "prompt": bos,
        "raw": True,
        "think": False,
        "stream": False,
        "options": {"num_predict": 1},
    }


@pytest.mark.parametrize(
    ("version", "token", "hidden"),
    [("0.33.0", "[/INST]", True), ("0.24.0", "[/INST]", False), ("0.33.0", "### Response:", False)],
)
@pytest.mark.parametrize("adds", [True, False])
def test_hides(version: str, token: str, hidden: bool, adds: bool) -> None:
    async def go(server: OllamaServer) -> bool:
        await server.version()
        return await server.hides(MODEL, token)

    with FakeOllama(version=version, models=[FakeModel(MODEL, mistral(), adds_bos=adds)]) as fake:
        assert served(OllamaServer(fake.url), go) is hidden


@pytest.mark.parametrize(
    ("text", "unshown"),
    [
        ("What is it?[/INST] It is a sea.</s>", 1),
        ("What is it?[/INST] A sea.[INST] And this?</s>", 2),
        ("What is it?</s>", 0),
        ("Perché? [/INST] È un mare.</s>", 0),
        ("What is [this]?[/INST] A sea.</s>", 0),
    ],
)
def test_tokens_that_are_not_shown_are_counted_where_that_is_sure(text: str, unshown: int) -> None:
    model = FakeModel(MODEL, mistral())
    with FakeOllama(models=[model], script=lambda ask: Reply(text)) as fake:
        made = served(OllamaServer(fake.url), complete(stops=("[/INST]",)))
    assert (made.finish_reason, made.unshown) == ("stop", unshown)
    assert "INST" not in made.text


@pytest.mark.parametrize(
    "name", ["llama3.2", "Llama3.2", "llama3.2:latest", "library/llama3.2", "registry.ollama.ai/library/llama3.2"]
)
def test_a_model_by_any_name_that_ollama_takes(name: str) -> None:
    tag = {"model": "llama3.2:latest", "name": "llama3.2:latest", "digest": "d1"}
    answers = {
        "/api/tags": (200, json.dumps({"models": [{"model": "x:1b", "digest": "d0"}, tag]}).encode()),
        "/api/ps": (200, json.dumps({"models": [{**tag, "context_length": 4096}]}).encode()),
        "/api/show": (200, b'{"capabilities": ["completion"], "model_info": {"llama.context_length": 131072}}'),
    }
    with canned(answers) as url:
        found = served(OllamaServer(url), lambda server: server.describe(name))
    assert (found.name, found.digest, found.context) == ("llama3.2:latest", "d1", 4096)


def test_a_text_that_ollama_ended_as_a_loop_has_an_end() -> None:
    loop = Reply(["Oh"] + ["!"] * 60, fault=Fault("incomplete_part", after=32))
    with FakeOllama(script=lambda ask: loop) as fake:
        made = served(OllamaServer(fake.url), complete())
    assert (made.text, made.finish_reason, made.tokens) == ("Oh" + "!" * 31, "length", 32)


def test_pull() -> None:
    async def go(server: OllamaServer) -> list[PullProgress]:
        return [step async for step in server.pull("tiny")]

    with FakeOllama(models=[], pullable=[FakeModel("tiny", size=400)]) as fake:
        steps = served(OllamaServer(fake.url), go)
    (asked,) = fake.requests
    assert (asked.path, asked.body) == ("/api/pull", {"model": "tiny", "stream": True, "insecure": False})
    assert steps[0] == PullProgress("pulling manifest", 0, 0)
    assert [step[1:] for step in steps if step.total] == [(n, 400) for n in (0, 100, 200, 300, 400)]
    assert steps[-1].status == "success"


def test_pull_of_what_there_is_not() -> None:
    async def go(server: OllamaServer) -> None:
        async for _ in server.pull("tinny"):
            pass

    with FakeOllama(models=[]) as fake, pytest.raises(ModelMissing) as caught:
        served(OllamaServer(fake.url), go)
    assert caught.value.cause.startswith("Ollama could not pull 'tinny': pull model manifest")
    with pytest.raises(NoServer):
        served(OllamaServer(fake.url), go)


def test_the_key_goes_along_and_into_no_message() -> None:
    with FakeOllama() as fake:
        fake.fail_next(1, Fault("status", status=401, text="unauthorized"), "/api/version")
        with pytest.raises(Unauthorized) as caught:
            served(OllamaServer(fake.url, api_key="sk-secret"), lambda server: server.version())
        served(OllamaServer(fake.url, api_key="sk-secret"), lambda server: server.models())
    assert [one.headers["Authorization"] for one in fake.requests] == ["Bearer sk-secret"] * 2
    assert "secret" not in f"{caught.value.cause} {caught.value.remedy} {caught.value!r}"
    assert caught.value.remedy == "set OLLAMA_API_KEY"


def test_a_proxy_does_not_capture_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    with canned({}) as proxy, FakeOllama() as fake:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)

        async def go(server: OllamaServer) -> Any:
            return await server.version(), await server.models(), await chat()(server)

        version, models, made = served(OllamaServer(fake.url), go)
        assert (version, models) == ("0.33.0", [MODEL])
        assert made.text
        # Other hosts do go through it: the proxy's 404 answers for a host that does not exist.
        with pytest.raises(NotThisServer):
            served(OllamaServer("http://ollama.invalid:11434"), lambda server: server.version())


# Answers.


@GENERATIONS
def test_thinking_is_kept_apart(version: str) -> None:
    model = FakeModel(MODEL, capabilities=("completion", "thinking"))
    with FakeOllama(version=version, models=[model], script=says("Because.", thinking="Let me see.")) as fake:
        made = served(OllamaServer(fake.url), chat(think=True))
        quiet = served(OllamaServer(fake.url), chat(think=False))
    assert [one.body["think"] for one in fake.requests] == [True, False]
    assert (made.text, made.reasoning) == ("Because.", "Let me see.")
    assert (quiet.text, quiet.reasoning) == ("Because.", "")
    assert made.tokens == quiet.tokens + 4


@GENERATIONS
def test_cut_by_the_token_limit(version: str) -> None:
    with FakeOllama(version=version, script=says("word " * 200)) as fake:
        made = served(OllamaServer(fake.url), complete())
    assert (made.finish_reason, made.tokens) == ("length", 64)


@GENERATIONS
def test_confidence_is_the_sum_of_the_tokens(version: str) -> None:
    with FakeOllama(version=version, script=says(["A", " b", "?"], logprob=[-0.25, -1.0, -0.125])) as fake:
        made = served(OllamaServer(fake.url), complete())
    assert made.logprob is not None
    assert math.isclose(made.logprob, -1.375)


def test_an_old_server_gives_no_logprobs() -> None:
    with FakeOllama(version="0.12.0") as fake:
        assert served(OllamaServer(fake.url), complete()).logprob is None


@GENERATIONS
@pytest.mark.parametrize("ask", [complete, chat])
def test_cancelling_closes_the_connection(version: str, ask: Any) -> None:
    with FakeOllama(version=version, script=says("word " * 20, fault="endless")) as fake:
        made = served(OllamaServer(fake.url), ask(watch=lambda text: len(text) > 20))
        exchange = fake.requests[-1]
        fake.wait_until(lambda: exchange.cancelled)
    assert made.finish_reason == "cancelled"
    assert 20 < len(made.text) < 60
    assert made.tokens == made.text.count("w")
    assert not exchange.finished


@pytest.mark.parametrize(
    ("version", "cause"),
    [
        ("0.12.0", f"Ollama cut the prompt to 2048 tokens, since {MODEL} is loaded with 2048 of context."),
        ("0.24.0", "The prompt is longer than the model's context: the input length exceeds the context length."),
        ("0.33.0", "exceeds the available context size (2048 tokens)"),
    ],
)
def test_a_prompt_over_the_context_is_refused_or_its_cut_noticed(version: str, cause: str) -> None:
    async def long(server: OllamaServer) -> Completion:
        await server.load(MODEL)
        return await server.complete(MODEL, "word " * 3000, SAMPLING, (), never)

    with FakeOllama(version=version) as fake, pytest.raises(PromptTooLong) as caught:
        served(OllamaServer(fake.url, {"num_ctx": 2048}), long)
    assert cause in caught.value.cause
    assert "--num-ctx" in caught.value.remedy


@GENERATIONS
def test_a_prompt_of_half_the_context_is_a_whole_one(version: str) -> None:
    async def half(server: OllamaServer) -> Completion:
        await server.load(MODEL)
        return await server.complete(MODEL, "internationalisation " * 1024, SAMPLING, (), never)

    with FakeOllama(version=version, script=says("Why?")) as fake:
        made = served(OllamaServer(fake.url, {"num_ctx": 2048}), half)
    assert (made.prompt_tokens, made.text) == (1025, "Why?")


@GENERATIONS
def test_a_chat_over_the_context_is_refused(version: str) -> None:
    messages: list[Message] = [{"role": "user", "content": "word " * 3000}]
    with FakeOllama(version=version, default_context=2048) as fake, pytest.raises(PromptTooLong) as caught:
        served(OllamaServer(fake.url), lambda server: server.chat(MODEL, messages, SAMPLING, False, never))
    assert "--num-ctx" in caught.value.remedy


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("busy"), TransientError),
        (Fault("drop"), errors.ConnectionLost),
        (Fault("reset"), errors.ConnectionLost),
        (Fault("drop_mid"), errors.ConnectionLost),
        (Fault("engine_dies"), TransientError),
        (Fault("error_mid", text="something"), TransientError),
        (Fault("error_mid", text="cudaMalloc failed: out of memory"), OutOfMemory),
        (Fault("incomplete_nothing"), TransientError),
        (Fault("incomplete_part"), TransientError),
        (Fault("half_line"), TransientError),
        (Fault("bad_utf8"), TransientError),
        (Fault("html_200"), TransientError),
        (Fault("html_502"), TransientError),
        (Fault("out_of_memory"), OutOfMemory),
        (Fault("load_crash"), TransientError),
        (Fault("status", status=418, text="teapot"), ServerError),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else None,
)
@pytest.mark.parametrize(("version", "ask"), [("0.24.0", complete), ("0.33.0", chat)])
def test_faults(version: str, ask: Any, fault: Fault, error: type[MagpieError]) -> None:
    with FakeOllama(version=version, script=says("one two three four five six")) as fake:
        fake.fail_next(1, fault)
        with pytest.raises(error) as caught:
            served(OllamaServer(fake.url), ask())
        assert isinstance(caught.value, TransientError) == issubclass(error, TransientError)
        assert caught.value.cause
        assert caught.value.remedy
        assert served(OllamaServer(fake.url), ask()).finish_reason == "stop", "and the next one is answered"


@pytest.mark.parametrize("fault", [Fault("slow_load", seconds=0.3), Fault("stall", seconds=0.3)], ids=lambda f: f.kind)
def test_slowness_is_no_error(fault: Fault) -> None:
    with FakeOllama() as fake:
        fake.fail_next(1, fault)
        assert served(OllamaServer(fake.url), chat()).finish_reason == "stop"


def test_a_line_of_ten_megabytes() -> None:
    with FakeOllama() as fake:
        fake.fail_next(1, Fault("huge_line", after=1))
        made = served(OllamaServer(fake.url), chat())
    assert len(made.text) > 10_000_000
    assert made.finish_reason == "stop"


def test_missing_model() -> None:
    with FakeOllama() as fake:
        for call in (
            lambda server: server.describe("nosuch"),
            lambda server: server.load("nosuch"),
        ):
            with pytest.raises(ModelMissing) as caught:
                served(OllamaServer(fake.url), call)
            assert caught.value.cause == "Ollama has no model 'nosuch'."
            assert caught.value.remedy == "fetch it with `ollama pull nosuch`, or run the same command with --pull"


def test_think_where_the_model_cannot() -> None:
    with FakeOllama() as fake, pytest.raises(RequestRefused, match="does not support thinking"):
        served(OllamaServer(fake.url), chat(think=True))
