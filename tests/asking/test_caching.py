from __future__ import annotations

from magpie_ollama.asking.caching import SLOTS, PromptCache
from magpie_ollama.servers.base import Completion


def test_what_the_server_tells_counts() -> None:
    cache = PromptCache()
    assert cache.read("abcd", Completion(prompt_tokens=100, cached_tokens=70)) == 30
    assert cache.read("abcd", Completion(prompt_tokens=100, cached_tokens=120)) == 0


def test_else_what_no_prompt_before_begins_with() -> None:
    cache = PromptCache()
    assert cache.read("a" * 80, Completion(prompt_tokens=40)) == 40
    assert cache.read("a" * 80, Completion(prompt_tokens=40)) == 0
    assert cache.read("a" * 60 + "b" * 20, Completion(prompt_tokens=40)) == 10
    assert cache.read("a" * 60 + "c" * 20, Completion()) == 5  # four bytes a token
    for _ in range(SLOTS):
        cache.read("z", Completion(prompt_tokens=1))
    assert cache.read("a" * 80, Completion(prompt_tokens=40)) == 40


def test_an_empty_prompt_is_no_work() -> None:
    assert PromptCache().read("", Completion(prompt_tokens=3)) == 0
