"""Judges of the fake server: one that knows each planted fault, one that calls everything bad."""

from __future__ import annotations

import math

from fake_ollama import Ask, Reply

from magpie_ollama.tagging.planted import ANSWER, GOOD, LANGUAGE, Shown, planted
from magpie_ollama.tagging.proof import KINDS
from magpie_ollama.tagging.scoring import request


class Oracle:
    """Sees the faults of ``sees`` and no others, in texts of ``languages``."""

    def __init__(self, *languages: str, sees: tuple[str, ...] = (*LANGUAGE, *ANSWER)) -> None:
        self._kinds: dict[str, str] = {}
        self._sees = sees
        for code in languages:
            for shown in planted(code):
                for scale in ("language", "answer"):
                    if shown.kind in KINDS[scale]:
                        self._kinds[asked(shown, scale, code)] = shown.kind
                self._kinds[f"{shown.instruction}\0{shown.response}"] = shown.kind

    def __call__(self, ask: Ask) -> Reply:
        last = str(ask.messages[-1]["content"])
        if "format" in ask.body and "<instruction>" in last:
            told = last.split("<instruction>\n")[1].split("\n</instruction>")[0]
            said = last.split("<response>\n")[1].split("\n</response>")[0]
            kind = self._kinds.get(f"{told}\0{said}", GOOD)
            quality = "very poor" if kind in self._sees else "good"
            return Reply(f'{{"category": "Math", "difficulty": "easy", "quality": "{quality}", "safety": "safe"}}')
        spoiled = self._kinds.get(last, GOOD) in self._sees
        return Reply("1" if spoiled else "5", top={"1": math.log(0.9 if spoiled else 0.1), "5": math.log(0.5)})


def asked(shown: Shown, scale: str, code: str) -> str:
    return request(shown.turns, scale, code)[-1]["content"]


def gloomy(ask: Ask) -> Reply:
    """As SmolLM2 judged five good records: each very poor, and unsafe."""
    if "format" in ask.body:
        return Reply('{"category": "Math", "difficulty": "easy", "quality": "very poor", "safety": "unsafe"}')
    return Reply("1", top={"1": -0.1})
