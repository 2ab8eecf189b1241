"""The runs of a corpus, afterwards."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from corpus.support import record

from magpie_ollama.corpus.corpus import Corpus
from magpie_ollama.corpus.history import history
from magpie_ollama.records import Attempt, Funnel

SETTINGS = {"language": "it", "steering": "system", "model": "m:1b", "server": "ollama"}
ATTEMPTS = [
    Attempt(0, "kept", "system", 3, 40),
    Attempt(1, "too_short", "system", 2),
    Attempt(2, "kept", "system", 5, 50),
]


def made(path: Path, *, killed: bool) -> str:
    with Corpus.open(path) as corpus:
        run = corpus.start_run(SETTINGS, {}, 2)
        for attempt in ATTEMPTS:
            if attempt.outcome == "kept":
                corpus.append(record(run=run.id, seed=run.seed + attempt.index))
            run.journal(attempt)
        if not killed:
            run.update(funnel=Funnel.of(ATTEMPTS).to_dict(), seconds=12.5)
            run.finish("done")
        return run.id


def test_a_run_with_its_funnel_and_cost(tmp_path: Path) -> None:
    path = tmp_path / "it.jsonl"
    run_id = made(path, killed=False)
    (past,), notices = history(path, {run_id: 1})
    told = past.to_dict()
    assert not notices
    assert told["funnel"] == Funnel.of(ATTEMPTS).to_dict()
    expected = {"id": run_id, "status": "done", "target": 2, "kept": 2, "there": 1, "seconds": 12.5} | SETTINGS
    assert {key: told[key] for key in expected} == expected
    assert (told["tokens"], told["tokens_per_kept"]) == (100, 50.0)


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need privileges on Windows")
def test_a_link_has_the_runs_of_its_file(tmp_path: Path) -> None:
    run_id = made(tmp_path / "it.jsonl", killed=False)
    (tmp_path / "folder").mkdir()
    link = tmp_path / "folder" / "link.jsonl"
    link.symlink_to(tmp_path / "it.jsonl")
    assert [past.id for past in history(link, {})[0]] == [run_id]


def test_a_run_that_was_killed_is_told_from_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "it.jsonl"
    made(path, killed=True)
    (past,), _ = history(path, {})
    assert (past.status, past.kept, past.there, past.seconds) == ("running", 2, 0, 0.0)
    assert past.funnel.rejected() == [("too_short", 1)]


def test_without_the_folder_there_are_none_and_a_broken_manifest_is_told(tmp_path: Path) -> None:
    path = tmp_path / "it.jsonl"
    assert history(path, {}) == ([], [])
    run_id = made(path, killed=False)
    (tmp_path / "it.jsonl.magpie" / "runs" / f"{run_id}.json").write_text("{")
    found, (notice,) = history(path, {})
    assert not found
    assert "cannot be read" in notice
