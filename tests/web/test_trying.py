"""The room to try a model in: what is told while it writes, and what is kept of it."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_ollama import Ask, FakeModel, FakeOllama, Reply, chatml
from run.support import ANSWER, GERMAN, QUESTION
from starlette.testclient import TestClient
from web.support import opened

from magpie_ollama.servers.base import ServerChoice
from magpie_ollama.web.trying import LABELS, PAIRS, RECORDS, Trying, parts

WAY = {"server": "ollama", "language": "en", "steering": "system+opener", "temperature": 0.7, "seed": 7}


def script(ask: Ask) -> Reply:
    return Reply(ANSWER if ask.kind == "chat" else QUESTION)


@pytest.fixture
def fake() -> Iterator[FakeOllama]:
    with FakeOllama(models=[FakeModel("m:1b", template=chatml())], script=script) as server:
        yield server


@pytest.fixture
def client(fake: FakeOllama, tmp_path: Path) -> Iterator[TestClient]:
    with opened(tmp_path, fake.url) as browser:
        yield browser


def attempt(client: TestClient, **changes: Any) -> list[dict[str, Any]]:
    answer = client.post("/try/attempt", json=WAY | changes)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def of(told: list[dict[str, Any]], key: str) -> Any:
    return [one[key] for one in told if key in one]


def test_an_attempt_is_told_as_it_is_made(client: TestClient, fake: FakeOllama) -> None:
    told = attempt(client)
    assert of(told, "error") == of(told, "rejected") == []
    (prompt,) = of(told, "prompt")
    sent = next(one.body["prompt"] for one in fake.requests if one.generation >= 0 and one.body.get("raw"))
    assert "".join(text for _, text in prompt) == sent, "the prompt as it is sent"
    kinds = {kind for kind, _ in prompt}
    assert kinds == {"template", "steering"}
    assert of(told, "instruction")[-1] == QUESTION and len(of(told, "instruction")) > 3
    assert of(told, "response")[-1] == ANSWER
    (kept,) = of(told, "kept")
    assert kept["instruction"].endswith(QUESTION) and kept["response"] == ANSWER
    words = shlex.split(of(told, "command")[0])
    assert words[:4] == ["magpie-ollama", "generate", "-l", "en"] and words[words.index("--host") + 1] == fake.url
    assert not (client.get("/corpus").text.count("tried")), "nothing is kept unasked"


def test_the_reason_is_told_where_it_is_rejected(client: TestClient, fake: FakeOllama) -> None:
    fake.script = lambda ask: Reply(GERMAN)
    told = attempt(client, steering="none")
    (one,) = [event for event in told if "rejected" in event]
    assert (one["rejected"], one["stage"]) == ("wrong_language", "instruction")
    assert of(told, "kept") == [] and of(told, "instruction")


def test_what_is_kept_goes_to_three_files(client: TestClient, fake: FakeOllama, tmp_path: Path) -> None:
    (kept,) = of(attempt(client), "kept")
    send = {"id": kept["id"]}
    assert client.post("/try/keep", json=send | {"action": "up"}).json() == {"told": f"Written to {LABELS}"}
    assert client.post("/try/keep", json=send | {"action": "down"}).status_code == 400, "one thumb a response"
    assert client.post("/try/keep", json=send | {"action": "edit", "text": ANSWER}).status_code == 400
    assert client.post("/try/keep", json=send | {"action": "edit", "text": "Better."}).status_code == 200
    assert client.post("/try/keep", json=send | {"action": "keep"}).status_code == 400, "it is there, edited"
    label, pair, record = (json.loads((tmp_path / name).read_text()) for name in (LABELS, PAIRS, RECORDS))
    asked, answer = [{"role": "user", "content": kept["instruction"]}], {"role": "assistant", "content": ANSWER}
    better = {"role": "assistant", "content": "Better."}
    assert label == {"prompt": asked, "completion": [answer], "label": True, "reason": ""}
    assert pair == {"prompt": asked, "chosen": [better], "rejected": [answer], "reason": ""}
    assert record["messages"] == [*asked, better]
    assert (record["model"], record["temperature"], record["seed"], record["schema"]) == ("m:1b", 0.7, 7, 2)
    (other,) = of(attempt(client, seed=8), "kept")
    assert client.post("/try/keep", json={"id": other["id"], "action": "keep"}).status_code == 200
    assert len((tmp_path / RECORDS).read_text().splitlines()) == 2
    assert client.post("/try/keep", json={"id": "none", "action": "keep"}).status_code == 400


def test_a_server_that_is_not_there_is_told_with_what_starts_it(tmp_path: Path) -> None:
    with opened(tmp_path, "http://127.0.0.1:9") as client:
        (error,) = [event for event in attempt(client) if "error" in event]
        assert "ollama serve" in error["next"]
        listed = client.post("/try/models", json={"server": "ollama"})
        assert listed.status_code == 400 and "ollama serve" in listed.json()["next"]


def test_models_are_listed_and_nothing_else_can_be_asked_for(client: TestClient) -> None:
    assert client.post("/try/models", json={"server": "ollama"}).json()["models"] == ["m:1b"]
    for wrong in ({"server": "ftp"}, {"language": "klingon"}, {"steering": "x"}, {"topics": "/etc/passwd"}):
        assert client.post("/try/attempt", json=WAY | wrong).status_code == 400, wrong
    assert client.post("/try/attempt", json=WAY | {"temperature": 99}).status_code == 400


def test_a_browser_that_goes_away_frees_the_servers_slot(fake: FakeOllama, tmp_path: Path) -> None:
    fake.script = lambda ask: Reply(" word" * 500, delay=0.02)

    async def leave() -> None:
        trying = Trying(tmp_path, ServerChoice("ollama", fake.url))
        stream = (await trying.attempt(WAY | {"steering": "none"})).body_iterator
        async for line in stream:
            if '"instruction"' in str(line):
                break
        await stream.aclose()  # type: ignore[attr-defined]
        assert trying._users == {("ollama", ""): 0}
        await trying.close()

    asyncio.run(leave())
    writing = [one for one in fake.requests if one.generation >= 0]
    fake.wait_until(lambda: writing[-1].cancelled)


@pytest.mark.parametrize(
    ("bare", "prompt"),
    [
        ("<|im_start|>user\n", "[<|im_start|>user\n]"),
        ("<|im_start|>user\n", "[<|im_start|>user]italian: Come"),
        ("<|im_start|>user\n", "[<|im_start|>system\n]Scrivi.[<|im_end|>\n][<|im_start|>user\n]Come"),
        (
            "<|im_start|>system\nYou.<|im_end|>\n<|im_start|>user\n",
            "[<|im_start|>system\nYou.<|im_end|>\n<|im_start|>user\n]Come",
        ),
        (
            "<|im_start|>system\nYou.<|im_end|>\n<|im_start|>user\n",
            "[<|im_start|>system\n]Tu.[<|im_end|>\n][<|im_start|>user\n]",
        ),
        ("<|h|>user<|/h|>\n\n", "[<|h|>system<|/h|>\n\n]users like it[<|e|><|h|>user][<|/h|>\n\n]Come"),
        ("### User:\n", "[### User:\n]Come"),
        ("### User:\n", "Scrivi.\n[### User:\n]Come"),
    ],
)
def test_a_prompt_is_told_in_its_parts(bare: str, prompt: str) -> None:
    """What is of the template stands in brackets."""
    told = parts(prompt.replace("[", "").replace("]", ""), bare)
    assert "".join(f"[{text}]" if kind == "template" else text for kind, text in told) == prompt
