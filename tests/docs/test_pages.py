"""README and docs: what they name exists, what they show can be typed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from docs.pages import PAGES, ROOT, commands

from magpie_ollama.__main__ import COMMANDS, cli

OTHERS = {"--headless", "--grpc-mode", "--stream-interval", "--policy", "--max-concurrent-requests", "--license"} | {
    "--data-parallel-address", "--data-parallel-backend", "--max-num-seqs", "--ignore", "--dist"
}  # fmt: skip
"""Options of other programs that the pages name."""


def options(name: str) -> set[str]:
    command = cli.get_command(click.Context(cli), name)
    assert command
    every = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
    found = {
        option for one in every for parameter in one.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    return found | {"-h", "--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_that_is_shown_can_be_typed(page: Path) -> None:
    for words in commands(page.read_text("utf-8")):
        if not words or words[0].startswith("-"):
            continue
        command = cli.get_command(click.Context(cli), words[0])
        assert command, f"magpie-ollama {' '.join(words)}"
        rest = words[1:]
        if isinstance(command, click.Group) and rest:
            command, rest = command.commands[rest[0]], rest[1:]
        rest = [word for word in rest if word != "..."]
        try:
            command.make_parser(click.Context(command)).parse_args(rest)
        except click.UsageError as error:
            pytest.fail(f"magpie-ollama {' '.join(words)}: {error.format_message()}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_option_that_is_named_exists(page: Path) -> None:
    known = {"--version"} | OTHERS | {option for name in COMMANDS for option in options(name)}
    named = set(re.findall(r"`(--[a-z][a-z-]+)", page.read_text("utf-8")))
    assert named <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path) if path else page
        assert there.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.+)$", there.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, target


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in re.findall(r"\]\(([^)\s#]+\.md)", page.read_text("utf-8")):
            if not target.startswith("http"):
                waiting.append((page.parent / target).resolve())
    assert set(PAGES) <= reached


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 200


def test_the_reference_is_what_the_help_says() -> None:
    # In a process of its own: click keeps an option --help as it was first asked for, by whatever test came before.
    code = f"import runpy; print(runpy.run_path({str(ROOT / 'docs' / 'reference.py')!r})['text'](), end='')"
    made = subprocess.run([sys.executable, "-X", "utf8", "-c", code], capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / "commands.md").read_text("utf-8") == made, "python docs/reference.py makes it anew"
