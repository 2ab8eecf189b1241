"""One response on one scale from 1 to 5, by one digit of a judge: what it is asked, and what its answer is worth.

The scales stand in ``prompts/judges/<code>.toml``: "language" (correct, fluent, natural) and "answer" (whether it
answers the instruction). The score is the mean of the digits, weighed by the probabilities that the judge gives them
(Liu et al. 2023, arXiv 2303.16634): one token, and finer than the digit that it would write.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from magpie_ollama import prompts
from magpie_ollama.corpus.lines import whole_text
from magpie_ollama.decoding import Misshapen, decode
from magpie_ollama.errors import PromptTooLong, RequestRefused, TransientError
from magpie_ollama.method import languages
from magpie_ollama.records import Message
from magpie_ollama.servers.base import Sampling
from magpie_ollama.servers.loaded import LoadedModel
from magpie_ollama.tagging.answers import FIRST, Answers
from magpie_ollama.tagging.planted import Shown
from magpie_ollama.tagging.proof import Rate
from magpie_ollama.tagging.scales import LONGEST, shortened

SCALES = ("language", "answer")
LOWEST, HIGHEST = 1, 5

TOP = 20
"""The most that Ollama and vLLM tell of a token."""

LEAST = 0.01
"""Of the probability, on digits of the scale: a token with less says something else than a score."""

IN_VAIN = 3
"""So many first tokens in a row without a score: the judge is asked by the schema from then on."""

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"score": {"type": "integer", "enum": list(range(LOWEST, HIGHEST + 1))}},
    "required": ["score"],
    "additionalProperties": False,
}
_DIGIT = re.compile(r"(?<![\w.,/])([1-5])(?![\w%]|[.,/]\d)")


class Score(NamedTuple):
    """From 1 to 5; ``how`` it was told: weighed by log-probabilities, by a JSON schema, or in plain words."""

    value: float
    how: Literal["logprobs", "schema", "words"]


class Scorer:
    """A model that scores responses. It is asked for one token, and by the schema where that tells nothing."""

    def __init__(self, model: LoadedModel, notices: list[str]) -> None:
        """``notices`` gets sentences for the user."""
        self.model = model
        self.answers = Answers(model, notices)
        self._in_vain = 0
        self._room = 1

    async def score(self, conversation: Sequence[Message], scale: str, language: str) -> Score | None:
        """The score of a conversation's last turn on one of ``SCALES``; None where the judge gives none, in several
        tries. ``language`` is a code, "" for one that is not known. Raises MagpieError."""
        if self._in_vain < IN_VAIN:
            try:
                value = await self._by_token(request(conversation, scale, language))
                self._in_vain = 0 if value is not None else self._in_vain + 1
            except (PromptTooLong, RequestRefused, TransientError):  # the schema's way sees to them
                value = None
            if value is not None:
                return Score(value, "logprobs")
        return await self.answers.get(
            lambda longest: request(conversation, scale, language, longest), LONGEST, _SCHEMA, parse
        )

    def rating(self, wanted: Sequence[str], language: str) -> Rate:
        """What ``proof.prove`` asks for."""

        async def rate(shown: Shown) -> dict[str, float]:
            scores = {scale: await self.score(shown.turns, scale, language) for scale in wanted}
            return {scale: score.value for scale, score in scores.items() if score is not None}

        return rate

    async def _by_token(self, messages: list[Message]) -> float | None:
        made = await self.answers.ask(messages, Sampling(FIRST.temperature, self._room), top=TOP)
        if not made.text.strip() and made.finish_reason == "length" and self._room == 1:
            self._room = 3  # a token of its own may stand before the digit: a blank, a line's end
            return await self._by_token(messages)
        return expected(made.first)


def expected(likely: Mapping[str, float]) -> float | None:
    """The mean of the digits from 1 to 5 among tokens with their log-probabilities; None where they have less than
    ``LEAST`` of the probability. Digits of any script count, with blanks around them.

    >>> round(expected({"4": math.log(0.6), " 5": math.log(0.2), "The": math.log(0.2)}), 3)
    4.25
    """
    weights = dict.fromkeys(range(LOWEST, HIGHEST + 1), 0.0)
    for token, logprob in likely.items():
        digit = token.strip()
        if len(digit) == 1 and digit.isdecimal() and int(digit) in weights:
            weights[int(digit)] += math.exp(min(0.0, logprob))
    mass = sum(weights.values())
    return sum(value * weight for value, weight in weights.items()) / mass if mass >= LEAST else None


def parse(answer: str) -> Score | None:
    """The score in a whole answer: the schema's object, or the one digit of the scale that stands alone in it."""
    found = re.findall(r"\{[^{}]*\}", answer[-2000:])
    try:
        value = decode(found[-1], dict[str, Any]).get("score") if found else None
    except Misshapen:
        value = None
    if type(value) is int and LOWEST <= value <= HIGHEST:
        return Score(float(value), "schema")
    digits = set(_DIGIT.findall(answer[-2000:]))
    return Score(float(digits.pop()), "words") if len(digits) == 1 else None


def request(conversation: Sequence[Message], scale: str, language: str, longest: int = LONGEST) -> list[Message]:
    """The judge's messages for the last turn, in the text's language where there are prompts in it, else in English.
    The system message is the same for all of a scale and language: servers keep it in their cache."""
    asked = [turn for turn in conversation[:-1] if turn["role"] != "system"]
    said = asked[0]["content"] if len(asked) == 1 else "\n\n".join(f"{t['role']}: {t['content']}" for t in asked)
    texts = {"instruction": said, "response": conversation[-1]["content"]}
    table = _prompts(language)[scale]
    parts = re.split(r"\{(instruction|response)\}", table["request"])
    for at in range(1, len(parts), 2):
        parts[at] = shortened(texts[parts[at]], longest) or "(none)"
    return [{"role": "system", "content": table["system"]}, {"role": "user", "content": whole_text("".join(parts))}]


def mark() -> str:
    """Changes whenever a prompt does."""
    read = [path.read_bytes() for path in sorted(prompts.folder("judges").glob("*.toml")) if path.stem != "magpie"]
    return blake2b(b"".join(read), digest_size=4).hexdigest()


@cache
def _prompts(code: str) -> dict[str, dict[str, str]]:
    folder = prompts.folder("judges")
    path = folder / f"{code}.toml"
    data = prompts.read(path if code in languages.codes() and path.is_file() else folder / "en.toml")
    name = languages.english(code) if code in languages.codes() else "its language"
    return {
        scale: {key: text.strip().replace("{language}", name) for key, text in data[scale].items()} for scale in SCALES
    }
