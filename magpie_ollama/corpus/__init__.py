"""The corpus room: talks to files. One append-only JSONL file, its runs, and nothing ever lost."""

from __future__ import annotations

from magpie_ollama.corpus.appender import Sync
from magpie_ollama.corpus.corpus import Corpus, MemoryCorpus, StdoutCorpus
from magpie_ollama.corpus.runs import Run, Status

__all__ = ["Corpus", "MemoryCorpus", "Run", "Status", "StdoutCorpus", "Sync"]
