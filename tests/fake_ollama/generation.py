"""From a scripted reply to the tokens that a server sends: cut by stop strings, end tokens and limits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .faults import Fault, Kind
from .models import FakeModel


@dataclass(frozen=True, slots=True)
class Ask:
    """What a script is asked. `prompt` is the rendered one where kind is "chat".

    `seed` is None where the request has none. `index` counts the generating requests of the server from 0,
    in the order they came; all samples of one request (`n`) share it, each with its own seed.
    """

    kind: Literal["raw", "chat"]
    model: str
    prompt: str
    messages: Sequence[Mapping[str, Any]]
    options: Mapping[str, Any]
    seed: int | None
    index: int
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model would write if nothing cut it. As a sequence, `text` gives one token an element.

    `done_reason` "length" claims a cut that no limit made. `logprob` is that of every token, or one a token.
    `delay` is the pause before each token, None the server's own. Control tokens in `text` act as such.
    """

    text: str | Sequence[str]
    done_reason: str = "stop"
    thinking: str = ""
    logprob: float | Sequence[float] = -0.5
    delay: float | None = None
    fault: Fault | Kind | None = None


Script = Callable[[Ask], Reply | str]


@dataclass(slots=True)
class Generated:
    """`pieces` are the visible tokens, `tokens` counts hidden ones and the end token too.

    `stop` is the stop string that ended it, `end` the end token that the reply itself holds.
    """

    thinking: list[str]
    pieces: list[str]
    reason: str
    tokens: int
    logprobs: list[float]
    stop: str | None = None
    end: str = ""

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def generate(
    reply: Reply,
    model: FakeModel,
    stops: Sequence[str],
    limit: int,
    shows_control: bool,
    think: bool = False,
    more_ends: Collection[str] = (),
) -> Generated:
    """`limit` 0 or less is none; `more_ends` are tokens that end it besides the model's own."""
    tokenizer, control = model.tokenizer, model.tokenizer.control
    thinking = tokenizer.split(reply.thinking) if think and reply.thinking else []
    pieces = tokenizer.split(reply.text) if isinstance(reply.text, str) else list(reply.text)
    reason, ended_by = reply.done_reason, ""
    controlled = not control.isdisjoint(pieces)
    if controlled:
        ends = (*model.template.ends, *more_ends)
        end = next((n for n, piece in enumerate(pieces) if piece in ends), None)
        if end is not None:
            ended_by, pieces, reason = pieces[end], pieces[:end], "stop"
    count = len(thinking) + len(pieces) + (reason == "stop")  # the end token counts, and has no text
    if 0 < limit < count:
        pieces = pieces[: max(0, limit - len(thinking))]
        thinking, count, reason = thinking[:limit], limit, "length"
        ended_by = ""
    if controlled and not shows_control:
        pieces = [piece for piece in pieces if piece not in control]
    made = Generated(thinking, pieces, reason, count, [], end=ended_by)
    _cut_at_stop(made, stops)
    if isinstance(reply.logprob, (int, float)):
        made.logprobs = [float(reply.logprob)] * len(made.pieces)
    else:
        made.logprobs = list(reply.logprob)[: len(made.pieces)]
    return made


def _cut_at_stop(made: Generated, stops: Sequence[str]) -> None:
    text = made.text
    found = [(text.index(stop), stop) for stop in stops if stop and stop in text]
    if not found:
        return
    at, stop = min(found)
    cut: list[str] = []
    for piece in made.pieces:
        if at <= 0:
            break
        cut.append(piece[:at])
        at -= len(piece)
    made.tokens = len(made.thinking) + len(cut) + 1
    made.pieces, made.reason, made.stop = cut, "stop", stop
