"""Preference pairs out of several responses to the same, by a judge's scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import permutations
from typing import Any

from magpie_ollama.corpus.questions import key
from magpie_ollama.corpus.reading import Row
from magpie_ollama.curation.export import KEY, Turn, conversation

EXPLANATIONS = {
    "alone": "fewer than two different responses",
    "unscored": "fewer than two of them have a score",
    "tie": "no two scores are as far apart as --margin",
    "length": "two are, but one is longer than --length-ratio allows",
}
"""Why an instruction gives no pair."""


def pairs(
    rows: Iterable[Row],
    score: Callable[[Row], float | None],
    margin: float,
    length_ratio: float,
    left_out: Counter[str],
) -> Iterator[dict[str, Any]]:
    """A pair of each question: of all that are ``margin`` apart, and of which the longer has at most ``length_ratio``
    times the characters of the shorter (0: whatever), those furthest apart; of equal ones the first.

    {"prompt": [...], "chosen": [...], "rejected": [...], "score_chosen", "score_rejected"}, where each answer has its
    reasoning as soon as one of all has some. ``left_out`` counts the others, as ``EXPLANATIONS`` has them. All are held
    in memory.
    """
    groups: dict[bytes, tuple[list[Turn], dict[str, tuple[Turn, float | None]]]] = {}
    reasoned = False
    for row in rows:
        if (found := conversation(row, "key")) is not None:
            *prompt, answer = found.turns
            plain = [{"role": turn["role"], "content": turn["content"]} for turn in prompt]
            reasoned = reasoned or bool(answer[KEY])
            groups.setdefault(key(plain), (plain, {}))[1].setdefault(answer["content"].strip(), (answer, score(row)))
    for asked, answers in groups.values():
        scored = [(answer, value) for answer, value in answers.values() if value is not None]
        apart = [two for two in permutations(scored, 2) if two[0][1] - two[1][1] >= margin]
        within = [two for two in apart if not length_ratio or _ratio(two[0][0], two[1][0]) <= length_ratio]
        if not within:
            why = "alone" if len(answers) < 2 else "unscored" if len(scored) < 2 else "length" if apart else "tie"
            left_out[why] += 1
            continue
        (chosen, high), (rejected, low) = max(within, key=lambda two: two[0][1] - two[1][1])
        if not reasoned:
            chosen, rejected = ({name: one[name] for name in ("role", "content")} for one in (chosen, rejected))
        sides = {"prompt": asked, "chosen": [chosen], "rejected": [rejected]}
        yield {**sides, "score_chosen": round(high, 3), "score_rejected": round(low, 3)}


def _ratio(one: Turn, other: Turn) -> float:
    lengths = len(one["content"]), len(other["content"])
    return max(lengths) / max(1, min(lengths))
