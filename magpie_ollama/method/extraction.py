"""Extraction: takes the instruction out of what the model wrote, or says why there is none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from magpie_ollama import prompts
from magpie_ollama.method.template import Template


class Reason(StrEnum):
    """Why an attempt was rejected: the names that the funnel counts. Those of the response begin with it."""

    EMPTY = "empty"
    TRUNCATED = "truncated"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    WRONG_LANGUAGE = "wrong_language"
    NOT_A_USER = "not_a_user"
    RUN_ON = "run_on"
    REPETITION = "repetition"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    LOW_CONFIDENCE = "low_confidence"
    RESPONSE_EMPTY = "response_empty"
    RESPONSE_TRUNCATED = "response_truncated"
    RESPONSE_WRONG_LANGUAGE = "response_wrong_language"
    RESPONSE_REPETITION = "response_repetition"
    RESPONSE_ECHO = "response_echo"
    RESPONSE_COPY = "response_copy"
    RESPONSE_TOO_LONG = "response_prompt_too_long"
    NO_ANSWER = "no_answer"


EXPLANATIONS = {
    Reason.EMPTY: "the model wrote nothing",
    Reason.TRUNCATED: "the instruction was cut by the token limit",
    Reason.TOO_SHORT: "fewer words than --min-words",
    Reason.TOO_LONG: "more words than --max-words",
    Reason.WRONG_LANGUAGE: "the instruction is not in the language asked for",
    Reason.NOT_A_USER: "an assistant or a system message speaks, not a user",
    Reason.RUN_ON: "the instruction runs on into an answer or another turn",
    Reason.REPETITION: "the instruction repeats itself",
    Reason.DUPLICATE: "the same instruction was there before, or it only copies its exemplar or opener",
    Reason.NEAR_DUPLICATE: "nearly the same instruction was there before",
    Reason.LOW_CONFIDENCE: "the model was less sure than --min-confidence",
    Reason.RESPONSE_EMPTY: "the response was empty",
    Reason.RESPONSE_TRUNCATED: "the response was cut by the token limit (--keep-truncated keeps such)",
    Reason.RESPONSE_WRONG_LANGUAGE: "the response is not in the language asked for",
    Reason.RESPONSE_REPETITION: "the response fell into a loop",
    Reason.RESPONSE_ECHO: "the response only repeats the instruction",
    Reason.RESPONSE_COPY: "the response copies an exemplar's answer",
    Reason.RESPONSE_TOO_LONG: "the instruction did not fit into the context with its response",
    Reason.NO_ANSWER: "the server gave no complete answer, in several tries",
}
"""Each reason in words, for the summary and the documentation."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """``text`` is the instruction, "" where there is none; ``reason`` then says why."""

    text: str
    reason: Reason | None = None


def extract(raw: str, finish_reason: str, template: Template, opener: str = "") -> Extracted:
    """The instruction in ``raw``, what the model wrote after the prompt (and after ``opener``).

    Lines, lists and code stay whole. Only what frames it goes: control tokens from the first on that ends the
    turn, a heading mark or bold around the whole, quotes around the whole.
    """
    for stop in template.stops:
        raw = raw.split(stop, 1)[0]
    if runs_on(raw, template):
        return Extracted("", Reason.RUN_ON)
    text = _unframe((opener + raw).strip())
    if not text or not any(map(str.isalnum, text)):
        return Extracted("", Reason.EMPTY)
    if finish_reason == "length":
        return Extracted("", Reason.TRUNCATED)
    if _opens_as_assistant(text):
        return Extracted("", Reason.NOT_A_USER)
    return Extracted(text)


def runs_on(raw: str, template: Template) -> bool:
    """Whether the text opens another role's turn, or begins to answer itself."""
    return bool(
        _headers(template.roles).search(raw)
        or _answers().search(raw)
        or any(_opens_as_assistant(paragraph) for paragraph in re.split(r"\n\s*\n", raw)[1:])
    )


def speaks_as_assistant(text: str) -> bool:
    """Whether a text that is still being written has begun as an assistant or a system message."""
    return _opens_as_assistant(text.lstrip())


@cache
def _headers(roles: tuple[str, ...]) -> re.Pattern[str]:
    # What is left of "<|im_start|>assistant\n" or "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n" on
    # a server that hides control tokens: the bare word, behind a line's or a sentence's end, alone to the next line.
    words = "|".join(map(re.escape, roles))
    return re.compile(rf"(?:^|\n|[.?!。？！\"'»”)\]}}])[ ]*(?:{words})[ ]*:?[ ]*\n")


@cache
def _voices() -> dict[str, list[str]]:
    found: dict[str, list[str]] = prompts.read(prompts.folder("screening") / "voices.toml")
    return found


@cache
def _openings() -> re.Pattern[str]:
    return re.compile(r"[\s*#>\"“-]*(?:" + "|".join(_voices()["openings"]) + ")", re.IGNORECASE)


@cache
def _answers() -> re.Pattern[str]:
    # With fifteen letters behind it: a bare "Answer:" at the end is a form that the user wants filled in.
    labels = "|".join(map(re.escape, _voices()["answers"]))
    return re.compile(rf"\n[\s*#>]*(?:{labels})\s*\**\s*[:：]\s*\**\s*\S[\s\S]{{14}}", re.IGNORECASE)


def _opens_as_assistant(text: str) -> bool:
    return bool(_openings().match(text[:200].replace("’", "'")))


def _unframe(text: str) -> str:
    text = re.sub(r"^#{1,6}\s+", "", text)
    for left, right in (("**", "**"), ('"', '"'), ("“", "”"), ("«", "»"), ("「", "」")):
        inner = text[len(left) : -len(right)]
        framed = len(text) > len(left) + len(right) and text.startswith(left) and text.endswith(right)
        if framed and left not in inner and right not in inner:
            text = inner.strip()
    return text.removeprefix("**") if text.count("**") == 1 else text
