"""What the doctor finds: a verdict and a remedy for each check, and the figures of what a run would take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from magpie_ollama.errors import MagpieError
from magpie_ollama.run.progress import Progress

Verdict = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. ``remedy`` says what to do next; a warning and an error always have one."""

    name: str
    verdict: Verdict
    text: str
    remedy: str = ""


@dataclass(slots=True)
class Diagnosis:
    """All findings, in the order of the checks. ``tell`` gets each as it comes; ``progress`` shows the check under way.

    ``tokens_per_second`` is the best rate that the probe measured; ``tokens_for_1000`` and ``seconds_for_1000`` are an
    estimate of a run of 1,000 records. None: it did not come to that. ``exit_code`` is that of the first error, or 0.
    """

    tell: Callable[[Finding], None]
    progress: Progress
    findings: list[Finding] = field(default_factory=list)
    exit_code: int = 0
    tokens_per_second: float | None = None
    tokens_for_1000: float | None = None
    seconds_for_1000: float | None = None

    def ok(self, name: str, text: str, remedy: str = "") -> None:
        self._add(Finding(name, "ok", text, remedy))

    def warn(self, name: str, text: str, remedy: str) -> None:
        self._add(Finding(name, "warning", text, remedy))

    def fail(self, name: str, error: MagpieError) -> None:
        self.exit_code = self.exit_code or error.exit_code
        remedy = error.remedy or "run the same command again with --debug, and look into the server's log"
        self._add(Finding(name, "error", error.cause, remedy))

    async def check(self, name: str, step: str, check: Callable[[], Awaitable[None]]) -> MagpieError | None:
        """Runs one check, which ``step`` shows. What it raises becomes a finding of that name, and is returned."""
        self.progress.enter(step)
        try:
            await check()
        except MagpieError as error:
            self.fail(name, error)
            return error
        finally:
            self.progress.enter("")
        return None

    def _add(self, finding: Finding) -> None:
        self.findings.append(finding)
        self.tell(finding)
