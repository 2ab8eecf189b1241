"""What an OpenAI-compatible server takes of the parameters that a request can do without: found out by asking, once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from magpie_ollama.errors import Busy, ConnectionLost, PromptTooLong, RequestRefused, TransientError
from magpie_ollama.servers.base import Completion
from magpie_ollama.servers.connections import LOOK, START
from magpie_ollama.servers.openai_stream import Unreadable

Body = dict[str, Any]
Ask = Callable[[Body, Completion], Awaitable[None]]
"""Sends a body and fills the completion with the answer."""

Key = tuple[str, str]
Rules = dict[Key, Any]
"""A parameter, with the value where that matters, and what is sent in its place."""

LEFT_OUT = object()
RENAMED = object()

OWN = "its own default holds"


@dataclass(frozen=True, slots=True)
class Tunable:
    """``instead``: what says the same in other servers' ways, given the value, by falling likelihood.
    ``without`` says what it means when the parameter is left out; "" where that means nothing to a user."""

    without: str = OWN
    instead: Callable[[Any], Sequence[Any]] = lambda value: ()


TUNABLE: Mapping[str, Tunable] = {
    # Those that servers refuse most come first. mlx has a flag where the API has a number.
    "logprobs": Tunable("confidence is not measured", lambda value: () if value is True else (True,)),
    "top_logprobs": Tunable("a judge's score is not weighed", lambda value: (5,) if value > 5 else ()),
    "top_k": Tunable(instead=lambda value: (0,) if value == -1 else ()),
    "top_p": Tunable(),
    "min_p": Tunable(),
    "repetition_penalty": Tunable(),
    "repeat_penalty": Tunable(),
    "chat_template_kwargs": Tunable("whether the model reasons is its own choice"),
    "response_format": Tunable(
        "JSON is asked for in words only",
        lambda value: (
            ({"type": "json_object", "schema": value["json_schema"]["schema"]}, {"type": "json_object"})
            if "json_schema" in value
            else ()
        ),
    ),
    "stream_options": Tunable("tokens are counted by their pieces"),
    "seed": Tunable("the same seed gives another text"),
    "skip_special_tokens": Tunable(""),
    "add_special_tokens": Tunable("a token may stand in front of the prompt twice"),
    "stop": Tunable("what is written behind an instruction is paid for and cut off", lambda value: (value[:4],)),
    # Some take no 0.
    "temperature": Tunable(instead=lambda value: () if value else (0.01,)),
    "max_tokens": Tunable("", lambda value: (RENAMED,)),
}
ESSENTIAL = "max_tokens"
BY_VALUE = {"logprobs", "top_k", "top_p", "min_p", "repetition_penalty", "repeat_penalty", "temperature"}
PENALTIES = {"repetition_penalty", "repeat_penalty"}
IN_VAIN = 12
"""So many answers that none could be read, and not one that could: more will not help."""

STREAM: Key = ("stream", "")


class Dialect:
    """Puts requests as one server takes them. ``tell`` gets a sentence for each parameter that is missing."""

    def __init__(self, address: str, tell: Callable[[str], None]) -> None:
        self._address = address
        self._tell = tell
        self._rules: Rules = {}
        self._proved: set[Any] = set()
        self._lock = asyncio.Lock()
        self._lessons = 0
        self._in_vain = 0

    async def ask(self, path: str, body: Body, ask: Ask) -> Completion:
        """The answer to ``body``. A request of a kind that was never answered, and that may be refused for one of its
        parameters, is asked again without them; which ones are to blame is kept.

        Raises what ``ask`` raises; ``RequestRefused`` in place of a failure that comes again without all of them.
        """
        while True:
            lessons, fitted, completion = self._lessons, _fit(self._rules, body), Completion()
            kind = _kind(path, fitted)
            try:
                await ask(fitted, completion)
            except (RequestRefused, TransientError) as error:
                self._in_vain += not isinstance(error, Busy | ConnectionLost)
                if not self._proved and self._in_vain >= IN_VAIN:
                    raise RequestRefused(error.cause, error.remedy) from error
                if completion.tokens or kind in self._proved or not _is_a_refusal(error):
                    raise
                async with self._lock:
                    if self._lessons == lessons:  # else another request has found out meanwhile
                        await self._learn(path, body, error, ask)
                        self._lessons += 1
            else:
                self._proved.add(kind)
                return completion

    async def _learn(self, path: str, body: Body, error: RequestRefused | TransientError, ask: Ask) -> None:
        """Returns once the server takes what is made of ``body``. Raises where no parameter is to blame."""

        async def failure(rules: Rules) -> RequestRefused | TransientError | None:
            trial = _fit(rules, body)
            try:
                await ask(
                    trial | dict.fromkeys({"max_tokens", "max_completion_tokens"} & trial.keys(), 1), Completion()
                )
            except (Busy, PromptTooLong):
                raise
            except (RequestRefused, TransientError) as failed:
                return failed
            self._proved.add(_kind(path, trial))
            return None

        # What it names goes first, in as many steps as it takes.
        rules = dict(self._rules)
        failed: RequestRefused | TransientError | None = error
        while failed is not None and (step := _step(rules, body, failed.cause)):
            rules |= step
            failed = await failure(rules)
        if failed is not None:
            rules = await self._search(body, error, failure)
        self._keep(rules, body)

    async def _search(
        self,
        body: Body,
        error: RequestRefused | TransientError,
        failure: Callable[[Rules], Awaitable[RequestRefused | TransientError | None]],
    ) -> Rules:
        """The rules under which it takes as much as possible, found by halves from the request that has nothing."""
        names = [name for name in TUNABLE if name in body and name != ESSENTIAL]
        rules = self._rules | {_key(name, body[name]): LEFT_OUT for name in names}
        again = await failure(rules)
        if again is not None and body.get("stream"):
            rules[STREAM] = False
            if await failure(rules) is not None:
                raise _for_good(error, again)
            names = [name for name in names if name != "stream_options"]

        async def admit(group: list[str]) -> None:
            nonlocal rules
            keys = {_key(name, body[name]) for name in group}
            more = {key: value for key, value in rules.items() if key not in keys}
            failed = await failure(more)
            if failed is None:
                rules = more
            elif len(group) > 1:
                await admit(group[: len(group) // 2])
                await admit(group[len(group) // 2 :])
            elif isinstance(failed, TransientError) and await failure(more) is None:  # it failed by chance
                rules = more
            else:
                (key,) = keys
                for other in TUNABLE[group[0]].instead(body[group[0]]):
                    if await failure(rules | {key: other}) is None:
                        rules[key] = other
                        return

        await admit(names)
        return rules

    def _keep(self, rules: Rules, body: Body) -> None:
        new = {key: value for key, value in rules.items() if self._rules.get(key) is not value}
        self._rules = rules
        fitted = _fit(rules, body)
        for (name, value), instead in new.items():
            if name == "stream":
                self._tell(f"{self._address} does not stream: a text cannot be cut off while it is written.")
            elif instead is not LEFT_OUT or (name, value) == ("top_p", "1.0") or not TUNABLE[name].without:
                continue  # which says the same
            elif not (name in PENALTIES and PENALTIES & fitted.keys()) and STREAM not in new:
                told = f"{name} {value}".strip() if name != "logprobs" else name
                self._tell(f"{self._address} takes no {told}: {TUNABLE[name].without}.")


def _key(name: str, value: Any) -> Key:
    return name, repr(value) if name in BY_VALUE else ""


def _fit(rules: Rules, body: Body) -> Body:
    if not rules:
        return body
    fitted: Body = {}
    for name, value in body.items():
        put = rules.get(_key(name, value), value)
        if put is RENAMED:
            fitted["max_completion_tokens"] = value
        elif put is not LEFT_OUT:
            fitted[name] = put
    if not fitted.get("stream"):
        fitted.pop("stream_options", None)
    return fitted


def _kind(path: str, body: Body) -> Any:
    """What requests have in common that a server takes or refuses alike: which parameters, and their settings."""
    return path, *(_key(name, body[name]) for name in TUNABLE if name in body), body.get("stream")


def _is_a_refusal(error: Exception) -> bool:
    """Whether a parameter may be the reason. Some servers answer a wrong one with a 500, or not at all."""
    if isinstance(error, Busy | PromptTooLong | Unreadable):
        return False
    return not (isinstance(error, ConnectionLost) and error.remedy == START)  # where nothing answers at all


def _step(rules: Rules, body: Body, said: str) -> Rules:
    """One more step away from the parameters that the server names, for each that has any left."""
    found: Rules = {}
    for name, tunable in TUNABLE.items():
        if name not in body or not re.search(
            rf"(?<![a-z_]){name.replace('_', '[_ -]?')}(?![a-z_])", said, re.IGNORECASE
        ):
            continue
        if name == ESSENTIAL and "max_completion_tokens" not in said:
            continue
        key, left = _key(name, body[name]), [*tunable.instead(body[name])]
        left += [LEFT_OUT] if name != ESSENTIAL else []
        left = left[left.index(rules[key]) + 1 :] if key in rules else left
        if left:
            found[key] = left[0]
    if body.get("stream") and STREAM not in rules and re.search(r"\bstream(ing|s|ed)?\b", said, re.IGNORECASE):
        found[STREAM] = False
    return found


def _for_good(error: RequestRefused | TransientError, again: RequestRefused | TransientError) -> Exception:
    """What fails in the same words again, whatever is left out, will do so each time."""
    if isinstance(error, ConnectionLost) and isinstance(again, ConnectionLost):
        return RequestRefused(f"{error.cause.rstrip('.')}, at each request to generate.", LOOK)
    same = error.cause == again.cause and not isinstance(error, ConnectionLost)
    return RequestRefused(error.cause, error.remedy) if same else error
