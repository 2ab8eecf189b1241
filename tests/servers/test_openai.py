"""OpenAI-compatible servers: exact requests to vLLM, llama-server and others, and what is made of their answers."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from fake_ollama import FakeModel, Fault, Reply, chatml
from fake_ollama.openai import FakeOpenAI, Flavour
from servers.support import SAMPLING, canned, never, served

from magpie_ollama import errors
from magpie_ollama.errors import (
    MagpieError,
    ModelMissing,
    NoServer,
    NotThisServer,
    OutOfMemory,
    PromptTooLong,
    RequestRefused,
    TransientError,
    Unauthorized,
)
from magpie_ollama.records import Message
from magpie_ollama.servers.base import Completion, Watch
from magpie_ollama.servers.openai import OpenAIServer

MODEL = "smollm2:135m"
FLAVOURS = pytest.mark.parametrize("flavour", ["vllm", "llama-server", "plain"])
ASKED: list[Message] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
BODY = {
    "model": MODEL,
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "max_tokens": 64,
    "seed": 7,
}
PENALTY: dict[str, dict[str, Any]] = {
    "vllm": {"repetition_penalty": 1.0},
    "llama-server": {"repeat_penalty": 1.0},
    "plain": {"repetition_penalty": 1.0, "repeat_penalty": 1.0},
}


def known(call: Any) -> Any:
    """``call`` once the server has been asked what it is."""

    async def go(server: OpenAIServer) -> Any:
        await server.version()
        return await call(server)

    return go


def complete(watch: Watch = never, prompt: str = "<|im_start|>user\n") -> Any:
    return known(lambda server: server.complete(MODEL, prompt, SAMPLING, ["<|im_end|>"], watch))


def chat(think: bool = False, watch: Watch = never) -> Any:
    return known(lambda server: server.chat(MODEL, ASKED, SAMPLING, think, watch))


@pytest.mark.parametrize(
    ("flavour", "version"), [("vllm", "vllm 0.32.0"), ("llama-server", "llama-server "), ("plain", "")]
)
def test_what_it_is(flavour: Flavour, version: str) -> None:
    with FakeOpenAI(flavour, context=2048) as fake:
        server = OpenAIServer(fake.url + "/v1")

        async def go(server: OpenAIServer) -> Any:
            return await server.version(), await server.models(), await server.describe(MODEL)

        told, models, model = served(server, go)
    assert told.startswith(version) and bool(told) == bool(version)
    assert models == [MODEL]
    assert (model.name, model.context) == (MODEL, 0 if flavour == "plain" else 2048)
    assert server.address == fake.url, "an address that ends in /v1 is the same"


def test_a_kind_that_inherits_has_a_port_of_its_own() -> None:
    class Neighbour(OpenAIServer):
        default_port = 1234

    async def address(server: OpenAIServer) -> str:
        return server.address

    assert served(Neighbour(), address) == "http://127.0.0.1:1234"
    assert served(OpenAIServer(), address) == "http://127.0.0.1:8000"


@FLAVOURS
def test_complete(flavour: Flavour) -> None:
    with FakeOpenAI(flavour, script=lambda ask: Reply("Hi there?", logprob=-0.5)) as fake:
        made = served(OpenAIServer(fake.url, {"top_a": 0.2}), complete())
    (asked,) = fake.requests_to("/v1/completions")
    special = {"add_special_tokens": False, "skip_special_tokens": False} if flavour == "vllm" else {}
    assert asked.body == {
        **BODY,
        **PENALTY[flavour],
        **special,
        "top_a": 0.2,
        "prompt": "<|im_start|>user\n",
        "stop": ["<|im_end|>"],
        "logprobs": 1,
    }
    assert (made.text, made.finish_reason, made.prompt_tokens, made.tokens) == ("Hi there?", "stop", 3, 4)
    if flavour == "plain":
        assert made.logprob is None
    else:
        assert made.logprob is not None
        assert math.isclose(made.logprob, -1.5), "one of each token, in both shapes"


@FLAVOURS
@pytest.mark.parametrize("think", [False, True])
def test_chat(flavour: Flavour, think: bool) -> None:
    model = FakeModel(MODEL, chatml(), capabilities=("completion", "thinking"))
    script = lambda ask: Reply("Because.", thinking="Let me see.")  # noqa: E731
    with FakeOpenAI(flavour, models=[model], script=script) as fake:
        made = served(OpenAIServer(fake.url), chat(think))
    (asked,) = fake.requests_to("/v1/chat/completions")
    thinks = {"chat_template_kwargs": {"enable_thinking": think}}
    assert asked.body == {**BODY, **PENALTY[flavour], **thinks, "messages": ASKED}
    if flavour != "plain":
        assert (made.text, made.reasoning) == ("Because.", "Let me see." if think else "")


def test_top_k_where_it_is_on() -> None:
    with FakeOpenAI("vllm") as fake:
        sampling = type(SAMPLING)(temperature=0.0, max_tokens=8, top_k=40, repeat_penalty=1.1)
        served(OpenAIServer(fake.url), known(lambda server: server.chat(MODEL, ASKED, sampling, False, never)))
    body = fake.requests_to("/v1/chat/completions")[0].body
    assert (body["top_k"], body["repetition_penalty"], body["temperature"]) == (40, 1.1, 0.0)


PROMPT = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"


def test_vllm_renders_by_tokenize_and_detokenize() -> None:
    with FakeOpenAI("vllm") as fake:
        prompt = served(OpenAIServer(fake.url), known(lambda server: server.render(MODEL, ASKED)))
    assert prompt == PROMPT
    (tokenize,), (detokenize,) = fake.requests_to("/tokenize"), fake.requests_to("/detokenize")
    assert tokenize.body == {"model": MODEL, "messages": ASKED, "add_generation_prompt": True}
    assert detokenize.body.keys() == {"model", "tokens"}
    assert not fake.requests_to("/v1/chat/completions"), "nothing is generated"


def test_llama_server_renders_by_apply_template() -> None:
    with FakeOpenAI("llama-server") as fake:
        prompt = served(OpenAIServer(fake.url), known(lambda server: server.render(MODEL, ASKED)))
    assert prompt == PROMPT
    assert fake.requests_to("/apply-template")[0].body == {
        "model": MODEL,
        "messages": ASKED,
        "chat_template_kwargs": {"enable_thinking": False},
    }


def test_others_cannot_render() -> None:
    with FakeOpenAI("plain") as fake:
        assert served(OpenAIServer(fake.url), known(lambda server: server.render(MODEL, ASKED))) is None


def test_a_template_that_the_server_cannot_apply() -> None:
    with FakeOpenAI("llama-server") as fake:
        fake.fail_next(1, Fault("status", status=500, text="System role not supported"), "/apply-template")
        with pytest.raises(RequestRefused, match="System role not supported"):
            served(OpenAIServer(fake.url), known(lambda server: server.render(MODEL, ASKED)))


@pytest.mark.parametrize(
    ("flavour", "tokenizer", "adds"),
    [
        ("vllm", True, False),
        ("vllm", False, False),
        ("llama-server", True, True),
        ("llama-server", False, False),
        ("plain", True, True),
    ],
)
def test_bos_never_comes_twice(flavour: Flavour, tokenizer: bool, adds: bool) -> None:
    with FakeOpenAI(flavour, adds_bos=tokenizer) as fake:
        server = OpenAIServer(fake.url)
        assert served(server, known(lambda server: server.adds_bos(MODEL, "<|endoftext|>"))) is adds


@FLAVOURS
@pytest.mark.parametrize("ask", [complete, chat])
def test_cancelling_closes_the_connection(flavour: Flavour, ask: Any) -> None:
    with FakeOpenAI(flavour, script=lambda ask: Reply("word " * 20, fault="endless")) as fake:
        made = served(OpenAIServer(fake.url), ask(watch=lambda text: len(text) > 20))
        exchange = fake.requests[-1]
        fake.wait_until(lambda: exchange.cancelled)
    assert (made.finish_reason, exchange.finished) == ("cancelled", False)
    assert made.tokens == made.text.count("w"), "no usage came: the pieces are counted"


@FLAVOURS
def test_the_key_goes_along_and_into_no_message(flavour: Flavour) -> None:
    with FakeOpenAI(flavour, api_key="sk-secret") as fake:
        assert served(OpenAIServer(fake.url, api_key="sk-secret"), chat()).text
        for key in ("", "sk-wrong-secret"):
            with pytest.raises(Unauthorized) as caught:
                # llama-server lists its models to everybody: there the next request is refused.
                served(OpenAIServer(fake.url, api_key=key), chat())
            assert caught.value.remedy == "set OPENAI_API_KEY"
            assert "secret" not in f"{caught.value.cause} {caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("busy"), TransientError),
        (Fault("drop"), errors.ConnectionLost),
        (Fault("drop_mid"), errors.ConnectionLost),
        (Fault("engine_dies"), TransientError),
        (Fault("error_mid", text="CUDA out of memory"), OutOfMemory),
        (Fault("incomplete_part"), TransientError),
        (Fault("half_line"), TransientError),
        (Fault("bad_utf8"), TransientError),
        (Fault("html_200"), TransientError),
        (Fault("html_502"), TransientError),
        (Fault("out_of_memory"), OutOfMemory),
        (Fault("load_crash"), TransientError),
        (Fault("status", status=429, text="slow down"), TransientError),
        (Fault("status", status=400, text="bad"), RequestRefused),
        (Fault("status", status=404, text="no such model"), ModelMissing),
    ],
    ids=lambda value: f"{value.kind}{value.status}" if isinstance(value, Fault) else None,
)
@FLAVOURS
def test_faults(flavour: Flavour, fault: Fault, error: type[MagpieError]) -> None:
    """Of a server that has answered such a request before: there it is no parameter that is at fault."""
    path = "/v1/chat/completions"
    with FakeOpenAI(flavour, script=lambda ask: "one two three four five six") as fake:

        async def fails(server: OpenAIServer) -> Any:
            await chat()(server)
            fake.fail_next(1, fault, path)
            return await server.chat(MODEL, ASKED, SAMPLING, False, never)

        with pytest.raises(error) as caught:
            served(OpenAIServer(fake.url), fails)
        assert isinstance(caught.value, TransientError) == issubclass(error, TransientError)
        assert caught.value.remedy
        assert served(OpenAIServer(fake.url), chat()).finish_reason == "stop"


@pytest.mark.parametrize("flavour", ["vllm", "llama-server"])
def test_a_prompt_over_the_context(flavour: Flavour) -> None:
    with FakeOpenAI(flavour, context=64) as fake, pytest.raises(PromptTooLong) as caught:
        served(OpenAIServer(fake.url), complete(prompt="word " * 100))
    assert caught.value.remedy == "start it with more context"


def test_an_error_amid_a_stream_has_its_own_status() -> None:
    event = b'data: {"error": {"code": 400, "message": "no"}}\n\n'
    routes = {"/v1/models": (200, b'{"data": [{"id": "m"}]}'), "/v1/chat/completions": (200, event)}
    with canned(routes) as url, pytest.raises(RequestRefused):
        served(OpenAIServer(url), chat())


def stream(*events: bytes) -> dict[str, tuple[int, bytes]]:
    lines = b"".join(event + b"\n\n" for event in events)
    return {"/v1/models": (200, b'{"data": [{"id": "m"}]}'), "/v1/chat/completions": (200, lines)}


def test_streams_of_other_shapes() -> None:
    """Comments that keep the connection open, no space behind "data:", a usage with every piece, no [DONE]."""
    routes = stream(
        b": ping",
        b'data:{"choices": [{"delta": {"role": "assistant"}}]}',
        b'data:{"choices": [{"delta": {"content": "Hi"}}], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}',
        b'data:{"choices": [{"delta": {"content": "!"}}], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}',
        b'data:{"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": null}',
        b"data:[DONE]",
    )
    with canned(routes) as url:
        made = served(OpenAIServer(url), chat())
    assert made == Completion("Hi!", "", "stop", 5, 0, 2)


def piece(text: str, *tokens: tuple[str, float]) -> bytes:
    """An event of llama-server's completions; a token that it shows no text of is ""."""
    content = [{"token": token, "bytes": list(token.encode()), "logprob": logprob} for token, logprob in tokens]
    return b"data: " + json.dumps({"choices": [{"text": text, "logprobs": {"content": content}}]}).encode()


END = b'data: {"choices": [{"text": "", "finish_reason": "stop"}], "usage": {"completion_tokens": 9}}'


@pytest.mark.parametrize(
    ("events", "text", "logprob"),
    [
        # As the engine writes "a < b" and "x\n\ny": what may begin a stop string comes with the next token.
        ([piece("a ", ("a ", -1)), piece("", ("", -2)), piece("< b", (" b", -4)), END], "a < b", -7),
        (
            [piece("x", ("x", -1)), piece("", ("", -2)), piece("", ("", -1)), piece("\n\ny", ("y", -1)), END],
            "x\n\ny",
            -5,
        ),
        ([piece("a ", ("a ", -1)), piece("", ("", -2)), piece("<", ("<", -1)), END], "a <", -4),
        # A control token, which is shown nowhere: the text ends with it.
        ([piece("Why?", ("Why?", -1)), piece("", ("", -2)), piece("assistant", ("assistant", -1))], "Why?", -1),
        ([piece("Why?", ("Why?", -1)), piece("", ("", -2)), END], "Why?", -1),
    ],
)
def test_tokens_without_text(events: list[bytes], text: str, logprob: float) -> None:
    routes = {"/v1/models": (200, b'{"data": [{"id": "m"}]}'), "/v1/completions": (200, b"\n\n".join([*events, b""]))}
    with canned(routes) as url:
        stops = ["<|im_end|>", "\n\n### Response:"]
        made = served(OpenAIServer(url), lambda server: server.complete("m", "", SAMPLING, stops, never))
    assert (made.text, made.finish_reason, made.logprob) == (text, "stop", logprob)


@pytest.mark.parametrize("event", [b"data: [1]", b"data: nonsense", b"data: \xff", b"data:"])
def test_events_that_are_none(event: bytes) -> None:
    with canned(stream(event)) as url, pytest.raises(TransientError):
        served(OpenAIServer(url), chat())


def test_a_proxy_that_lets_only_v1_through() -> None:
    forbidden = (403, b"<html>forbidden</html>")
    routes = dict.fromkeys(("/props", "/version", "/tokenize", "/apply-template"), forbidden)
    with canned({"/v1/models": (200, b'{"data": [{"id": "m", "max_model_len": 2048}]}'), **routes}) as url:

        async def go(server: OpenAIServer) -> Any:
            return await server.version(), await server.describe("m"), await server.render("m", ASKED)

        version, model, rendered = served(OpenAIServer(url), go)
    assert (version, model.context, rendered) == ("", 2048, None)


def test_cached_tokens() -> None:
    with FakeOpenAI("llama-server") as fake:

        async def twice(server: OpenAIServer) -> Any:
            return [await server.chat(MODEL, ASKED, SAMPLING, False, never) for _ in range(2)]

        first, second = served(OpenAIServer(fake.url), known(twice))
    assert (first.cached_tokens, second.cached_tokens) == (0, second.prompt_tokens - 1)


@pytest.mark.parametrize("answer", [(200, b"<html>"), (200, b"[]"), (200, b"{}"), (200, b'{"data": [{"name": 1}]}')])
def test_not_compatible(answer: Any) -> None:
    with canned({"/v1/models": answer}) as url, pytest.raises(NotThisServer):
        served(OpenAIServer(url), known(lambda server: server.models()))


def test_an_ollama_is_compatible_enough_to_say_so() -> None:
    with FakeOpenAI("plain") as fake:
        with pytest.raises(ModelMissing) as caught:
            served(OpenAIServer(fake.url), known(lambda server: server.describe("nosuch")))
        assert "'nosuch'" in caught.value.cause


def test_nothing_answers() -> None:
    with FakeOpenAI("vllm") as fake:
        pass
    with pytest.raises(NoServer) as caught:
        served(OpenAIServer(fake.url), lambda server: server.version())
    assert caught.value.cause == f"No OpenAI-compatible server answers at {fake.url}."
    assert "--host" in caught.value.remedy
