"""Options that several commands share, and their types."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from magpie_ollama import plugins
from magpie_ollama.commands.completing import VALUES, values
from magpie_ollama.errors import UsageError
from magpie_ollama.servers import registry

if TYPE_CHECKING:
    from magpie_ollama.servers.base import ServerChoice

F = TypeVar("F", bound=Callable[..., Any])


OWN_OPTIONS = {
    "num_ctx": ("--num-ctx",),
    "temperature": ("--temperature", "--response-temperature"),
    "top_p": ("--top-p", "--response-top-p"),
    "top_k": ("--top-k", "--response-top-k"),
    "min_p": ("--min-p", "--response-min-p"),
    "repeat_penalty": ("--repeat-penalty", "--response-repeat-penalty"),
    "num_predict": ("--max-instruction-tokens", "--max-response-tokens"),
    "max_tokens": ("--max-instruction-tokens", "--max-response-tokens"),
    "seed": ("--seed",),
    "stop": ("--template",),
}
"""Options of the servers that the tool sends itself, with those of ours that set them, where a command has them."""


class FloatRange(click.FloatRange):
    """The numbers from ``min`` to ``max``. Click's own lets "nan" through, which is neither above nor below."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is no number.", param, ctx)
        return number


class Split(click.types.StringParamType):
    """Text of a repeatable option. In its environment variable the values are told apart by ``between``, a regular
    expression; Click's own separates them at each space."""

    def __init__(self, between: str) -> None:
        self._between = between

    def split_envvar_value(self, rv: str) -> list[str]:
        return [part for part in re.split(self._between, rv) if part]


WHOLE = Split(r"\Z")
"""The variable holds one value: a pattern may have spaces."""

PAIRS = Split(r"\s+(?=\w+=)")
"""Values of the form NAME=VALUE, where the latter may have spaces."""


FETCHED = "magpie_ollama.fetched"
"""In a context's ``meta``: its file is the Hub's cache's, and not the user's to be changed."""


class DataPath(click.Path):
    """A file of rows, as a ``Path``; where there is none of that name, OWNER/NAME[:SPLIT] is one of the Hub's."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if "/" not in str(path) or (ctx is not None and ctx.resilient_parsing):
            return path
        from magpie_ollama.curation import hub

        if os.path.lexists(path) or not hub.is_name(str(path)):
            return path
        found = hub.fetch(str(path))
        if ctx is not None:
            ctx.meta[FETCHED] = True
        return found


class OutputPath(click.Path):
    """A file to write to, as a ``Path``. stdout by any name is ``Path("-")``: the report must not go to it as well."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from magpie_ollama.corpus.rewriting import descriptor_of

        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        return Path("-") if descriptor_of(path) == 1 else path


def check_texts(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Raises UsageError for an argument, or a variable that the tool reads, whose bytes are no text: no server, file or
    terminal would take it."""
    read = ("MAGPIE_OLLAMA_", "OLLAMA_", "OPENAI_", "HF_")
    named = [("The argument", text) for text in arguments]
    named += [(f"The variable {name}", text) for name, text in environment.items() if name.startswith(read)]
    for what, text in named:
        if not _is_text(text):
            raise UsageError(
                f"{what} is no text in this system's encoding: {text!a:.80}",
                "write it in UTF-8; a file of such a name is renamed with mv",
            )


def _is_text(value: object) -> bool:
    """Whether UTF-8, and JSON, can hold a text or the value of an option."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return False
    return True


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """An option with an environment variable of its name, the same for all commands: docs/settings.md names them."""
    long = next(name for name in names if name.startswith("--"))
    variable = "MAGPIE_OLLAMA" + long.replace("-", "_")[1:].upper()
    settings = {"envvar": variable, "show_default": settings.get("default") != "", **settings}
    if long in VALUES:
        settings["shell_complete"] = partial(values, VALUES[long])
    return click.option(*names, **settings)


def together(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, in the order of the help."""

    def decorated(command: F) -> F:
        for decorate in reversed(decorators):
            command = decorate(command)
        return command

    return decorated


class _Kind(click.Choice[str]):
    """Kinds of servers. Those of plugins are looked for where none of our own is named: --help is to be quick."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in self.choices or value not in plugins.named("servers"):
            return super().convert(value, param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        named = [CompletionItem(name) for name in plugins.named("servers") if name.startswith(incomplete)]
        return super().shell_complete(ctx, param, incomplete) + named


def model_options(auto: str) -> Callable[[F], F]:
    """Which server and model. ``auto`` tells the help what the command takes where --server says nothing."""
    return together(
        option("-m", "--model", default="", help="The model's name on the server. Default: the only one there is."),
        option(
            "--server",
            type=_Kind([registry.AUTO, *registry.KINDS]),
            default=registry.AUTO,
            help=f"Kind of server. auto: {auto}.",
        ),
        option("--host", default="", help="Address of the server. Default: OLLAMA_HOST for Ollama."),
        option("--model-path", type=click.Path(path_type=Path), help="A GGUF file for the embedded engine."),
        option("--pull", is_flag=True, help="Fetch the model into Ollama if it is not there."),
        option("--num-ctx", type=click.IntRange(min=256), help="Context in tokens. Default: the server's."),
        option("--keep-alive", default="", metavar="5m|-1", help="How long Ollama keeps the model after a request."),
        option(
            "--option",
            "options",
            multiple=True,
            type=PAIRS,
            metavar="KEY=VALUE",
            help="A further option of the server, by its own name, with every request; KEY=null leaves one out that "
            "an OpenAI-compatible server refuses. Repeatable.",
        ),
    )


def server_options(auto: str = "Ollama, else the embedded engine") -> Callable[[F], F]:
    """Which server and model, and what it is asked with: for commands that have a model write instructions."""
    return together(
        model_options(auto),
        option("--template", default="", help="A preset or TOML file instead of the model's own chat template."),
    )


def responder_options(command: F) -> F:
    """Who answers, where that is another model."""
    return together(
        option("--response-model", default="", help="Another model that writes the responses. Default: -m's."),
        option(
            "--response-server",
            type=_Kind([*registry.KINDS]),
            help="Its kind of server. Default: --server's.",
        ),
        option("--response-host", default="", help="Its server's address. Default: --host's, of the same kind."),
    )(command)


def server_choice(given: Mapping[str, Any], *, writes: bool = True) -> ServerChoice:
    """What ``server_options`` or ``model_options`` were given. ``writes``: the model is asked for text, and not for
    vectors: a default names the one that writes."""
    from magpie_ollama.servers.base import ServerChoice  # here: `languages` shares this module and needs no servers

    if given["server"] == registry.STAND_IN and writes:
        from magpie_ollama.commands.offering import offer

        offer(given)
    source = click.get_current_context().get_parameter_source("model")
    kept_alive = [f"keep_alive={given['keep_alive']}"] if given["keep_alive"] else []
    return ServerChoice(
        kind=given["server"],
        host=given["host"],
        model=given["model"] if writes or source is ParameterSource.COMMANDLINE else "",
        model_path=given["model_path"],
        template=given.get("template", ""),
        options=parse_options((*given["options"], *kept_alive), given["num_ctx"]),
        pull=given["pull"],
    )


def setting_options(*names: str) -> Callable[[F], F]:
    """The settings of these names, as ``asking.said`` has them."""
    from magpie_ollama.asking.said import BY_NAME, Setting

    def one(setting: Setting) -> Callable[[F], F]:
        given: dict[str, Any] = {"help": setting.words, "default": setting.default}
        if setting.kind is bool:
            given["is_flag"] = True
        elif setting.kind is float:
            given["type"] = FloatRange(setting.low, setting.high)
        elif setting.form:
            given["metavar"] = setting.form
        elif setting.kind is not str:
            given["type"] = click.IntRange(setting.low, setting.high)
        return option(setting.option, **given)

    return together(*(one(BY_NAME[name]) for name in names))


def in_flight(value: str) -> int:
    """A number from 1 to 1024, or 0 for "auto"."""
    if value == "auto":
        return 0
    if not value.isdecimal() or not 1 <= int(value) <= 1024:
        raise click.BadParameter(f"{value!r} is neither auto nor a number from 1 to 1024.")
    return int(value)


def parallel_option(command: F) -> F:
    """How many attempts are in flight."""
    return parallel(
        "Attempts in flight. auto finds out while the run goes on, up to 256; 4 for fewer than 16 records."
    )(command)


def parallel(words: str) -> Callable[[F], F]:
    """The option, which means by auto what ``words`` tell."""
    return option("--parallel", type=in_flight, metavar="auto|N", default="auto", help=words)


def language_file_option(command: F) -> F:
    """A language that the package has no data for."""
    return option(
        "--language-file", type=click.Path(path_type=Path), help="A language of your own (a TOML file), instead of -l."
    )(command)


def quiet_option(command: F) -> F:
    return option("-q", "--quiet", is_flag=True, help="Only the result, and errors.")(command)


def output_options(command: F) -> F:
    """How much is told, and how."""
    return together(
        quiet_option,
        option("--no-progress", is_flag=True, help="Plain lines instead of the live display."),
        option("--json", "as_json", is_flag=True, help="The result as JSON on stdout."),
        debug_option,
    )(command)


def making_options(dry_run: str) -> Callable[[F], F]:
    """How records are written and told of, for the commands that make some."""
    return together(
        option(
            "--sync",
            type=click.Choice(["always", "second", "never"]),
            default="second",
            help="How often records are forced to the disk.",
        ),
        option("--dry-run", is_flag=True, help=dry_run),
        output_options,
    )


def file_options(command: str, ending: str, language: str) -> Callable[[F], F]:
    """Where the records go that are made of a FILE, and what those are in that name no ``language``."""
    from magpie_ollama.asking.said import TRIES

    variable = f"MAGPIE_OLLAMA_{command.upper()}"
    return together(
        click.argument("file", type=click.Path(path_type=Path)),
        option(
            "-o",
            "--output",
            default="",
            envvar=f"{variable}_OUTPUT",
            help=f"The corpus, a JSONL file; - for stdout. Default: NAME{ending}.",
        ),
        option("-l", "--language", default="", envvar=f"{variable}_LANGUAGE", help=language),
        option("--skip-bad", is_flag=True, help="Pass over lines that are no records."),
        option(
            "--tries", type=click.IntRange(1, 20), default=TRIES, help="Of each; from the second on by another seed."
        ),
    )


def html_option(what: str) -> Callable[[F], F]:
    """A page in place of what a terminal shows."""
    return option(
        "--html", type=OutputPath(), metavar="PAGE", help=f"Write {what} as one page to send to somebody; - for stdout."
    )


def columns_option(command: F) -> F:
    """Which columns hold the pair."""
    return option(
        "--columns",
        default="",
        metavar="NAME=COLUMN,...",
        help="Where the pair is, if not under a known name: instruction=question,response=answer. "
        "Names: instruction, input, response, system, reasoning, messages.",
    )(command)


def distance_option(command: F) -> F:
    """From where on vectors are near to one another."""
    return option(
        "--distance",
        type=FloatRange(0, 1),
        default=0.05,
        help="Nearer than this says the same: squared, between vectors of length 1. 0.05 is Magpie's.",
    )(command)


def debug_option(command: F) -> F:
    return option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")(command)


_NO_RULES = {"output", "in_place", "force", "skip_bad", "as_json", "quiet", "show", "ids_from"}
"""Options that say nothing of what becomes of a record, or name a file of the user's."""


def rules_given() -> str:
    """The options of the running command that say what becomes of the records, as they were given: "--min-words 5"."""
    context = click.get_current_context()
    told = []
    for param in context.command.params:
        value = context.params.get(param.name or "")
        named = isinstance(param, click.Option) and param.name not in _NO_RULES
        if named and value and context.get_parameter_source(param.name or "") is not ParameterSource.DEFAULT:
            name = max(param.opts, key=len)
            values = value if isinstance(value, tuple) else (value,)
            told += [name if one is True else f"{name} {shlex.quote(str(one))}" for one in values]
    return " ".join(told)[:500]


def parse_options(pairs: tuple[str, ...], num_ctx: int | None) -> dict[str, Any]:
    """``KEY=VALUE`` pairs as values: JSON where it is some, else text. Keys that the tool sends itself are refused, but
    for null, which leaves them out."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"--option {pair!r} is no KEY=VALUE.", "write for example --option num_thread=4")
        try:
            found[key] = json.loads(value)
        except (ValueError, RecursionError):
            found[key] = value
        if not _is_text(found[key]) or _is_no_number(value):
            raise UsageError(
                f"--option {key} has a value that JSON cannot hold: {value!a:.60}",
                "give a number, true or false, a text, or a list or an object of these",
            )
        if key in OWN_OPTIONS and (found[key] is not None or key in ("num_ctx", "stop")):
            has = {name for param in click.get_current_context().command.params for name in param.opts}
            ours = " or ".join(name for name in OWN_OPTIONS[key] if name in has)
            raise UsageError(f"This command sets {key} itself.", f"use {ours} instead" if ours else "leave it out")
    if num_ctx is not None:
        found["num_ctx"] = num_ctx
    return found


def _is_no_number(value: str) -> bool:
    """Whether it is an infinity or none at all, by any of their names, or a number beyond the floats."""
    try:
        return not math.isfinite(float(value))
    except ValueError:
        return False
