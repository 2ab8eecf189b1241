"""What no text may be, whatever it is about: one list, that a watch and the final screen run alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from magpie_ollama.method import turns, unseen
from magpie_ollama.method.reasoning import shows_reasoning
from magpie_ollama.method.reasons import Reason, Stage
from magpie_ollama.method.template import Template


@dataclass(frozen=True, slots=True)
class Look:
    """A text as it is looked at. ``asked`` is the instruction of a response. Of a text that is still being written,
    the first ``known`` characters were looked at before, and ``waiting`` must stand behind what speaks against it:
    0 says that it is whole."""

    text: str
    template: Template
    asked: str = ""
    known: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """``finds`` says whether a text is to be rejected for ``reason``, which knows its stage and its words. ``early``:
    what it finds in a text's beginning stays, so that the text may be cut off while it is written."""

    reason: Reason
    finds: Callable[[Look], bool]
    early: bool = True


def _opens_a_turn(look: Look) -> bool:
    # Reasoning may still be followed by its end, and an answer: whatever stands in it goes then.
    return turns.opens_a_turn(look.text, look.template, look.known) and not (
        look.waiting and shows_reasoning(look.text)
    )


CHECKS = (
    Check(Reason.CONTROL_CHARACTERS, lambda look: unseen.forbidden(look.text, look.known)),
    Check(Reason.NOT_A_USER, lambda look: turns.speaks_as_assistant(look.text, look.waiting, look.known)),
    Check(Reason.RUN_ON, lambda look: turns.runs_on(look.text, look.template, look.waiting, look.known)),
    Check(Reason.RUN_ON, lambda look: shows_reasoning(look.text), early=False),
    Check(Reason.RESPONSE_CONTROL_CHARACTERS, lambda look: unseen.forbidden(look.text, look.known)),
    Check(Reason.RESPONSE_REASONING, lambda look: shows_reasoning(look.text), early=False),
    Check(Reason.RESPONSE_RUN_ON, _opens_a_turn),
    Check(Reason.RESPONSE_RUN_ON, lambda look: turns.has_a_dialogue_glued_on(look.text, look.asked), early=False),
)


def found(stage: Stage, look: Look) -> Reason | None:
    """The first reason of this stage that speaks against the text."""
    for check in CHECKS:
        if check.reason.stage is stage and (check.early or not look.waiting) and check.finds(look):
            return check.reason
    return None
