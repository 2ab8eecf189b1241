"""What Ollama says, as types: the lines of its streams, and its answers about models. Of another shape is an error.

Go leaves out what is empty, and writes null for a list that was never made: both stand for nothing here.
"""

from __future__ import annotations

import json
import re
from typing import Annotated

from msgspec import Meta, Struct, field

from magpie_ollama.decoding import Count, convert

Logprob = Annotated[float, Meta(ge=-1e6, le=0.01)]
"""In nats. Engines round: a token that is sure may have a little more than 0."""


Tokens = Annotated[int, Meta(ge=0, lt=2**31)]


class Likely(Struct):
    token: str
    logprob: Logprob


class Token(Struct):
    logprob: Logprob
    token: str | None = None
    top_logprobs: list[Likely] | None = None


class Said(Struct):
    content: str | None = None
    thinking: str | None = None


class Piece(Struct):
    """A line of a stream, but for its log-probabilities. Only the last one, with ``done``, has counts and a reason;
    ``error`` is a text, or what an engine below gave."""

    response: str | None = None
    message: Said | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: Tokens | None = None
    eval_count: Tokens | None = None
    error: object = None


class Measured(Piece):
    logprobs: list[Token] | None = None


class Version(Struct):
    version: str


class Listed(Struct):
    """A model that is there. Releases before 0.1.30 told ``name`` alone."""

    model: str = ""
    name: str = ""
    digest: str | None = None


class Tags(Struct):
    models: list[Listed] | None = None

    @property
    def named(self) -> dict[str, Listed]:
        return {name: entry for entry in self.models or () if (name := entry.model or entry.name)}


class Details(Struct):
    parameter_size: str | None = None
    quantization_level: str | None = None


class Running(Listed):
    """A model in memory: its bytes, those of them on a GPU, and its context in tokens."""

    size: Count | None = None
    size_vram: Count | None = None
    context_length: Tokens | None = None
    details: Details | None = None


class Processes(Struct):
    models: list[Running] | None = None


class Shown(Struct):
    """What a model is. ``template`` is "{{ .Prompt }}" where nobody gave it one."""

    parameters: str | None = None
    template: str | None = None
    modelfile: str | None = None
    capabilities: list[str] | None = None
    model_info: dict[str, object] | None = None

    @property
    def context(self) -> int:
        """Tokens that the model was trained with, 0 where it is not told. ``Misshapen`` for what is no number."""
        for key, value in (self.model_info or {}).items():
            if key.endswith(".context_length") and value:
                return convert(value, Tokens)
        return 0

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings in the text of the Modelfile's parameters, a line each: ``stop   "<|im_end|>"``."""
        found = re.findall(r'^stop\s+("(?:[^"\\]|\\.)*"|\S+)\s*$', self.parameters or "", re.MULTILINE)
        return tuple(filter(None, map(_unquote, found)))

    @property
    def weights(self) -> str:
        """Where they lie, "" where it is not told: the path of the Modelfile's FROM, which has their digest."""
        found = re.search(r"^FROM\s+(\S.*)$", self.modelfile or "", re.MULTILINE)
        return found[1] if found else ""

    @property
    def has_template(self) -> bool:
        """Whether the Modelfile says how the model is to be asked. A template within the weights shows nowhere."""
        plain = (self.template or "").strip() == "{{ .Prompt }}"
        return not plain or re.search(r"^RENDERER\s", self.modelfile or "", re.MULTILINE) is not None


class Debug(Struct):
    rendered_template: str | None = None


class Answered(Struct):
    """An answer that was no stream: what it was asked for is a rendering, or a count."""

    debug: Debug | None = field(default=None, name="_debug_info")
    prompt_eval_count: Tokens | None = None


class Embedded(Struct):
    embeddings: list[list[float]]


def is_same(listed: str, model: str) -> bool:
    """Whether a listed name is that of ``model``: Ollama ignores case, its registry's name and the tag "latest"."""
    return _plain_name(listed) == _plain_name(model)


def _plain_name(model: str) -> str:
    name = model.lower().removeprefix("registry.ollama.ai/").removeprefix("library/")
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _unquote(stop: str) -> str:
    try:
        return str(json.loads(stop)) if stop.startswith('"') else stop
    except ValueError:  # Go's escapes that JSON has not, such as \\x00
        pass
    try:
        return stop[1:-1].encode("latin-1", "backslashreplace").decode("unicode_escape")
    except UnicodeError:  # not even those: "\\x"
        return stop[1:-1]
