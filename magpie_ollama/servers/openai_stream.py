"""One answer of an OpenAI-compatible server, read line by line as it comes, or whole where it comes whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from magpie_ollama.decoding import Misshapen
from magpie_ollama.errors import MagpieError, TransientError
from magpie_ollama.servers.base import BROKEN, Completion, Watch
from magpie_ollama.servers.connections import LOOK
from magpie_ollama.servers.openai_shapes import Event, Usage, event, status

LONGEST_WHOLE = 8 * 2**20
"""Bytes of an answer that comes whole."""

LONGEST_TEXT = 2**20
"""Characters of text and reasoning: a server that goes on knows nothing of ``max_tokens``."""

_ENDS = {"stop", "eos", "eos_token", "stop_sequence", "stop_token", "stop_str", "end_turn", "end", "complete"}
_LIMITS = {"length", "max_tokens", "max_new_tokens", "max_length", "max_output_tokens", "model_length", "limit"}


def ending(reason: str) -> str:
    """What ended a text, as ``Completion.finish_reason`` has it.

    >>> ending("eos_token"), ending("MAX_TOKENS"), ending("content_filter")
    ('stop', 'length', 'broken')
    """
    reason = reason.lower()
    return "stop" if reason in _ENDS else "length" if reason in _LIMITS else BROKEN


class Unreadable(TransientError):
    """An answer that is none, or has no end. Whatever is the reason, the server did not refuse the request."""


class Reading:
    """Fills ``completion``. ``refuse`` makes an error of a status and of what a server says of it.

    With ``stops`` (raw mode), a control token that the server does not show ends the text too: llama-server's engine
    leaves such a token out of the text, so that no stop string can match it, and what follows would be glued to what
    came before.
    """

    def __init__(
        self,
        address: str,
        completion: Completion,
        watch: Watch,
        stops: Sequence[str] | None,
        refuse: Callable[[int, object], MagpieError],
    ) -> None:
        self._address = address
        self._completion = completion
        self._watch = watch
        self._stops = stops
        self._refuse = refuse
        self._usage = Usage()
        self._whole: list[bytes] = []
        self._size = 0
        self._told_an_error = False
        self._empty: list[
            float | None
        ] = []  # log-probabilities of the tokens without text since the last one with text
        self._measured = True

    def line(self, line: bytes) -> bool | None:
        """Takes a line. True: no more are wanted. None: it says nothing, and only keeps the connection open."""
        if line.startswith(b"data:"):
            data = line[5:].strip()
            if data == b"[DONE]":
                return False
            return self._event(data) if data else None
        if line.startswith(b"error:"):  # llama-server's, before it had "data:" for it
            self._told_an_error = True
            return self._event(line[6:].strip())
        if line.startswith(b"event:"):
            self._told_an_error = line[6:].strip() == b"error"
            return None
        if line.startswith((b":", b"id:", b"retry:")):
            return None
        self._whole.append(line)
        self._size += len(line)
        if self._size > LONGEST_WHOLE:
            raise Unreadable(f"{self._address} sent an endless answer.", LOOK)
        return False

    def end(self) -> None:
        """Raises where the answer is none, or not complete."""
        if self._whole:
            data = b"\n".join(self._whole)
            if not data.startswith(b"{"):
                start = " ".join(data[:60].decode("utf-8", "replace").split())
                raise Unreadable(f"{self._address} sent something that is no stream of events: {start!r}.", LOOK)
            self._event(data)
        completion, usage = self._completion, self._usage
        if not completion.finish_reason:
            raise Unreadable(f"{self._address} ended its answer before it was complete.", LOOK)
        completion.prompt_tokens = usage.prompt_tokens or 0
        completion.tokens = usage.completion_tokens or completion.tokens
        completion.cached_tokens = usage.cached
        if completion.logprob is not None:
            completion.logprob = min(completion.logprob, 0.0) if self._measured else None

    def _event(self, data: bytes) -> bool | None:
        try:
            told = event(data)
        except Misshapen as error:
            if self._told_an_error:
                raise self._refuse(500, data[:1000].decode("utf-8", "replace")) from error
            raise Unreadable(f"{self._address} sent an answer of another shape ({error}).", LOOK) from error
        failure = told.failure()
        if failure is None and self._told_an_error:
            failure = {"message": told.message or data[:1000].decode("utf-8", "replace"), "code": told.code}
        if failure is not None:
            raise self._refuse(status(failure), failure)
        return self._take(told)

    def _take(self, told: Event) -> bool | None:
        completion = self._completion
        if told.usage is not None:
            self._usage = told.usage
        if not told.choices:
            return None
        choice = told.choices[0]
        said = choice.delta or choice.message
        text = choice.text or ""
        thought = ""
        if said is not None:
            text = said.text() or text
            thought = said.thought()
            completion.reasoning += thought
        if choice.finish_reason:
            completion.finish_reason = ending(choice.finish_reason)
        numbers: list[float | None] = []
        unshown = False
        if choice.logprobs is not None:
            numbers = choice.logprobs.numbers()
            unshown = not text and self._stops is not None and choice.logprobs.is_empty()
        if unshown:
            self._empty += numbers
        if self._empty and _is_hidden(len(self._empty), text, self._stops or ()):
            completion.finish_reason = "stop"
            return True
        if unshown:
            return False
        if text and self._empty:
            numbers = [*self._empty, *numbers]
            self._empty.clear()
        if numbers:
            self._measure(numbers, text)
        if text.strip() and not completion.text.strip() and choice.logprobs is not None:
            completion.first = choice.logprobs.likely()
        if len(completion.text) + len(completion.reasoning) > LONGEST_TEXT:
            completion.finish_reason = "length"
            return True
        if not text:
            return False if thought or numbers or choice.finish_reason else None
        completion.tokens += len(numbers) or 1
        completion.text += text
        if self._watch(completion.text) and not completion.finish_reason:
            completion.finish_reason = "cancelled"
            return True
        return False

    def _measure(self, numbers: Sequence[float | None], text: str) -> None:
        """One that is not known leaves nothing to say of the whole text, unless it is that of no text."""
        known = [number for number in numbers if number is not None]
        if len(known) < len(numbers) and text:
            self._measured = False
        if known:
            self._completion.logprob = (self._completion.logprob or 0.0) + sum(known)


def _is_hidden(empty: int, text: str, stops: Sequence[str]) -> bool:
    """Whether ``empty`` tokens without text, with ``text`` behind them if any came, are control tokens.

    Text that may begin a stop string is held back, and its tokens come empty too, until the next one decides.
    """
    if text:
        return not any(stop[:1] in text for stop in stops if stop)
    return empty > max(map(len, stops), default=0)
