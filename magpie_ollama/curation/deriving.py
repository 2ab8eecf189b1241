"""Preference data out of what a run rejected: labels that the screen has verified, without a judge and without a token.

kto          {"prompt": [...], "completion": [...], "label", "reason"}: kept responses true, rejected ones false
dpo, pairs   {"prompt": [...], "chosen": [...], "rejected": [...], "reason"}: of instructions that have one of each

Prompts and completions are lists of messages, as TRL reads them; ``reason`` is why the rejected one was, "" for one
that was kept. With ``pairs``, those that teach a model to answer in the user's language come first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from magpie_ollama.corpus.questions import key
from magpie_ollama.corpus.reading import Row
from magpie_ollama.corpus.rejections import Rejected
from magpie_ollama.curation.export import KEY, ReasoningFound, conversation
from magpie_ollama.errors import UsageError
from magpie_ollama.method.reasons import Reason, Stage

LANGUAGE = (Reason.RESPONSE_WRONG_LANGUAGE, Reason.RESPONSE_INVENTED_WORDS)
"""Reasons of pairs that teach to answer in a language."""

_PREFIX = "response_"

REASONS = tuple(reason for reason in Reason if reason.stage is Stage.RESPONSE)


def parse_reasons(names: Iterable[str]) -> frozenset[str]:
    """Reasons by their names, with or without "response_"; all where none is named. Raises UsageError.

    >>> sorted(parse_reasons(["wrong_language", "response_echo"]))
    ['response_echo', 'response_wrong_language']
    """
    known = {reason.removeprefix(_PREFIX): reason.value for reason in REASONS}
    short = [name.strip().lower().removeprefix(_PREFIX) for name in names]
    if unknown := [name for name in short if name not in known]:
        raise UsageError(f"--reason {unknown[0]!r} is none", f"choose among {', '.join(known)}")
    return frozenset(known[name] for name in short) or frozenset(known.values())


class Deriving:
    """Rows of one corpus. ``made`` counts them by reason ("" for those labelled true), ``found`` what was rejected for
    one of the ``reasons``, ``others`` for another one; ``doubled`` is the same response to the same once more, or one
    that was kept after all; ``unanswered`` are records that hold no answer that is wanted."""

    def __init__(self, rejected: Iterable[Rejected], reasons: frozenset[str], reasoning: bool | None = None) -> None:
        """``reasoning``: whether answers have a key for it; with None, none has any, and ReasoningFound is raised for
        the first that does."""
        self.made: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self.doubled = 0
        self.unanswered = 0
        self._reasoning = reasoning
        self._waiting: dict[bytes, dict[str, Rejected]] = {}
        for one in rejected:
            if one.reason not in reasons:
                self.others[one.reason] += 1
                continue
            self.found[one.reason] += 1
            if one.reasoning and reasoning is None:
                raise ReasoningFound
            beside = self._waiting.setdefault(key(one.messages[:-1]), {})
            self.doubled += one.messages[-1]["content"] in beside
            beside.setdefault(one.messages[-1]["content"], one)

    def kto(self, rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
        """Each kept response, then the rejected ones of its instruction; those without a kept one come last."""
        for turns in self._answered(rows):
            yield self._labelled(turns[:-1], turns[-1], "")
            for at in self._answers(turns):
                for one in self._rejected(turns[:at], turns[at]):
                    yield self._labelled(turns[:at], self._answer(one), one.reason)
        for beside in self._waiting.values():
            for one in beside.values():
                yield self._labelled(one.messages[:-1], self._answer(one), one.reason)

    def dpo(self, rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
        """A pair for each rejected response of an instruction that has a kept one."""
        for turns in self._answered(rows):
            for at in self._answers(turns):
                for one in self._rejected(turns[:at], turns[at]):
                    self.made[one.reason] += 1
                    yield {
                        "prompt": _plain(turns[:at]),
                        "chosen": [turns[at]],
                        "rejected": [self._answer(one)],
                        "reason": one.reason,
                    }

    def pairs(self, rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
        """The same, those of ``LANGUAGE`` first. All are held in memory."""
        yield from sorted(self.dpo(rows), key=lambda pair: pair["reason"] not in LANGUAGE)

    def _answered(self, rows: Iterable[Row]) -> Iterator[list[dict[str, str]]]:
        for row in rows:
            if self._reasoning is None and any(turn.reasoning for turn in row.said.turns):
                raise ReasoningFound
            found = conversation(row, "key" if self._reasoning else "drop")
            if found is None:
                self.unanswered += 1
            else:
                yield found.turns

    @staticmethod
    def _answers(turns: list[dict[str, str]]) -> list[int]:
        return [at for at, turn in enumerate(turns) if turn["role"] == "assistant"]

    def _rejected(self, prompt: list[dict[str, str]], kept: Mapping[str, str]) -> list[Rejected]:
        beside = self._waiting.pop(key(prompt), {})
        self.doubled += beside.pop(kept["content"], None) is not None
        return list(beside.values())

    def _labelled(self, prompt: Iterable[Mapping[str, Any]], answer: dict[str, str], reason: str) -> dict[str, Any]:
        self.made[reason] += 1
        return {"prompt": _plain(prompt), "completion": [answer], "label": not reason, "reason": reason}

    def _answer(self, one: Rejected) -> dict[str, str]:
        answer = {"role": "assistant", "content": one.messages[-1]["content"]}
        return answer | {KEY: one.reasoning} if self._reasoning else answer


def _plain(prompt: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Messages of a prompt: what was thought before earlier answers is no part of it, as templates have it."""
    return [{"role": turn["role"], "content": turn["content"]} for turn in prompt]
