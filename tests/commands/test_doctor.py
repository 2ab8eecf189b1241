"""The doctor's command: what it prints, where, and the code that it ends with."""

from __future__ import annotations

import io
import json
import re

import pytest
from commands.support import Runner, stand_in
from fake_ollama import FakeModel, FakeOllama, FakeOpenAI, Reply, base_model, chunked_script
from rich.console import Console
from rich.text import Text

from magpie_ollama.display.diagnosis import show_end, show_finding
from magpie_ollama.doctor import speed
from magpie_ollama.doctor.findings import Diagnosis, Finding
from magpie_ollama.run.progress import Progress

LONG = "choose a steering that was accepted, or measure each with `magpie-ollama compare -l it -m smollm2:135m`"


@pytest.fixture(autouse=True)
def few_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "MOST", 2)


def test_findings_line_by_line(run: Runner) -> None:
    with FakeOllama(script=chunked_script(40)) as fake:
        done = run("doctor", "--host", fake.url, "--server", "ollama")
    assert (done.code, done.err) == (0, "next: magpie-ollama generate -l en -n 100\n")
    lines = done.out.splitlines()
    assert all(line.startswith(("✓ ", "! ", "  ")) for line in lines[:-1])
    assert any(line.startswith("✓ server           ollama 0.33.0 at ") for line in lines)
    assert any(line.startswith("✓ exemplar+opener  accepted, 41 tokens: “") for line in lines)
    assert any(line.startswith("✓ 1,000 records    about ") for line in lines)
    assert lines[-1].startswith("26 checks: ")
    assert "\x1b" not in done.out


def test_json(run: Runner) -> None:
    with FakeOllama(script=chunked_script(40)) as fake:
        done = run("doctor", "--json", "-l", "Italian", MAGPIE_OLLAMA_HOST=fake.url, MAGPIE_OLLAMA_SERVER="ollama")
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert set(told) == {"findings", "tokens_per_second", "tokens_for_1000", "seconds_for_1000", "exit_code"}
    assert told["seconds_for_1000"] > 0 < told["tokens_per_second"]
    assert all(set(finding) == {"name", "verdict", "text", "remedy"} for finding in told["findings"])
    variables = told["findings"][-1]
    assert (variables["name"], "MAGPIE_OLLAMA_HOST" in variables["text"]) == ("variables", True)


def test_no_server(run: Runner) -> None:
    with FakeOllama() as fake:
        pass
    done = run("doctor", "--server", "ollama", "--host", fake.url)
    assert (done.code, done.err) == (3, "")
    lines = done.out.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("✗ server "))
    assert "No Ollama answers" in lines[at]
    assert lines[at + 1].strip().startswith("→ start it with `ollama serve`")
    assert lines[-1] == "5 checks: 1 error."
    told = json.loads(run("doctor", "--json", "--server", "ollama", "--host", fake.url).out)
    assert (told["exit_code"], told["tokens_per_second"], told["seconds_for_1000"]) == (3, None, None)


def test_exit_codes(run: Runner) -> None:
    with FakeOllama(models=[FakeModel("llama3-base", base_model())]) as fake:
        assert run("doctor", "--host", fake.url).code == 3
        assert run("doctor", "--host", fake.url, "-m", "nosuch").code == 3
    assert run("doctor", "-l", "klingonese").code == 2
    assert run("doctor", "--server", "embedded", "--host", "127.0.0.1:1").code == 2


def test_its_commands_name_a_model_of_the_hub_as_it_was_given(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeOpenAI("llama-server", script=lambda ask: Reply("")) as fake:
        stand_in(monkeypatch, fake)
        done = run("doctor", "--server", "embedded", "-m", "maria/tiny:Q8")
    assert "`magpie-ollama compare -l en -m maria/tiny:Q8 --server embedded`" in done.out


def test_a_narrow_terminal() -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=60, force_terminal=True, color_system="standard", highlight=False)
    diagnosis = Diagnosis(lambda finding: show_finding(finding, console), Progress())
    diagnosis.ok("template", '"<|im_start|>system\\nYou are a helpful AI assistant<|im_end|>\\n<|im_start|>user\\n"')
    diagnosis.warn("exemplar+opener", "rejected as wrong_language, 31 tokens: “" + "incomprensibilità " * 6 + "”", LONG)
    show_end(diagnosis, console)
    assert "\x1b[" in shown.getvalue()
    lines = Text.from_ansi(shown.getvalue()).plain.splitlines()
    assert all(len(line) <= 60 for line in lines)
    assert lines[-1] == "2 checks: 1 warning."
    at = next(n for n, line in enumerate(lines) if "→" in line)
    assert all(not line[:18].strip() for line in lines[at:-1]), "the remedy stands under the text"
    assert " ".join(line.strip() for line in lines[at:-1]) == f"→ {LONG}"


def test_without_colour() -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=60, force_terminal=True, no_color=True)
    show_finding(Finding("slots", "warning", "1 of 8 requests run at once", "start it with more"), console)
    assert not re.search(r"\x1b\[[\d;]*3\d", shown.getvalue())
    assert Text.from_ansi(shown.getvalue()).plain.splitlines()[0].startswith("! slots            1 of 8")
