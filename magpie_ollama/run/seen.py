"""The instructions that a corpus already has, as an index of duplicates."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile

from magpie_ollama.corpus.corpus import Corpus
from magpie_ollama.corpus.reading import Rows
from magpie_ollama.method import index_state
from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.method.followups import Phrases

WORTH_KEEPING = 2000
"""Instructions that take 0.1 s to read and hash: so many new ones, and the next opening shall find them done."""


def index(corpus: Corpus, stopped: Callable[[], bool] = lambda: False) -> DuplicateIndex:
    """Reads and hashes what has come since the index was last kept beside the corpus, and keeps it anew where that was
    much. About 40 microseconds an instruction. For a corpus to which nothing was added since it was opened. Ends early,
    with a part, once ``stopped()``."""
    kept = index_state.from_bytes(corpus.recall())
    seen = kept or DuplicateIndex()
    before = len(seen)
    records = takewhile(lambda _: not stopped(), corpus.instructions(new=kept is not None))
    seen.add_many(text for _, text in records)
    if len(seen) - before >= WORTH_KEEPING and not stopped():
        corpus.remember(index_state.to_bytes(seen))
    return seen


def phrases(corpus: Corpus, stopped: Callable[[], bool] = lambda: False) -> Phrases:
    """The later turns of the user that a corpus has. Reads all of it."""
    found = Phrases()
    if corpus.path is not None and corpus.records:
        for row in takewhile(lambda _: not stopped(), Rows(corpus.path, skip_bad=True)):
            for turn in [turn for turn in row.said.turns if turn.role == "user"][1:]:
                found.add(turn.text)
    return found
