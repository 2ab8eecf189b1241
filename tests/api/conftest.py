"""The Python API's tests keep the user out as those of ``run`` do."""

from run.conftest import nothing_of_the_user

__all__ = ["nothing_of_the_user"]
