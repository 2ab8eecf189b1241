"""The cache of an opening: what it saves, and that it never says anything of other bytes."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest
from corpus.support import record
from hypothesis import given, settings
from hypothesis import strategies as st

from magpie_ollama.corpus import Corpus, lines
from magpie_ollama.corpus import scan as scanning
from magpie_ollama.errors import CorpusError

LINES = [lines.encode(record(f"r{n % 2}", n, f"Domanda numero {n}?", model=f"m{n}").to_dict()) for n in range(6)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "it.jsonl"
    path.write_bytes(b"".join(LINES[:3]))
    with Corpus.open(path) as corpus:
        corpus.remember(b"state of three")
    return path


def cache(path: Path) -> Path:
    return path.with_name(path.name + ".magpie") / "cache" / "opening"


def facts(path: Path) -> tuple[object, ...]:
    with Corpus.open(path) as corpus:
        tallies = {run: (t.kept, t.top_seed, t.newest["seed"]) for run, t in corpus._contents.runs.items()}
        return corpus.records, corpus.models(), tallies, list(corpus.instructions())


def facts_without(path: Path) -> tuple[object, ...]:
    """As read anew."""
    saved = cache(path).read_bytes()
    cache(path).unlink()
    found = facts(path)
    cache(path).write_bytes(saved)
    return found


def test_only_the_new_lines_are_parsed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with path.open("ab") as file:
        file.write(LINES[3] + LINES[4])
    parsed = []
    check = scanning._record
    monkeypatch.setattr(scanning, "_record", lambda value, path: (parsed.append(value["seed"]), check(value, path))[1])
    with Corpus.open(path) as corpus:
        assert parsed == [0, 3, 4]  # the first is looked at before the folder beside the corpus is
        assert corpus.records == 5
        assert corpus.recall() == b"state of three"
        assert [text for _, text in corpus.instructions(new=True)] == ["Domanda numero 3?", "Domanda numero 4?"]
    assert facts(path) == facts_without(path)


def test_lines_without_id_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    line = json.dumps({"messages": [{"role": "user", "content": "a"}]}).encode() + b"\n"
    path.write_bytes(line + b"\n" + line)
    with Corpus.open(path) as corpus:
        corpus.remember(b"s")
    with path.open("ab") as file:
        file.write(line)
    with Corpus.open(path) as corpus:
        assert corpus.recall() == b"s"
        assert list(corpus.instructions(new=True)) == [("line 4", "a")]


def test_a_run_goes_on_as_without_the_cache(path: Path) -> None:
    with Corpus.open(path) as corpus:
        run = corpus.start_run({"a": 1}, {}, 5)
        corpus.append(record(run.id, run.seed, "Nuova?"))
    with Corpus.open(path) as corpus:
        corpus.remember(b"x")
    with Corpus.open(path) as corpus:
        assert corpus.recall() == b"x"
        again = corpus.unfinished({"a": 1})
        assert again is not None
        again.resume(5)  # its journal lacks the record that was just appended
        assert (again.kept, again.next_index) == (1, 1)
        assert [(a.index, a.outcome, a.steering) for a in again.attempts()] == [(0, "kept", "system")]


@pytest.mark.parametrize("keep_times", [True, False])
def test_a_change_anywhere_before_is_seen(path: Path, keep_times: bool) -> None:
    stat = path.stat()
    path.write_bytes(path.read_bytes().replace(b"numero 1", b"numero 7"))  # as long as it was
    if keep_times:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with Corpus.open(path) as corpus:
        assert corpus.recall() == b""
        assert [text for _, text in corpus.instructions(new=True)][1] == "Domanda numero 7?"


@pytest.mark.parametrize("size", [0, 1, len(LINES[0]), len(LINES[0]) + 5])
def test_a_shorter_file_is_read_anew(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
    with Corpus.open(path) as corpus:
        assert corpus.recall() == b""
        assert corpus.records == (size >= len(LINES[0]))


def test_a_bad_new_line_is_refused_by_its_number(path: Path) -> None:
    path.write_bytes(b"".join(LINES[:4]) + b"oops\n")
    with pytest.raises(CorpusError, match="Line 5"):
        Corpus.open(path)


def test_what_others_wrote_while_the_state_was_made_is_not_remembered(path: Path) -> None:
    cache(path).unlink()
    with Corpus.open(path) as corpus:
        path.write_bytes(path.read_bytes().replace(b"numero 1", b"numero 7"))
        corpus.remember(b"made of other bytes")
    assert not cache(path).exists()


def test_a_disk_that_takes_nothing_is_no_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache(path).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("magpie_ollama.corpus.cache.system.replace", full)
    with Corpus.open(path) as corpus:
        corpus.remember(b"more")
    assert cache(path).read_bytes() == before
    assert [file.name for file in cache(path).parent.iterdir()] == ["opening"]


@settings(max_examples=80)
@given(st.data())
def test_whatever_happens_to_the_cache_the_corpus_opens(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "it.jsonl"
        path.write_bytes(b"".join(LINES[:4]))
        with Corpus.open(path) as corpus:
            corpus.remember(b"state")
        saved = cache(path).read_bytes()
        start = data.draw(st.integers(0, len(saved)))
        change = data.draw(st.sampled_from([b"", b"\0", b"9", b'"', b"[", saved[:40]]))
        cache(path).write_bytes(saved[:start] + change + saved[start + data.draw(st.integers(0, 3)) :])
        with Corpus.open(path) as corpus:
            state = corpus.recall()
            assert state in (b"", b"state")
            assert len(list(corpus.instructions(new=True))) == (0 if state else 4)
            assert len(list(corpus.instructions())) == 4
