"""Parameters that a server refuses: found out once, left out from then on, and said; in whatever form it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from fake_ollama import Exchange, Fault
from fake_ollama.base import Answer
from fake_ollama.openai import FakeOpenAI, Flavour
from servers.support import ASKED, MODEL, SAMPLING, never, served

from magpie_ollama.errors import MagpieError, RequestRefused, TransientError, Unauthorized
from magpie_ollama.servers.base import Sampling
from magpie_ollama.servers.openai import OpenAIServer

Body = dict[str, Any]
Refuses = Callable[[Body], str]
"""What of a body the server refuses, in its words; "" for nothing."""

HOW: dict[str, Callable[[str], web.Response]] = {
    "400": lambda said: web.json_response({"error": {"message": said, "type": "invalid_request_error"}}, status=400),
    "400 in plain words": lambda said: web.Response(status=400, text=said),
    "422": lambda said: web.json_response({"detail": [{"loc": ["body", said.split()[0]], "msg": said}]}, status=422),
    "422 unnamed": lambda said: web.json_response({"error": "Input validation error"}, status=422),
    "500": lambda said: web.json_response({"object": "error", "message": "list index out of range"}, status=500),
    "error in a 200": lambda said: web.json_response({"error": said}),
    "error that is no text": lambda said: web.json_response({"error": {"code": "400", "message": {"msg": said}}}),
    "error event": lambda said: web.Response(
        body=b'data: {"error": {"message": "%s"}}\n\n' % said.encode(), content_type="text/event-stream"
    ),
    "named event": lambda said: web.Response(
        body=b'event: error\ndata: {"message": "%s"}\n\n' % said.encode(), content_type="text/event-stream"
    ),
    "error: line": lambda said: web.Response(
        body=b'error: {"code": 500, "message": "%s"}\n\n' % said.encode(), content_type="text/event-stream"
    ),
}


class Picky(FakeOpenAI):
    def __init__(self, refuses: Refuses, how: str = "400", flavour: Flavour = "plain") -> None:
        super().__init__(flavour, script=lambda ask: "Hi there?")
        self.refuses = refuses
        self.how = how

    async def handle(self, exchange: Exchange, request: web.Request) -> Answer:
        said = self.refuses(exchange.body) if request.path in self.generating_paths else ""
        if not said:
            return await super().handle(exchange, request)
        exchange.fault = Fault("drop") if self.how == "dropped" else None
        return await super().handle(exchange, request) if exchange.fault else HOW[self.how](said)

    def asked(self) -> list[Body]:
        return [exchange.body for exchange in self.requests if exchange.path in self.generating_paths]


def without(name: str) -> Refuses:
    return lambda body: f"{name} is not supported" if name in body else ""


REFUSED: dict[str, tuple[Refuses, str]] = {
    "logprobs": (without("logprobs"), "takes no logprobs: confidence is not measured."),
    "logprobs that are no flag": (lambda b: "logprobs must be a bool" if type(b.get("logprobs")) is int else "", ""),
    "top_k below 0": (lambda b: "top_k must be positive or 0" if b.get("top_k", 0) < 0 else "", ""),
    "top_k below 1": (
        lambda b: "top_k must be positive" if b.get("top_k", 1) < 1 else "",
        "takes no top_k -1: its own",
    ),
    "top_p of 1": (lambda b: "top_p must be > 0.0 and < 1.0" if b.get("top_p") == 1.0 else "", ""),
    "min_p": (without("min_p"), "takes no min_p 0.0: its own default holds."),
    "a penalty": (without("repetition_penalty"), ""),
    "seed": (without("seed"), "takes no seed: the same seed gives another text."),
    "stream_options": (without("stream_options"), "takes no stream_options: tokens are counted by their pieces."),
    "chat_template_kwargs": (without("chat_template_kwargs"), "takes no chat_template_kwargs: whether"),
    "more than four stops": (lambda b: "stop takes four" if len(b.get("stop", ())) > 4 else "", ""),
    "two of them": (lambda b: without("min_p")(b) or without("logprobs")(b), "takes no logprobs"),
}


FORMS = [(what, how) for what in REFUSED for how in ("400", "500")]
FORMS += [
    (what, how) for what in ("logprobs", "top_k below 0") for how in [*HOW, "dropped"] if how not in ("400", "500")
]


@pytest.mark.parametrize(("what", "how"), FORMS)
def test_refused(what: str, how: str) -> None:
    refuses, said = REFUSED[what]

    async def go(server: OpenAIServer) -> tuple[int, int]:
        await server.version()
        stops = ["<|im_end|>", "<|im_start|>", "<a>", "<b>", "<c>"]
        counts = []
        for _ in range(2):
            for made in (
                await server.complete(MODEL, "<|im_start|>user\n", SAMPLING, stops, never),
                await server.chat(MODEL, ASKED, SAMPLING, False, never),
            ):
                assert (made.text, made.finish_reason) == ("Hi there?", "stop")
            counts.append(len(fake.asked()))
        return counts[0], counts[1]

    with Picky(refuses, how) as fake:
        server = OpenAIServer(fake.url)
        first, second = served(server, go)
    assert first <= 40
    assert second - first == 2, "what was found out is kept"
    assert all(not refuses(body) for body in fake.asked()[-2:])
    left = {name for name in fake.asked()[-2] if name not in ("prompt", "stop")}
    assert {"model", "stream", "temperature", "max_tokens"} <= left
    assert [notice for notice in server.notices if said in notice] if said else not server.notices, server.notices
    assert len(server.notices) == len(set(server.notices)) == (what == "two of them") + bool(said)


def test_what_is_named_takes_one_more_request() -> None:
    with Picky(without("seed")) as fake:
        served(OpenAIServer(fake.url), lambda server: server.chat(MODEL, ASKED, SAMPLING, False, never))
    assert len(fake.asked()) == 3, "refused, tried, asked"
    assert fake.asked()[1]["max_tokens"] == 1


def test_other_values_are_sent_all_the_same() -> None:
    refuses: Refuses = lambda body: "top_p must be below 1" if body.get("top_p") == 1.0 else ""  # noqa: E731
    other = Sampling(temperature=1.0, max_tokens=64, top_p=0.9)

    async def go(server: OpenAIServer) -> None:
        await server.chat(MODEL, ASKED, SAMPLING, False, never)
        await server.chat(MODEL, ASKED, other, False, never)

    with Picky(refuses) as fake:
        served(OpenAIServer(fake.url), go)
    assert "top_p" not in fake.asked()[-2]
    assert fake.asked()[-1]["top_p"] == 0.9


def test_a_structured_answer_in_another_form() -> None:
    refuses: Refuses = lambda b: "unknown type" if b.get("response_format", {}).get("type") == "json_schema" else ""  # noqa: E731
    with Picky(refuses, "422 unnamed") as fake:
        schema = {"type": "object"}
        served(OpenAIServer(fake.url), lambda s: s.chat(MODEL, ASKED, SAMPLING, False, never, schema))
    assert fake.asked()[-1]["response_format"] == {"type": "json_object", "schema": schema}


def test_a_newer_name_for_the_limit() -> None:
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    with Picky(lambda body: said if "max_tokens" in body else "") as fake:
        served(OpenAIServer(fake.url), lambda server: server.chat(MODEL, ASKED, SAMPLING, False, never))
    assert fake.asked()[-1]["max_completion_tokens"] == 64


@pytest.mark.parametrize("how", ["400", "500", "dropped"])
def test_a_server_that_does_not_stream(how: str) -> None:
    with Picky(lambda body: "streaming is not supported" if body.get("stream") else "", how) as fake:
        server = OpenAIServer(fake.url)
        made = served(server, lambda server: server.chat(MODEL, ASKED, SAMPLING, False, never))
    assert (made.text, made.finish_reason, made.tokens) == ("Hi there?", "stop", 4)
    assert server.notices == [f"{fake.url} does not stream: a text cannot be cut off while it is written."]


@pytest.mark.parametrize("how", ["400", "500", "error in a 200", "error event", "dropped"])
def test_no_parameter_is_to_blame(how: str) -> None:
    """Its words are told after four requests at most; nothing is left out, and nothing is waited for."""
    with Picky(lambda body: "Unexpected endpoint or method", how) as fake:
        server = OpenAIServer(fake.url)
        with pytest.raises(RequestRefused) as caught:
            served(server, lambda server: server.chat(MODEL, ASKED, SAMPLING, False, never))
    assert len(fake.asked()) <= 4
    said = {"dropped": "dropped the connection", "500": "list index out of range"}.get(how, "Unexpected endpoint")
    assert said in caught.value.cause
    assert caught.value.remedy
    assert not server.notices


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
def test_faults_that_are_no_parameters(status: int) -> None:
    with FakeOpenAI("plain") as fake:
        fake.fail_next(9, Fault("status", status=status, text="top_k"), "/v1/chat/completions")
        with pytest.raises(MagpieError) as caught:
            served(OpenAIServer(fake.url), lambda server: server.chat(MODEL, ASKED, SAMPLING, False, never))
    assert len(fake.requests) == 1
    assert isinstance(caught.value, Unauthorized) == (status in (401, 403))
    assert isinstance(caught.value, TransientError) == (status in (429, 503))


def test_a_fault_of_the_moment_teaches_nothing() -> None:
    with FakeOpenAI("plain") as fake:
        fake.fail_next(1, Fault("load_crash"), "/v1/chat/completions")
        server = OpenAIServer(fake.url)
        made = served(server, lambda server: server.chat(MODEL, ASKED, SAMPLING, False, never))
    assert made.finish_reason == "stop"
    assert not server.notices
    assert json.loads(fake.requests[-1].raw).keys() == json.loads(fake.requests[0].raw).keys()


def test_left_out_by_hand() -> None:
    with FakeOpenAI("vllm") as fake:
        given = {"logprobs": None, "top_k": None, "min_tokens": 2}
        served(OpenAIServer(fake.url, given), lambda s: s.complete(MODEL, "Hi", SAMPLING, (), never))
    body = fake.requests_to("/v1/completions")[0].body
    assert not {"logprobs", "top_k"} & body.keys()
    assert body["min_tokens"] == 2
