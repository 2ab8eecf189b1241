"""Decisions on records: written down one by one, by several readers at once, and applied in one step."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from corpus.support import first, ids

from magpie_ollama.corpus import appender, decisions
from magpie_ollama.corpus.decisions import Decision, Decisions, mark, places
from magpie_ollama.corpus.files import folder_beside
from magpie_ollama.corpus.lock import CorpusLock
from magpie_ollama.errors import CorpusError, CorpusLocked, DecidedMeanwhile, UsageError


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "it.jsonl"
    first(path, *({"id": name} for name in "abcd"))
    return path


def on(corpus: Path, id: str, action: decisions.Action, **more: Any) -> Decision:
    line = next(line for line in corpus.read_bytes().splitlines() if json.loads(line)["id"] == id)
    return Decision(id, action, mark(line), **more)


ANSWER = ("messages", 1, "content")


def test_decisions_are_kept_and_applied_in_one_step(corpus: Path) -> None:
    before = corpus.read_bytes()
    journal = Decisions(corpus)
    journal.decide(on(corpus, "a", "keep"))
    journal.decide(on(corpus, "b", "drop"))
    journal.decide(on(corpus, "c", "edit", place=ANSWER, text="Meglio così."))
    journal.decide(on(corpus, "c", "tag", name="quality", value="good"))
    assert corpus.read_bytes() == before
    assert journal.pending == {"keep": 1, "drop": 1, "edit": 1, "tag": 1}

    applied = Decisions(corpus).apply()
    assert applied.done == {"keep": 1, "drop": 1, "edit": 1, "tag": 1}
    assert (applied.read, applied.stale) == (4, [])
    assert applied.backup is not None and applied.backup.read_bytes() == before
    rows = [json.loads(line) for line in corpus.read_bytes().splitlines()]
    assert [row["id"] for row in rows] == ["a", "c", "d"]
    assert rows[1]["messages"][1] == {"role": "assistant", "content": "Meglio così."}
    assert rows[1]["tags"] == {"quality": "good"}
    assert before.splitlines()[0] == corpus.read_bytes().splitlines()[0]
    journal.refresh()
    assert journal.states == {} and journal.apply().backup is None


def test_undo_takes_back_the_newest_decision_of_a_record(corpus: Path) -> None:
    journal = Decisions(corpus)
    journal.decide(on(corpus, "a", "drop"))
    journal.decide(on(corpus, "b", "drop"))
    journal.decide(on(corpus, "a", "keep"))
    assert journal.newest == "a"
    journal.decide(Decision("a", "undo"))
    assert (journal.state("a").verdict, journal.newest) == ("drop", "b")
    journal.decide(Decision("a", "undo"))
    assert (journal.state("a").verdict, journal.state("a").version) == ("", 4)
    with pytest.raises(UsageError, match="Nothing was decided"):
        journal.decide(Decision("a", "undo"))
    journal.apply()
    assert ids(corpus) == ["a", "c", "d"]


def test_the_second_of_two_readers_is_told(corpus: Path) -> None:
    one, other = Decisions(corpus), Decisions(corpus)
    one.decide(on(corpus, "a", "drop"), seen=0)
    with pytest.raises(DecidedMeanwhile):
        other.decide(on(corpus, "a", "keep"), seen=0)
    assert other.state("a").verdict == "drop"
    other.decide(on(corpus, "a", "keep"), seen=1)
    one.refresh()
    assert one.state("a").verdict == "keep"


def test_a_record_that_changed_since_is_left_alone(corpus: Path) -> None:
    journal = Decisions(corpus)
    for id in "ab":
        journal.decide(on(corpus, id, "drop"))
    rows = [json.loads(line) for line in corpus.read_bytes().splitlines()]
    rows[0]["messages"][0]["content"] = "Un'altra domanda?"
    rows[1]["confidence"] = 0.25
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    applied = journal.apply()
    assert applied.stale == ["a"]  # other texts; b has only another number
    assert ids(corpus) == ["a", "c", "d"]


def test_any_tools_rows_are_decided_on_by_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "alpaca.jsonl"
    rows = [{"instruction": f"Why {n}?", "input": "x", "output": f"So {n}."} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\r\n" for row in rows) + "\nno record\n" + '{"instruction": "cut')
    wrong = path.read_bytes().splitlines(keepends=True)
    assert [(role, place) for role, place, _ in places(wrong[0])] == [
        ("instruction", ("instruction",)),
        ("response", ("output",)),
        ("input", ("input",)),
    ]
    journal = Decisions(path)
    journal.decide(Decision("line 1", "drop", mark(wrong[0])))
    journal.decide(Decision("line 2", "edit", mark(wrong[1]), place=("output",), text="Because."))
    journal.decide(Decision("line 2", "edit", mark(wrong[1]), place=("input", 3), text="nowhere"))
    journal.decide(Decision("line 5", "drop", mark(wrong[4])))
    applied = journal.apply()
    assert applied.done == {"drop": 2, "edit": 1}
    left = path.read_bytes().splitlines(keepends=True)
    assert json.loads(left[0]) == rows[1] | {"output": "Because."} and left[0].endswith(b"\r\n")
    assert left[1:] == [wrong[2], wrong[3], wrong[5]]
    # What was line 2 is line 1 now: the same decision once more would be another record's.
    journal.decide(Decision("line 1", "drop", mark(wrong[0])))
    assert journal.apply().stale == ["line 1"]


def test_a_conversations_turns_are_edited_where_they_stand(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}, {"from": "human", "value": "Why?"}]
    line = json.dumps({"conversations": turns, "n": 123456789012345678901234567890, "x": float("nan")}).encode()
    (role, place, text), *_ = places(line)[2:]
    assert (role, text) == ("user", "Why?")
    new = json.loads(decisions.edited(line, {place: "How?"}))
    assert new["conversations"][2] == {"from": "human", "value": "How?"}
    assert new["n"] == 123456789012345678901234567890


def test_while_a_run_writes_nothing_is_applied(corpus: Path) -> None:
    journal = Decisions(corpus)
    journal.decide(on(corpus, "a", "drop"))
    lock = CorpusLock(folder_beside(corpus), corpus)
    lock.acquire()
    try:
        with pytest.raises(CorpusLocked):
            journal.apply()
    finally:
        lock.release()
    assert journal.apply().done == {"drop": 1}


def test_a_full_disk_keeps_no_half_of_a_decision(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Decisions(corpus)
    journal.decide(on(corpus, "a", "drop"))
    before = journal.path.read_bytes()

    def full(fd: int, data: bytes) -> None:
        os.write(fd, data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(appender, "write_all", full)
        with pytest.raises(CorpusError, match="the disk is full"):
            journal.decide(on(corpus, "b", "drop"))
    assert journal.path.read_bytes() == before
    assert list(journal.states) == ["a"]
    journal.decide(on(corpus, "b", "drop"))
    assert list(Decisions(corpus).states) == ["a", "b"]


def test_a_kill_amid_applying_leaves_what_the_next_time_does(corpus: Path) -> None:
    journal = Decisions(corpus)
    journal.decide(on(corpus, "a", "drop"))
    journal.decide(on(corpus, "b", "edit", place=ANSWER, text="Nuovo."))

    class Killed(BaseException):
        pass

    with pytest.MonkeyPatch.context() as patched:

        def die(self: Decisions, decision: Decision) -> None:
            raise Killed

        patched.setattr(Decisions, "_append", die)  # the corpus is new, and the journal does not say so yet
        with pytest.raises(Killed):
            journal.apply()
    new = corpus.read_bytes()
    again = Decisions(corpus).apply()
    assert corpus.read_bytes() == new and again.backup is None
    assert Decisions(corpus).states == {}


def _decide(corpus: Path, started: Any) -> None:
    journal = Decisions(corpus)
    for number in range(10_000):
        journal.decide(Decision(f"r{number}", "drop"))
        started.put(number)


def test_no_decision_that_was_acknowledged_is_lost_to_a_kill(corpus: Path) -> None:
    context = multiprocessing.get_context("spawn" if os.name == "nt" else "fork")
    acknowledged = context.SimpleQueue()
    process = context.Process(target=_decide, args=(corpus, acknowledged))
    process.start()
    last = max(acknowledged.get() for _ in range(5))
    process.kill()
    process.join()
    while not acknowledged.empty():
        last = acknowledged.get()
    journal = Decisions(corpus)
    assert set(journal.states) >= {f"r{number}" for number in range(last + 1)}
    with journal.path.open("ab") as file:
        file.write(b'{"id":"torn","act')  # half a line, and the next decision stands on its own
    journal.decide(Decision("after", "keep"))
    assert Decisions(corpus).state("after").verdict == "keep"
    assert "torn" not in Decisions(corpus).states


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_in_the_journals_place_is_not_followed(corpus: Path, tmp_path: Path) -> None:
    folder_beside(corpus).mkdir()
    (folder_beside(corpus) / "decisions.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorpusError, match="link"):
        Decisions(corpus)
    assert not (tmp_path / "elsewhere").exists()


def test_only_tags_that_records_have(corpus: Path) -> None:
    with pytest.raises(UsageError, match="no tag 'mood'"):
        Decisions(corpus).decide(Decision("a", "tag", name="mood", value="x"))
    assert not folder_beside(corpus).exists()


def test_a_line_that_is_no_object_takes_nothing() -> None:
    for line in (b"{broken\n", b"[1]\n", b'"text"\n', b"\xff\n"):
        assert decisions.edited(line, {("output",): "x"}, {"quality": "good"}) == line


def test_threads_that_look_at_once_take_each_line_once(corpus: Path) -> None:
    readers, writer = [Decisions(corpus) for _ in range(10)], Decisions(corpus)
    writer.decide(Decision("a", "keep"))
    with writer.path.open("ab") as file:
        file.write(writer.path.read_bytes() * 299)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for reader in readers:
                list(pool.map(lambda one: one.refresh(), [reader] * 8))
    finally:
        sys.setswitchinterval(before)
    assert [reader.state("a").version for reader in readers] == [300] * 10
