"""JSON as Go reads and writes it: its escapes, its time stamps, and its complaints about a body."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

_BROKEN: Final = {
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Expecting value": "looking for beginning of value",
    "Expecting ':' delimiter": "after object key",
    "Expecting ',' delimiter": "after object key:value pair",
    "Extra data": "after top-level value",
}
_KINDS: Final[dict[type, str]] = {str: "string", bool: "bool", list: "array", dict: "object"}

MESSAGES: Final = "[]api.Message"
GENERATE: Final = {
    "model": "string", "prompt": "string", "suffix": "string", "system": "string", "template": "string",
    "context": "[]int", "stream": "bool", "raw": "bool", "options": "map[string]interface {}",
    "truncate": "bool", "shift": "bool", "_debug_render_only": "bool", "logprobs": "bool",
    "top_logprobs": "int",
}  # fmt: skip
CHAT: Final = {
    "model": "string", "messages": MESSAGES, "stream": "bool", "options": "map[string]interface {}",
    "truncate": "bool", "shift": "bool", "_debug_render_only": "bool", "logprobs": "bool",
    "top_logprobs": "int",
}  # fmt: skip
_JSON_OF_GO: Final = {
    "string": str, "bool": bool, "int": int, "[]int": list, MESSAGES: list, "map[string]interface {}": dict,
}  # fmt: skip

OPTIONS: Final = {
    **dict.fromkeys(
        ("num_keep", "seed", "num_predict", "top_k", "repeat_last_n", "num_ctx", "num_batch", "num_gpu",
         "main_gpu", "num_thread"), "integer"),
    **dict.fromkeys(
        ("temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty",
         "frequency_penalty"), "float32"),
    "use_mmap": "boolean",
    "stop": "array",
}  # fmt: skip


class BadRequest(Exception):
    """A request that is refused: a status and the error's text."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


def dumps(value: object) -> bytes:
    """Go escapes what could end a script element, and keeps all other letters as they are."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for sign, escape in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        text = text.replace(sign, escape)
    return text.encode()


@lru_cache(maxsize=65536)
def quoted(text: str) -> bytes:
    """`dumps` of the pieces of a stream, which come again and again."""
    return dumps(text)


def now(later: float = 0.0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=later)).isoformat().replace("+00:00", "Z")


def parse(raw: bytes, struct: str, fields: Mapping[str, str]) -> dict[str, Any]:
    """The body of a request, or the complaint of Go's decoder."""
    if not raw.strip():
        raise BadRequest(400, "missing request body")
    try:
        body = json.loads(raw)
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated"):
            raise BadRequest(400, "unexpected EOF") from None
        found, what = error.doc[error.pos], _BROKEN.get(error.msg, "in string literal")
        raise BadRequest(400, f"invalid character '{found}' {what}") from None
    if not isinstance(body, dict):
        raise BadRequest(400, f"json: cannot unmarshal {_kind(body)} into Go value of type api.{struct}")
    for key, go in fields.items():
        value = body.get(key)
        wanted = _JSON_OF_GO[go]
        if value is None or (isinstance(value, wanted) and not (wanted is int and value is True)):
            continue
        raise BadRequest(400, f"json: cannot unmarshal {_kind(value)} into Go struct field {struct}.{key} of type {go}")
    return {key: value for key, value in body.items() if value is not None}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "number")


def check_options(options: Mapping[str, Any]) -> None:
    """Wrong types are a 500 here, and unknown names are ignored."""
    for key, value in options.items():
        wanted = OPTIONS.get(key)
        if wanted is None or value is None:
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        right = {
            "integer": number,
            "float32": number,
            "boolean": isinstance(value, bool),
            "array": isinstance(value, list),
        }[wanted]
        if not right:
            raise BadRequest(500, f'option "{key}" must be of type {wanted}')
        if wanted == "array" and not all(isinstance(item, str) for item in value):
            raise BadRequest(500, f'option "{key}" must be of an array of strings')


def seconds_of(keep_alive: object) -> float:
    """A keep_alive: seconds, or a Go duration such as "10m". Negative is for ever."""
    if isinstance(keep_alive, (int, float)):
        return float(keep_alive)
    text = str(keep_alive)
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    for unit in ("ms", "s", "m", "h"):
        if text.endswith(unit):
            try:
                return float(text.removesuffix(unit)) * units[unit]
            except ValueError:
                break
    raise BadRequest(400, f'time: invalid duration "{text}"' if text[-1:].isalpha()
                     else f'time: missing unit in duration "{text}"')  # fmt: skip
