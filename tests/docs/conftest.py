"""The recipes run in folders of their own, as the commands' tests do."""

from commands.conftest import own_folder, run

__all__ = ["own_folder", "run"]
