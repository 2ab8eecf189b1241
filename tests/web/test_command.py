"""``serve``: where it listens, and what it prints."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
import uvicorn
from commands.support import Runner, check_error
from web.support import write

from magpie_ollama.errors import extra


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Runner:
    """The command, which ends as soon as it listens."""
    monkeypatch.chdir(tmp_path)
    write(Path("it.jsonl"), {"id": "a"})

    def end(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        for one in sockets:
            one.close()

    monkeypatch.setattr(uvicorn.Server, "run", end)
    return Runner(monkeypatch, capfd)


def free() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def test_it_prints_the_address_of_what_it_opens(run: Runner) -> None:
    port = free()
    assert run("serve", "--no-browser", "--port", port).out == f"http://127.0.0.1:{port}/\n"
    done = run("serve", "it.jsonl", "--no-browser", "-q", "--port", port)
    assert (done.out, done.err) == (f"http://127.0.0.1:{port}/corpus/it.jsonl\n", "")


def test_a_browser_that_is_quicker_than_the_server_is_not_refused(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    port, opened = free(), []

    def browse(url: str) -> None:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
        opened.append(url)

    monkeypatch.setattr("webbrowser.open", browse)
    run("serve", "--port", port)
    assert opened == [f"http://127.0.0.1:{port}/"]


def test_a_port_in_use_gives_way_to_the_next(run: Runner) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("serve", "--no-browser", "--port", port)
        found = int(done.out.rpartition(":")[2].strip("/\n"))
        assert found > port and f"Port {port} is in use" in done.err.replace("\n", " ")


def test_beyond_this_machine_there_is_a_token_each_time_another(run: Runner) -> None:
    addresses = [run("serve", "--no-browser", "--address", "0.0.0.0", "--port", free()).out for _ in range(2)]
    tokens = {address.partition("?token=")[2].strip() for address in addresses}
    assert len(tokens) == 2 and all(len(token) >= 32 for token in tokens)


def test_what_cannot_be_served(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    check_error(run("serve", "nowhere"), 2, "nowhere is not there")
    check_error(run("serve", "--address", "203.0.113.9"), 2, "203.0.113.9", "--address")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    check_error(run("serve"), 2, "uvicorn", extra("web"))
