"""The forms that trainers read, and the sides of a split: a row in, the values of one line out.

messages            TRL, conversational language modelling: {"messages": [{"role", "content"}]}
prompt-completion   TRL, conversational prompt-completion: {"prompt": [...], "completion": [the last answer]}
alpaca              Stanford Alpaca: {"instruction", "input", "output"}
sharegpt            ShareGPT, as Axolotl and LLaMA-Factory read it: {"conversations": [{"from", "value"}]}

Every line of a form has the same keys with values of the same types: ``datasets`` takes its columns from the first.
So reasoning has a key in every turn of a file (``reasoning_content``, which the templates of Qwen3, GLM and DeepSeek
read), or in none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from magpie_ollama.corpus.reading import Row
from magpie_ollama.corpus.shapes import BETWEEN
from magpie_ollama.errors import UsageError

Turn = dict[str, str]
"""``role`` and ``content``, and what was thought before under ``KEY`` where the file has that key."""

KEY = "reasoning_content"

Reasoning = Literal["key", "inline", "drop"]
"""Where reasoning goes: to its key, or between <think> and </think> in front of the answer, or nowhere."""

INLINE = ("alpaca", "sharegpt")
"""Forms that have no key for it."""

_SHAREGPT = {"user": "human", "assistant": "gpt"}


class ReasoningFound(Exception):
    """A row has reasoning, and the lines before it have no key for it."""


class Conversation(NamedTuple):
    """What a row holds that can be trained on: turns up to the last answer. ``cut`` says that it had more, or has a
    column that no form reads."""

    turns: list[Turn]
    cut: bool


class Exported(NamedTuple):
    """One line's values. ``cut`` says that the form had no place for all of the conversation."""

    values: dict[str, Any]
    cut: bool = False


Form = Callable[[list[Turn], Row], Exported | None]
"""None where it has no place for so many turns."""
Put = Callable[[dict[str, Any]], None]


def conversation(row: Row, reasoning: Reasoning = "drop") -> Conversation | None:
    """The turns of a row, in TRL's words; None where nobody answers, for ``row.said.reason``."""
    said = row.said
    if said.reason:
        return None
    turns: list[Turn] = []
    for turn in said.turns:
        text = turn.text
        if reasoning == "inline" and turn.reasoning:
            text = f"<think>\n{turn.reasoning.strip()}\n</think>\n\n{text}"
        turns.append({"role": turn.role, "content": text})
        if reasoning == "key":
            turns[-1][KEY] = turn.reasoning
    return Conversation(turns, said.lost)


def as_messages(turns: list[Turn], row: Row) -> Exported:
    return Exported({"messages": turns})


def as_prompt_completion(turns: list[Turn], row: Row) -> Exported:
    return Exported({"prompt": turns[:-1], "completion": turns[-1:]})


def as_alpaca(turns: list[Turn], row: Row) -> Exported:
    """The first pair: Alpaca has no place for a system message or a second turn."""
    extra = row.said.input  # which may have been Alpaca's already
    instruction = row.instruction.removesuffix(BETWEEN + extra) if extra else row.instruction
    answer = next(turn["content"] for turn in turns if turn["role"] == "assistant")
    return Exported({"instruction": instruction, "input": extra, "output": answer}, len(turns) > 2)


def as_sharegpt(turns: list[Turn], row: Row) -> Exported:
    said = [{"from": _SHAREGPT.get(turn["role"], turn["role"]), "value": turn["content"]} for turn in turns]
    return Exported({"conversations": said})


FORMS: dict[str, Form] = {
    "messages": as_messages,
    "prompt-completion": as_prompt_completion,
    "alpaca": as_alpaca,
    "sharegpt": as_sharegpt,
}


@dataclass(slots=True)
class Counts:
    """What became of the rows: ``written`` by split, ``left_out`` by the reasons of ``shapes.REASONS`` and of
    ``preferences``, ``cut`` written in part, ``reasoned`` those with reasoning. ``details`` says what was no text."""

    written: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    details: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    reasoned: int = 0


def export(
    rows: Iterable[Row], form: Form, put: Mapping[str, Put], sides: Sides, reasoning: Reasoning | None = "drop"
) -> Counts:
    """Hands each row's values in that form to its side's function in ``put``.

    With None for ``reasoning`` no row has any: raises ReasoningFound for the first that does.
    """
    counts = Counts()
    for row in rows:
        reasoned = any(turn.reasoning for turn in row.said.turns)
        if reasoned and reasoning is None:
            raise ReasoningFound
        found = conversation(row, reasoning or "drop")
        if found is None:
            counts.left_out[row.said.reason] += 1
            if row.said.detail:
                counts.details[row.said.detail] += 1
            continue
        made = form(found.turns, row)
        if made is None:
            counts.left_out["turns"] += 1
            continue
        side = sides.of(row.instruction)
        put[side](made.values)
        counts.written[side] += 1
        counts.cut += made.cut or found.cut
        counts.reasoned += reasoned
    return counts


def parse_split(text: str) -> dict[str, float]:
    """Names and shares of a split; "" is none.

    >>> parse_split("0.9"), parse_split("train=0.8,validation=0.1,test=0.1")
    ({'train': 0.9, 'test': 0.1}, {'train': 0.8, 'validation': 0.1, 'test': 0.1})
    """
    if not text.strip():
        return {}
    remedy = "write for example --split 0.9 or --split train=0.8,validation=0.1,test=0.1"
    try:
        if "=" not in text:
            first = float(text)
            parts = {"train": first, "test": round(1 - first, 9)}
        else:
            pairs = [part.partition("=") for part in text.split(",")]
            parts = {name.strip(): float(share) for name, _, share in pairs}
            if len(parts) < len(pairs):
                raise UsageError(f"--split {text!r} names a split twice", remedy)
    except ValueError:
        raise UsageError(f"--split {text!r} holds something that is no number", remedy) from None
    if not all(re.fullmatch(r"\w+", name) for name in parts):
        raise UsageError(f"--split {text!r}: names of splits are letters, digits and underscores", remedy)
    if not all(0 < share < 1 for share in parts.values()):
        raise UsageError(f"--split {text!r}: a share is more than 0 and less than 1", remedy)
    if abs(sum(parts.values()) - 1) > 1e-6:
        raise UsageError(f"--split {text!r}: the shares add up to {sum(parts.values()):g}, not 1", remedy)
    return parts


class Sides:
    """Which side of a split an instruction falls on: by its hash, so the same in every order, file and run of a
    ``seed``. The instruction and not the id, so that two records of one instruction never part: a test set holds
    nothing that was trained on. Without parts there is one side, ""."""

    def __init__(self, parts: Mapping[str, float], seed: int) -> None:
        self._salt = str(seed).encode()
        self._bounds: list[tuple[float, str]] = []
        reached = 0.0
        for name, share in parts.items():
            reached += share
            self._bounds.append((reached * 2**64, name))

    def of(self, instruction: str) -> str:
        if not self._bounds:
            return ""
        digest = blake2b(instruction.encode("utf-8", "replace"), digest_size=8, key=self._salt).digest()
        place = int.from_bytes(digest, "big")
        return next((name for bound, name in self._bounds if place < bound), self._bounds[-1][1])
