"""``magpie-ollama config``: a user's own defaults, and the environment variables."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from magpie_ollama.commands import configuration
from magpie_ollama.commands.base import Group
from magpie_ollama.commands.configuration import KEYS
from magpie_ollama.commands.options import debug_option, option
from magpie_ollama.display import consoles, ending
from magpie_ollama.display.characters import printable

MANY = 7
"""Commands that are named in one line."""


@click.group(cls=Group, invoke_without_command=True)
@option("--json", "as_json", is_flag=True, help="As JSON.")
@debug_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show your own defaults, and where each comes from; set and unset them.

    The command line comes first, then the environment, then the file.
    """
    if ctx.invoked_subcommand is None:
        _show(as_json)


def _show(as_json: bool) -> None:
    path, said = configuration.path(), configuration.read()
    found = {}
    for key in KEYS:
        variable = "MAGPIE_OLLAMA_OUTPUT" if key == "folder" else f"MAGPIE_OLLAMA_{key.upper()}"
        if value := os.environ.get(variable):
            found[key] = {"value": value, "from": variable}
        elif key in said:
            found[key] = {"value": said[key], "from": "file"}
    if as_json:
        consoles.show_json({"path": str(path), "settings": found})
        return
    told = {key: f"{printable(one['value'])} ({one['from']})" for key, one in found.items()}
    there = "" if path.exists() else " (not there)"
    rows = {"file": f"{printable(str(path))}{there}"} | {
        key: told.get(key, f"-  {words}") for key, words in KEYS.items()
    }
    consoles.show_facts(rows, consoles.stdout())
    ending.show(consoles.stderr(), None, "config", "set", "NAME", "VALUE")


class _Name(click.Choice[str]):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value not in self.choices:
            near = configuration.near(value, KEYS)
            self.fail(f"no setting is called {value!r}.{near} There are {', '.join(KEYS)}.", param, ctx)
        return value


@command.command("set", examples=("config set model llama3.2", "config set folder ~/corpora"))
@click.argument("name", type=_Name(list(KEYS)))
@click.argument("value")
@debug_option
def set_(name: str, value: str) -> None:
    """Make VALUE the default of NAME: model, server, host, language or folder."""
    if name == "language":
        from magpie_ollama.method import languages

        value = languages.find(value).code
    elif name == "folder":
        place = Path(value).expanduser().absolute()
        place.mkdir(parents=True, exist_ok=True)
        value = str(place)
    configuration.check(name, value, name)
    configuration.change(name, value)
    consoles.say(consoles.stdout(), Text(f"{name} is {value} from now on, in {configuration.path()}."))


@command.command("unset", examples=("config unset model", "config unset folder"))
@click.argument("name")
@debug_option
def unset(name: str) -> None:
    """Take NAME out of the file."""
    configuration.change(name, None)
    consoles.say(consoles.stdout(), Text(f"{name} has no default of yours any more."))


@command.command("variables", examples=("config variables", "config variables --json"))
@option("--json", "as_json", is_flag=True, help="As JSON.")
@debug_option
@click.pass_context
def variables(ctx: click.Context, as_json: bool) -> None:
    """List the environment variables, each with the option that it stands for, and the commands that have it."""
    found: dict[str, tuple[str, list[str]]] = {}
    for name, one in _commands(ctx.find_root().command, ctx):
        for param in one.params:
            if isinstance(param, click.Option) and isinstance(param.envvar, str):
                found.setdefault(param.envvar, (max(param.opts, key=len), []))[1].append(name)
    if as_json:
        consoles.show_json({variable: {"option": one, "commands": names} for variable, (one, names) in found.items()})
        return
    rows = {variable: f"{one} of {_listed(names)}" for variable, (one, names) in sorted(found.items())}
    consoles.show_facts(rows, consoles.stdout())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= MANY else "most commands"


def _commands(group: click.Command, ctx: click.Context, path: str = "") -> Iterator[tuple[str, click.Command]]:
    if not isinstance(group, click.Group):
        yield path, group
        return
    for name in group.list_commands(ctx):
        if (one := group.get_command(ctx, name)) is not None:
            yield from _commands(one, ctx, f"{path} {name}".strip())
