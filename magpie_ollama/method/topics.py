"""Topics as data: ``prompts/topics/<name>.toml``, and mixtures of them by weight: ``prompts/mixtures/<name>.toml``.

A topic's system message has three parts, as those of magpie-ultra have: a role; what users typically write, which
steers the user's turn; and how to answer. Exemplars of other subjects defeat it (of 13 instructions 1 was about
mathematics, of 10 with exemplars of mathematics 7: SmolLM2-135M), so a topic brings its own.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from magpie_ollama import plugins, prompts
from magpie_ollama.errors import UsageError
from magpie_ollama.method.languages import OPENER_KINDS, Exemplar, Language, Reading

WITHOUT_DATA = "system+opener"
"""The steering of a topic in a language that it has no data in: its English message behind the language's own, and
openers of the language, which bring that."""

RULES = ("foreign_text", "code")


@dataclass(frozen=True, slots=True)
class Voice:
    """A topic in one language."""

    system: str
    openers: tuple[str, ...]
    exemplars: tuple[Exemplar, ...]


@dataclass(frozen=True, slots=True)
class Topic:
    """``category`` is the one of ``tag`` that its records should be given. ``foreign_text``: an instruction may hold
    text of another language, and a response be in it. ``code``: both may be nothing but code. ``voices`` are by the
    code of the language."""

    name: str
    category: str
    foreign_text: bool
    code: bool
    voices: Mapping[str, Voice]

    def spoken(self, language: Language) -> Language:
        """The language with the topic's system message, openers and exemplars in place of its general ones. Raises
        UsageError for a topic that has data neither in it nor in English."""
        voice = self.voices.get(language.code)
        if voice is not None:
            openers = dict.fromkeys(OPENER_KINDS, voice.openers)
            return replace(language, system=voice.system, openers=openers, exemplars=voice.exemplars)
        if "en" not in self.voices:
            raise UsageError(
                f"The topic {self.name} has data in {', '.join(sorted(self.voices))} alone, not in {language.code}.",
                f"add a table [{language.code}] to it, or one in English, [en]",
            )
        return replace(language, system=f"{language.system}\n\n{self.voices['en'].system}")


@dataclass(frozen=True, slots=True)
class Mixture:
    """``topics`` are by name, ``shares`` too; the latter sum to 1."""

    topics: Mapping[str, Topic]
    shares: Mapping[str, float]


def mix(said: str) -> Mixture:
    """The mixture that ``said`` means: the name of one or of a topic, a TOML file of either, or several topics, each
    with a weight behind a colon: "maths:2,code:1". Raises ``UsageError``, with the nearest names."""
    said = said.strip()
    if said in prompts.names("mixtures"):
        return _mixture_file(prompts.folder("mixtures") / f"{said}.toml")
    if said.endswith(".toml") and "," not in said and "weights" in prompts.read(Path(said)):
        return _mixture_file(Path(said))
    weights: dict[str, Any] = {}
    for part in filter(str.strip, said.split(",")) if said.strip(", ") else [said]:
        name, colon, weight = part.strip().rpartition(":")
        if not colon or weight.endswith(".toml"):  # C:\mine.toml
            name, weight = part.strip(), "1"
        if name in weights:
            raise UsageError(f"The topic {name} is named twice in --topics {said}.", "give it one weight")
        weights[name] = weight
    return _mixture(weights, f"--topics {said}", Path())


def load(name: str, folder: Path = Path()) -> Topic:
    """The topic of that name, or of that TOML file, seen from ``folder``."""
    if name.endswith(".toml"):
        return load_file(folder / Path(name).expanduser())
    if (topic := shipped(name)) is not None:
        return topic
    known = [*prompts.names("topics"), *plugins.topic_files()]
    every = [*known, *prompts.names("mixtures")]
    near = difflib.get_close_matches(name.casefold(), every, n=4, cutoff=0.5)
    raise UsageError(
        f"There is no topic {name!r:.60}.",
        (f"did you mean {', '.join(near)}? " if near else "")
        + f"topics: {', '.join(known)}; mixtures: {', '.join(prompts.names('mixtures'))}; or a TOML file",
    )


def shipped(name: str) -> Topic | None:
    """The topic of the package, or of a plugin, that a record's ``topic`` names; None of any other, whose file nobody
    has."""
    if name in prompts.names("topics"):
        return _read(prompts.folder("topics") / f"{name}.toml")
    path = plugins.topic_files().get(name) if name else None
    return _read(path) if path else None


@cache
def _read(path: Path) -> Topic:
    return load_file(path)


def load_file(path: Path) -> Topic:
    """The topic in a TOML file of the format of ``prompts/topics``, named as the file; errors name the file and the
    key."""
    data = prompts.read(path)
    if not re.fullmatch("[a-z0-9][a-z0-9_-]{0,59}", path.stem):
        raise UsageError(
            f"The topic file {path} needs another name: small letters a to z, digits, - and _, at most 60.",
            "rename it: it is what the records' topic is called",
        )
    reading = Reading(path, prompts.folder("topics") / "maths.toml")
    rules = {rule: reading.value({rule: False, **data}, rule, bool) for rule in RULES}
    voices = {}
    for code, table in data.items():
        if code not in (*RULES, "category", "source"):
            if not isinstance(table, dict):
                raise reading.wrong(code, "is no table of a language")
            voices[code] = Voice(
                system=reading.text(table, "system", f"{code}."),
                openers=reading.texts(table, "openers", f"{code}."),
                exemplars=reading.exemplars(table, f"{code}.", 2),
            )
    if not voices:
        raise reading.wrong("en", "is missing: a topic needs the table of one language at least")
    return Topic(path.stem, reading.text(data, "category"), **rules, voices=voices)


def _mixture_file(path: Path) -> Mixture:
    weights = prompts.read(path)["weights"]
    if not isinstance(weights, dict) or not weights:
        raise UsageError(f"{path}: the key 'weights' must be a table.", "write [weights] and, below, maths = 2")
    return _mixture(weights, str(path), path.parent)


def _mixture(weights: Mapping[str, Any], where: str, folder: Path) -> Mixture:
    """Whole numbers are parts of any sum; with a fraction among them they are shares of one."""
    numbers = {}
    for name, weight in weights.items():
        try:
            numbers[name] = math.nan if isinstance(weight, bool) else float(weight)
        except (TypeError, ValueError):
            numbers[name] = math.nan
        if not 0 < numbers[name] < math.inf:
            raise UsageError(
                f"{where}: the weight {weight!r:.40} of {name:.60} is no number above 0.",
                "write whole numbers, maths:2,code:1, or shares that sum to 1, maths:0.7,code:0.3",
            )
    total = math.fsum(numbers.values())
    if abs(total - 1) > 0.005 and not all(map(float.is_integer, numbers.values())):
        raise UsageError(
            f"{where}: the weights sum to {total:g}, not to 1.",
            "mend the shares so that they do, or give whole numbers, whose sum may be any",
        )
    found = {name: load(name, folder) for name in numbers}
    shares: dict[str, float] = {}
    for name, topic in found.items():
        if topic.name in shares:
            raise UsageError(f"{where}: two topics are called {topic.name}.", "rename one of the files")
        shares[topic.name] = numbers[name] / total
    return Mixture({topic.name: topic for topic in found.values()}, shares)
