"""What a user asks ``generate`` for, on the command line and in Python, as settings: languages, topics, own files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import starmap
from pathlib import Path
from typing import Any

from magpie_ollama.asking.settings import Settings, settings_of
from magpie_ollama.corpus import voice
from magpie_ollama.corpus.voice import Own
from magpie_ollama.errors import UsageError
from magpie_ollama.method import languages
from magpie_ollama.method.languages import Language
from magpie_ollama.method.steering import default_steering, parse_steering
from magpie_ollama.servers.base import ServerChoice


def generating(choice: ServerChoice, target: int, given: Mapping[str, Any]) -> Settings:
    """``given`` are the options of ``generate`` by their names; its files are read here. Raises ``UsageError``, and
    ``NotACorpus`` for a file without a row."""
    path = given["language_file"]
    language = languages.given(given["language"], Path(path) if path else None)
    topics = given["topics"]
    if given["document"] and not (topics or given["system"] or given["systems"] or given["examples"]):
        topics = "document-questions"
    own, steering, language = _own(given, given["steering"] or default_steering(language, given["topics"]), language)
    said = {**given, "topics": topics}
    settings = settings_of(choice, language, parse_steering(steering), target, said, given["parallel"])
    return replace(settings, own=own, keep_passage=not given["no_passage"])


def _own(given: Mapping[str, Any], steering: str, language: Language) -> tuple[Own, str, Language]:
    """What comes from files, with the steering and the language that show it."""
    examples, systems, document = (Path(given[name]) if given[name] else None for name in _FILES)
    if systems and given["system"]:
        raise UsageError("--systems and --system both want to be the system message.", "leave out one of the two")
    if given["topics"] and (examples or systems):
        raise UsageError(
            "A topic has exemplars and a system message of its own.", "leave out --topics, or --examples and --systems"
        )
    files: tuple[Path, ...] = tuple(filter(None, (examples, systems)))
    if examples:
        language = replace(language, exemplars=tuple(starmap(languages.Exemplar, voice.pairs(examples))))
        steering = given["steering"] or "exemplar"
    passages: tuple[voice.Piece, ...] = ()
    if document:
        passages, documents = voice.passages(document)
        files = (*files, *documents)
        steering = given["steering"] or "exemplar+opener"
        if "prefix" in steering:
            raise UsageError(
                "With --document a user's turn begins with a passage, and not with a prefix.", "leave out -s"
            )
    own = Own(voice.systems(systems) if systems else (), passages, voice.digests(files))
    return own, steering, language


_FILES = ("examples", "systems", "document")
