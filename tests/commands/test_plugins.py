"""What other packages bring, by the example of docs/plugins.md: an installed package, but for the installing."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands.support import Runner, check_error, records
from commands.test_completion import plain
from docs.pages import ROOT
from fake_ollama import Ask, FakeModel, FakeOllama, Reply, default_script

from magpie_ollama import generate, plugins

TOPIC = """
category = "Other"
[en]
system = "You talk about wine."
openers = ["Which wine", "How long", "Why does", "Tell me"]
[[en.exemplars]]
instruction = "Which wine goes with fish?"
response = "A dry white one, served cold."
[[en.exemplars]]
instruction = "How long does an open bottle keep?"
response = "Two or three days, in a cool place."
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages with the example of the page in it."""
    page = (ROOT / "docs" / "plugins.md").read_text("utf-8")
    toml, code = (re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL)[0] for kind in ("toml", "python"))
    site = tmp_path / "site"
    (site / "cellar_topics").mkdir(parents=True)
    (site / "cellar_topics" / "wine.toml").write_text(TOPIC, "utf-8")
    (site / "cellar_plugin.py").write_text(code, "utf-8")
    install(site, tomllib.loads(toml)["project"]["entry-points"])
    monkeypatch.syspath_prepend(str(site))
    plugins.forget()
    yield site
    sys.modules.pop("cellar_plugin", None)
    monkeypatch.undo()
    plugins.forget()


def install(site: Path, groups: dict[str, dict[str, str]]) -> None:
    folder = site / "cellar_plugin-1.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: cellar-plugin\nVersion: 1\n", "utf-8")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in each.items())
        for group, each in groups.items()
    ]
    (folder / "entry_points.txt").write_text("\n".join(lines), "utf-8")
    plugins.forget()


def script(ask: Ask) -> Reply:
    if ask.seed == 50:
        return Reply("Which beer goes with fish?") if ask.kind == "raw" else default_script(ask)
    return Reply("Take a beer with it.") if ask.kind == "chat" and ask.seed == 51 else default_script(ask)


def test_the_example_of_the_page(run: Runner, site: Path, own_folder: Path) -> None:
    asked = ("generate", "-l", "en", "-n", 1, "--topics", "wine", "--server", "cellar", "--seed", 50, "--parallel", 1)
    with FakeOllama(models=[FakeModel("m:1b")], script=script) as fake:
        done = run(*asked, "--host", fake.url, "-o", "en.jsonl", "--json")
    assert done.code == 0, done.err
    (record,) = records("en.jsonl")
    assert (record["topic"], record["server"]) == ("wine", "cellar")
    assert '"plugin": 1' in done.out
    assert '"response_plugin": 1' in done.out
    assert "check no_beer rejected 2 texts" in done.err


def test_the_shell_is_offered_what_plugins_bring(site: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert plain("generate", "--topics", "wi") == ["wine"]
    assert plain("generate", "--topics", "maths:2,wi") == ["maths:2,wine"]
    assert plain("generate", "--server", "c") == plain("generate", "--response-server", "c") == ["cellar"]
    (site / "cellar_plugin.py").write_text("raise OSError('no cork')\n", "utf-8")
    sys.modules.pop("cellar_plugin")
    plugins.forget()
    assert plain("generate", "--topics", "math") == ["maths"]
    assert plugins.take_notices() == [], "no word into the line that somebody types"
    assert capfd.readouterr() == ("", "")


def test_in_python_what_is_told_of_plugins_is_a_warning_once(site: Path) -> None:
    with FakeOllama(models=[FakeModel("m:1b")], script=script) as fake:
        with pytest.warns(UserWarning, match="check no_beer rejected 2 texts"):
            assert len(list(generate("en", 1, host=fake.url, seed=50, parallel=1))) == 1
        assert len(list(generate("en", 1, host=fake.url, seed=60, parallel=1))) == 1


def test_a_plugin_that_raises_is_named_and_the_rest_works(run: Runner, site: Path, own_folder: Path) -> None:
    (site / "cellar_plugin.py").write_text(
        "def broken(text, asked, language):\n    raise OSError('no cork')\n", "utf-8"
    )
    checks = {"torn": "cellar_plugin:broken", "gone": "cellar_plugin:gone"}
    install(site, {f"magpie_ollama.{group}": checks for group in ("checks", "topics", "servers")})
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        done = run("generate", "-l", "en", "-n", 2, "--topics", "maths", "--host", fake.url, "-o", "en.jsonl", "-q")
    assert done.code == 0
    assert len(records("en.jsonl")) == 2
    assert "check torn failed and is left out: OSError: no cork" in done.err
    assert "check gone failed and is left out: AttributeError" in done.err
    check_error(run("generate", "-l", "en", "--server", "gone"), 2, "cellar_plugin:gone", "cannot be loaded")
    check_error(run("generate", "-l", "en", "--topics", "wine"), 2, "no topic 'wine'")


def test_help_looks_through_no_packages(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    plugins.forget()
    monkeypatch.setattr(plugins, "entry_points", lambda **given: pytest.fail("all packages were looked through"))
    assert run("generate", "--help").code == 0
    assert run("compare", "--help").code == 0
    assert run("languages").code == 0
