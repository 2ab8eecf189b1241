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

_USERS = ("user", "human")
_ASSISTANTS = ("assistant", "gpt")
_ANSWERS = ("output", "response", "generation")


def pair(data: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """(the key that gave it away, instruction, response): the first user's turn and the answer to it.

    The response is "" where there is none; None where there is no instruction to be found.
    """
    for key in ("messages", "conversations", "conversation"):
        if key in data:
            turns = _turns(data[key])
            if turns is not None:
                return key, *turns
    instruction = data.get("instruction")
    if isinstance(instruction, str):
        extra = data.get("input")
        if isinstance(extra, str) and extra.strip():
            instruction = f"{instruction}\n\n{extra}"
        answer = next((data[key] for key in _ANSWERS if isinstance(data.get(key), str)), "")
        return "instruction", instruction, answer
    return _prompt_and_completion(data)


def _prompt_and_completion(data: Mapping[str, Any]) -> tuple[str, str, str] | None:
    prompt, completion = data.get("prompt"), data.get("completion")
    if isinstance(prompt, str) and isinstance(completion, str):
        return "prompt", prompt, completion
    if isinstance(prompt, list) and isinstance(completion, list):
        turns = _turns([*prompt, *completion])
        return turns and ("prompt", *turns)
    return None


def _turns(value: Any) -> tuple[str, str] | None:
    """The first user's turn, and the first assistant's turn behind it."""
    if type(value) is not list:
        return None
    instruction = None
    for turn in value:
        if type(turn) is not dict:
            return None
        role, text = turn.get("role"), turn.get("content")
        if role is None:
            role, text = turn.get("from"), turn.get("value")
        if type(text) is not str:
            return None
        if instruction is None:
            if role in _USERS:
                instruction = text
        elif role in _ASSISTANTS:
            return instruction, text
    return None if instruction is None else (instruction, "")
