"""Extraction: takes the instruction out of what the model wrote, or says why there is none."""

from __future__ import annotations

import re
from dataclasses import dataclass

from magpie_ollama.method import checks, unseen
from magpie_ollama.method.reasons import Reason
from magpie_ollama.method.template import Template

_ENDS = frozenset(
    {"stop", "eos", "eos_token", "stop_token", "stop_sequence", "end_turn", "eosfound", "stopstringfound"}
)
_LIMITS = frozenset({"length", "max_tokens", "max_length", "model_length", "maxpredictedtokensreached"})


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
    text = unseen.clean(opener + ended(raw, template))
    reason = checks.screened(checks.EXTRACTING, checks.Look(text, template, finish=finish_reason)).reason
    return Extracted("" if reason else _unframe(text.strip()), reason)


def ending(told: str) -> str:
    """How a text ended, from what a server told: "stop" where the model or a stop string ended it, "length" at a limit
    of tokens, "" for all else, as "abort", "error", "content_filter" or "unload": such a text is broken off."""
    name = told.strip().casefold()
    return "stop" if name in _ENDS else "length" if name in _LIMITS else ""


def ended(raw: str, template: Template) -> str:
    """``raw`` up to the first stop, for servers that show control tokens but do not stop at them."""
    return raw[: min((at for stop in template.stops if (at := raw.find(stop)) >= 0), default=len(raw))]


def _unframe(text: str) -> str:
    if not re.search(r"\n#", text):
        text = re.sub(r"\A#{1,6}\s+", "", text)
    for left, right in (("**", "**"), ('"', '"'), ("“", "”"), ("«", "»"), ("「", "」")):
        inner = text[len(left) : -len(right)]
        framed = len(text) > len(left) + len(right) and text.startswith(left) and text.endswith(right)
        if framed and left not in inner and right not in inner:
            text = inner.strip()
    return text.removeprefix("**") if text.count("**") == 1 else text
