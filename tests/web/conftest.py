"""Nothing of the user's own gets into these tests, and nothing of theirs out."""

from run.conftest import nothing_of_the_user as nothing_of_the_user
