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

import orjson

from magpie_ollama.corpus import lines
from magpie_ollama.corpus.reading import Row
from magpie_ollama.errors import UsageError

Turn = dict[str, str]
"""``role`` and ``content``."""

_ROLES = {"human": "user", "gpt": "assistant"}
_SHAREGPT = {role: name for name, role in _ROLES.items()}


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
    """All turns of a row, its system message included, in TRL's words for the roles; None where nobody answers."""
    said = _said(row)
    turns = _readable(said)
    system = row.text("system")  # beside the turns, as ShareGPT files often have it
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
    cut = end < len(said) or (row.shape == "instruction" and any(map(row.data.get, _BESIDE)))
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
    """What became of the rows: ``written`` by split, ``unanswered`` left out, ``cut`` written in part."""

    written: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    cut: int = 0


def export(rows: Iterable[Row], form: Form, put: Mapping[str, Put], sides: Sides) -> Counts:
    """Hands each row's values in that form to its side's function in ``put``."""
    counts = Counts()
    for row in rows:
        found = conversation(row)
        if found is None:
            counts.unanswered += 1
            continue
        values, cut = form(found.turns, row)
        side = sides.of(row.instruction)
        put[side](values)
        counts.written[side] += 1
        counts.cut += cut or found.cut
    return counts


def encode(values: Mapping[str, Any]) -> bytes:
    """One compact line of UTF-8, without its newline. Three times as quick as ``lines.encode``, which takes over for
    what only it can write (halves of surrogate pairs)."""
    try:
        return orjson.dumps(values)
    except orjson.JSONEncodeError:
        return lines.encode(values)[:-1]


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
    if row.shape != "instruction":
        said = row.data[row.shape]
        if isinstance(said, list):
            return [*said, *row.data["completion"]] if row.shape == "prompt" else said
    return [{"role": "user", "content": row.instruction}, {"role": "assistant", "content": row.response}]


def _readable(said: list[Any]) -> list[Turn]:
    """The turns up to the first that is no text of somebody's, as a call of a tool is none."""
    turns = []
    for turn in map(_turn, said):
        if turn is None:
            break
        turns.append(turn)
    return turns


def _turn(turn: Any) -> Turn | None:
    if type(turn) is not dict:
        return None
    role, text = turn.get("role"), turn.get("content")
    if role is None:
        role, text = turn.get("from"), turn.get("value")
    if type(role) is not str or type(text) is not str:
        return None
    if len(turn) == 2 and turn.get("role") in _SHAREGPT:
        return turn  # as it stands, like most
    return {"role": _ROLES.get(role, role), "content": text}
