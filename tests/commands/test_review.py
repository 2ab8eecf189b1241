"""review: in a terminal, and what --apply makes of it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from commands.screen import posix, terminal
from commands.support import Runner, check_error
from corpus.support import record

from magpie_ollama.corpus import lines

FILE = "it.jsonl"


def corpus(count: int = 4) -> None:
    found = [record(seed=n, text=f"Domanda numero {n}, come si fa?") for n in range(count)]
    Path(FILE).write_bytes(b"".join(lines.encode(lines.values(one)) for one in found))


def instructions() -> list[str]:
    return [json.loads(line)["messages"][0]["content"] for line in Path(FILE).read_text("utf-8").splitlines()]


@posix
def test_in_a_terminal_then_applied(run: Runner) -> None:
    corpus()
    with terminal("review", FILE, columns=72, EDITOR="sed -i s/fa/faceva/") as screen:
        screen.wait_for("Domanda numero 0")
        screen.type("y")
        screen.wait_for("Domanda numero 1")
        screen.type("d")
        screen.wait_for("Domanda numero 2")
        screen.type("E")
        screen.wait_for("faceva")
        screen.type("q")
        assert screen.end() == 0
        assert screen.given_back
        screen.wait_for("1 dropped, 1 edited, 1 kept. To change the file: magpie-ollama review")
    assert len(instructions()) == 4, "the file is as it was"
    done = run("review", FILE, "--apply")
    assert done.code == 0
    assert "it.jsonl: 1 kept, 1 dropped, 1 edited; what it was is kept as it.jsonl.bak." in done.out
    assert instructions() == [
        *("Domanda numero 0, come si fa?", "Domanda numero 2, come si faceva?", "Domanda numero 3, come si fa?"),
    ]
    assert "nothing changed" in run("review", FILE, "--apply").out
    assert "review" in run("stats", FILE).out


@posix
def test_kill_amid_decisions_loses_none(run: Runner) -> None:
    corpus(12)
    for round_ in range(3):
        with terminal("review", FILE, columns=72) as screen:
            for number in range(round_ * 3, round_ * 3 + 3):
                screen.wait_for(f"Domanda numero {number},")
                screen.type("d")
            screen.wait_for(f"Domanda numero {round_ * 3 + 3},")
            screen.process.send_signal(signal.SIGKILL)
            screen.process.wait()
            screen.close()
    applied = json.loads(run("review", FILE, "--apply", "--json").out)
    assert applied["dropped"] == 9
    assert instructions() == [f"Domanda numero {n}, come si fa?" for n in (9, 10, 11)]


def test_bad_input(run: Runner) -> None:
    corpus()
    check_error(run("review", FILE), 2, "needs a terminal", "magpie-ollama serve")
    check_error(run("review", "-"), 2, "stream")
    check_error(run("review", "none.jsonl"), 2, "none.jsonl")
    Path("empty.jsonl").write_text("")
    check_error(run("review", "empty.jsonl", TTY_INTERACTIVE="1", TERM="xterm"), 1, "is empty")
