"""Extraction: takes the instruction out of what the model wrote, or says why there is none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import NamedTuple

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
    text = opener + ended(raw, template)
    if not any(map(str.isalnum, text)):
        return Extracted("", Reason.EMPTY)
    if speaks_as_assistant(text):
        return Extracted("", Reason.NOT_A_USER)
    if runs_on(text, template):
        return Extracted("", Reason.RUN_ON)
    if finish_reason == "length":
        return Extracted("", Reason.TRUNCATED)
    return Extracted(_unframe(text.strip()))


def split_reasoning(text: str, opened: bool) -> tuple[str, str]:
    """The reasoning in a response, "" where there is none, and what follows it. ``opened``: the prompt began it."""
    head, end, tail = text.partition("</think>")
    opening = head.lstrip().startswith("<think>")
    if not end or not (opened or opening):
        return "", text
    return head.strip().removeprefix("<think>").strip(), tail.strip()


def ended(raw: str, template: Template) -> str:
    """``raw`` up to the first stop, for servers that show control tokens but do not stop at them."""
    for stop in template.stops:
        raw = raw.split(stop, 1)[0]
    return raw


def runs_on(text: str, template: Template, waiting: int = 0, known: int = 0) -> bool:
    """Whether the text opens another role's turn, or begins to answer itself.

    For a text that is still being written: ``waiting`` characters must stand behind what says so, and its first
    ``known`` characters were looked at before.
    """
    since = max(0, known - _SENTENCE - waiting)
    return (
        _opens_a_turn(text, template, since)
        or _answers_itself(text, since)
        or any(_fits(_voice().later, text, start, waiting) for start in _beginnings(text, since))
        or any(_fits(_voice().first, text, start, waiting) for start in _paragraphs(text) if start >= since)
    )


def speaks_as_assistant(text: str, waiting: int = 0, known: int = 0) -> bool:
    """Whether a text begins as an assistant or a system message does. ``waiting`` and ``known`` as for ``runs_on``."""
    start = len(text) - len(text.lstrip(_BEFORE))
    if known > start + _SENTENCE + waiting:
        return False
    label = _voice().answer.match(text, start)
    return (label is not None and len(label[1]) > 2) or _fits(_voice().first, text, start, waiting)


class _Voice(NamedTuple):
    """``first`` matches what none but an assistant or a system message begins with, ``later`` only its replies."""

    first: re.Pattern[str]
    later: re.Pattern[str]
    answer: re.Pattern[str]
    questions: frozenset[str]


@cache
def _voice() -> _Voice:
    data: dict[str, list[str]] = prompts.read(prompts.folder("screening") / "voices.toml")
    answers = {form for label in data["answers"] for form in (label, label.upper())}
    labels = "|".join(sorted(map(re.escape, answers), key=len, reverse=True))
    return _Voice(
        re.compile("|".join(f"(?:{entry})" for entry in data["replies"] + data["voices"]), re.IGNORECASE),
        re.compile("|".join(f"(?:{entry})" for entry in data["replies"]), re.IGNORECASE),
        # With a letter behind it: a bare "Answer:", "Answer: ___" or "Answer: [one word]" is a form to fill in.
        re.compile(rf"[\s*#>]*({labels})\s*\d*\**\s*[:：]\s*\**[ ]*(?:\n[ ]*)*[^\W_]"),
        frozenset(form for label in data["questions"] for form in (label, label.upper())),
    )


_BEFORE = " \t\r\n*#>\"'“”«»„‚「『(-–—"
"""What may stand before the first word."""

_LABEL = re.compile(r"[\s*#>-]*([^\W\d_][\w .'’-]{0,24}?)\s*\d*\**\s*[:：]\s*\S")
"""A line such as "Alice: hello": of a dialogue, a form, a protocol or a mapping."""

_BEGINNING = re.compile(r"\n\s*(?=\S)|[?？][ ]*(?=\S)")
_LINE_END = re.compile(r"\n(?=[^\n])")

_SENTENCE = 240
"""Characters at a beginning that are looked at."""


def _fits(pattern: re.Pattern[str], text: str, start: int, waiting: int) -> bool:
    found = pattern.match(text[start : start + _SENTENCE].replace("’", "'"))
    return found is not None and start + found.end() + waiting <= len(text)


def _opens_a_turn(text: str, template: Template, since: int) -> bool:
    headers = _headers(template.roles, template.glued)
    return any(_is_header(text[: found.start()]) for found in headers.finditer(text, since))


@cache
def _headers(roles: tuple[str, ...], glued: tuple[str, ...]) -> re.Pattern[str]:
    # What is left on a server that hides control tokens of "<|im_start|>assistant\n": the word alone on its line; of
    # "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n": the word glued to the last one; of
    # "<|im_start|>assistant<|im_sep|>": the answer glued to it as well.
    forms = [
        rf"(?:^|(?<=\n))[ ]*(?:{'|'.join(map(re.escape, roles))})[ ]*\n",
        r"(?<=[^\W_])assistant\n\n|(?<=[.?!。？！\"'»”)\]}])[ ]*assistant\n",
    ]
    forms += [rf"(?<=[\n.?!。？！])[ ]*{re.escape(word)}(?=[^\W\d_a-z])" for word in glued]
    return re.compile("|".join(forms))


def _is_header(before: str) -> bool:
    """Whether a role's word behind ``before`` is a header, not one word of a list, or of code."""
    line = before.rstrip().rsplit("\n", 1)[-1].strip()
    if before.count("`") % 2 or line.endswith((":", "：")):
        return False
    return not line or len(line.split()) > 2 or line[-1] in ".?!。？！…\"'»”)" or not line.isascii()


def _answers_itself(text: str, since: int) -> bool:
    for line in _LINE_END.finditer(text, since):
        found = _voice().answer.match(text, line.end())
        if found and not _is_material(text[: line.start()], found[1]):
            return True
    return False


def _is_material(before: str, label: str) -> bool:
    """Whether an answer's label behind ``before`` belongs to what the user brings along: code, a dialogue, a form.

    That is so behind other labelled lines, unless those are all that there is, or are a question.
    """
    if before.count("```") % 2:
        return True
    lines = [line for line in before.split("\n") if line.strip()]
    labels: list[str] = []
    while lines and (found := _LABEL.match(lines[-1])):
        labels.append(found[1])
        lines.pop()
    asked = any(name in _voice().questions for name in labels)
    if label == "A" and not asked:
        return True  # of a choice between A, B and C
    if not labels or not lines:
        return False
    return not asked or lines[-1].rstrip().endswith((":", "："))


def _beginnings(text: str, since: int) -> Iterator[int]:
    """Where a reply would begin: at a line's start that no ":" introduces, and behind a question mark."""
    for found in _BEGINNING.finditer(text, since):
        if not text[: found.start()].rstrip(" ").endswith((":", "：")):
            yield found.end()


def _paragraphs(text: str) -> Iterator[int]:
    """Where later paragraphs begin, up to the first ":" at a line's end: what that introduces is the user's."""
    for found in re.finditer(r"[:：][ ]*\n|\n[ ]*\n\s*(?=\S)", text):
        if found[0][0] in ":：":
            return
        yield found.end()


def _unframe(text: str) -> str:
    if not re.search(r"\n#", text):
        text = re.sub(r"^#{1,6}\s+", "", text)
    for left, right in (("**", "**"), ('"', '"'), ("“", "”"), ("«", "»"), ("「", "」")):
        inner = text[len(left) : -len(right)]
        framed = len(text) > len(left) + len(right) and text.startswith(left) and text.endswith(right)
        if framed and left not in inner and right not in inner:
            text = inner.strip()
    return text.removeprefix("**") if text.count("**") == 1 else text
