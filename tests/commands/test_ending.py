"""Each command ends with what it made, in short, and with the command that comes next, which is there to be run."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import pytest
from fake_ollama import FakeOllama, Reply
from rich.console import Console

from magpie_ollama.display import ending

from .support import Done, Runner, records


def ended(done: Done) -> tuple[list[str], list[str]]:
    """The lines of the example, and the words of the next command."""
    assert done.code == 0, done.err
    lines = done.err.splitlines()
    last = next(line for line in lines if line.startswith("next: magpie-ollama "))
    assert lines[-1] == last
    return [line[6:] for line in lines if line.startswith(("e.g.  ", "   →  "))], shlex.split(last)[2:]


def test_from_the_first_record_to_the_trainer(run: Runner) -> None:
    """Each next command is run as it stands."""
    with FakeOllama() as fake:
        made, then = ended(run("generate", "-n", 10, "-o", "my set.jsonl", "--host", fake.url))
        newest = records("my set.jsonl")[-1]["messages"]
        assert made[0] == newest[0]["content"] and newest[1]["content"].startswith(made[1].rstrip("…"))
        assert then == ["view", "my set.jsonl"]
        assert run(*then).code == 0
        made, then = ended(run("tag", "my set.jsonl", "--in-place", "--unproven", "--host", fake.url))
    first = records("my set.jsonl")[0]
    assert made[0] == first["messages"][0]["content"]
    assert made[1].startswith(f"quality {first['tags']['quality']}, difficulty ")
    assert then[:2] == ["filter", "my set.jsonl"]
    would = run("filter", "my set.jsonl", "--min-words", 1)
    assert would.out.startswith("Would keep 10 of 10 records.") and "next:" not in would.err
    made, then = ended(run("filter", "my set.jsonl", "--min-words", 1, "-o", "good.jsonl"))
    assert len(made) == 2 and then[:3] == ["export", "good.jsonl", "--for"]
    made, then = ended(run(*then))
    assert len(made) == 2 and then[0] == "check" and "good-trl-sft.jsonl" in then
    assert run(*then).code in (0, 1), "whether it trains is check's own matter"


def test_three_pairs_and_how_long_a_run_would_take(run: Runner) -> None:
    with FakeOllama() as fake:
        done = run("generate", "--preview", "-n", 500, "--host", fake.url, "--seed", 3)
        assert done.code == 0, done.err
        assert [line for line in done.out.splitlines() if line.startswith("line ")] == ["line 1", "line 2", "line 3"]
        told = done.err.splitlines()[-1]
        assert told.startswith("Nothing was written. Without --preview, 500 records take about ")
        assert "from 3 records in " in told
        assert list(Path().iterdir()) == [], "no corpus, and no folder beside one"
        shown = json.loads(run("generate", "--preview", "-n", 500, "--host", fake.url, "--seed", 3, "--json").out)
        assert (len(shown["records"]), shown["target"]) == (3, 500) and shown["seconds"] >= 0
        assert run("generate", "-n", 3, "--host", fake.url, "--seed", 3, "-q").code == 0
    of_the_run = {one["messages"][0]["content"] for one in records()}
    assert {one["messages"][0]["content"] for one in shown["records"]} == of_the_run, "the run begins with the same"


def test_a_model_that_makes_nothing_is_seen_soon(run: Runner) -> None:
    with FakeOllama(script=lambda ask: Reply("")) as fake:
        done = run("generate", "--preview", "--host", fake.url)
        assert done.code == 4 and "Not one pair passed of 30 attempts" in done.err
        assert "after 30 attempts" in done.err


def test_import_and_respond(run: Runner) -> None:
    Path("in.jsonl").write_text(json.dumps({"instruction": "What is rain?", "output": "Water that falls."}) + "\n")
    made, then = ended(run("import", "in.jsonl", "-o", "out.jsonl", "-l", "en"))
    assert (made, then) == (["What is rain?", "Water that falls."], ["stats", "out.jsonl"])
    with FakeOllama() as fake:
        made, then = ended(run("respond", "in.jsonl", "--host", fake.url))
    assert made[0] == "What is rain?" and then == ["view", "in.answered.jsonl"]


@pytest.mark.parametrize("silent", ["-q", "--json"])
def test_not_where_nobody_reads(run: Runner, silent: str) -> None:
    with FakeOllama() as fake:
        done = run("generate", "-n", 1, "--host", fake.url, silent)
        assert done.code == 0 and "next:" not in done.err and "e.g." not in done.err
    for words in (("filter", "en.jsonl", "--min-words", 1, "-o", "a.jsonl"), ("export", "en.jsonl")):
        done = run(*words, silent)
        assert done.code == 0 and done.err == ""


@pytest.mark.parametrize("width", [30, 60, 120])
def test_it_fits_the_terminal_and_does_not_steer_it(width: int) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    file = Terminal()
    console = Console(file=file, width=width, force_terminal=True, color_system=None, legacy_windows=False)
    ending.show(console, ("Perché \x1b[2Jil mare\nè salato? " * 20, "水" * 200), "view", "a b.jsonl")
    lines = file.getvalue().splitlines()
    assert len(lines) == 3 and "\x1b" not in file.getvalue()
    assert all(Console().render_str(line).cell_len <= width for line in lines[:2])
    assert lines[2] == "next: magpie-ollama view 'a b.jsonl'"
