"""What a judge is asked and what it may answer: prompt, JSON schema, and the tags in an answer. Pure.

The scales stand in ``prompts/judges/magpie.toml``, with their source, and so does what else may be asked in words.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

from magpie_ollama import prompts
from magpie_ollama.corpus.lines import whole_text, with_value
from magpie_ollama.corpus.reading import Row, free_name
from magpie_ollama.decoding import Misshapen, decode
from magpie_ollama.errors import CorpusError
from magpie_ollama.records import Message, Tags, keys_of, tags

KEYS = ("quality", "difficulty", "category", "safety")
"""The tags of a record, in the order of its line. "judge" follows them: the model that gave them."""

MEASURED = ("language", "language_score", "hazards", "reward")
"""What comes beside: the language's value, its score from 1 to 5 and how it was told, a guard model's hazards, and a
reward."""

WORDS = ("explanation", "intent", "knowledge", "other_categories")
"""What is answered in words, where it is asked for. A record has a place for the intent only."""

Judgement = dict[str, Any]
"""A value for each of ``KEYS``, for what else was asked, and ``judge``. Values are "" where the judge gave no valid
one: a line without the key would give ``datasets`` another column."""

_RENAME = (
    "python -c \"import json, sys; [print(json.dumps({'own_tags' if key == 'tags' else key: value "
    "for key, value in json.loads(line).items()})) for line in open(sys.argv[1], 'rb') if line.strip()]\""
)
"""jq would round whole numbers of 64 bits."""

LONGEST = 6000
"""Characters of an instruction, and of a response, that a judge is shown. Both and the scales fit a context of 4096
tokens in most languages; ``request`` is asked for less where they do not."""


MOST_READ = 20_000
"""Characters at the end of an answer that are read: a server that does not hold a model to its limit may send more."""

MOST_WORDS = 500
"""Characters of an answer in words that are kept."""

_OBJECT = re.compile(r'\{(?:[^{}"]++|"(?:[^"\\]++|\\.)*+")*+\}')
"""A JSON object with no other in it."""

_NUMBER = re.compile(r"(-?\d+(\.\d+)?(e-?\d{1,2})?)?")
_EXPLAINED = re.compile(r"[:;(—]| [-–] |\. ")
_LETTERS = re.compile("[a-z]+")


class Pair(Protocol):
    """What is judged."""

    @property
    def instruction(self) -> str: ...

    @property
    def response(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Judge:
    """``scales`` are the values of each key with their meanings, ``words`` those of ``WORDS`` that are asked for as
    well; ``mark`` changes whenever anything here does, or what ``load`` was given."""

    system: str
    request: str
    scales: Mapping[str, Mapping[str, str]]
    words: tuple[str, ...]
    mark: str


@cache
def load(words: tuple[str, ...] = (), *others: str) -> Judge:
    """``others`` name what is judged beside it in other ways."""
    data = prompts.read(prompts.folder("judges") / "magpie.toml")
    meanings = data.pop("words")
    scales = {key: table for key, table in data.items() if isinstance(table, dict)}
    told = [f"{key}: {meanings[key]}" for key in words]
    told += [
        f"{key}, one of:\n" + "\n".join(f"- {value}: {meaning}" for value, meaning in table.items())
        for key, table in scales.items()
    ]
    system = data["system"].strip().replace("{scales}", "\n\n".join(told))
    system = system.replace("these four keys", "these keys") if words else system
    request = data["request"].strip()
    mark = blake2b("".join((system, request, *others)).encode(), digest_size=4).hexdigest()
    return Judge(system, request, scales, words, mark)


def values(name: str) -> tuple[str, ...]:
    """Those of a tag, in their order; the language's are the quality's."""
    return tuple(load().scales["quality" if name == "language" else name])


def schema(judge: Judge) -> dict[str, Any]:
    """The JSON schema that holds the model to the scales while it writes."""
    return {
        "type": "object",
        "properties": {
            **{key: {"type": "string"} for key in judge.words},
            **{key: {"type": "string", "enum": list(values)} for key, values in judge.scales.items()},
        },
        "required": [*judge.words, *judge.scales],
        "additionalProperties": False,
    }


def request(judge: Judge, row: Pair, longest: int = LONGEST) -> list[Message]:
    """The judge's messages for a row. The system message is the same for all: servers keep it in their cache."""
    before, between, after = re.split(r"\{instruction\}|\{response\}", judge.request)
    shown = shortened(row.instruction, longest), shortened(row.response, longest) or "(none)"
    content = f"{before}{shown[0]}{between}{shown[1]}{after}"
    return [{"role": "system", "content": judge.system}, {"role": "user", "content": whole_text(content)}]


def parse(answer: str, judge: Judge, model: str) -> Judgement | None:
    """The tags in a judge's answer: those of the last JSON object in it that has our keys; what stands around it (a
    fence, a sentence, a thought with a draft) does not count, nor do case and signs in names and values.

    None where there is no such object, or where a value is not on its scale or could be two of it.
    """
    for text in reversed(_OBJECT.findall(answer[-MOST_READ:])):
        if any(key in text.lower() for key in KEYS):
            plain = re.sub(r",\s*\}$", "}", text)
            try:
                found = decode(plain if '"' in plain else plain.replace("'", '"'), dict[str, Any])
            except Misshapen:
                return None
            words = {key: found.get(key) for key in judge.words}
            return check({key: _on_scale(key, found, judge.scales[key]) for key in KEYS} | words, judge, model)
    return None


def _on_scale(key: str, found: Mapping[str, Any], scale: Iterable[str]) -> str | None:
    """The value of ``scale`` that an answer has under ``key``, or else under a name with it ("input_quality")."""
    values = [value for name, value in found.items() if _folded(name) == key]
    values = values or [value for name, value in found.items() if key in _folded(name)]
    if len(values) != 1 or not isinstance(values[0], str):
        return None
    word, by_word = _folded(values[0]), {_folded(value): value for value in scale}
    if word in by_word or key != "category" or len(word) < 4:  # "very" is no beginning of "very poor"
        return by_word.get(word)
    single = values[0].strip().isalpha()  # "mathematics", but not "math, reasoning"
    near = [value for other, value in by_word.items() if other.startswith(word) or (single and word.startswith(other))]
    return near[0] if len(near) == 1 else None


def _folded(text: str) -> str:
    """The letters of a name or value, without an explanation that follows: "Coding & debugging" and
    "2. coding_debugging (mends a loop)" are "codingdebugging"."""
    parts = (_LETTERS.findall(part.lower()) for part in _EXPLAINED.split(text))
    return next(("".join(word for word in part if word != "and") for part in parts if part), "")


def check(found: Any, judge: Judge, model: str) -> Judgement | None:
    """The tags among some values, as ``model`` gave them; None where one is missing or not on its scale."""
    if not isinstance(found, dict):
        return None
    given = {}
    for key in KEYS:
        value = found.get(key)
        if not isinstance(value, str) or value not in judge.scales[key]:
            return None
        given[key] = sys.intern(value)
    said = {key: found.get(key) for key in (*judge.words, *MEASURED)}
    more = {key: " ".join(text.split())[:MOST_WORDS] for key, text in said.items() if isinstance(text, str)}
    if not _NUMBER.fullmatch(more.get("reward", "")):
        return None
    return {**given, **dict.fromkeys(judge.words, ""), **more, "judge": model}


def guarded(answer: str) -> tuple[str, str] | None:
    """What a guard model says, in Llama Guard's form ("unsafe", and its hazards in a line of their own) or Qwen3Guard's
    ("Safety: Unsafe"): the safety and the hazards; None where it is neither.

    >>> guarded("\\n\\nunsafe\\nS1,S10"), guarded("safe"), guarded("I think so.")
    (('unsafe', 'S1, S10'), ('safe', ''), None)
    """
    found = re.match(r"\s*(?:safety:\s*)?(safe|unsafe)\b(.*)", answer[:MOST_READ], re.IGNORECASE | re.DOTALL)
    return (found[1].lower(), ", ".join(re.findall(r"\bS\d+\b", found[2]))) if found else None


def unjudged(model: str, more: Iterable[str] = ()) -> Judgement:
    return {**dict.fromkeys((*KEYS, *more), ""), "judge": model}


def key(row: Pair) -> str:
    """16 hexadecimal digits, the same for the same instruction and response."""
    digest = blake2b(row.instruction.encode("utf-8", "replace"), digest_size=8)
    digest.update(b"\0" + row.response.encode("utf-8", "replace"))
    return digest.hexdigest()


def tagged(row: Row, judgement: Judgement) -> bytes:
    """The row's line with its tags; as it stands where it has them."""
    placed: Mapping[str, Any] = {key: text for key, text in judgement.items() if key in Tags.__annotations__}
    if "tags" in keys_of(row.data.get("schema")) and type(row.data.get("tags")) is dict:  # where all are always there
        placed = tags(judgement)
    line = row.line if row.data.get("tags") == placed else with_value(row.line, "tags", placed)
    if "reward" not in judgement or row.data.get("reward") == float(judgement["reward"] or 0):
        return line
    return with_value(line, "reward", float(judgement["reward"] or 0))


def check_no_other_tags(row: Row, path: Path) -> None:
    """Raises CorpusError where the key "tags" holds something else than a judge's tags: it would be lost."""
    given = row.data.get("tags")
    if given in (None, "", [], {}) or (isinstance(given, dict) and "judge" in given):
        return
    old, new = (shlex.quote(str(name)) for name in (path, free_name(path, "own-tags")))
    raise CorpusError(
        f"Line {row.number} of {path} has tags of its own, which the judge's would replace",
        f"name them otherwise, then tag that file: {_RENAME} {old} > {new}",
    )


def shortened(text: str, longest: int) -> str:
    """Beginning and end, where the whole is too long: what is asked often stands at the end."""
    text = text.strip()
    if len(text) <= longest:
        return text
    return f"{text[: longest * 3 // 4]}\n[...]\n{text[-longest // 4 :]}"
