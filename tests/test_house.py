"""The house is as docs/contributing.md draws it: its rooms, which of them a room may import, and what README lists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import magpie_ollama
from magpie_ollama.method.reasons import Reason
from magpie_ollama.servers import registry

PACKAGE = Path(magpie_ollama.__file__).parent
PAGE = Path(__file__).parent.parent / "docs" / "contributing.md"
SHARED = {"errors", "loading", "plugins", "records", "decoding", "prompts"}
"""Modules that every room speaks in."""


def drawn() -> dict[str, set[str]]:
    """The rooms of the table, each with what it may import."""
    rows = re.findall(r"^\| `(\w+)/` \| .+ \| (.*?) ?\|$", PAGE.read_text("utf-8"), re.MULTILINE)
    rooms = [name for name, _ in rows]
    return {name: set(rooms) if may == "all" else set(filter(None, may.split(", "))) for name, may in rows}


def imported(path: Path) -> set[str]:
    """Rooms and modules of the package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "magpie_ollama":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("magpie_ollama."):
            found.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("magpie_ollama.")}
    return found


def test_the_table_names_every_room_and_no_other() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert set(drawn()) == rooms


def test_a_room_imports_only_those_below_it() -> None:
    below: set[str] = set()
    for room, may in drawn().items():
        assert room == "commands" or may <= below, room  # so there is no circle
        below.add(room)
        for path in (PACKAGE / room).glob("*.py"):
            assert imported(path) <= may | {room} | SHARED, path.name


def test_only_servers_knows_the_kinds_of_servers() -> None:
    """What a kind can do is said by its class, so that another one changes nothing elsewhere."""
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name == "servers":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Compare):
                words = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}
                assert not words & set(registry.KINDS), f"{path.name}:{node.lineno} asks for a kind"
            elif isinstance(node, ast.ImportFrom):
                modules = {cls.rpartition(".")[0] for cls in registry.KINDS.values()}
                assert node.module not in modules, f"{path.name}:{node.lineno} imports a kind"


def test_what_every_room_speaks_in_imports_no_room() -> None:
    for name in SHARED:
        assert imported(PACKAGE / f"{name}.py") <= SHARED


def test_only_what_shows_imports_rich() -> None:
    """Anybody may read a run, an experiment or a diagnosis as values, a page for a browser too."""
    for path in PACKAGE.glob("*/*.py"):
        if path.parent.name in ("display", "commands"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.partition(".")[0] == "rich" for name in names), path.name


def test_the_page_on_screening_names_every_reason_and_no_other() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE.with_name("screening.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(name for row in rows for name in re.findall("`([a-z_]+)`", row)) == sorted(Reason)
