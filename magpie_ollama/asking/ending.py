"""Where an instruction ends that a server does not show the end of.

Ollama since 0.30 shows nothing of control tokens. Where one of them alone ends a user's turn (Mistral's [/INST]) and is
no end token of the model's, the answer follows, and nothing stands between the two. So one token more is asked for
wherever the turn may have ended, behind a sentence or a line: one that was generated and has no text is the hidden one.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

from magpie_ollama.servers.base import Completion, Sampling, Watch

PROBES = 12
"""So many ends are looked at, the first ones: what is longer is a list or code, and goes on as it comes. With the
prompt in the cache, a look costs 30 ms (Ollama 0.33.0, SmolLM2-135M on two cores): as much as one or two tokens."""

_END = re.compile(r"(?:[.?!…。？！｡．؟۔।॥።፧՞՜։។៕။၊๏][\"'”’»›)\]}*_`」』）】]{0,8}|\S(?=\s{0,15}\n))(\s{0,16})\Z")
"""The end of a text behind a sentence, with the quotes that close there, or behind a line."""

Ask = Callable[[str, Sampling, Watch], Awaitable[Completion]]
"""Goes on from a text, by a sampling, watched."""


def turn_end(text: str) -> int:
    """Where a turn may end at the end of a text that is being written: in front of its last blanks. 0: not there.

    >>> turn_end("What is it?"), turn_end("A poem on the sea\\n\\n"), turn_end("What is")
    (11, 17, 0)
    """
    found = _END.search(text, max(0, len(text) - 32))
    return found.start(1) if found else 0


def reseed(seed: int, number: int) -> int:
    """Another seed in place of ``seed``, far from those of other attempts; 0 gives the same."""
    return (seed + number * 0x2545F491) % 2**31 if number else seed


class Endings:
    """Has instructions written whose end may be hidden.

    Until one was found hidden, a text is looked through once it is written: a model whose end tokens end it costs
    nothing then. From there on the writing is halted at each end, so that no answer is written for nothing.
    """

    def __init__(self) -> None:
        self._found = False

    async def write(self, ask: Ask, sampling: Sampling, watch: Watch) -> Completion:
        """The instruction up to its hidden end, or as it came; ``watch`` sees the whole text so far."""
        if self._found:
            return await _halting(ask, sampling, watch)
        made = await ask("", sampling, watch)
        if made.finish_reason == "stop" and made.text.isascii() and not made.unshown:
            return made  # all its tokens were shown
        ends = dict.fromkeys(turn_end(made.text[:n]) for n in range(1, len(made.text)))
        for number, end in enumerate([end for end in ends if end][:PROBES]):
            one = replace(sampling, max_tokens=1, seed=reseed(sampling.seed, number + 1))
            before = made.text[:end]
            probe = await ask(before, one, lambda text: False)
            made.tokens += probe.tokens
            if _is_hidden(probe):
                self._found = True
                return replace(made, text=before, finish_reason="stop", unshown=0, logprob=None)
        return made


async def _halting(ask: Ask, sampling: Sampling, watch: Watch) -> Completion:
    """By as many requests as it takes. The token that is asked for at an end is drawn like all others: where it is not
    the hidden one, the text goes on with it."""
    made = Completion()
    asked = last = probes = 0

    async def more(tokens: int, halts: bool) -> Completion:
        nonlocal asked
        before = made.text

        def look(text: str) -> bool:
            return (halts and turn_end(before + text) > last) or watch(before + text)

        seed = reseed(sampling.seed, asked)
        asked += 1
        return await ask(before, replace(sampling, max_tokens=tokens, seed=seed), look)

    while True:
        halts = probes < PROBES
        made = _joined(made, await more(sampling.max_tokens - made.tokens, halts))
        while halts and made.finish_reason in ("cancelled", "length") and turn_end(made.text) > last:
            last = turn_end(made.text)
            made.text = made.text[:last]
            probes += 1
            probe = await more(1, halts=False)
            if _is_hidden(probe):
                return replace(made, finish_reason="stop", tokens=made.tokens + 1)
            made = _joined(made, probe)
        if not halts or made.finish_reason != "length" or made.tokens >= sampling.max_tokens:
            return made


def _is_hidden(probe: Completion) -> bool:
    return not probe.text and probe.tokens == 1


def _joined(first: Completion, second: Completion) -> Completion:
    known = second.logprob is not None and (first.logprob is not None or not first.text)
    return replace(
        second,
        text=first.text + second.text,
        prompt_tokens=first.prompt_tokens or second.prompt_tokens,
        tokens=first.tokens + second.tokens,
        logprob=(first.logprob or 0.0) + (second.logprob or 0.0) if known else None,
    )
