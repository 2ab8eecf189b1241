"""``magpie-ollama template``: the chat templates that models are asked with."""

from __future__ import annotations

from typing import Any

import click

from magpie_ollama import prompts
from magpie_ollama.asking.opening import opened
from magpie_ollama.asking.templates import Prompter
from magpie_ollama.commands.base import Group
from magpie_ollama.commands.options import debug_option, option, server_choice, server_options
from magpie_ollama.display import consoles
from magpie_ollama.display.live import Display
from magpie_ollama.display.plan import visible
from magpie_ollama.method.template import SENTINELS, Template, cut, load_preset
from magpie_ollama.records import Message
from magpie_ollama.run.interrupts import run
from magpie_ollama.run.progress import Progress
from magpie_ollama.servers.base import ServerChoice


@click.group(cls=Group)
def command() -> None:
    """Show the chat templates that models are asked with."""


@command.command("show", examples=("template show -m llama3.2", "template show --template chatml"))
@server_options()
@option("--system", default="", help="With this system message in front.")
@option("--json", "as_json", is_flag=True, help="As JSON.")
@debug_option
def show(system: str, as_json: bool, **given: Any) -> None:
    """Show the pre-query template of a model, as its server renders it."""
    choice = server_choice(given)
    before: list[Message] = [{"role": "system", "content": system}] if system else []
    name, template = run(_template(choice, before))
    _print(name, template, as_json)


@command.command("list", examples=("template list", "template list --json"))
@option("--json", "as_json", is_flag=True, help="As JSON.")
@debug_option
def list_presets(as_json: bool) -> None:
    """List the presets, for servers that cannot render and for --template."""
    found = {}
    for name in prompts.names("templates"):
        preset = load_preset(name)
        rendered = [preset.render([{"role": "user", "content": sentinel}]) for sentinel in SENTINELS]
        found[name] = cut(rendered, f"preset {name}", name)
    if as_json:
        consoles.show_json({name: _values(name, template) for name, template in found.items()})
        return
    for name, template in found.items():
        _print(name, template, False)
        consoles.stdout().print()


async def _template(choice: ServerChoice, before: list[Message]) -> tuple[str, Template]:
    console = consoles.stderr()
    progress = Progress()
    async with (
        Display(progress, f"Template {choice.model}".strip(), console, "live" if console.is_interactive else "notices"),
        opened(choice, 1, progress) as model,
    ):
        return model.name, await Prompter(model, choice.template).template(before)


def _print(name: str, template: Template, as_json: bool) -> None:
    if as_json:
        consoles.show_json(_values(name, template))
        return
    rows = {
        "template": f"{name}, {template.source}" if not template.source.endswith(f" {name}") else name,
        "prefix": visible(template.prefix),
        "suffix": visible(template.suffix),
        "stops": "  ".join(map(visible, template.stops)),
    }
    consoles.show_facts(rows, consoles.stdout())


def _values(name: str, template: Template) -> dict[str, Any]:
    return {
        "name": name,
        "prefix": template.prefix,
        "suffix": template.suffix,
        "stops": list(template.stops),
        "source": template.source,
    }
