"""Files and folders that may not be looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands.screen import posix
from commands.support import Runner, check_error
from corpus.support import record, without_privileges

from .test_cleaning import COMMANDS, write

READERS = {"stats": [], "view": [], "sample": [], "export": [], "import": ["-o", "new.jsonl"], **COMMANDS}


@posix
@pytest.mark.parametrize("command", READERS)
def test_files_that_may_not_be_looked_at(run: Runner, own_folder: Path, command: str) -> None:
    shut = own_folder / "shut"
    shut.mkdir()
    write({"instruction": "Chi sei?"}, path=shut / "it.jsonl")
    shut.chmod(0o000)
    with without_privileges(shut):
        done = run(command, shut / "it.jsonl", *READERS[command])
    shut.chmod(0o700)
    check_error(done, 2, "it.jsonl cannot be read: Permission denied", "check its rights")
    check_error(run(command, "n" * 300, *READERS[command]), 2, "cannot be read: File name too long", "check its name")


@posix
@pytest.mark.parametrize("command", ["dedup", "export", "sample"])
def test_outputs_that_may_not_be_looked_at(run: Runner, own_folder: Path, command: str) -> None:
    shut = own_folder / "shut"
    shut.mkdir(mode=0o000)
    corpus = write(record().to_dict())
    with without_privileges(shut):
        done = run(command, corpus, "-o", shut / "new.jsonl")
    shut.chmod(0o700)
    check_error(done, 2, "new.jsonl cannot be used: Permission denied", "-o")
