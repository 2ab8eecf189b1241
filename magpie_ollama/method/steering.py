"""Steering: what goes into the prompt so that the model writes its instruction in the wanted language.

| part        | the prompt                                                          | source                          |
|-------------|---------------------------------------------------------------------|---------------------------------|
| none        | the pre-query template alone                                        | Magpie, arXiv 2406.08464        |
| prefix      | + ``spanish:`` in place of the line breaks behind the user's header | Manuel Romero                   |
| prefix_line | + ``spanish:`` in front of those line breaks                        | the multilingual Magpie article |
| system      | a system message in the target language in front                    | the multilingual Magpie article |
| opener      | + the first words of a user's turn, kept as part of the instruction | this project                    |
| exemplar    | the system message + short exchanges in the language, then the user's header | this project           |

Parts combine: ``prefix+system``, ``exemplar+opener``. An exemplar brings the system message along.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from magpie_ollama import prompts
from magpie_ollama.errors import UsageError
from magpie_ollama.method.languages import Exemplar, Language
from magpie_ollama.records import Message

PARTS = ("prefix", "prefix_line", "system", "exemplar", "opener")
NONE = "none"
AUTO = "auto"

EXEMPLARS = 3
"""Exchanges that an exemplar steering shows. More of them teach the model better that a user's turn ends: with
exemplar+opener, one, two and three gave 3.1, 5.6 and 8.4 useful instructions per 1,000 tokens in Italian, 7.0, 8.7 and
14.8 in Dutch (SmolLM2-135M, 50 attempts each)."""

OPENER_SHARES = {"questions": 0.4, "orders": 0.4, "needs": 0.12, "descriptions": 0.08}
"""How often a kind of opener is drawn: as people write to a chat, mostly asking or telling what to do."""

BLOCK = 32
"""So many seeds in a row share all exemplars but the last, and with them the beginning of the prompt: the server keeps
it in its cache."""


@dataclass(frozen=True, slots=True)
class Steered:
    """One attempt's steering.

    ``messages`` stand before the user's turn, for the instruction and for its response alike. ``prefix`` names the
    language behind the user's header, ``opener`` is the beginning of the instruction. ``passage`` stands before it
    in the same turn, and is not judged as a part of it.
    """

    steering: str
    messages: tuple[Message, ...] = ()
    prefix: str = ""
    opener: str = ""
    exemplars: tuple[Exemplar, ...] = ()
    passage: str = ""

    def prompt(self, template: str) -> str:
        """What the model goes on from, behind a pre-query template.

        >>> Steered("prefix", prefix="spanish:", opener="Explica").prompt("<|user|>\\n")
        '<|user|>spanish: Explica'
        >>> Steered("prefix_line", prefix="spanish:", opener="Explica").prompt("<|user|>\\n")
        '<|user|>spanish:\\nExplica'
        """
        if self.passage:
            return f"{template}{self.passage}\n\n{self.opener}"
        if not self.prefix:
            return template + self.opener
        header = template.rstrip("\n")
        breaks = template[len(header) :] if "prefix_line" in self.steering else ""
        return header + self.prefix + (breaks or (self.opener and " ")) + self.opener


def parse_steering(text: str) -> str:
    """The canonical name of a steering: its parts in the order of ``PARTS``. Raises ``UsageError`` for an unknown one.

    >>> parse_steering("opener+exemplar"), parse_steering(" None ")
    ('exemplar+opener', 'none')
    """
    parts = {part.strip().lower() for part in text.split("+")}
    if len(parts) == 1 and parts <= {NONE, AUTO}:
        return parts.pop()
    if parts >= {"prefix", "prefix_line"}:
        raise UsageError("prefix and prefix_line are two places of one prefix.", "leave out one of the two")
    unknown = sorted(parts - set(PARTS))
    if unknown:
        alone = unknown[0] in (NONE, AUTO)
        raise UsageError(
            f"The steering {unknown[0]!r} stands alone." if alone else f"There is no steering {unknown[0]!r}.",
            f"choose none, auto, or one or more of {', '.join(PARTS)} joined by +, for example exemplar+opener",
        )
    return "+".join(part for part in PARTS if part in parts)


def default_steering(language: Language, topics: str = "") -> str:
    """No steering where a model writes the language by itself, which is English, on whatever it likes; else auto."""
    return NONE if language.code == "en" and not topics else AUTO


def steer(
    steering: str,
    language: Language,
    seed: int,
    *,
    system: str = "",
    exemplars: int = EXEMPLARS,
    pool: Sequence[Exemplar] = (),
) -> Steered:
    """The steering of one attempt; what is drawn, is drawn by ``seed``.

    ``system`` replaces the language's own system message, and goes in front whatever the steering. ``exemplars``
    is how many exchanges an exemplar steering shows, no two alike: all but the last are drawn from the language's own,
    for a block of seeds at once; the last from the language's own and ``pool``.
    """
    parts = steering.split("+")
    draw = random.Random(seed)
    messages: list[Message] = []
    chosen: tuple[Exemplar, ...] = ()
    text = system or (language.system if "system" in parts or "exemplar" in parts else "")
    if text:
        messages.append({"role": "system", "content": text})
    if "exemplar" in parts:
        chosen = _draw_exemplars(language, seed, draw, min(exemplars, len(language.exemplars)), pool)
        for exemplar in chosen:
            messages.append({"role": "user", "content": exemplar.instruction})
            messages.append({"role": "assistant", "content": exemplar.response})
    opener = ""
    if "opener" in parts:
        # First the kind of request, then one of it, so that no kind with many openers outweighs the others.
        (kind,) = draw.choices(list(OPENER_SHARES), list(OPENER_SHARES.values()))
        opener = draw.choice(language.openers[kind])
    prefix = language.prefix if {"prefix", "prefix_line"} & set(parts) else ""
    return Steered(steering, tuple(messages), prefix, opener, chosen)


@cache
def how_hard(difficulty: str, code: str) -> str:
    """What is said of the questions for a difficulty, in the language or else in English."""
    sentences: Mapping[str, str] = prompts.read(prompts.folder("difficulty") / "sentences.toml")[difficulty]
    return sentences.get(code, sentences["en"])


def _draw_exemplars(
    language: Language, seed: int, draw: random.Random, count: int, pool: Sequence[Exemplar]
) -> tuple[Exemplar, ...]:
    first = random.Random(seed // BLOCK).sample(language.exemplars, count - 1)
    rest = [exemplar for exemplar in language.exemplars if exemplar not in first]
    return (*first, draw.choice((*rest, *pool)))
