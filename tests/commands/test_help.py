"""Every command tells of itself, its options and their variables."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from magpie_ollama.__main__ import cli


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
        variable = str(parameter.envvar)
        squeezed = "".join(result.output.split())
        assert long in result.output
        assert variable in squeezed, f"the help of {' '.join(path)} does not name {variable}"


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


def test_unknown_command() -> None:
    result = CliRunner().invoke(cli, ["genrate"])
    assert result.exit_code == 2
    assert "genrate" in result.output
