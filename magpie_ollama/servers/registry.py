"""The kinds of servers: the one place that lists them."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from magpie_ollama import plugins
from magpie_ollama.errors import UsageError
from magpie_ollama.servers.base import Server

KINDS = {
    "ollama": "magpie_ollama.servers.ollama.OllamaServer",
    "openai": "magpie_ollama.servers.openai.OpenAIServer",
    "embedded": "magpie_ollama.servers.embedded.EmbeddedServer",
}
"""What --server calls them, and their classes, which are not imported for that: the commands without a model begin at
once."""

AUTO = "auto"
USUAL, STAND_IN = "ollama", "embedded"
"""What auto looks for first, and what it takes where weights are given, or where that is not there."""


def kind(name: str) -> type[Server]:
    """Raises ``UsageError``."""
    if name not in KINDS:
        return _plugin(name)
    module, _, found = KINDS[name].rpartition(".")
    return cast(type[Server], getattr(import_module(module), found))


def _plugin(name: str) -> type[Server]:
    if not (entry := plugins.named("servers").get(name)):
        raise UsageError(f"There is no kind of server {name!r}.", f"choose one of: {', '.join(names())}")
    try:
        return cast(type[Server], entry.load())
    except Exception as error:  # of any kind: it is another's code
        raise UsageError(
            f"The plugin of --server {name}, {entry.value}, cannot be loaded: {type(error).__name__}: {error!s:.200}",
            "mend that package, or choose another --server",
        ) from error


def names() -> list[str]:
    """What --server may say, plugins' kinds too: all installed packages are looked through for them."""
    return [AUTO, *KINDS, *plugins.named("servers")]


def kinds() -> list[type[Server]]:
    return [kind(name) for name in KINDS]


def option(name: str) -> list[str]:
    """What a command says to have this kind of server again."""
    return [] if name == USUAL else ["--server", name]
