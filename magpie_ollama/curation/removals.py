"""What a cleaning command took away from a file, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

BAD_LINE = "bad_line"


@dataclass(slots=True)
class Removals:
    """``kept`` records, and the removed ones by the name of their reason."""

    kept: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def count(self, reason: str | None, records: int = 1) -> None:
        """Add so many records: None for kept ones."""
        if reason is None:
            self.kept += records
        elif records:
            self.reasons[reason] += records

    @property
    def removed(self) -> int:
        return self.reasons.total()

    @property
    def read(self) -> int:
        return self.kept + self.removed
