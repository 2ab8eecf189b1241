"""The kinds of servers are listed in one place: one more in it is one more everywhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from commands.support import Runner, check_error, records
from fake_ollama.kind import NAME

from magpie_ollama import generate
from magpie_ollama.doctor import speed
from magpie_ollama.errors import UsageError
from magpie_ollama.servers import registry


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.KINDS, "own", "fake_ollama.kind.Own")
    for name in [name for name in sys.modules if name.startswith("magpie_ollama.commands.")]:
        monkeypatch.delitem(sys.modules, name)  # they are begun anew, as by another process


def test_each_kind_calls_itself_as_it_is_listed() -> None:
    assert {kind.kind for kind in registry.kinds()} == set(registry.KINDS)
    assert {registry.USUAL, registry.STAND_IN} < set(registry.KINDS)


@pytest.mark.parametrize("command", ["generate", "compare", "doctor", "tag", "template show"])
def test_the_help_names_it(run: Runner, command: str) -> None:
    assert f"[{'|'.join([registry.AUTO, *registry.KINDS])}]" in run(*command.split(), "--help").out


def test_an_unknown_kind_is_refused(run: Runner) -> None:
    done = run("doctor", "--server", "parrot")
    assert done.code == 2
    assert "'own'" in done.err
    with pytest.raises(UsageError, match="no kind of server 'parrot'") as caught:
        next(generate(n=1, server="parrot"))
    assert ", ".join([registry.AUTO, *registry.KINDS]) in caught.value.remedy


def test_generate_stats_and_tag(run: Runner, own_folder: Path) -> None:
    ask = ("--server", "own", "-m", NAME, "--option", "colour=green")
    check_error(run("generate", "-n", "3", *ask), 3, f"No {NAME} is here", "pull it")
    made = run("generate", "-n", "3", *ask, "--pull", "--seed", "5")
    assert made.code == 0, made.err
    assert f"{NAME} on own (3)" in made.err
    assert {record["server"] for record in records()} == {"own"}
    told = json.loads(run("stats", "en.jsonl", "--json").out)
    assert [(past["server"], past["kept"]) for past in told["runs"]] == [("own", 3)]
    tagged = run("tag", "en.jsonl", "--in-place", *ask, "--pull", "--json", "--unproven")
    assert tagged.code == 0, tagged.err
    assert json.loads(tagged.out)["judged"] == 3
    assert records()[0]["tags"]["judge"] == NAME


def test_the_doctor_tells_what_the_kind_says_of_itself(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    async def measure(ask: speed.Ask, most: int) -> speed.Speed:
        return speed.Speed({1: 50.0, 2: 50.0}, 1, False, 2, 1, (1, 1, 1))

    monkeypatch.setattr(speed, "measure", measure)
    done = run("doctor", "-l", "it", "--server", "own", "-m", NAME, "--pull", "--json")
    found = {one["name"]: one for one in json.loads(done.out)["findings"]}
    assert found["server"]["text"] == "own 3 at own://here: it cannot fly"
    assert found["server"]["remedy"] == "update the parrot"
    assert found["model"]["text"] == f"{NAME}, digest beak"
    assert found["context"]["remedy"] == "give the parrot a longer perch"
    assert "does not tell what the model takes" in found["memory"]["text"]
    assert found["slots"]["remedy"] == "buy another parrot"
    assert found["confidence"]["remedy"].startswith("ask the parrot, ")
    commands = [one["remedy"] for one in found.values() if "magpie-ollama compare" in one["remedy"]]
    assert commands and all(" --server own" in remedy for remedy in commands)


def test_compare_names_it_in_the_next_command(run: Runner, own_folder: Path) -> None:
    done = run("compare", "-l", "en", "-s", "none", "-n", 2, "--server", "own", "-m", NAME, "--pull", "--json")
    assert done.code == 0, done.err
    assert all("--server own" in command for command in json.loads(done.out)["next"])
