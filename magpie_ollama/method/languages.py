"""Languages as data: ``prompts/languages/<code>.toml``, found by code, English or native name."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from magpie_ollama import prompts
from magpie_ollama.errors import UnknownLanguage, UsageError
from magpie_ollama.method.detection import Verdict, check, identify

OPENER_KINDS = ("questions", "orders", "needs", "descriptions")


class Exemplar(NamedTuple):
    """One short exchange in the language: what a user's turn looks like, and that it ends."""

    instruction: str
    response: str


@dataclass(frozen=True, slots=True)
class Language:
    """Steering data of one language. ``openers`` are first words of a user's turn, by kind of request.

    ``scripts`` are ISO 15924 codes. ``prefix`` is Manuel Romero's form (the English name and a colon),
    ``system`` the seed article's message in the language, ``system_multi_turn`` the same for conversations
    of several turns. ``follow_ups`` are first words of a user's later turn, ``closings`` what a user writes who
    thanks or takes leave; a language may be without them.
    """

    code: str
    english: str
    native: str
    aliases: tuple[str, ...]
    scripts: tuple[str, ...]
    spaces: bool
    prefix: str
    register: str
    system: str
    system_multi_turn: str
    openers: Mapping[str, tuple[str, ...]]
    exemplars: tuple[Exemplar, ...]
    follow_ups: tuple[str, ...] = ()
    closings: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.code, self.english, self.native, *self.aliases)


ANY = Language("und", "any language", "", ("any",), (), True, "", "", "", "", {}, ())
"""Stands for one that nobody knows: nothing steers to it, and no text is held to it."""


@cache
def load(code: str) -> Language:
    """The language of ``prompts/languages/<code>.toml``."""
    return load_file(prompts.folder("languages") / f"{code}.toml")


def codes() -> list[str]:
    return prompts.names("languages")


def english(code: str) -> str:
    """The English name of a language; its code where there is no data for it."""
    return load(code).english if code in codes() else code


def find(name: str) -> Language:
    """The language that ``name`` means: a code, an English or native name or an alias, in any case.

    Raises ``UnknownLanguage``, with the nearest names.
    """
    wanted = _plain(name)
    known = codes()
    if wanted in known:
        return load(wanted)
    names = {_plain(alias): code for code in known for alias in load(code).names}
    tag = wanted.replace("_", "-")
    if tag in names:
        return load(names[tag])
    parts = tag.split("-")
    longer = ("-".join(parts[:length]) for length in range(len(parts) - 1, 0, -1))
    base = next((names[part] for part in longer if part in names), "")
    if base:  # another script, standard or country: never taken for it without a word
        language = load(base)
        raise UnknownLanguage(
            f"There is no data for {name!r}, only for {base} ({language.english}, in {' or '.join(language.scripts)}).",
            f"take that with -l {base}, or give your own with `generate --language-file`",
        )
    # A code of two or three letters is near to any other.
    close = difflib.get_close_matches(wanted, names, n=8, cutoff=0.6) if len(wanted) > 3 else []
    nearest = list(dict.fromkeys(names[match] for match in close))[:4]
    offered = ", ".join(f"{code} ({load(code).english})" for code in nearest)
    raise UnknownLanguage(
        f"There is no language {name!r}.",
        (f"did you mean {offered}? " if offered else "")
        + "`magpie-ollama languages` lists them all; `generate --language-file` takes one of your own",
    )


def given(name: str, path: Path | None) -> Language:
    """The language in the file at ``path``, whose texts are checked; without one, the language that ``name`` means."""
    if path is None:
        return find(name)
    language = load_file(path)
    check_texts(language, path)
    return language


def load_file(path: Path) -> Language:
    """The language in a TOML file of the format of ``prompts/languages``; errors name the file and the key."""
    data = prompts.read(path)
    reading = Reading(path, prompts.folder("languages") / "en.toml")
    code = reading.text(data, "code")
    if not re.fullmatch("[A-Za-z0-9_-]+", code):  # it names the corpus where no -o does
        raise reading.wrong("code", f"must be letters a to z, digits, - and _, not {code!r:.40}")
    scripts = reading.texts(data, "scripts")
    for script in scripts:
        if not re.fullmatch("[A-Z][a-z]{3}", script):
            raise reading.wrong("scripts", f"must hold ISO 15924 codes such as Latn, not {script!r:.40}")
    openers = reading.value(data, "openers", dict)
    return Language(
        code=code,
        english=reading.text(data, "english"),
        native=reading.text(data, "native"),
        aliases=reading.texts(data, "aliases", empty=True),
        scripts=scripts,
        spaces=reading.value(data, "spaces", bool),
        prefix=reading.text(data, "prefix"),
        register=reading.text(data, "register"),
        system=reading.text(data, "system"),
        system_multi_turn=reading.text(data, "system_multi_turn"),
        openers={kind: reading.texts(openers, kind, "openers.") for kind in OPENER_KINDS},
        exemplars=reading.exemplars(data),
        follow_ups=reading.texts({"follow_ups": [], **data}, "follow_ups", empty=True),
        closings=reading.texts({"closings": [], **data}, "closings", empty=True),
    )


def check_texts(language: Language, path: Path) -> None:
    """Raises ``UsageError`` for the first text of ``path`` that is clearly not in its language.

    For a file of a user's own: those of this project are held to stricter checks by its tests. Loads the identifier.
    """
    texts = {"system": language.system, "system_multi_turn": language.system_multi_turn}
    texts |= {f"openers.{kind}": " ... ".join(openers) for kind, openers in language.openers.items()}
    texts |= {"follow_ups": " ... ".join(language.follow_ups), "closings": " ... ".join(language.closings)}
    for number, exemplar in enumerate(language.exemplars, 1):
        texts |= {f"exemplars[{number}].{key}": text for key, text in exemplar._asdict().items()}
    for key, text in texts.items():
        if check(text, language.code, scripts=language.scripts) is Verdict.NO:
            likely = identify(text)
            seems = f" (it looks like {likely!r})" if likely and likely != language.code else ""
            raise UsageError(
                f"{path}: the key {key!r} is not in {language.english}{seems}: {text!r:.60}",
                "write that text in the language, or mend 'code' and 'scripts' of the file",
            )


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip().casefold()


_KINDS: dict[type, str] = {str: "a text", list: "a list", dict: "a table", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Reading:
    """Takes checked values out of the tables of a TOML file; errors name the file, the key with what stands before it,
    and a ``model`` to write it after."""

    path: Path
    model: Path

    def value(self, data: Mapping[str, Any], key: str, kind: type, before: str = "") -> Any:
        if key not in data:
            raise self.wrong(before + key, "is missing")
        if not isinstance(data[key], kind):
            raise self.wrong(before + key, f"must be {_KINDS[kind]}, not {data[key]!r:.40}")
        return data[key]

    def text(self, data: Mapping[str, Any], key: str, before: str = "") -> str:
        value: str = self.value(data, key, str, before)
        if not value.strip():
            raise self.wrong(before + key, "is empty")
        return value

    def texts(self, data: Mapping[str, Any], key: str, before: str = "", empty: bool = False) -> tuple[str, ...]:
        values = self.value(data, key, list, before)
        if not values and not empty:
            raise self.wrong(before + key, "is empty")
        for value in values:
            if not isinstance(value, str) or not value.strip():
                raise self.wrong(before + key, f"must hold texts, not {value!r:.40}")
        return tuple(values)

    def exemplars(self, data: Mapping[str, Any], before: str = "", least: int = 1) -> tuple[Exemplar, ...]:
        name = f"{before}exemplars"
        entries = self.value(data, "exemplars", list, before)
        if len(entries) < least:
            raise self.wrong(name, "is empty" if least == 1 else f"needs {least} or more, not {len(entries)}")
        pairs: list[Exemplar] = []
        for number, entry in enumerate(entries, 1):
            if not isinstance(entry, dict):
                raise self.wrong(name, "must be tables of instruction and response")
            pairs.append(Exemplar(*(self.text(entry, key, f"{name}[{number}].") for key in Exemplar._fields)))
            if (first := pairs.index(pairs[-1]) + 1) < number:
                raise self.wrong(f"{name}[{number}]", f"repeats exemplars[{first}]")
        return tuple(pairs)

    def wrong(self, key: str, why: str) -> UsageError:
        return UsageError(f"{self.path}: the key {key!r} {why}.", f"write it as in {self.model}")
