"""What tools call the columns of a row, the halves of a turn, and who speaks; and what they label an answer with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from magpie_ollama.errors import UsageError

CONVERSATIONS = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns")

ANSWERS = (
    *("output", "response", "generation", "completion", "answer", "targets", "target", "assistant", "solution"),
    *("gpt", "bot", "chosen", "chosen_response"),
)
"""By preference; a column of questions has its own before them."""

QUESTIONS: dict[str, tuple[str, ...]] = {
    "instruction": (),
    "prompt": ("completion", "response", "chosen"),
    "question": ("answer",),
    "query": ("response", "answer"),
    "inputs": ("targets",),
    "user": ("assistant",),
    "human": ("assistant",),
    "problem": ("solution",),
    "input": ("output",),
}

WHOLE = ("chosen",)
"""Columns that hold a whole conversation where there is no question beside them."""

REJECTED = ("rejected", "rejected_response")

EXTRAS = ("input", "context", "question", "query")
"""Columns that belong to what is asked where another one is the question: Alpaca's ``input``, Dolly's ``context``."""

ASKED = (*QUESTIONS, "text", "questions", "prompts", "instructions", "request")
"""Columns of questions that nobody answers."""

BESIDE_ASKED = ("input", "context")

SYSTEM = ("system", "system_prompt", "system_message")

REASONING = (
    *("reasoning_content", "reasoning", "thinking", "reasoning_details"),
    *("thoughts", "thought", "chain_of_thought", "cot", "complex_cot"),
)

OFFERED = ("history", "tools")
"""What a model was given besides, and no form has a place for."""

WHO = ("role", "from", "speaker", "author", "sender")

SAID = ("content", "value", "text", "message")

_SPEAKERS = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter", "question", "instruction", "prompt", "customer"),
    "assistant": (
        *("assistant", "ai", "bot", "chatbot", "model", "gpt", "chatgpt", "gpt4", "gpt-4", "bing", "bard", "claude"),
        *("gemini", "llm", "answer", "response", "output", "completion"),
    ),
    "thinking": ("thinking", "thought", "reasoning"),
    "tool": (
        *("tool", "tool_call", "tool_response", "tool_result", "ipython"),
        *("function", "function_call", "function_response", "observation"),
    ),
}
_ROLES = {name: role for role, speakers in _SPEAKERS.items() for name in speakers}

_WANTED = (
    *("label", "kto_tag", "kto_label", "desirable", "is_desirable", "accepted", "is_accepted", "preferred"),
    *("weight", "sample_weight", "train", "training", "trainable", "train_on_turn", "mask", "loss_mask", "feedback"),
)
_WANTED_TURN = (*_WANTED, "loss", "loss_weight", "loss_scale", "learn", "score_mask")
"""``loss`` beside a whole row is a measure."""

_UNWANTED = ("undesirable", "is_undesirable", "masked", "is_masked", "bad", "is_bad", "is_rejected", *REJECTED)

_ROW_LABELS = frozenset((*_WANTED, *_UNWANTED, "chosen"))
BESIDE = _ROW_LABELS.union(SYSTEM, OFFERED)
"""Columns that have a say in what is to be learnt from the turns."""

_TURN_LABELS = frozenset((*_WANTED_TURN, *_UNWANTED))

_NOES = frozenset(
    (
        *("false", "0", "0.0", "-1", "bad", "undesirable", "unwanted", "rejected", "reject", "dispreferred"),
        *("thumbs_down", "thumbs-down", "thumbsdown", "thumbs down", "downvote", "dislike", "disliked", "👎"),
    )
)


def role(name: Any) -> str:
    """Who speaks, by any tool's name for it: "system", "user", "assistant", "thinking" (what comes before an answer),
    or "tool" (a call of one, and what it gave back); the name itself where it is none of these."""
    name = str(name)
    return _ROLES.get(name) or _ROLES.get(name.strip().lower(), name)


def answers(question: str) -> tuple[str, ...]:
    """The columns that may answer one, by preference."""
    return (*QUESTIONS[question], *ANSWERS)


def given(data: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The first of these keys that has a value; "" where none has. A null, and a NaN of pandas, is none."""
    for name in names:
        value = data.get(name)
        if value is not None and value == value:
            return name
    return ""


def unwanted(data: Mapping[str, Any], *, turn: bool = False) -> bool:
    """Whether a row, or a turn, is labelled as what no model is to learn: a label, weight or mask of false, 0 or
    "bad"."""
    if (_TURN_LABELS if turn else _ROW_LABELS).isdisjoint(data):
        return False
    if data.get("chosen") is False or any(data.get(name) == 1 for name in _UNWANTED):  # True is 1
        return True
    return any(_is_no(data.get(name)) for name in (_WANTED_TURN if turn else _WANTED))


def _is_no(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in _NOES
    return isinstance(value, (int, float)) and value <= 0


class Columns(msgspec.Struct, frozen=True):
    """Columns that a user named, in place of those that are known here; "" for the known ones."""

    instruction: str = ""
    input: str = ""
    response: str = ""
    system: str = ""
    reasoning: str = ""
    messages: str = ""

    def renamed(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """A row under the names that are known here: those that were named, and what else it has beside pairs."""
        mine = {key: getattr(self, key) for key in self.__struct_fields__}
        hidden = {"instruction", "input", "response", *CONVERSATIONS, *QUESTIONS, *ANSWERS, *EXTRAS}
        left = {key: value for key, value in data.items() if key not in hidden and key not in mine.values()}
        return left | {key: data[name] for key, name in mine.items() if name and data.get(name) is not None}


def parse_columns(text: str) -> Columns | None:
    """``--columns``; None for "".

    >>> parse_columns("instruction=question, response=answer")
    Columns(instruction='question', input='', response='answer', system='', reasoning='', messages='')
    """
    if not text.strip():
        return None
    pairs = [tuple(half.strip() for half in part.split("=", 1)) for part in text.split(",")]
    names = Columns.__struct_fields__
    example = "write for example --columns instruction=question,response=answer"
    for pair in pairs:
        if len(pair) < 2 or not all(pair):
            raise UsageError(f"--columns {text!r}: {pair[0]!r} is no NAME=COLUMN", example)
        if pair[0] not in names:
            raise UsageError(f"--columns {text!r}: there is no {pair[0]!r}; there are {', '.join(names)}", example)
    found = {pair[0]: pair[1] for pair in pairs}
    if len(found) < len(pairs):
        raise UsageError(f"--columns {text!r} names one of them twice", example)
    if "messages" not in found and not {"instruction", "response"} <= found.keys():
        raise UsageError(f"--columns {text!r} names no pair: it takes instruction and response, or messages", example)
    return Columns(**found)
