"""How much of a prompt a server has to read: what its cache does not hold, as told or as estimated."""

from __future__ import annotations

from collections import deque
from itertools import takewhile
from operator import eq

from magpie_ollama.servers.base import Completion

SLOTS = 4
"""So many of the newest prompts are taken to be in the cache still."""

BYTES = 4
"""Of a token, where the server does not count those of the prompt."""


class PromptCache:
    """What a cache of prompts holds, by the prompts that were sent: the longest beginning that one of them shares."""

    def __init__(self) -> None:
        self._held: deque[str] = deque(maxlen=SLOTS)

    def read(self, prompt: str, completion: Completion) -> int:
        """Tokens that were read for ``completion``."""
        shared = max((sum(takewhile(bool, map(eq, prompt, held))) for held in self._held), default=0)
        self._held.append(prompt)
        if completion.cached_tokens:
            return max(0, completion.prompt_tokens - completion.cached_tokens)
        tokens = completion.prompt_tokens or len(prompt.encode("utf-8", "replace")) / BYTES
        return round(tokens * (1 - shared / len(prompt))) if prompt else 0
