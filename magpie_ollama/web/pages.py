"""Pages of templates, in which every text is a text: Jinja escapes all of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from magpie_ollama.corpus import decisions, lines
from magpie_ollama.corpus.decisions import Decisions, Place
from magpie_ollama.corpus.reading import id_of, object_of
from magpie_ollama.corpus.rewriting import new_file
from magpie_ollama.curation.pages import MEASURES, Lines, from_line, page
from magpie_ollama.display.characters import printable
from magpie_ollama.display.words import counted
from magpie_ollama.errors import UsageError
from magpie_ollama.loading import loading

with loading():
    import jinja2

HERE = Path(__file__).parent
STATIC = HERE / "static"

LEAST_CONTENT = 1000
"""Characters of a text beyond which a page folds it."""

MOST_CHARACTERS = 200_000
"""Of a text or field that a page shows: a browser would not get through 50 MB."""

_CODE = re.compile(r"[A-Za-z0-9-]{1,11}")

MOST = 5000
"""Records of a page that stands alone: some 15 MB."""

METERS = dict(zip(MEASURES, ("confidence", "known words", "in the response"), strict=True))


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a record; ``place`` is where it can be edited, None where it cannot."""

    role: str
    text: str
    place: Place | None
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """A record as a page shows it, with what was decided on it."""

    entry: int
    number: int
    id: str
    mark: str
    version: int
    verdict: str
    edited: bool
    tagged: bool
    language: str
    texts: list[Text]
    meters: list[tuple[str, float]]
    tags: dict[str, str]
    chips: list[tuple[str, str]]
    fields: list[tuple[str, str]]
    wrong: str = ""


def shown(entry: int, number: int, line: bytes, decided: Decisions | None = None) -> Shown:
    """The record of a line, whatever it holds."""
    mark = decisions.mark(line)
    data = object_of(line)
    id = id_of(number, line, data)
    state = decided.state(id) if decided is not None else decisions.Decided()
    if not state.holds_for(mark):
        state = decisions.Decided(state.version)
    told = page(number, decisions.edited(line, state.edits, state.tags))
    fields = told.fields
    language = fields.get("language")
    tags = fields.get("tags")
    return Shown(
        entry=entry,
        number=number,
        id=id,
        mark=mark,
        version=state.version,
        verdict=state.verdict,
        edited=bool(state.edits),
        tagged=bool(state.tags),
        language=language if isinstance(language, str) and _CODE.fullmatch(language) else "",
        texts=[
            text if len(text.text) <= MOST_CHARACTERS else replace(text, text=_begun(text.text), place=None)
            for text in _texts(decisions.places(decisions.edited(line, state.edits)), told.texts, set(state.edits))
        ],
        meters=[(words, fields[key]) for key, words in METERS.items() if _measured(fields.get(key))],
        tags={str(key): str(value) for key, value in tags.items()} if isinstance(tags, dict) else {},
        chips=[
            (key, fields[key]) for key in ("language", "steering", "topic", "model", "reason") if _said(fields, key)
        ],
        fields=[
            (str(key), _begun(value if isinstance(value, str) else lines.shown(value))) for key, value in fields.items()
        ],
        wrong=told.wrong,
    )


def _texts(places: list[tuple[str, Place, str]], told: list[tuple[str, str]], edited: set[Place]) -> list[Text]:
    """Those that can be edited, in their places, with what was thought before the answer; else those that are told."""
    if not places:
        return [Text(role, text, None) for role, text in told]
    names = {"user": "instruction", "assistant": "response"}
    found = [Text(names.pop(role, role), text, place, place in edited) for role, place, text in places]
    thought = [Text(role, text, None) for role, text in told if role == "reasoning"]
    return [*found[:-1], *thought, *found[-1:]]


def _begun(text: str) -> str:
    more = len(text) - MOST_CHARACTERS
    return text if more <= 0 else f"{text[:MOST_CHARACTERS]}… ({more:,} more characters)"


def _measured(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 < value <= 1


def _said(fields: dict[str, Any], key: str) -> bool:
    return isinstance(fields.get(key), str) and fields[key] != ""


@cache
def environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["printable"] = printable
    made.filters["exact"] = json.dumps  # in ASCII: no character of it does anything to a page
    made.filters["counted"] = counted
    made.filters["thousands"] = lambda number: f"{number:,}"
    made.globals["folds"] = LEAST_CONTENT
    return made


def render(template: str, /, **values: Any) -> str:
    return environment().get_template(template).render(**values)


def alone(template: str, /, **values: Any) -> str:
    """A page that has no file beside it: no script, no reference to anything outside."""
    return render(template, style=(STATIC / "page.css").read_text("utf-8"), **values)


def of_corpus(path: Path, opened: Lines, start: int = 1) -> str:
    """The records of a file from line ``start`` on, at most ``MOST``, as a page to send to somebody."""
    found = [shown(one.number, one.number, opened[one.number - 1]) for one in islice(from_line(opened, start), MOST)]
    more = f": the first {MOST:,} are here" if len(found) == MOST else ""
    return alone("static_corpus.html", title=path.name, note=f"{counted(len(found), 'record')}{more}.", records=found)


def write(path: Path, text: str) -> None:
    """A page to a file, or to stdout for "-". An older page may be replaced, and nothing else. Raises UsageError."""
    if path != Path("-") and path.is_file() and not path.read_bytes()[:20].lower().startswith(b"<!doctype html>"):
        raise UsageError(f"{path} is there already, and is no page", "choose another name with --html")
    with new_file(path, force=True) as output:
        output.write_bytes(text.encode("utf-8", "replace"))
