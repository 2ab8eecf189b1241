"""Which topic the next attempt is on: the one that is furthest behind its share of the kept records. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from magpie_ollama.records import KEPT, Attempt

HOPELESS_ATTEMPTS = 80
HOPELESS_YIELD = 1 / 40
"""A topic that keeps fewer than one in forty of its attempts, after eighty, is dropped: the others would wait for it
longer than the bound on attempts, ten a record, lets them. One that keeps one in ten is dropped once in 500 times."""


class Schedule:
    """The quota method (Balinski and Young 1975) over records that are kept or being made: of the topics that have less
    than their share, the one with the greatest share for each record it would have.

    Asked one attempt at a time, each topic is within one of its share after every record. With several in flight it
    is so at the end, and on the way but for those that fail.
    """

    def __init__(self, shares: Mapping[str, float], target: int) -> None:
        """``shares`` of ``target`` records, by topic."""
        self._shares = dict(shares)
        self._target = target
        self._planned = dict.fromkeys(shares, 0)
        self.attempts = dict.fromkeys(shares, 0)
        self.kept = dict.fromkeys(shares, 0)
        self.dropped: list[str] = []

    def recall(self, attempts: Iterable[Attempt]) -> None:
        """Counts what the run did in an earlier process."""
        for attempt in attempts:
            if attempt.topic in self._planned:
                self._planned[attempt.topic] += 1
                self.learn(attempt)

    def next(self) -> str | None:
        """The topic of another attempt, which counts as kept until ``learn`` hears otherwise. None: those in flight are
        enough, if all are kept."""
        live = self._live
        number = 1 + sum(self._planned.values())
        if len(live) > 1 and number > self._target:
            return None
        chosen = live[0]
        if len(live) > 1:
            whole = 1 + sum(self._planned[topic] for topic in live)
            part = sum(self._shares[topic] for topic in live)
            due = [topic for topic in live if self._planned[topic] * part < self._shares[topic] * whole]
            chosen = max(due or live, key=lambda topic: self._shares[topic] / (self._planned[topic] + 1))
        self._planned[chosen] += 1
        return chosen

    def learn(self, attempt: Attempt) -> bool:
        """Whether this was the attempt that its topic is dropped for."""
        topic, live = attempt.topic, self._live
        self._planned[topic] -= attempt.outcome != KEPT
        self.attempts[topic] += attempt.ended
        self.kept[topic] += attempt.outcome == KEPT
        tried = self.attempts[topic]
        hopeless = tried >= HOPELESS_ATTEMPTS and self.kept[topic] < HOPELESS_YIELD * tried
        if hopeless and topic in live and len(live) > 1:
            self.dropped.append(topic)
            return True
        return False

    @property
    def _live(self) -> list[str]:
        return [topic for topic in self._shares if topic not in self.dropped]
