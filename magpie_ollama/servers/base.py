"""What a server of language models must be able to do, and the values that go in and come out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from magpie_ollama.records import Message

BROKEN = "broken"
"""The ``finish_reason`` of a text that the server broke off: half a text, whatever its own word for it."""

Watch = Callable[[str], bool]
"""Called with the whole text so far each time it grows; True cancels the request at once."""


class OnStep(Protocol):
    """Is told what takes long: ``done`` of ``total`` bytes of it, where there are any."""

    def __call__(self, step: str, detail: str = "", done: int = 0, total: int = 0, /) -> None: ...


@dataclass(frozen=True, slots=True)
class ServerChoice:
    """Which server and model. "" and None stand for "find out"; ``options`` go with every request."""

    kind: str = "auto"
    host: str = ""
    model: str = ""
    model_path: Path | None = None
    template: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    pull: bool = False
    embeds: bool = False
    """Whether vectors of texts are wanted of it, and no texts."""

    def beside(self, model: str, kind: str = "", host: str = "") -> ServerChoice:
        """Another model, on the same server unless a ``kind`` or a ``host`` is given; options are those of a kind."""
        same = kind in ("", self.kind)
        return ServerChoice(
            kind or self.kind,
            host or (self.host if same else ""),
            model,
            options=self.options if same else {},
            pull=self.pull,
        )


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. Every field is sent with every request: the servers' own defaults differ
    (Ollama: temperature 0.8, top_k 40, top_p 0.9; llama-server: min_p 0.05) and change between versions.

    ``top_k`` 0 is off. ``max_tokens`` bounds the generated tokens.
    """

    temperature: float
    max_tokens: int
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    seed: int = 0

    def seeded(self, seed: int) -> Sampling:
        return replace(self, seed=seed)


@dataclass(slots=True)
class Completion:
    """One finished or cancelled generation.

    ``finish_reason`` is "stop" (end token or stop string), "length" (``max_tokens``), "cancelled" (the watch asked for
    it) or ``BROKEN``, and nothing else: no server's own word gets here. ``tokens`` is the server's count, or the number
    of pieces received where the request was cancelled. ``logprob`` is the sum over the tokens of ``text``, in nats;
    None where the server gave none. ``unshown`` counts tokens that were generated amid the text and that the server
    left out of it, as far as it can be known. ``cached_tokens`` is what the prompt cache saved, 0 where it is not told.
    ``first`` are the tokens that might have stood where the text's first letter does, with their log-probabilities in
    nats; {} where they were not asked for, or not told.
    """

    text: str = ""
    reasoning: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    tokens: int = 0
    logprob: float | None = None
    unshown: int = 0
    first: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Model:
    """What a server tells of one model. Empty strings and 0 stand for what it does not tell.

    ``stops`` are the model's own stop strings, ``context`` its context in tokens as loaded or as trained.
    ``thinks`` says whether it can reason before it answers (None: not told), ``generates`` whether it
    writes text at all, ``embeds`` whether it makes vectors of texts (None: not told). ``untold``: where its chat
    template comes from is not told, and it may be the server's guess.
    """

    name: str
    digest: str = ""
    context: int = 0
    stops: tuple[str, ...] = ()
    thinks: bool | None = None
    generates: bool = True
    embeds: bool | None = None
    untold: bool = False


class PullProgress(NamedTuple):
    """Bytes of one layer of a model on its way here; 0 of 0 for steps without a size."""

    status: str
    completed: int
    total: int


class InMemory(NamedTuple):
    """A model in memory: its bytes in all, and those of them on a GPU (what is left, the CPU computes). ``parameters``
    and ``quantisation`` are in the server's own words ("134.52M", "Q4_1"). 0 and "": it does not tell."""

    size: int = 0
    on_gpu: int = 0
    parameters: str = ""
    quantisation: str = ""


class Server(Protocol):
    """A running server. ``kind`` is its name on the command line, ``address`` where it listens.

    Its class says what servers of its kind can do, and what their users are told. What is said here holds for a kind
    that says nothing else: such a class inherits from this one, and ``servers.registry`` names it.

    All methods raise ``errors.ServerError``: ``TransientError`` where the same call may succeed later.
    Options that make a server load a model anew (``num_ctx`` and the like) belong to the instance and go
    with every request alike, so that no request can reload the model under another one.

    ``notices`` gets what it finds out and the user should read, a sentence each. Who shows them puts a list of its own
    in its place.
    """

    kind: ClassVar[str]
    named: ClassVar[str] = "the server"
    """Amid a sentence."""
    has_weights: ClassVar[bool] = False
    """Whether it is begun by the command, with the weights of one model, which --model-path or -m name."""
    shown_by: ClassVar[str] = ""
    """Those of its kind that show control tokens, to be recommended where another server hides them."""
    more_context: ClassVar[str] = "start the server with more context"
    more_slots: ClassVar[str] = "start the server with more slots (llama-server: --parallel 4)"
    more_told: ClassVar[str] = "start the server so that it tells them"
    stay_loaded: ClassVar[str] = "start the server so that it keeps its model"
    """What to do for each of these, as remedies."""

    address: str
    notices: list[str]
    slots: int = 0
    """So many requests run at once by this tool's own choice; 0: that is the server's affair."""

    @classmethod
    async def begin(cls, choice: ServerChoice, slots: int, on_step: OnStep) -> Self:
        """The server that ``choice`` means, not asked for anything yet. ``slots`` requests are to run at once, where
        that can be chosen (0: as many as usual); ``on_step`` is told what takes long. Raises ``MagpieError``."""

    @staticmethod
    def lacks(version: str) -> str:
        """What this version lacks, "" for nothing."""
        return ""

    def advice(self, slots: int) -> str:
        """What would let it run more than the ``slots`` requests at once that it runs; "" for nothing."""
        return (
            f"This server runs {slots} at once; if it can be started with more (llama-server --parallel, "
            "vLLM --max-num-seqs), try that"
        )

    async def version(self) -> str:
        """The server's version, "" where it tells none."""

    async def models(self) -> list[str]:
        """Names of the models that are there, those that only embed among them (``describe`` says which)."""

    async def describe(self, model: str) -> Model:
        """Facts about one model; ``ModelMissing`` if it is not there."""

    def pull(self, model: str) -> AsyncIterator[PullProgress] | None:
        """Fetches ``model``, and ends when it is there; None where the server cannot."""
        return None

    async def load(self, model: str) -> None:
        """Returns when the model is in memory: minutes, for a large one on a laptop."""

    async def in_memory(self, model: str) -> InMemory | None:
        """What of the model is in memory; None where it is not."""
        return InMemory()

    async def render(self, model: str, messages: Sequence[Message]) -> str | None:
        """The exact prompt that this server makes of a conversation, with the assistant's header at its end.

        None where the server cannot tell.
        """

    async def adds_bos(self, model: str, bos: str) -> bool:
        """Whether a raw prompt gets the text ``bos`` (a beginning-of-sequence token) in front by itself."""

    async def hides(self, model: str, token: str) -> bool:
        """Whether the control token ``token`` leaves no trace in the text where the model writes it."""
        return False

    async def complete(
        self, model: str, prompt: str, sampling: Sampling, stops: Sequence[str], watch: Watch
    ) -> Completion:
        """Continues ``prompt`` as it stands, no template applied (raw mode)."""

    async def chat(
        self,
        model: str,
        messages: Sequence[Message],
        sampling: Sampling,
        think: bool,
        watch: Watch,
        schema: Mapping[str, Any] | None = None,
        top: int = 0,
    ) -> Completion:
        """The assistant's next turn; with a JSON schema, in JSON that follows it. With ``top`` (20 at most), so many
        of the likeliest first tokens are asked for.

        Servers hold the model to the schema while it writes. One that stops at ``max_tokens`` leaves broken JSON.
        """

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """A vector of each text, in their order. One that is longer than the context is cut, or ``PromptTooLong``."""

    async def score(self, model: str, asked: str, said: str) -> float | None:
        """A reward model's number for a pair, the higher the better; None where the server has no such thing."""
        return None

    def silent_for(self) -> float:
        """Seconds since the last byte came on any stream, or since the last request began."""

    async def close(self) -> None: ...
