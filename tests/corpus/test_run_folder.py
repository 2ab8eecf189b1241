"""Runs whose folder is damaged, moved or read by others; their ids and seeds."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from corpus.support import record
from corpus.test_runs import SETTINGS, attempt, journal_of, make, manifest_of

from magpie_ollama.corpus import Corpus, runs
from magpie_ollama.errors import UsageError
from magpie_ollama.records import MAX_SEED


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
