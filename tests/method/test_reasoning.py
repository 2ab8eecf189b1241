"""Reasoning: taken off where it is delimited, told where it is not, left alone in code."""

from __future__ import annotations

import pytest

from magpie_ollama.method.reasoning import shows_reasoning, split_reasoning

R = "Okay, somebody wants help. I keep it short."
A = "Start with the simplest step."


@pytest.mark.parametrize(
    ("text", "opened", "parts"),
    [
        ("I see.\n</think>\n\nSo.", True, ("I see.", "So.")),
        ("I see.\n</think>\n\nSo.", False, ("I see.", "So.")),
        ("<think>\nI see.\n</think>\n\nSo.", False, ("I see.", "So.")),
        ("<think>\nI see", False, ("", "<think>\nI see")),
        ("\n\n</think>\n\nSo.", True, ("", "So.")),
        ("I see.\n</think>\n\nIt ends with </think>.", True, ("I see.", "It ends with </think>.")),
        ("So.", True, ("", "So.")),
        ("<think>Use ```python\n</think>Do ```print``` it.", False, ("Use ```python", "Do ```print``` it.")),
    ],
)
def test_reasoning_is_taken_off_where_it_stands_in_front(text: str, opened: bool, parts: tuple[str, str]) -> None:
    assert split_reasoning(text, opened) == parts


@pytest.mark.parametrize(
    "text",
    [
        f"[THINK]{R}[/THINK]{A}",
        f"{R}[/THINK]{A}",
        f"<|channel>thought\n{R}\n<channel|>{A}",
        f"<|channel|>analysis<|message|>{R}<|end|><|start|>assistant<|channel|>final<|message|>{A}",
        f"<|channel|>analysis<|message|>{R}<|end|><|start|>assistant<|channel|>final<|message|>{A}<|return|>",
        f"analysis{R}assistantfinal{A}",
        f"<thought>\n{R}\n</thought>\n\n{A}",
        f"<thinking>\n{R}\n</thinking>\n{A}",
        f"<THINK>{R}</THINK>{A}",
        f"◁think▷{R}◁/think▷{A}",
        f"<seed:think>{R}</seed:think>{A}",
        f"<longcat_think>{R}</longcat_think>{A}",
        f"<|begin_of_thought|>{R}<|end_of_thought|>\n\n{A}",
        f"<|START_THINKING|>{R}<|END_THINKING|>{A}",
        f"<unused94>thought\n{R}<unused95>{A}",
        f"<think>{R}</think>\n<think></think>\n{A}",
    ],
)
def test_marks_of_all_families(text: str) -> None:
    assert split_reasoning(text) == (R, A)
    assert not shows_reasoning(A)


@pytest.mark.parametrize(
    "text",
    [
        f"<think>\n{R}",
        f"[THINK]{R}",
        f"{A} <think>{R}</think> {A}",
        f"{A}\n</think>\n{A}\n</think>\n{A}",
        f"<|channel|>analysis<|message|>{R}",
        f"<|channel|>commentary<|message|>{R}<|end|>",
        f"analysis{R}",
        f"thought\n{R}\n{A}",
        f"◁think▷{R}",
    ],
)
def test_what_is_not_delimited_is_told(text: str) -> None:
    assert shows_reasoning(split_reasoning(text)[1])


@pytest.mark.parametrize(
    "text",
    [
        f"Put it between `<think>` and `</think>`. {A}",
        f"```xml\n<think>\n  {R}\n</think>\n```\n{A}",
        "Analysis of the poem: it rhymes.",
        "analysis is a branch of mathematics.",
        "Thought\nby thought, he wrote it down.",
        "I think, therefore I am: if a < b, then [b] > a.",
    ],
)
def test_what_only_speaks_of_it_stays(text: str) -> None:
    assert split_reasoning(text) == ("", text)
    assert not shows_reasoning(text)
