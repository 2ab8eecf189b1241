"""How many threads the embedded engine gets: cores, affinity, containers' limits; and whether they wait."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from magpie_ollama.servers import processors
from magpie_ollama.servers.processors import Waiting

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc and cgroups")


def _write(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Sixteen processors, two a core, without any limit; cgroups and topology are read in the folder."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    monkeypatch.setattr(processors, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(processors, "_TOPOLOGY", tmp_path / "cpu")
    monkeypatch.setattr(processors, "_SELF", tmp_path / "self")
    monkeypatch.setattr(Waiting, "is_measured", lambda: True)
    for number in range(16):
        _write(tmp_path / "cpu" / f"cpu{number}" / "topology", "thread_siblings_list", f"{number % 8},{number % 8 + 8}")
    return tmp_path


def test_physical_cores_less_one(machine: Path) -> None:
    assert processors.threads() == 7


@pytest.mark.parametrize(("bound", "threads"), [({0, 8}, 1), ({3}, 1), ({0, 1, 2}, 2), ({0, 1, 8, 9, 4}, 2)])
def test_only_the_cores_that_it_is_bound_to(
    machine: Path, monkeypatch: pytest.MonkeyPatch, bound: set[int], threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: bound, raising=False)
    assert processors.threads() == threads


@pytest.mark.parametrize(
    ("group", "place", "files", "threads"),
    [
        ("0::/", "", {"cpu.max": "400000 100000"}, 3),
        ("0::/", "", {"cpu.max": "max 100000"}, 7),
        ("0::/", "", {"cpu.max": "50000 100000"}, 1),
        ("0::/", "", {"cpu.max": "no such form"}, 7),
        ("0::/user/me", "user", {"cpu.max": "250000 100000"}, 1),
        ("0::/host/path/of/a/container", "", {"cpu.max": "300000 100000"}, 2),
        ("0::/", "unified", {"cpu.max": "300000 100000"}, 2),
        ("4:cpu,cpuacct:/docker/1", "cpu/docker/1", {"cpu.cfs_quota_us": "600000", "cpu.cfs_period_us": "100000"}, 5),
        ("1:cpu:/docker/1", "cpu", {"cpu.cfs_quota_us": "300000", "cpu.cfs_period_us": "100000"}, 2),
        ("1:cpu:/", "cpu", {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, 7),
        ("3:memory:/x", "memory/x", {"cpu.max": "100000 100000"}, 7),
    ],
)
def test_a_containers_limit(machine: Path, group: str, place: str, files: dict[str, str], threads: int) -> None:
    (machine / "self").write_text(f"9:pids:/x\n{group}\n")
    for name, text in files.items():
        _write(machine / "cgroup" / place, name, text + "\n")
    assert processors.threads() == threads


def test_where_waiting_cannot_be_measured_the_load_counts(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Waiting, "is_measured", lambda: False)
    for load, threads in ((0.2, 7), (2.9, 5), (30.0, 1)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0), raising=False)
        assert processors.threads() == threads


@linux
def test_on_this_machine() -> None:
    assert 1 <= processors.threads() <= max(1, len(os.sched_getaffinity(0)) - 1)


@linux
def test_threads_that_wait_are_seen() -> None:
    """Of two that want one processor all the time, one waits; of a process that is not there nothing is seen."""
    script = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}}); print(flush=True)\nwhile 1: pass"
    both = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for one in both:
            assert one.stdout is not None
            one.stdout.readline()
        waiting = Waiting(both[0].pid)
        time.sleep(1.0)
        assert waiting.share() > 0.2
    finally:
        for one in both:
            one.kill()
            one.communicate()
    assert Waiting(2**22 + 1).share() == 0.0
