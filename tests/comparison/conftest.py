"""As in tests/run: nothing of the user gets in."""

from run.conftest import nothing_of_the_user

__all__ = ["nothing_of_the_user"]
