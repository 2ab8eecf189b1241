"""Runs: continued where they stopped, added to where they were done, and counted by the corpus itself."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from corpus.support import record

from magpie_ollama.corpus import Corpus, Run, Status, StdoutCorpus, system
from magpie_ollama.errors import CorpusError
from magpie_ollama.records import Attempt

SETTINGS = {"model": "m:1b", "language": "it", "steering": ["system", "opener"]}


def attempt(corpus: Corpus, run: Run, outcome: str = "kept") -> Attempt:
    """One attempt, as the pipeline makes it: the record first, then the journal."""
    one = Attempt(run.next_index, outcome, "system", 3, 4, "yes")
    if outcome == "kept":
        corpus.append(record(run.id, run.seed + one.index))
    run.journal(one)
    return one


def make(path: Path, target: int, kept: int, status: Status | None, **settings: Any) -> str:
    """A run of an earlier process; with no ``status``, that was killed."""
    with Corpus.open(path) as corpus:
        run = corpus.start_run(SETTINGS | settings, {}, target)
        for _ in range(kept):
            attempt(corpus, run, "duplicate")
            attempt(corpus, run)
        if status:
            run.finish(status)
        return run.id


def manifest_of(path: Path, run_id: str) -> Any:
    return json.loads((path.with_name(path.name + ".magpie") / "runs" / f"{run_id}.json").read_text("utf-8"))


def journal_of(path: Path, run_id: str) -> Path:
    return path.with_name(path.name + ".magpie") / "runs" / f"{run_id}.attempts.jsonl"


class TestLife:
    def test_a_run_counts_what_the_corpus_has_of_it(self, corpus: Corpus) -> None:
        run = corpus.start_run(SETTINGS, {}, 2)
        assert (run.target, run.kept, run.next_index, run.status) == (2, 0, 0, "running")
        made = [attempt(corpus, run, outcome) for outcome in ("kept", "empty", "kept")]
        assert (run.kept, run.next_index) == (2, 3)
        assert list(run.attempts()) == made

    def test_indices_may_end_out_of_order(self, corpus: Corpus) -> None:
        run = corpus.start_run(SETTINGS, {}, 9)
        for index in (3, 0, 2):
            run.journal(Attempt(index, "empty", "none"))
        assert run.next_index == 4

    def test_the_manifest_says_what_was_asked_and_what_came_of_it(self, corpus: Corpus, path: Path) -> None:
        run = corpus.start_run(
            SETTINGS | {"system": "\udcff"},
            {"digest": "abc", "run": "no", "template": {"prefix": "<|è|>"}},
            5,
        )
        assert manifest_of(path, run.id)["status"] == "running"
        attempt(corpus, run)
        run.update(server_version="0.33.0")
        run.finish("short")
        manifest = manifest_of(path, run.id)
        assert manifest["settings"] == SETTINGS | {"system": "\ufffd"}, "bytes of the command line are no text"
        assert manifest["run"] == run.id
        assert manifest["digest"] == "abc"
        assert manifest["template"] == {"prefix": "<|è|>"}
        assert manifest["server_version"] == "0.33.0"
        assert (manifest["status"], manifest["target"], manifest["kept"]) == ("short", 5, 1)
        assert datetime.fromisoformat(manifest["created_at"]) <= datetime.fromisoformat(manifest["finished_at"])

    def test_a_manifest_is_replaced_whole_or_not_at_all(
        self, corpus: Corpus, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = corpus.start_run(SETTINGS, {}, 5)

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(system, "sync_file", full)
            with pytest.raises(CorpusError, match="the disk is full"):
                run.update(target=6)
        assert manifest_of(path, run.id)["target"] == 5

    def test_runs_of_a_stream_live_in_memory(self, tmp_path: Path) -> None:
        corpus = StdoutCorpus(Path(os.devnull))
        run = corpus.start_run(SETTINGS, {}, 2)
        run.journal(Attempt(4, "empty", "none"))
        run.update(a=1)
        run.finish("done")
        assert (run.next_index, run.status, list(run.attempts())) == (5, "done", [])
        assert corpus.unfinished(SETTINGS) is None
        assert list(tmp_path.iterdir()) == []


class TestContinue:
    @pytest.mark.parametrize("status", [None, "interrupted", "failed", "short"])
    def test_an_unfinished_run_goes_on(self, path: Path, status: Status | None) -> None:
        first = make(path, 5, 2, status)
        with Corpus.open(path) as corpus:
            run = corpus.unfinished(dict(reversed(SETTINGS.items())))  # in whatever order
            assert run
            assert (run.id, run.target, run.kept, run.next_index) == (first, 5, 2, 4)
            run.resume(8)
            assert (run.target, run.status) == (8, "running")
            attempt(corpus, run)
            assert [one.index for one in run.attempts()] == [0, 1, 2, 3, 4]
        assert manifest_of(path, first)["target"] == 8
        assert manifest_of(path, first)["status"] == "running"

    @pytest.mark.parametrize(("kept", "status"), [(5, "done"), (2, "done")])
    def test_a_finished_run_is_followed_by_a_new_one(self, path: Path, kept: int, status: Status | None) -> None:
        first = make(path, 5, kept, status)
        with Corpus.open(path) as corpus:
            assert corpus.unfinished(SETTINGS) is None
            second = corpus.start_run(SETTINGS, {}, 3)
            assert second.id != first
            assert (second.kept, corpus.records) == (0, kept)

    def test_a_run_that_was_killed_after_its_last_record_is_not_begun_anew(self, path: Path) -> None:
        first = make(path, 5, 5, None)
        with Corpus.open(path) as corpus:
            again = corpus.unfinished(SETTINGS)
            assert again is not None
            assert (again.id, again.kept, again.target) == (first, 5, 5)

    def test_other_settings_are_another_run(self, path: Path) -> None:
        make(path, 5, 2, "interrupted")
        with Corpus.open(path) as corpus:
            assert corpus.unfinished(SETTINGS | {"model": "other"}) is None
            assert corpus.unfinished(SETTINGS)

    def test_looking_for_a_run_changes_nothing(self, path: Path) -> None:
        first = make(path, 5, 2, "interrupted")
        before = manifest_of(path, first)
        with Corpus.open(path) as corpus:
            assert corpus.unfinished(SETTINGS)
        assert manifest_of(path, first) == before

    def test_records_that_the_user_removed_are_made_again(self, path: Path) -> None:
        make(path, 3, 3, "interrupted")
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
        with Corpus.open(path) as corpus:
            run = corpus.unfinished(SETTINGS)
            assert run
            assert (run.kept, run.next_index) == (2, 6), "and their seeds are not used again"


class TestJournal:
    def test_a_torn_last_line_is_ignored(self, path: Path) -> None:
        first = make(path, 5, 2, None)
        journal = journal_of(path, first)
        journal.write_bytes(journal.read_bytes() + b'{"index":4,"outc')
        with Corpus.open(path) as corpus:
            run = corpus.unfinished(SETTINGS)
            assert run
            assert (run.next_index, len(list(run.attempts()))) == (4, 4)
            run.resume(5)
            attempt(corpus, run, "empty")
            assert [one.index for one in run.attempts()] == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("junk", [b"\xff\n", b"[]\n", b"{}\n", b'{"index": 99}\n', b"\n"])
    def test_junk_in_it_is_ignored(self, path: Path, junk: bytes) -> None:
        journal = journal_of(path, make(path, 5, 2, None))
        first, rest = journal.read_bytes().split(b"\n", 1)
        journal.write_bytes(first + b"\n" + junk + rest)
        with Corpus.open(path) as corpus:
            run = corpus.unfinished(SETTINGS)
            assert run
            assert (run.next_index, len(list(run.attempts()))) == (4, 4)

    def test_keys_of_a_later_version_are_ignored(self, path: Path) -> None:
        journal = journal_of(path, make(path, 5, 0, None))
        journal.write_text('{"index": 7, "outcome": "kept", "steering": "none", "new": 1}\n', "utf-8")
        with Corpus.open(path) as corpus:
            run = corpus.unfinished(SETTINGS)
            assert run
            assert list(run.attempts()) == [Attempt(7, "kept", "none")]

    def test_killed_between_a_record_and_its_line_in_the_journal(self, path: Path) -> None:
        with Corpus.open(path) as corpus:
            run = corpus.start_run(SETTINGS, {}, 5)
            attempt(corpus, run)
            corpus.append(record(run.id, run.seed + 1, steering="prefix"))
        for _ in range(2):  # the second time it is there already
            with Corpus.open(path) as corpus:
                again = corpus.unfinished(SETTINGS)
                assert again
                assert (again.kept, again.next_index) == (2, 2)
                again.resume(5)
                assert [(one.index, one.outcome, one.steering) for one in again.attempts()] == [
                    (0, "kept", "system"),
                    (1, "kept", "prefix"),
                ]
                assert sum(one.tokens for one in again.attempts()) == 14

    def test_without_it_the_seeds_of_the_records_are_not_used_again(self, path: Path) -> None:
        with Corpus.open(path) as corpus:
            run = corpus.start_run(SETTINGS, {}, 5)
            for index in (3, 1):  # as they ended
                corpus.append(record(run.id, run.seed + index))
        with Corpus.open(path) as corpus:
            again = corpus.unfinished(SETTINGS)
            assert again
            assert (again.kept, again.next_index) == (2, 4)

    def test_it_is_closed_with_the_corpus(self, path: Path) -> None:
        with Corpus.open(path) as corpus:
            run = corpus.start_run(SETTINGS, {}, 5)
            run.journal(Attempt(0, "empty", "none"))
            assert run._journal
        assert run._journal is None

    def test_a_full_disk_is_told(self, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
        run = corpus.start_run(SETTINGS, {}, 5)

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("magpie_ollama.corpus.runs.Appender", full)
        with pytest.raises(CorpusError, match="the disk is full"):
            run.journal(Attempt(0, "empty", "none"))
