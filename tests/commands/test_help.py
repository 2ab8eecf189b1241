"""Every command tells of itself and its options, and one word means one thing in all of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from magpie_ollama.__main__ import cli
from magpie_ollama.commands.base import GROUPS, Command


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from walk(found, (*path, name))


@pytest.mark.parametrize(("path", "command"), [pytest.param(*one, id=" ".join(one[0]) or "-") for one in walk(cli)])
def test_help(path: tuple[str, ...], command: click.Command) -> None:
    result = CliRunner().invoke(cli, [*path, "--help"], prog_name="magpie-ollama", terminal_width=100)
    assert result.exit_code == 0
    assert f"Usage: {' '.join(('magpie-ollama', *path))}" in result.output
    assert command.help
    for parameter in command.params:
        if not isinstance(parameter, click.Option) or parameter.name in ("help", "version"):
            continue
        long = next(name for name in parameter.opts if name.startswith("--"))
        variable = "MAGPIE_OLLAMA_" + long[2:].replace("-", "_").upper()
        own = variable.replace("MAGPIE_OLLAMA", f"MAGPIE_OLLAMA_{path[0].upper()}") if path else variable
        # What an option of the same name means something else by has a variable of its own.
        assert parameter.envvar in (variable, own)
        assert long in result.output


def test_options_that_share_a_variable_mean_the_same_by_it() -> None:
    """A variable set for `generate` must not remove records in `filter`."""
    meant: dict[str, set[str]] = {}
    for _, command in walk(cli):
        for option in command.params:
            if (
                isinstance(option, click.Option) and option.envvar != "MAGPIE_OLLAMA_SEED"
            ):  # drawn, or an experiment's 0
                what = f"{type(option.type).__name__} {option.default!r} {option.multiple}"
                meant.setdefault(str(option.envvar), set()).add(what)
    assert {name: found for name, found in meant.items() if len(found) > 1 and name != "None"} == {}


@pytest.mark.parametrize(
    ("path", "auto"),
    [
        (["generate"], "auto: Ollama, else the embedded engine for a new corpus."),
        (["compare"], "auto: Ollama, else the embedded engine."),
        (["doctor"], "auto: Ollama, else the embedded engine."),
        (["template", "show"], "auto: Ollama, else the embedded engine."),
        (["tag"], "auto: Ollama."),
    ],
)
def test_each_command_tells_which_server_it_takes(path: list[str], auto: str) -> None:
    told = CliRunner().invoke(cli, [*path, "--help"], prog_name="magpie-ollama", terminal_width=100).output
    assert auto in " ".join(told.split())


@pytest.mark.parametrize(
    ("given", "near"),
    [("genrate", "generate"), ("exprot", "export"), ("templates", "template"), ("gen", "generate"), ("zzz", "")],
)
def test_unknown_command(given: str, near: str) -> None:
    result = CliRunner().invoke(cli, [given])
    assert result.exit_code == 2
    assert given in result.output
    assert ("Did you mean" in result.output) == bool(near)
    assert f"Did you mean {near}?" in result.output or not near


def leaves() -> list[tuple[tuple[str, ...], Command]]:
    return [(path, command) for path, command in walk(cli) if isinstance(command, Command)]


@pytest.mark.parametrize(("path", "command"), [pytest.param(*one, id=" ".join(one[0])) for one in leaves()])
def test_two_examples_that_parse(path: tuple[str, ...], command: Command) -> None:
    assert len(command.examples) == 2
    for line in command.examples:
        words = shlex.split(line)
        assert tuple(words[: len(path)]) == path
        assert len(f"  magpie-ollama {line}") <= 80, "one line of an ordinary terminal"
        with command.make_context(path[-1], words[len(path) :]):  # refuses an option that is not there
            pass


def test_groups_hold_names_that_options_have() -> None:
    names = [name for names in GROUPS.values() for name in names.split()]
    assert len(names) == len(set(names))
    has = {param.name for _, command in leaves() for param in command.params}
    assert set(names) - {"help"} <= has


def test_help_in_groups() -> None:
    shown = CliRunner().invoke(cli, ["generate", "--help"], prog_name="magpie-ollama", terminal_width=60).output
    titles = [line[:-1] for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["Options", *GROUPS, "Examples"]
    assert max(map(len, shown.splitlines())) <= 80
    server = shown.partition("Server and model:")[2].partition("What is asked for:")[0]
    assert "--host" in server and "--temperature" not in server
    assert "MAGPIE_OLLAMA" not in shown, "variables are on a page of their own"


ONE_MEANING = {
    "-h": "--help",
    "-k": "--each",
    "-l": "--language",
    "-m": "--model",
    "-n": "--count",
    "-o": "--output",
    "-q": "--quiet",
    "-s": "--steering",
}


def test_one_word_for_one_thing() -> None:
    """A short option stands for the same long one everywhere, and a long one has its short one, its kind of value and,
    where it is a flag, its words."""
    kinds: dict[str, set[object]] = {}
    for _, command in leaves():
        for param in command.params:
            if not isinstance(param, click.Option):
                continue
            long = [name for name in param.opts if name.startswith("--")]
            short = [name for name in param.opts if name not in long]
            assert [ONE_MEANING[name] for name in short] == long[: len(short)], param
            assert short or long[0] not in ONE_MEANING.values(), f"{long[0]} has a letter elsewhere"
            of_numbers = isinstance(param.type, click.types.IntParamType)
            kinds.setdefault(long[0], set()).add((param.is_flag, of_numbers))
    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}
    assert kinds["--parallel"] == {(False, False)}, "auto or a number, everywhere"
