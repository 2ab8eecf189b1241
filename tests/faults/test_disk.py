"""A disk that is full, read-only or slow to write, a write that is cut short, a power cut."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands.support import Runner, finished
from fake_ollama import Ask, FakeOllama, Reply
from faults.trial import MANY, Trial, paced, wait_for, wait_for_more

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits, permissions and signals")


def torn(trial: Trial) -> list[Path]:
    return list(trial.path.with_name(f"{trial.path.name}.magpie").glob("torn-*.txt"))


def test_a_file_size_limit(run: Runner, trial: Trial) -> None:
    """The write that meets it gets only the part of its line that there is room for."""
    size = 10_000
    with FakeOllama(script=paced) as fake:
        done = finished(trial.start("--host", fake.url, inside=f"size_limit:{size}"))
        told = trial.ended(done, 1, "the file has reached the size limit", "ulimit -f", "the same command")
        records = trial.check("file-size limit")
        assert told["kept"] == len(records) > 3
        assert size - 2000 < trial.path.stat().st_size <= size
        trial.go_on("file-size limit", run, fake)
    assert not torn(trial), "what did not fit was taken back at once"


def test_rejected_responses_that_meet_the_limit_first(run: Runner, trial: Trial) -> None:
    """They are no records: nothing of one is left, and the run goes on."""
    size = 10_000
    beside = trial.path.with_name(f"{trial.path.name}.magpie") / "rejected.jsonl"
    beside.parent.mkdir()
    before = b"{}\n" * (size // 3)
    beside.write_bytes(before)

    def script(ask: Ask) -> Reply:
        echoed = ask.kind == "chat" and ask.options["temperature"] == 0
        return Reply(ask.messages[-1]["content"]) if echoed else paced(ask)

    with FakeOllama(script=script) as fake:
        done = finished(trial.start("--host", fake.url, "--retries-response", 1, inside=f"size_limit:{size}"))
        told = trial.ended(done, 1, "the file has reached the size limit", str(trial.path))
        assert told["kept"] == len(trial.check("file-size limit")) > 3
    assert told["funnel"]["tokens"]["retried"] > 0
    there = beside.read_bytes()
    assert there.startswith(before) and there.endswith(b"\n")
    kept = [json.loads(line) for line in there[len(before) :].splitlines()]
    assert len(kept) < told["kept"], "there was no room for that of each"


@pytest.fixture
def small_disk(own_folder: Path) -> Iterator[Path]:
    """A file system of 64 KB."""
    disk = own_folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"only root can mount a small disk: {mounted.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_fills(run: Runner, small_disk: Path, trial: Trial) -> None:
    trial.path = small_disk / trial.path
    with FakeOllama(script=paced) as fake:
        trial.ended(finished(trial.start("--host", fake.url)), 1, "the disk is full", "free some space")
        assert trial.check("full disk")
        assert shutil.disk_usage(small_disk).free <= 4096, "a page at most"

        again = run("generate", "-n", MANY, "-o", trial.path, "--seed", 11, "-q", "--host", fake.url)
        trial.ended(again, 1, "the disk is full")
        trial.check("full disk")

        subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
        trial.go_on("full disk", run, fake)
    assert not torn(trial)


def test_writes_that_take_a_part(run: Runner, trial: Trial) -> None:
    with FakeOllama(script=paced) as fake:
        started = trial.start("--host", fake.url, inside="short_writes:100")
        wait_for_more(fake, trial, started)
        started.send_signal(signal.SIGINT)
        trial.ended(finished(started), 130)
        trial.check("short writes")
        trial.go_on("short writes", run, fake)
    assert not torn(trial)


def test_a_process_that_dies_within_a_line(run: Runner, trial: Trial) -> None:
    with FakeOllama(script=paced) as fake:
        done = finished(trial.start("--host", fake.url, inside="torn_write:4"))
        assert done.code < 0, done.err
        half = trial.path.read_bytes().rpartition(b"\n")[2]
        assert half.startswith(b'{"id":')
        assert trial.note() == len(trial.lines()) == 3
        trial.go_on("torn write", run, fake)
    assert [path.read_bytes() for path in torn(trial)] == [half], "and it is kept aside"


def test_a_power_cut(run: Runner, trial: Trial, own_folder: Path) -> None:
    """What was acknowledged before the file was last forced to the disk is there; of the rest, any part may be, and
    zeros in its place."""
    log = own_folder / "log"
    with FakeOllama(script=paced) as fake:
        started = trial.start("--host", fake.url, inside=f"power:{log}")
        wait_for_more(fake, trial, started)
        noted, size = trial.note(), trial.path.stat().st_size
        wait_for(fake, lambda: forced(log, trial.path) >= size, started)
        fake.wait_until(lambda: trial.path.stat().st_size > forced(log, trial.path))
        started.kill()
        finished(started)
        os.truncate(trial.path, forced(log, trial.path))
        with trial.path.open("ab") as file:
            file.write(bytes(700))
        for journal in trial.path.with_name(f"{trial.path.name}.magpie").glob("runs/*.attempts.jsonl"):
            os.truncate(journal, 0)  # it is never forced to the disk
        trial.go_on("power cut", run, fake)
    assert noted >= 3
    assert [path.read_bytes() for path in torn(trial)] == [bytes(700)]


def forced(log: Path, path: Path) -> int:
    """The bytes of ``path`` that are on the disk."""
    inode = str(path.stat().st_ino)
    entries = [line.split() for line in log.read_text("utf-8").splitlines()] if log.exists() else []
    return max((int(size) for which, size in entries if which == inode), default=0)


def bound_by_permissions(folder: Path) -> list[str]:
    """What to run a command with, so that it may not write to a folder that is read-only: root may."""
    prefix = [] if os.geteuid() else ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    folder.chmod(0o555)
    try:
        tried = subprocess.run([*prefix, "sh", "-c", f'touch "{folder}/it" 2>&1'], capture_output=True, text=True)
        why = "" if "denied" in tried.stdout else tried.stderr
    except FileNotFoundError:
        why = "there is no setpriv"
    finally:
        folder.chmod(0o755)
    if prefix and why:
        pytest.skip(f"root writes to anything, and cannot do without that here: {why.strip()}")
    return prefix


def test_a_folder_that_turns_read_only(run: Runner, trial: Trial, own_folder: Path) -> None:
    """The file that is open can be written to; nothing can be made beside it any more."""
    prefix = bound_by_permissions(own_folder)
    beside = own_folder / f"{trial.path}.magpie"
    with FakeOllama(script=paced) as fake:
        started = trial.start("--host", fake.url, prefix=prefix)
        wait_for_more(fake, trial, started)
        folders = [own_folder, beside, beside / "runs"]
        for folder in folders:
            folder.chmod(0o555)
        try:
            wait_for_more(fake, trial, started)
            started.send_signal(signal.SIGINT)
            trial.ended(finished(started), 1, "permission denied", "make it writable", "every record counted")
            trial.check("read-only folder")
            trial.ended(finished(trial.start("--host", fake.url, prefix=prefix)), 1, "permission denied")
            trial.check("read-only folder")
        finally:
            for folder in folders:
                folder.chmod(0o755)
        trial.go_on("read-only folder", run, fake)
