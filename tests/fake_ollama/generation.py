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
    `delay` is the pause before each token, None the server's own. Control tokens in `text` act as such. A piece that is
    not ASCII is a letter of so many tokens as `parts` says. `top` are the likeliest first tokens of a chat, where a
    request asks for them.
    """

    text: str | Sequence[str]
    done_reason: str = "stop"
    thinking: str = ""
    logprob: float | Sequence[float] = -0.5
    delay: float | None = None
    fault: Fault | Kind | None = None
    parts: int = 1
    top: Mapping[str, float] = field(default_factory=dict)


Script = Callable[[Ask], Reply | str]


def goes_on(text: str, token: str, answer: str = "Write down what you find, and ask somebody who knows.") -> Script:
    """A model that writes `text`, in which `token` stands for itself, and goes on from wherever a prompt ends in it."""
    parts = text.split(token)
    shown = "".join(parts)

    def script(ask: Ask) -> Reply:
        if ask.kind == "chat":
            return Reply(answer)
        left = max(n for n in range(len(shown) + 1) if ask.prompt.endswith(shown[:n]))
        at = 0
        for part in parts:
            if left <= len(part):
                break
            at, left = at + len(part) + len(token), left - len(part)
        return Reply(text[at + left :])

    return script


@dataclass(slots=True)
class Generated:
    """`pieces` are the visible tokens, `tokens` counts hidden ones and the end token too.

    `stop` is the stop string that ended it, `end` the end token that the reply itself holds. `parts` is the reply's.
    """

    thinking: list[str]
    pieces: list[str]
    reason: str
    tokens: int
    logprobs: list[float]
    stop: str | None = None
    end: str = ""
    parts: int = 1
    top: Mapping[str, float] = field(default_factory=dict)

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
    more = (reply.parts - 1) * sum(not piece.isascii() for piece in pieces)
    count = len(thinking) + len(pieces) + more + (reason == "stop")  # the end token counts, and has no text
    if 0 < limit < count and more:  # letter by letter
        while pieces and 0 < limit < len(pieces) + (reply.parts - 1) * sum(not piece.isascii() for piece in pieces):
            pieces.pop()
        count, reason = limit, "length"
    elif 0 < limit < count:
        pieces = pieces[: max(0, limit - len(thinking))]
        thinking, count, reason = thinking[:limit], limit, "length"
        ended_by = ""
    if controlled and not shows_control:
        pieces = [piece for piece in pieces if piece not in control]
    made = Generated(thinking, pieces, reason, count, [], end=ended_by)
    _cut_at_stop(made, stops)
    made.parts = reply.parts
    made.top = reply.top
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
