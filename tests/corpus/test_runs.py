"""Runs: continued where they stopped, added to where they were done, and counted by the corpus itself."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from corpus.support import record

from magpie_ollama.corpus import Corpus, Run, Status, StdoutCorpus, runs, system
from magpie_ollama.errors import CorpusError, UsageError
from magpie_ollama.records import MAX_SEED, Attempt

SETTINGS = {"model": "m:1b", "language": "it", "steering": ["system", "opener"]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "it.jsonl"


@pytest.fixture
def corpus(path: Path) -> Iterator[Corpus]:
    with Corpus.open(path) as corpus:
        yield corpus


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


class TestFolder:
    def test_without_the_folder_no_record_is_lost_and_a_new_run_starts(self, path: Path) -> None:
        first = make(path, 5, 2, "interrupted")
        shutil.rmtree(path.with_name(path.name + ".magpie"))
        with Corpus.open(path) as corpus:
            [notice] = corpus.notices
            assert notice.endswith("earlier runs cannot be continued; a new one starts")
            assert corpus.records == 2
            assert corpus.unfinished(SETTINGS) is None
            assert corpus.start_run(SETTINGS, {}, 5).id != first
        with Corpus.open(path) as corpus:
            assert corpus.notices == []
            assert corpus.records == 2

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"run": "x"}', '{"run": []}'])
    def test_a_manifest_that_cannot_be_read(self, path: Path, content: str) -> None:
        good, bad = make(path, 5, 1, "interrupted"), make(path, 5, 1, "interrupted", model="other")
        journal_of(path, bad).with_name(f"{bad}.json").write_text(content, "utf-8")
        with Corpus.open(path) as corpus:
            [notice] = corpus.notices
            assert f"{bad}.json cannot be read" in notice
            run = corpus.unfinished(SETTINGS)
            assert run
            assert run.id == good
            assert corpus.start_run(SETTINGS, {}, 1).id not in (good, bad)

    @pytest.mark.parametrize(
        "run_id",
        ["../../mine", "/mine", "..", "", "20261122-101500-aaaa/../../../mine", "20261122-101500-aaaa\n", "x" * 300, 3],
    )
    def test_an_id_is_no_path(self, path: Path, run_id: object) -> None:
        """A corpus may come from anybody, with its folder."""
        mine = path.with_name("mine.json")
        mine.write_text("{}", "utf-8")
        first = make(path, 5, 2, "interrupted")
        manifest = manifest_of(path, first) | {"run": run_id}
        journal_of(path, first).with_name(f"{first}.json").write_text(json.dumps(manifest), "utf-8")
        before = sorted(path.parent.iterdir())
        with Corpus.open(path) as corpus:
            assert f"{first}.json cannot be read" in corpus.notices[0]
            assert corpus.unfinished(SETTINGS) is None
            corpus.start_run(SETTINGS, {}, 5).finish("done")
        assert sorted(path.parent.iterdir()) == before
        assert mine.read_text("utf-8") == "{}"

    def test_a_manifest_under_anothers_name(self, path: Path) -> None:
        first = make(path, 5, 2, "interrupted")
        copy = journal_of(path, first).with_name("20261122-101500-aaaa.json")
        copy.write_text(json.dumps(manifest_of(path, first)), "utf-8")
        with Corpus.open(path) as corpus:
            [notice] = corpus.notices
            assert f"it is the manifest of the run {first}" in notice
            assert len(corpus._runs) == 1

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            *(("number", value) for value in ("1", 1.5, 0, -1, 10**30, None, [])),
            *(("target", value) for value in ("5", 0, -3, True, "huge")),
            *(("seed", value) for value in (None, -1, 2**31, 1e400, "7", [7])),
            *(("status", value) for value in (None, "", "ended", ["done"], 3)),
            *(("fingerprint", value) for value in (None, 4, {"a": 1})),
            *(("seconds", value) for value in ("3", None, -1, float("nan"), 1e400)),
        ],
    )
    def test_a_manifest_with_a_value_of_another_type(self, path: Path, key: str, value: object) -> None:
        first = make(path, 5, 2, "interrupted")
        file = journal_of(path, first).with_name(f"{first}.json")
        text = json.dumps(manifest_of(path, first) | {key: value}).replace('"huge"', "9" * 5000)
        file.write_text(text, "utf-8")
        with Corpus.open(path) as corpus:
            assert f"{first}.json cannot be read" in corpus.notices[0]
            assert corpus.unfinished(SETTINGS) is None
            assert corpus.start_run(SETTINGS, {}, 3).id != first
        assert file.read_text("utf-8") == text, "it is left for its owner to mend"

    def test_a_manifest_of_an_older_version(self, path: Path) -> None:
        """Without the digest of its model, and without the seconds that it took."""
        first = make(path, 5, 2, "interrupted")
        assert "model_digest" not in manifest_of(path, first)
        with Corpus.open(path) as corpus:
            assert corpus.notices == []
            assert corpus.unfinished(SETTINGS)

    @pytest.mark.parametrize(
        "line",
        [
            b'{"index": 1e400, "outcome": "kept", "steering": ""}',
            b'{"index": ' + b"9" * 5000 + b', "outcome": "kept", "steering": ""}',
            b'{"index": 1073741824, "outcome": "kept", "steering": ""}',
            b'{"index": -4, "outcome": "kept", "steering": ""}',
            b'{"index": "9", "outcome": "kept", "steering": ""}',
            b'{"index": 9, "outcome": "../../x", "steering": ""}',
            b'{"index": 9, "outcome": "kept", "steering": ["x"]}',
            b'{"index": 9, "outcome": "kept", "steering": "", "response_tokens": -3}',
            b"[" * 100_000,
            b"\0" * 500,
        ],
        ids=range(10),
    )
    def test_a_journals_line_of_another_shape(self, path: Path, line: bytes) -> None:
        first = make(path, 5, 2, None)
        with journal_of(path, first).open("ab") as file:
            file.write(line + b"\n")
        with Corpus.open(path) as corpus:
            run = corpus.unfinished(SETTINGS)
            assert run
            assert (run.next_index, run.kept, len(list(run.attempts()))) == (4, 2, 4)


class TestIdsAndSeeds:
    def test_the_order_of_runs_survives_a_clock_that_goes_backwards(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = []
        for day in (3, 2, 1):
            monkeypatch.setattr(runs, "_now", lambda day=day: datetime(2026, 11, day, 10, 15, tzinfo=UTC))
            with Corpus.open(path) as corpus:
                run = corpus.start_run(SETTINGS, {}, 5)
                run.finish("interrupted")
                made.append(run.id)
        assert made == sorted(made, reverse=True), "the ids do go backwards"
        with Corpus.open(path) as corpus:
            newest = corpus.unfinished(SETTINGS)
            assert newest
            assert newest.id == made[-1]

    def test_ids_are_unique_even_when_clock_and_chance_stand_still(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        start = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
        draws = iter(["aaaa", "aaaa", "aaaa", "bbbb", "aaaa", "bbbb", "cccc"])
        monkeypatch.setattr(runs, "_now", lambda: start)
        monkeypatch.setattr("secrets.token_hex", lambda size: next(draws))
        path.write_text(json.dumps(record("20261122-101500-aaaa").to_dict()) + "\n", "utf-8")
        with Corpus.open(path) as corpus:  # the id of a record whose manifest was lost counts, too
            assert corpus.start_run(SETTINGS, {}, 1).id == "20261122-101500-bbbb"
            assert corpus.start_run(SETTINGS, {}, 1).id == "20261122-101500-cccc"

    def test_a_run_may_end_before_it_began(self, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
        run = corpus.start_run(SETTINGS, {}, 1)
        before = datetime.now(UTC) - timedelta(days=2)
        monkeypatch.setattr(runs, "_now", lambda: before)
        attempt(corpus, run)
        run.finish("done")
        assert run.status == "done"

    def test_random_seeds_leave_room_for_a_billion_attempts(self, corpus: Corpus) -> None:
        seeds = {corpus.start_run(SETTINGS, {}, 1).seed for _ in range(20)}
        assert len(seeds) > 15
        assert all(0 <= seed < 2**31 - 10**9 for seed in seeds)

    def test_a_given_seed_is_used_and_never_repeated_by_the_next_run(self, path: Path) -> None:
        make(path, 2, 2, "done", seed=42)
        with Corpus.open(path) as corpus:
            second = corpus.start_run(SETTINGS | {"seed": 42}, {}, 2)
            assert second.seed == 46, "after the 42..45 of the first"
            assert corpus.start_run(SETTINGS | {"seed": 42, "model": "other"}, {}, 2).seed == 42

    def test_a_continued_run_repeats_no_seed_of_a_later_one(self, path: Path) -> None:
        make(path, 9, 2, "interrupted", seed=42)
        with Corpus.open(path) as corpus:  # as fewer were asked for than the first has
            second = corpus.start_run(SETTINGS | {"seed": 42}, {}, 1)
            assert attempt(corpus, second).index + second.seed == 46
            second.finish("done")
        with Corpus.open(path) as corpus:
            first = corpus.unfinished(SETTINGS | {"seed": 42})
            assert first
            first.resume(9)
            assert attempt(corpus, first).index + first.seed == 47, "behind the 42..45 of its own and the 46"

    @pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
    def test_a_seed_out_of_range(self, corpus: Corpus, seed: int) -> None:
        with pytest.raises(UsageError, match=f"seed {seed} is out of range"):
            corpus.start_run({"seed": seed}, {}, 1)
