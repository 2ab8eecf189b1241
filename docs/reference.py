"""docs/commands.md, made from the commands' own help:  python docs/reference.py"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from magpie_ollama.__main__ import COMMANDS, cli

PAGE = Path(__file__).with_name("commands.md")
WIDTH = 100


def text() -> str:
    root = click.Context(cli, info_name="magpie-ollama", terminal_width=WIDTH, max_content_width=WIDTH)
    parts = [
        "# Commands",
        "What `magpie-ollama COMMAND --help` says. Environment variables: [settings.md](settings.md).",
    ]
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command
        parts += _section(command, root, name, "##")
    return "\n\n".join(parts) + "\n"


def _section(command: click.Command, parent: click.Context, name: str, level: str) -> Iterator[str]:
    context = click.Context(command, parent, name)
    yield f"{level} {name}"
    yield f"```text\n{command.get_help(context).rstrip()}\n```"
    if isinstance(command, click.Group):
        for sub, one in command.commands.items():
            yield from _section(one, context, sub, f"{level}#")


if __name__ == "__main__":
    PAGE.write_text(text(), "utf-8")
