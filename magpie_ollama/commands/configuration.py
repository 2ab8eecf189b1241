"""A user's own defaults: ``config.toml`` in the folder that the system has for such files.

An option takes its value from the command line, else from its environment variable, else from here. From Python
nothing of it is read: a program says what it wants.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from shlex import quote
from typing import Any

import click
from click.core import ParameterSource

from magpie_ollama import prompts
from magpie_ollama.errors import MagpieError, ModelMissing, NoServer, UnknownLanguage, UsageError
from magpie_ollama.servers import registry

KEYS = {
    "model": "the model's name on the server (-m)",
    "server": "the kind of server (--server)",
    "host": "the server's address (--host)",
    "language": "the language of generate and doctor (-l)",
    "folder": "where generate puts a corpus that -o does not name",
}
"""All but the folder stand in for the option of that name wherever it has the shared environment variable:
``filter --model``, which chooses records, has another."""

BLAMED = {"model": ModelMissing, "language": UnknownLanguage, "host": NoServer}
"""The errors that a default brings which holds no more."""


def path() -> Path:
    import platformdirs

    return platformdirs.user_config_path("magpie-ollama", appauthor=False) / "config.toml"


def near(name: str, names: Iterable[str]) -> str:
    return "".join(f" Did you mean {one}?" for one in get_close_matches(name, names, n=1))


def read() -> dict[str, str]:
    """What the file says; {} without one. Raises ``UsageError``."""
    found = _read()
    for key, value in found.items():
        if key not in KEYS:
            raise UsageError(
                f"{path()} has the unknown key {key!r}.{near(key, KEYS)}",
                f"remove it with `magpie-ollama config unset {quote(key)}`; there are {', '.join(KEYS)}",
            )
        check(key, value, f"{path()}: {key}")
    return found


def check(key: str, value: object, said: str) -> None:
    """Raises ``UsageError`` for a value that may not stand there; ``said`` is how it was given."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise UsageError(
            f"{said} is to be a text, not {value!r:.60}", f"magpie-ollama config set {key} VALUE, or unset {key}"
        )
    if key == "server" and value not in (kinds := registry.names()):
        raise UsageError(
            f"{said} is no kind of server: {value!r}.{near(value, kinds)}", f"choose one of {', '.join(kinds)}"
        )


def change(key: str, value: str | None) -> None:
    """Gives a key a value, or takes it out (None), and leaves all other lines as they are. Raises ``UsageError``,
    ``OSError``."""
    import tomllib

    from magpie_ollama.corpus import files

    there = _read()
    if value is None and key not in there:
        raise UsageError(f"{path()} has no {key!r}.{near(key, there)}", "`magpie-ollama config` shows what it has")
    lines = path().read_text("utf-8-sig").splitlines() if there else []
    lines = [line for line in lines if not re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=""", line)]
    wanted = {name: one for name, one in there.items() if name != key}
    if value is not None:
        wanted[key] = value
        lines.insert(0, f"{key} = {json.dumps(value, ensure_ascii=False)}")
    made = "".join(f"{line}\n" for line in lines)
    try:
        changed = tomllib.loads(made) == wanted
    except tomllib.TOMLDecodeError:
        changed = False
    if not changed:
        raise UsageError(f"{path()} has {key} in more than a line", "change it in an editor")
    path().parent.mkdir(parents=True, exist_ok=True)
    files.write(path(), made.encode())


def defaults(params: Iterable[click.Parameter]) -> dict[str, str]:
    """What stands in for these options of a command, by their names."""
    shared = {param.name: param.envvar for param in params}
    mine = [key for key in KEYS if shared.get(key) == f"MAGPIE_OLLAMA_{key.upper()}"]
    found = read() if mine else {}
    return {key: found[key] for key in mine if key in found}


def keep_together(ctx: click.Context) -> None:
    """Takes back the default model and address where the command line or the environment says another kind of server,
    and the kind too where a file of weights is given: they are of one server."""
    own = {
        name for name in ("server", "host", "model") if ctx.get_parameter_source(name) is ParameterSource.DEFAULT_MAP
    }
    kinds = {ctx.params.get("server"), (ctx.default_map or {}).get("server", registry.AUTO)}
    if not ctx.params.get("model_path"):
        own -= own if len(kinds) == 1 or kinds == {registry.AUTO, registry.USUAL} else {"server"}
    for name in own:
        ctx.params[name] = registry.AUTO if name == "server" else ""
        ctx.set_parameter_source(name, ParameterSource.DEFAULT)


def in_folder(name: str) -> Path:
    """Where a file goes that nobody said a place for."""
    return Path(read().get("folder", ""), name)


def blame(error: MagpieError, given: Mapping[str, Any]) -> None:
    """Adds to the remedy that the value came from here, where it did. ``given`` are the defaults that were taken."""
    for key, kind in BLAMED.items():
        if key in given and isinstance(error, kind):
            said = f"{key} {quote(given[key])} stands in {path()}: `magpie-ollama config set {key} VALUE` changes it"
            error.remedy = f"{error.remedy}; {said}" if error.remedy else said


def _read() -> dict[str, Any]:
    return prompts.read(path()) if path().exists() else {}
