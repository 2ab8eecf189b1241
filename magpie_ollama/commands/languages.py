"""``magpie-ollama languages``: the languages that have steering data."""

from __future__ import annotations

import click
from rich.table import Table

from magpie_ollama.commands.base import Command
from magpie_ollama.commands.options import debug_option, option
from magpie_ollama.display import consoles
from magpie_ollama.method import languages


@click.command(cls=Command, examples=("languages", "languages it"))
@click.argument("name", default="")
@option("--json", "as_json", is_flag=True, help="As JSON.")
@debug_option
def command(name: str, as_json: bool) -> None:
    """List the languages that have steering data, or show that of one: NAME is a code or a name."""
    shown = [languages.find(name)] if name else [languages.load(code) for code in languages.codes()]
    if as_json:
        entries = [
            {"code": language.code, "english": language.english, "native": language.native, "aliases": language.aliases}
            | ({"system": language.system, "register": language.register, "prefix": language.prefix} if name else {})
            for language in shown
        ]
        consoles.show_json(entries[0] if name else entries)
        return
    console = consoles.stdout()
    if name:
        _show_one(shown[0])
        return
    table = Table.grid(padding=(0, 2))
    for language in shown:
        table.add_row(language.code, language.english, language.native)
    console.print(table)


def _show_one(language: languages.Language) -> None:
    rows = {
        "code": language.code,
        "names": ", ".join(dict.fromkeys((language.english, language.native, *language.aliases))),
        "prefix": language.prefix,
        "system": language.system,
        "register": language.register,
        "openers": " · ".join(opener for group in language.openers.values() for opener in group),
    }
    rows |= {f"exemplar {n}": f"{e.instruction}\n{e.response}" for n, e in enumerate(language.exemplars, 1)}
    consoles.show_facts(rows, consoles.stdout())
