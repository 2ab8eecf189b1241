"""The forms that trainers read, and the sides of a split: a row in, the values of one line out.

messages            TRL, conversational language modelling: {"messages": [{"role", "content"}]}
prompt-completion   TRL, conversational prompt-completion: {"prompt": [...], "completion": [the last answer]}
alpaca              Stanford Alpaca: {"instruction", "input", "output"}
sharegpt            ShareGPT, as Axolotl and LLaMA-Factory read it: {"conversations": [{"from", "value"}]}

Every line of a form has the same keys with values of the same types: ``datasets`` takes its columns from the first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

from magpie_ollama.corpus import shapes
from magpie_ollama.corpus.reading import Row
from magpie_ollama.errors import UsageError

Turn = dict[str, str]
"""``role`` and ``content``."""

_SHAREGPT = {"user": "human", "assistant": "gpt"}

_BESIDE = ("history", "context")
"""What other tools' pairs may have beside them that a model was to read: earlier exchanges, and Dolly's text."""


class Conversation(NamedTuple):
    """What a row holds that can be trained on: turns up to the last answer. ``cut`` says that some came after it, or
    stand in a column that no form reads."""

    turns: list[Turn]
    cut: bool


class Exported(NamedTuple):
    """One line's values. ``cut`` says that the form had no place for all of the conversation."""

    values: dict[str, Any]
    cut: bool = False


Form = Callable[[list[Turn], Row], Exported]
Put = Callable[[dict[str, Any]], None]


def conversation(row: Row) -> Conversation | None:
    """The turns of a row up to the first that is no text or that a tool has a part in, whose ids and arguments no form
    has a place for. Its system message is included, and the roles are in TRL's words. None where nobody answers."""
    said = _said(row)
    turns = _readable(said)
    system = row.text("system") or row.text("system_prompt")  # beside the turns: in ShareGPT files, and distilabel's
    if system and not any(turn["role"] == "system" for turn in turns):
        turns.insert(0, {"role": "system", "content": system})
        said = [system, *said]
    asked = False
    end = 0
    for number, turn in enumerate(turns, 1):
        if turn["role"] == "assistant":
            if not turn["content"].strip():
                break
            end = number if asked else 0
        elif turn["role"] == "user":
            asked = True
    beside = row.shape == "instruction" and any(map(row.data.get, _BESIDE))
    cut = end < len(said) or beside or bool(row.data.get("tools"))
    return Conversation(turns[:end], cut) if end else None


def as_messages(turns: list[Turn], row: Row) -> Exported:
    return Exported({"messages": turns})


def as_prompt_completion(turns: list[Turn], row: Row) -> Exported:
    return Exported({"prompt": turns[:-1], "completion": turns[-1:]})


def as_alpaca(turns: list[Turn], row: Row) -> Exported:
    """The first pair: Alpaca has no place for a system message or a second turn."""
    instruction, extra = row.instruction, ""
    if row.shape == "instruction":  # which may have been Alpaca's already
        instruction, extra = row.text("instruction"), row.text("input")
    return Exported({"instruction": instruction, "input": extra, "output": row.response}, len(turns) > 2)


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
    """What became of the rows: ``written`` by split, ``unanswered`` left out, ``tools`` left out as the first answer
    needs a tool, ``cut`` written in part."""

    written: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    tools: int = 0
    cut: int = 0


def export(rows: Iterable[Row], form: Form, put: Mapping[str, Put], sides: Sides) -> Counts:
    """Hands each row's values in that form to its side's function in ``put``."""
    counts = Counts()
    for row in rows:
        found = conversation(row)
        if found is None:
            if shapes.needs_tool(row.data, row.shape):
                counts.tools += 1
            else:
                counts.unanswered += 1
            continue
        values, cut = form(found.turns, row)
        side = sides.of(row.instruction)
        put[side](values)
        counts.written[side] += 1
        counts.cut += cut or found.cut
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


def _said(row: Row) -> list[Any]:
    """The turns as they stand in the row."""
    pair = [{"role": "user", "content": row.instruction}, {"role": "assistant", "content": row.response}]
    return shapes.turns(row.data, row.shape) or pair


def _readable(said: list[Any]) -> list[Turn]:
    """The turns up to the first that is no text of somebody's, or that a tool has a part in."""
    readable = []
    for value in said:
        found = shapes.turn(value)
        if isinstance(found, str) or found[2]:
            break
        role, text, _ = found
        as_it_stands = len(value) == 2 and value.get("role") == role and value.get("content") == text
        readable.append(value if as_it_stands else {"role": role, "content": text})
    return readable
