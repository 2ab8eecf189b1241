"""Magpie on Ollama: instruction data that an aligned model writes itself, in the language you choose.

>>> from magpie_ollama import generate                                    # doctest: +SKIP
>>> for record in generate("it", 10, model="llama3.2", output="it.jsonl"):  # doctest: +SKIP
...     print(record.instruction, "->", record.response)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from magpie_ollama.api.comparing import acompare as acompare
    from magpie_ollama.api.comparing import compare as compare
    from magpie_ollama.api.making import aconverse as aconverse
    from magpie_ollama.api.making import agenerate as agenerate
    from magpie_ollama.api.making import arespond as arespond
    from magpie_ollama.api.making import converse as converse
    from magpie_ollama.api.making import generate as generate
    from magpie_ollama.api.making import respond as respond
    from magpie_ollama.api.reading import read as read
    from magpie_ollama.api.reading import to_dataset as to_dataset
    from magpie_ollama.api.tagging import atag as atag
    from magpie_ollama.api.tagging import tag as tag
    from magpie_ollama.errors import MagpieError as MagpieError
    from magpie_ollama.records import Record as Record

_HOMES = {
    **dict.fromkeys(("aconverse", "agenerate", "arespond", "converse", "generate", "respond"), "api.making"),
    **dict.fromkeys(("read", "to_dataset"), "api.reading"),
    **dict.fromkeys(("acompare", "compare"), "api.comparing"),
    **dict.fromkeys(("atag", "tag"), "api.tagging"),
    "MagpieError": "errors",
    "Record": "records",
}

__all__ = [
    "MagpieError",
    "Record",
    "acompare",
    "aconverse",
    "agenerate",
    "arespond",
    "atag",
    "compare",
    "converse",
    "generate",
    "read",
    "respond",
    "tag",
    "to_dataset",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    # Imported on first use: the command line's --help wants none of them.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
