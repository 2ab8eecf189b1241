"""No test fails because the machine is busy: Hypothesis, too, sets no limit of time."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # all else as the profile that Hypothesis takes here, or in CI
settings.load_profile("unhurried")
