"""Rows of preference data, any tool's, as ``export`` and trainers want them: which answer was wanted, which was not.

TRL            prompt, chosen, rejected; chosen and rejected as whole conversations; prompt, completion, label
LLaMA-Factory  conversations, chosen, rejected; conversations, kto_tag
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Literal

import msgspec

from magpie_ollama.corpus import names, shapes
from magpie_ollama.corpus.reading import Row

Kind = Literal["sft", "dpo", "kto", "prompt"]

LABEL = "label"
_LABELS = (LABEL, "kto_tag")


def of_kind(rows: Iterable[Row], kind: Kind) -> Iterable[Row]:
    """The rows with what that kind of training takes as their turns: see the functions below."""
    if kind == "sft":
        return rows
    return {"dpo": paired, "kto": labelled, "prompt": asked}[kind](rows)


def paired(rows: Iterable[Row]) -> Iterator[Row]:
    """Turns that end with the chosen answer and then the rejected one."""
    for row in rows:
        refused = names.given(row.data, names.REJECTED)
        if not refused:
            yield _without(row, "no_rejected")
            continue
        bare = _bare(row)
        chosen, rejected = _said(row, bare), _said(row, {**bare, _chosen(bare): row.data[refused]})
        reason = chosen.reason or rejected.reason
        if not reason and chosen.turns[:-1] != rejected.turns[:-1]:
            reason = "other_prompt"
        if not reason and chosen.turns[-1].text.strip() == rejected.turns[-1].text.strip():
            reason = "same"
        both = msgspec.structs.replace(chosen, turns=(*chosen.turns, *rejected.turns[-1:]))
        yield _without(row, reason) if reason else replace(row, said=both)


def labelled(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows whose data have a ``LABEL`` that is true or false. A pair is one of each, as TRL splits it."""
    for row in rows:
        label = names.given(row.data, _LABELS)
        if label and type(row.data[label]) is bool:
            yield replace(row, data={**row.data, LABEL: row.data[label]}, said=_said(row, _bare(row)))
        elif names.given(row.data, names.REJECTED):
            for one in paired([row]):
                if one.said.reason:
                    yield one
                    continue
                *prompt, chosen, rejected = one.said.turns
                for wanted, answer in ((True, chosen), (False, rejected)):
                    said = msgspec.structs.replace(one.said, turns=(*prompt, answer))
                    yield replace(row, data={**row.data, LABEL: wanted}, said=said)
        else:
            yield _without(row, "no_label")


def asked(rows: Iterable[Row]) -> Iterator[Row]:
    """Turns up to the last question; whether or how it is answered is nothing to them."""
    for row in rows:
        turns = row.said.asked
        if turns and turns[-1].role == "user":
            yield replace(row, said=msgspec.structs.replace(row.said, turns=turns, reason=""))
        else:
            yield row if row.said.reason else _without(row, "no_instruction")


def _bare(row: Row) -> dict[str, Any]:
    return {key: value for key, value in row.data.items() if key not in (*_LABELS, *names.REJECTED)}


def _chosen(bare: dict[str, Any]) -> str:
    return names.given(bare, ("chosen", "chosen_response", *names.ANSWERS)) or "chosen"


def _said(row: Row, data: dict[str, Any]) -> shapes.Said:
    found = shapes.find(data)
    return found if isinstance(found, shapes.Said) else _without(row, "no_text").said


def _without(row: Row, reason: str) -> Row:
    return replace(row, said=msgspec.structs.replace(row.said, reason=reason, turns=(), detail=""))
