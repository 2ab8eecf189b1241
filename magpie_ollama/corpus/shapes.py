"""The forms in which tools keep instruction data, and the pair of instruction and response in each.

magpie-ollama, TRL    messages: [{role, content}, ...]
ShareGPT, Magpie      conversations: [{from: human, value}, {from: gpt, value}, ...]
distilabel            conversation: [{role, content}, ...]; or instruction and response (or generation)
Alpaca, and Manuel Romero's magpie-ollama-datagen    instruction, output, and often input
TRL                   prompt and completion, as texts or as lists of messages
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CONVERSATIONS = ("messages", "conversations", "conversation")
ANSWERS = ("output", "response", "generation")

_NAMES = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "ai", "bot", "chatbot", "model", "gpt", "chatgpt", "bing", "bard", "claude", "gemini"),
    "tool": (
        *("tool", "tool_call", "tool_response", "ipython"),
        *("function", "function_call", "function_response", "observation"),
    ),
}
_ROLES = {name: role for role, names in _NAMES.items() for name in names}


def role(name: Any) -> str:
    """Who speaks, by any tool's name for it: "system", "user", "assistant", or "tool" (a call of one, and what it gave
    back); the name itself where it is none of these."""
    name = str(name)
    return _ROLES.get(name) or _ROLES.get(name.lower(), name)


def as_it_stands(value: Mapping[str, Any]) -> tuple[Any, Any]:
    """Who speaks in a turn and what, as any tool wrote it."""
    name, text = value.get("role"), value.get("content")
    return (value.get("from"), value.get("value")) if name is None else (name, text)


def turn(value: Any) -> tuple[str, str, bool] | str:
    """(role, text, whether a tool has a part in it) of a turn; or why it is none that can be read, to follow after its
    number. The text parts of a list are joined by line ends. What a tool has a part in may have no text: it is ""."""
    if type(value) is not dict:
        return "is no object of role and content"
    name, text = as_it_stands(value)
    who = role(name)
    if type(text) is str and len(value) == 2:
        return who, text, who == "tool"
    tool = who == "tool" or bool(value.get("tool_calls") or value.get("function_call"))
    if type(text) is list and not tool:
        other = next((part for part in text if type(_part(part)) is not str), None)
        if other is not None:
            kind = other.get("type") if type(other) is dict else None
            return f"has a part that is no text ({str(kind or 'of no type')[:30]})"
        text = "\n".join(map(_part, text))
    if type(text) is str:
        return who, text, tool
    return (who, "", tool) if tool else "has a content that is no text"


def turns(data: Mapping[str, Any], shape: str) -> list[Any]:
    """The turns of a row as they stand; [] where the pair is in columns. ``shape`` is the key that ``pair`` gave."""
    value = data[shape]
    if type(value) is not list:
        return []
    return [*value, *data["completion"]] if shape == "prompt" else value


def needs_tool(data: Mapping[str, Any], shape: str) -> bool:
    """Whether a tool has a part in the first answer, or in what stands before it."""
    for value in turns(data, shape):
        found = turn(value)
        if isinstance(found, str):
            return False
        who, _, tool = found
        if tool or who == "assistant":
            return tool
    return False


def pair(data: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """(the key that gave it away, instruction, response): the first user's turn and the answer to it.

    The response is "" where there is none; None where there is no instruction to be found: ``fault`` says why.
    """
    for key in CONVERSATIONS:
        if key in data:
            found = _exchange(data[key])
            if found is not None:
                return key, *found
    instruction = data.get("instruction")
    if isinstance(instruction, str):
        extra = data.get("input")
        if isinstance(extra, str) and extra.strip():
            instruction = f"{instruction}\n\n{extra}"
        answer = next((data[key] for key in ANSWERS if isinstance(data.get(key), str)), "")
        return "instruction", instruction, answer
    prompt, completion = data.get("prompt"), data.get("completion")
    if isinstance(prompt, str) and isinstance(completion, str):
        return "prompt", prompt, completion
    if isinstance(prompt, list) and isinstance(completion, list):
        found = _exchange([*prompt, *completion])
        return found and ("prompt", *found)
    return None


def fault(data: Mapping[str, Any]) -> str:
    """Why ``pair`` finds no instruction, to follow after a line's number."""
    key = next((key for key in CONVERSATIONS if key in data), "")
    if not key and isinstance(data.get("prompt"), list) and isinstance(data.get("completion"), list):
        key = "prompt"
    if not key:
        return f"has no instruction (its keys: {_listed(data)})"
    if type(data[key]) is not list:
        return f"has no instruction: its {key} is no list of turns"
    said = turns(data, key)
    for number, value in enumerate(said, 1):
        if isinstance(wrong := turn(value), str):
            return f"has no instruction that can be read: turn {number} of its {key} {wrong}"
    names = dict.fromkeys(str(value.get("role") or value.get("from")) for value in said)
    return f"has no instruction: no turn of its {key} is a user's (its roles: {_listed(names)})"


def _exchange(value: Any) -> tuple[str, str] | None:
    """The first user's turn, and the first assistant's turn behind it."""
    if type(value) is not list:
        return None
    instruction = None
    for one in value:
        found = turn(one)
        if isinstance(found, str):
            return None
        who, text, _ = found
        if instruction is None:
            if who == "user":
                instruction = text
        elif who == "assistant":
            return instruction, text
    return None if instruction is None else (instruction, "")


def _part(value: Any) -> Any:
    return value.get("text") if type(value) is dict else value


def _listed(names: Mapping[Any, Any]) -> str:
    return ", ".join(str(name)[:30] for name in list(names)[:8]) or "none"
