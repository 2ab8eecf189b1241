"""What trainers read, as data: by trainer and kind of training, the keys of a row and who speaks in it.

Read in the trainers' own sources, 2026-11: TRL 1.16 (``trl/data_utils.py``), Axolotl (``prompt_strategies``),
LLaMA-Factory (``data/converter.py``), Unsloth. ``export`` writes the first shape of each, ``check`` takes any of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from magpie_ollama.corpus.reading import Row
from magpie_ollama.curation.export import Exported, Form, Turn
from magpie_ollama.curation.preferences import LABEL, Kind

Trainer = Literal["trl", "axolotl", "llama-factory", "unsloth"]

TRAINERS: dict[Trainer, str] = {
    "trl": "TRL",
    "axolotl": "Axolotl",
    "llama-factory": "LLaMA-Factory",
    "unsloth": "Unsloth",
}
KINDS: tuple[Kind, ...] = ("sft", "dpo", "kto", "prompt")

OPENAI = {"system": "system", "user": "user", "assistant": "assistant"}
SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}


class Shape(NamedTuple):
    """A row: ``prompt`` is the key of what is asked, with the answer as its last turn where there is no key in
    ``answers``; "" where the answers hold it. ``asked`` and ``answered`` say whether these are lists of turns, one turn
    or texts. A turn has the keys ``role`` and ``said``, and names of ``speakers``. In texts the system message is under
    ``system``, earlier turns under ``history``."""

    prompt: str
    answers: tuple[str, ...] = ()
    label: str = ""
    asked: Literal["turns", "text"] = "turns"
    answered: Literal["turns", "turn", "text", ""] = "turns"
    role: str = "role"
    said: str = "content"
    speakers: Mapping[str, str] = OPENAI
    system: str = ""
    history: str = ""

    @property
    def keys(self) -> set[str]:
        """Those that a row cannot be without."""
        return {self.prompt, *self.answers, self.label} - {""}

    @property
    def has_reasoning(self) -> bool:
        """Whether a turn may have ``reasoning_content``: what is taken by role and content alone would lose it."""
        return self.said == "content" and self.answered == "turns"


_MESSAGES = Shape("messages")
_COMPLETION = Shape("prompt", ("completion",))
_PAIR = Shape("prompt", ("chosen", "rejected"))
_LABELLED = Shape("prompt", ("completion",), "label")
_PROMPT = Shape("prompt", answered="")
_SHAREGPT = Shape("conversations", role="from", said="value", speakers=SHAREGPT)
_ALPACA = Shape("instruction", ("output",), asked="text", answered="text")
_TRL: dict[Kind, tuple[Shape, ...]] = {
    "sft": (_COMPLETION, _MESSAGES),
    "dpo": (_PAIR, Shape("", ("chosen", "rejected"))),
    "kto": (_LABELLED, _PAIR),
    "prompt": (_PROMPT,),
}

SHAPES: dict[Trainer, dict[Kind, tuple[Shape, ...]]] = {
    "trl": _TRL,
    "axolotl": {
        "sft": (_MESSAGES, _ALPACA),
        "dpo": (_PAIR._replace(answered="turn"), _PAIR, _PAIR._replace(asked="text", answered="text")),
        "kto": (_LABELLED._replace(asked="text", answered="text", system="system"),),
        "prompt": (_PROMPT,),
    },
    "llama-factory": {
        "sft": (_SHAREGPT, _ALPACA),
        "dpo": (_SHAREGPT._replace(answers=("chosen", "rejected"), answered="turn"),),
        "kto": (_SHAREGPT._replace(label="kto_tag"),),
        "prompt": (Shape("instruction", asked="text", answered="", system="system", history="history"),),
    },
    "unsloth": {**_TRL, "sft": (_MESSAGES, _SHAREGPT, _COMPLETION, _ALPACA)},
}
"""Axolotl's user-defined KTO type fails on its own example (its format has another name than its field): ``chatml`` and
``llama3.prompt_pairs`` take these texts. LLaMA-Factory counts the turns: odd ones are skipped, and even ones before a
pair. Its ShareGPT form knows no prompt without an answer, its Alpaca form does."""


def form_of(shape: Shape, kind: Kind) -> Form:
    """Rows of ``preferences.of_kind`` in a shape; None where it has no place for several turns."""

    def made(turns: list[Turn], row: Row) -> Exported | None:
        answers = {"sft": 1, "kto": 1, "dpo": 2, "prompt": 0}[kind]
        asked, given = turns[: len(turns) - answers], turns[len(turns) - answers :]
        values: dict[str, Any] = {}
        if shape.asked == "turns":
            whole = asked if shape.answers else turns
            values[shape.prompt] = [_turn(shape, turn) for turn in whole]
        else:
            first = asked[0]["role"] == "system"
            system = asked[0]["content"] if first else ""
            *earlier, last = asked[first:]
            if (earlier and not shape.history) or (system and not shape.system):
                return None
            values[shape.prompt] = last["content"]
            texts = [turn["content"] for turn in earlier]
            further = {
                shape.system: system,
                shape.history: [list(pair) for pair in zip(texts[::2], texts[1::2], strict=True)],
            }
            values |= {key: value for key, value in further.items() if key}
        for key, answer in zip(shape.answers, given, strict=True) if shape.answers else ():
            turn = _turn(shape, answer)
            values[key] = {"turns": [turn], "turn": turn, "text": answer["content"]}[shape.answered]
        if shape.label:
            values[shape.label] = row.data[LABEL]
        return Exported(values)

    return made


def _turn(shape: Shape, turn: Turn) -> Turn:
    named = {shape.role: shape.speakers[turn["role"]], shape.said: turn["content"]}
    return named | {key: value for key, value in turn.items() if key not in ("role", "content")}


def shapes_of(keys: set[str], shapes: Sequence[Shape]) -> list[Shape]:
    """The shapes that a row with these keys may be taken for: those with most keys, and ``prompt`` before ``messages``,
    as in TRL. They differ in what stands under the keys."""
    fitting = [shape for shape in shapes if shape.keys <= keys]
    most = max((len(shape.keys) for shape in fitting), default=0)
    return [shape for shape in fitting if len(shape.keys) == most]
