"""The keywords of the Python API, each once, named as on the command line: its type, its default and its words. Those
that are settings have their defaults and words in ``asking.said``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any, NamedTuple, ParamSpec, TypedDict, TypeVar, get_args, get_type_hints

from magpie_ollama.asking.said import BY_NAME, TRIES, Setting
from magpie_ollama.servers.base import ServerChoice

P = ParamSpec("P")
R = TypeVar("R")


class Said(NamedTuple):
    default: Any
    words: str


File = str | Path | None

STEERINGS = "prefix,system,system+opener,exemplar,exemplar+opener"
"""Those that ``compare`` measures if it is not told."""

_NUMBERS = {
    "n": Setting("n", "", 20, "Records to make.", 1),
    "num_ctx": Setting("num_ctx", "", None, "Context in tokens; the server's.", 256),
    "parallel": Setting("parallel", "", 0, "Attempts in flight; 0 finds out while the run goes on.", 0, 1024),
    "tries": Setting("tries", "", TRIES, "Of each row; from the second on by another seed.", 1, 20),
}
_KNOWN = {**BY_NAME, **_NUMBERS}


class Serving(TypedDict, total=False):
    """Which server and model."""

    model: Annotated[str, Said("", "The model's name on the server; the only one there is.")]
    server: Annotated[str, Said("auto", "Kind of server: auto, ollama, openai, embedded.")]
    host: Annotated[str, Said("", "Address of the server; OLLAMA_HOST for Ollama.")]
    model_path: Annotated[File, Said(None, "A GGUF file for the embedded engine.")]
    options: Annotated[Mapping[str, Any] | None, Said(None, "Further ones of the server by their own names.")]
    num_ctx: int | None
    keep_alive: Annotated[str | int, Said("", "How long Ollama keeps the model after a request: 5m, -1.")]
    pull: Annotated[bool, Said(False, "Fetch the model into Ollama if it is not there.")]
    parallel: int


class Templated(Serving, total=False):
    template: Annotated[str, Said("", "A preset or TOML file instead of the model's own chat template.")]


class Common(Templated, total=False):
    """What ``generate``, ``respond`` and ``converse`` take."""

    output: Annotated[File, Said(None, "The corpus, a JSONL file; without one, records are yielded alone.")]
    system: str
    response_temperature: float
    response_top_p: float
    response_top_k: int
    response_min_p: float
    response_repeat_penalty: float
    max_response_tokens: int
    think: bool
    keep_truncated: bool
    keep_rejected: int
    seed: int | None


class Asking(Common, total=False):
    """What those take that have a model write a user's turns."""

    difficulty: str
    later_temperature: float | None
    end_with: str
    include_system: bool
    one_line: bool
    temperature: float | None
    top_p: float
    top_k: int
    min_p: float
    repeat_penalty: float
    max_instruction_tokens: int
    max_words: int
    min_confidence: float
    retries_response: int
    response_model: Annotated[str, Said("", "Another model that writes the responses.")]
    response_server: Annotated[str, Said("", "Its kind of server; the same.")]
    response_host: Annotated[str, Said("", "Its server's address; the same, of the same kind.")]


class Generating(Asking, total=False):
    total: Annotated[int | None, Said(None, "Make what the corpus lacks of so many, in place of ``n``.")]
    where: Annotated[Sequence[str], Said((), 'Count only what a judge tags so: ["quality=good,excellent"].')]
    judge: Annotated[str, Said("", "Another model of the same server that judges; the same.")]
    unproven: Annotated[bool, Said(False, "Take the judge's word without the proof.")]
    steering: Annotated[str, Said("", "none, auto, or parts of it; auto, in English without topics none.")]
    topics: str
    exemplars: int
    bootstrap: bool
    turns: str | int
    min_words: int
    max_attempts: int | None
    language_file: Annotated[File, Said(None, "A language of your own (a TOML file), instead of ``language``.")]
    examples: Annotated[File, Said(None, "Sentences or pairs of your own to show, in any form.")]
    systems: Annotated[File, Said(None, "System messages of your own, a row each, in turn.")]
    document: Annotated[File, Said(None, "A .txt, .md or .pdf file, or a folder, to ask about.")]
    no_passage: Annotated[bool, Said(False, "Records of ``document`` hold the question without its passage.")]


class OfAFile(TypedDict, total=False):
    tries: int
    skip_bad: Annotated[bool, Said(False, "Pass over lines that are no records.")]


class Responding(Common, OfAFile, total=False):
    language: Annotated[str, Said("", "Of the answers, any: whichever; each question's own.")]
    column: Annotated[str, Said("", "The column with the questions; instruction, prompt, question, text, ...")]
    blocks: Annotated[bool | None, Said(None, "Of a text: questions parted by blank lines; as it looks.")]
    steering: Annotated[str, Said("", "Messages in front: none, system, exemplar.")]
    retry: Annotated[bool, Said(False, "Ask again what could not be answered before.")]
    exemplars: int


class Conversing(Asking, OfAFile, total=False):
    language: Annotated[str, Said("", "Of records that name none; that of their text.")]
    openers: Annotated[bool, Said(False, "Begin the user's turns by the language's words for going on.")]


class Tagging(Serving, total=False):
    output: Annotated[File, Said(None, "The tagged file, a new one, written at the end.")]
    in_place: Annotated[bool, Said(False, "Replace ``file`` at the end; the old one is kept as FILE.bak.")]
    force: Annotated[bool, Said(False, "Replace the file of ``output``.")]
    skip_bad: Annotated[bool, Said(False, "Pass over lines that are no records.")]
    add: Annotated[Sequence[str], Said((), "Judge these too: language, intent, knowledge, other_categories.")]
    explain: Annotated[bool, Said(False, "Have the judge give a reason, kept in FILE.magpie/tags.jsonl.")]
    guard: Annotated[str, Said("", "A guard model of the same server that tells the safety.")]
    reward: Annotated[str, Said("", "A reward model that scores the response (vLLM's /score).")]
    reward_host: Annotated[str, Said("", "Its server's address; the same.")]
    unproven: Annotated[bool, Said(False, "Take the judge's word without the proof.")]


class Comparing(Templated, total=False):
    steering: Annotated[str, Said(STEERINGS, "Steerings, separated by commas; auto is one too.")]
    output: Annotated[str, Said("compare", "NAME.jsonl, where every instruction is written and found again.")]
    language_file: Annotated[File, Said(None, "A language of your own (a TOML file).")]
    with_responses: Annotated[bool, Said(False, "Ask for the responses of useful instructions too.")]
    temperature: Annotated[str, Said("", "Of instructions; 1.0; several, separated by commas, are cells each.")]
    system: str
    exemplars: int
    max_instruction_tokens: int
    seed: int | None


def explicit(keywords: type) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function whose ``**given`` are these ``keywords`` shows each of them in its signature and its help, takes no
    other, and is given all: those that the caller leaves out with their defaults. A number that is none, or out of
    range, raises ``UsageError`` at once."""
    declared = get_type_hints(keywords, include_extras=True)
    said = {name: _said(name, hint) for name, hint in declared.items()}
    types = get_type_hints(keywords)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        own = signature(function)
        first = [one for one in own.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
        more = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=one.default, annotation=types[name])
            for name, one in said.items()
        ]
        shown = own.replace(parameters=[*first, *more])

        @wraps(function)
        def called(*args: P.args, **given: P.kwargs) -> R:
            bound = shown.bind(*args, **given)
            bound.apply_defaults()
            for name, number in _NUMBERS.items():
                if name in bound.arguments:
                    number.check(bound.arguments[name])
            return function(*bound.args, **bound.kwargs)

        vars(called)["__signature__"] = shown
        lines = [line for name, one in said.items() for line in _line(name, one)]
        called.__doc__ = f"{function.__doc__}\n    Keywords, and what the default stands for:\n\n" + "\n".join(lines)
        return called

    return decorate


def _said(name: str, hint: Any) -> Said:
    if name in _KNOWN:
        return Said(_KNOWN[name].default, _KNOWN[name].words)
    found: Said = next(one for one in get_args(hint) if isinstance(one, Said))
    return found


def _line(name: str, said: Said) -> list[str]:
    return wrap(f"{name}: {said.words}", 112, initial_indent=" " * 8, subsequent_indent=" " * 12)


def choice_of(given: Mapping[str, Any]) -> ServerChoice:
    """Which server and model."""
    more = {name: given[name] for name in ("num_ctx", "keep_alive") if given[name]}
    return ServerChoice(
        given["server"],
        given["host"],
        given["model"],
        Path(given["model_path"]) if given["model_path"] else None,
        given.get("template", ""),
        {**(given["options"] or {}), **more},
        given["pull"],
    )
