"""Holds the fake servers to what real ones answered: every recording is asked again, and compared.

Equal must be: the status, the content type, the keys of every object in their order, the types of all values,
the texts of errors, `done`, `done_reason` and what else is named in SAME. Free are times, counts, identifiers
and what the model wrote. A stream is compared line by line, equal neighbours taken as one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_ollama import (
    FakeModel,
    FakeOllama,
    FakeOpenAI,
    FakeServer,
    Reply,
    base_model,
    chatml,
    lone,
    smollm2,
)
from fake_ollama.models import SMOLLM_SYSTEM

RECORDINGS = Path(__file__).parent.parent / "fake_ollama" / "recordings"

# Values that must be equal wherever they stand, not only of the same type. An error is compared whole.
SAME = {
    "error", "done", "done_reason", "rendered_template", "status", "role", "finish_reason", "stop_reason",
    "object", "prompt_text", "capabilities", "version",
}  # fmt: skip

# The fakes count tokens in their own way, and some errors name the count; the context stays compared.
OWN_COUNT = re.compile(r"(?<=request \()\d+(?= tokens\))|(?<=n_prompt_tokens\":)\d+")

# Situations that the body of a request does not bring about: what makes the fake do the same.
FAULTS = {
    "generate-busy": "busy",
    "generate-raw-incomplete-nothing": "incomplete_nothing",
    "generate-raw-incomplete-part": "incomplete_part",
    "generate-raw-stream-engine-dies": "engine_dies",
}

# Counts that a client draws conclusions from.
COUNTED = {"generate-raw-bos-probe", "generate-raw-prompt-too-long", "chat-too-long"}

Recording = dict[str, Any]


def recordings(folder: str) -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in sorted((RECORDINGS / folder).glob("*.json"))]


def read(path: Path) -> Recording:
    recording: Recording = json.loads(path.read_text(encoding="utf-8"))
    return recording


def long_again(value: Any) -> Any:
    """The long prompts are stored in words."""
    if isinstance(value, dict):
        return {key: long_again(item) for key, item in value.items()}
    if isinstance(value, list):
        return [long_again(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"word word word \.\.\. \((\d+) times\) ", lambda match: "word " * int(match[1]), value)
    return value


def ask(fake: FakeServer, recording: Recording) -> httpx.Response:
    request = recording["request"]
    body = long_again(request["body"])
    content = None if body is None else body if isinstance(body, str) else json.dumps(body)
    with httpx.Client(base_url=fake.url, trust_env=False, timeout=20, verify=False) as client:
        headers = request.get("headers") or {}
        return client.request(request["method"], request["path"], content=content, headers=headers)


def shape(value: Any, key: str = "") -> Any:
    """What of a value must be equal: for most the type, for objects their keys in order."""
    if key in SAME:
        return OWN_COUNT.sub("N", value) if isinstance(value, str) else value
    if key == "top_logprobs" and value and "token" not in value[0]:
        # vLLM's completions: objects whose keys are tokens, and so up to the model.
        return sorted({shape(number) for column in value for number in column.values()})
    if isinstance(value, dict):
        return [(name, shape(item, name)) for name, item in value.items()]
    if isinstance(value, list):
        # A control token is hidden here too, among what might have been written.
        value = [item for item in value if not isinstance(item, dict) or item.get("token") != "" or "bytes" in item]
        # How many there are is up to the model; what comes is to look alike.
        return sorted({json.dumps(shape(item)) for item in value})
    if isinstance(value, bool) or value is None:
        return str(value)
    return "number" if isinstance(value, (int, float)) else "text"


def lines_of(kind: str, text: str) -> list[Any]:
    """The JSON of every line of a stream; what is no JSON stays text."""
    parts = text.split("\n")
    if kind == "sse":
        assert parts[1::2] == [""] * (len(parts) // 2), "an empty line follows each event"
        assert parts[-1] == ""
        datas = [part.removeprefix("data: ") for part in parts[::2] if part]
        return [data if data == "[DONE]" else json.loads(data) for data in datas]
    assert parts.pop() == "", "the last line ends with a line feed"
    return [json.loads(part) for part in parts]


def merged(lines: list[Any], ordered: bool = True) -> list[Any]:
    shapes = [shape(line) for line in lines]
    return [line for line, _ in groupby(shapes if ordered else sorted(shapes, key=json.dumps))]


def compare(recording: Recording, answer: httpx.Response, ordered: bool = True) -> None:
    expected = recording["response"]
    assert answer.status_code == expected["status"]
    assert answer.headers.get("content-type") == expected["headers"].get("content-type")
    for kind in ("ndjson", "sse"):
        if kind in expected:
            assert answer.headers["transfer-encoding"] == "chunked"
            text = "\n".join(expected[kind]) + ("\n" if kind == "ndjson" else "")
            assert merged(lines_of(kind, answer.text), ordered) == merged(lines_of(kind, text), ordered)
            return
    try:
        body = json.loads(expected["body"])
    except ValueError:
        assert answer.text == expected["body"]
        return
    for sign in ("\\u003c", "<"):  # Go escapes what others leave as it is
        assert (sign in answer.text) == (sign in expected["body"])
    assert answer.text.endswith("\n") == expected["body"].endswith("\n")
    assert shape(json.loads(answer.text)) == shape(body)


# Ollama.


LONE = "<repo_name>"


def written(recording: Recording) -> Reply:
    """A reply that is cut where the recorded one was cut: whether a model ends by itself is up to the model."""
    response = recording["response"]
    if recording["request"]["body"] and recording["request"]["body"].get("model") == "v-lone2":
        texts = [json.loads(line)["response"] for line in response["ndjson"]]
        if recording["request"]["body"]["prompt"].endswith("?"):  # what comes next
            return Reply([LONE, "\n", "assistant"], done_reason="length")
        end = texts.index("?") + 1
        return Reply([*texts[:end], LONE, texts[end], "<|im_start|>", *texts[end + 1 : -1], " more"])
    if '"日"' in "".join(response.get("ndjson", ())):
        return Reply([*(json.loads(line)["response"] for line in response["ndjson"][:-1]), " more", " more"], parts=2)
    lines = [json.loads(line) for line in response.get("ndjson", [response.get("body", "")]) if line[:1] == "{"]
    texts = [line.get("response", line.get("message", {}).get("content", "")) for line in lines]
    told = lines[-1] if lines else {}
    if told.get("done_reason") == "length" or '"finish_reason":"length"' in response.get("body", ""):
        return Reply([" word"] * 2000)
    return Reply([text for text in texts if text] if len(texts) > 1 else "".join(texts))


@contextmanager
def ollama(version: str, odd: bool) -> Iterator[FakeOllama]:
    models = [smollm2()]
    if version == "0.33.0":  # its list held a second model
        models.append(FakeModel("smollm2-jinja:135m", template=chatml(SMOLLM_SYSTEM)))
    if odd:
        models += [
            FakeModel("v-lone2", lone(LONE)),
            FakeModel("v-base", base_model()),
            FakeModel("v-notemplate", base_model(), bare=True),
            FakeModel("v-nosys", chatml(drops_system=True)),
            FakeModel("v-r-glm-46", renderer="glm-4.6"),
        ]
    with FakeOllama(version=version, models=models) as fake:
        yield fake


@pytest.mark.parametrize("path", recordings("ollama-0.24.0") + recordings("ollama-0.33.0"))
def test_ollama(path: Path) -> None:
    recording = read(path)
    name = path.stem
    odd = "v-" in str(recording["request"]["body"])
    with ollama(path.parent.name.removeprefix("ollama-"), odd) as fake:
        fake.script = lambda ask: written(recording)
        if name == "ps":  # the recording was made with the model loaded
            ask(fake, read(path.with_name("generate-load.json")))
        if name in FAULTS:
            fake.fail_next(1, FAULTS[name])  # type: ignore[arg-type]
        answer = ask(fake, recording)
    compare(recording, answer)
    if name in COUNTED:
        expected = json.loads(recording["response"]["body"])
        assert answer.json()["prompt_eval_count"] == expected["prompt_eval_count"]
    if name.startswith("generate-raw-lone-end") or (name.endswith("-stream") and "missing" not in name):
        real = [json.loads(line) for line in recording["response"]["ndjson"]]
        assert len(answer.text.splitlines()) == len(real)
        assert json.loads(answer.text.splitlines()[-1])["eval_count"] == real[-1]["eval_count"]


def test_ollama_is_busy_by_itself_as_recorded() -> None:
    recording = read(RECORDINGS / "ollama-0.33.0" / "generate-busy.json")
    with FakeOllama(parallel=1, max_queue=1, delay=0.05) as fake:
        fake.script = lambda ask: Reply(["a"] * 5)
        answers = at_once(6, lambda: ask(fake, recording))
    refused = [answer for answer in answers if answer.status_code == 503]
    good = [answer for answer in answers if answer.status_code == 200]
    assert len(refused) >= 1 and len(good) >= 2 and len(refused) + len(good) == 6
    for answer in refused:
        compare(recording, answer)


def at_once(n: int, call: Callable[[], httpx.Response]) -> list[httpx.Response]:
    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(lambda _: call(), range(n)))


# OpenAI-compatible servers.


def sampled(recording: Recording) -> Reply:
    response = recording["response"]
    text = response.get("body", "") + "".join(response.get("sse", []))
    if '"finish_reason":"length"' in text:
        return Reply([" word"] * 3000)
    # A logit bias that only lets the end token through leaves no text.
    return Reply("") if "logit_bias" in recording["request"]["body"] else Reply("What is this about?")


@pytest.mark.parametrize("path", recordings("vllm-0.32.0"))
def test_vllm(path: Path) -> None:
    recording = read(path)
    name = path.stem
    bos = "smollm2-bos" in json.dumps(recording["request"]["body"])
    template = chatml(SMOLLM_SYSTEM, bos="<|endoftext|>" if bos else "")
    model = FakeModel("smollm2-bos:135m" if bos else "smollm2:135m", template=template)
    with FakeOpenAI(models=[model], adds_bos=bos, api_key="test-local-key" if bos else None, context=2048) as fake:
        fake.script = lambda ask: sampled(recording)
        if name.startswith("detokenize"):
            # Token numbers are each server's own: first ask for those of the same conversation.
            source = "tokenize_messages_genprompt" + name.removeprefix("detokenize_of_messages")
            tokens = ask(fake, read(path.with_name(f"{source}.json"))).json()["tokens"]
            recording["request"]["body"]["tokens"] = tokens
        answer = ask(fake, recording)
    # Four samples in one stream end in the order in which the engine happened to finish them.
    compare(recording, answer, ordered=name != "completion_prequery_n4_stream")
    if name.startswith("detokenize"):
        assert answer.json() == json.loads(recording["response"]["body"])
    if name.startswith("bos_completion"):
        real, mine = json.loads(recording["response"]["body"]), answer.json()
        begins = [body["choices"][0]["prompt_token_ids"][:3] for body in (real, mine)]
        assert begins[0].count(0) == begins[1].count(0), "the BOS comes as often as it did"
    if name == "completion_prompt_plus_max_tokens_clamped":
        assert answer.json()["usage"] == json.loads(recording["response"]["body"])["usage"]


@pytest.mark.parametrize("path", recordings("llama-server"))
def test_llama_server(path: Path) -> None:
    recording = read(path)
    with FakeOpenAI("llama-server", context=512, parallel=2) as fake:
        fake.script = lambda ask: sampled(recording)
        if path.stem == "detokenize":  # token numbers are each server's own
            text = json.loads(recording["response"]["body"])["content"]
            request = {"method": "POST", "path": "/tokenize", "body": {"content": text}}
            recording["request"]["body"] = ask(fake, {"request": request}).json()
        answer = ask(fake, recording)
    compare(recording, answer)


def test_a_plain_server_has_no_more_than_v1() -> None:
    with FakeOpenAI("plain") as fake, httpx.Client(base_url=fake.url, trust_env=False) as client:
        assert client.get("/v1/models").json()["data"][0]["id"] == "smollm2:135m"
        for path in ("/health", "/version", "/props", "/slots"):
            assert client.get(path).status_code == 404
        for path in ("/tokenize", "/apply-template"):
            assert client.post(path, json={}).status_code == 404
