"""What ``Corpus.open`` finds: nothing yet, a corpus, half a corpus, or something else entirely."""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from corpus.support import ids, record, without_privileges
from hypothesis import given, settings
from hypothesis import strategies as st

from magpie_ollama.corpus import Corpus, lines
from magpie_ollama.corpus.corpus import _FileCorpus
from magpie_ollama.errors import CorpusError, MagpieError, NotACorpus, UsageError
from magpie_ollama.records import SCHEMA

RECORDS = [
    record("", 0, "Perché?"),
    record("", 1, "为什么 😀\n\u2028 line"),
    record("", 2, '{"id":"x"}'),
]
LINES = [lines.encode(one.to_dict()) for one in RECORDS]
WHOLE = b"".join(LINES)


def torn_files(path: Path) -> list[bytes]:
    return [file.read_bytes() for file in path.with_name(path.name + ".magpie").glob("torn-*.txt")]


def refused(path: Path, kind: type[MagpieError]) -> MagpieError:
    """The error of opening ``path``, which must leave the file as it is."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(MagpieError) as caught:
        Corpus.open(path)
    assert type(caught.value) is kind
    assert str(path) in caught.value.cause
    assert caught.value.remedy
    assert "\n" not in caught.value.cause
    if before is not None:
        assert path.read_bytes() == before
    return caught.value


class TestNew:
    def test_nothing_is_created_before_the_first_record(self, path: Path) -> None:
        with Corpus.open(path) as corpus:
            assert (corpus.records, corpus.models(), list(corpus.instructions())) == (0, set(), [])
            assert corpus.unfinished({}) is None
            assert corpus.path == path
            assert corpus.notices == []
        assert list(path.parent.iterdir()) == []

    def test_an_empty_file_is_a_fine_corpus(self, path: Path) -> None:
        path.touch()
        with Corpus.open(path) as corpus:
            assert corpus.notices == []
            corpus.append(RECORDS[0])
        assert path.read_bytes() == LINES[0]

    def test_a_file_that_appears_meanwhile_is_left_alone(self, path: Path) -> None:
        with Corpus.open(path) as corpus:
            path.write_bytes(b"somebody's")
            with pytest.raises(CorpusError, match="Another program made"):
                corpus.append(RECORDS[0])
            assert path.read_bytes() == b"somebody's"

    def test_a_file_that_appears_within_a_run_is_left_alone(self, path: Path) -> None:
        with Corpus.open(path) as corpus:
            corpus.start_run({}, {}, 1)
            path.write_bytes(b"somebody's\n")
            with pytest.raises(CorpusError, match="Another program made"):
                corpus.append(RECORDS[0])
            assert path.read_bytes() == b"somebody's\n"

    def test_a_corpus_that_another_process_made_meanwhile(self, path: Path) -> None:
        with Corpus.open(path) as late:
            with Corpus.open(path) as first:
                first.start_run({}, {}, 1)
            with pytest.raises(CorpusError, match="Another program made"):
                late.start_run({}, {}, 1)
            with Corpus.open(path) as third:  # the late one holds no lock
                assert third.records == 0


class TestContents:
    def test_what_is_there_is_counted_in_one_scan(self, path: Path) -> None:
        path.write_bytes(WHOLE + lines.encode(record(model="b", server="openai").to_dict()))
        with Corpus.open(path) as corpus:
            assert corpus.records == 4
            assert corpus.models() == {"m:1b", "b"}
            assert list(corpus.instructions())[:3] == [(one.id, one.instruction) for one in RECORDS]
            corpus.append(record(model="c"))
            assert corpus.records == 5
            assert corpus.models() == {"m:1b", "b", "c"}
            assert len(list(corpus.instructions())) == 5

    def test_records_of_other_tools_with_messages(self, path: Path) -> None:
        path.write_text('\ufeff{"messages": [{"role": "user", "content": "a \\ud83d"}]}\r\n\n\n' * 2, "utf-8")
        with Corpus.open(path) as corpus:
            assert corpus.records == 2
            assert list(corpus.instructions()) == [("line 1", "a \ufffd"), ("line 4", "a \ufffd")]
            assert corpus.notices == []

    def test_memory_does_not_grow_with_the_corpus(self, path: Path) -> None:
        def peak(records: int) -> int:
            path.write_bytes(b"".join(lines.encode(record(text="x" * 2000).to_dict()) for _ in range(records)))
            tracemalloc.start()
            with Corpus.open(path) as corpus:
                assert sum(1 for _ in corpus.instructions()) == records
            result = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return result

        assert peak(2000) < peak(100) + 200_000


class TestTorn:
    def test_a_torn_last_line_is_moved_aside_and_said(self, path: Path) -> None:
        torn = lines.encode(record(text="Tagliata").to_dict())[:-20]
        path.write_bytes(WHOLE + torn)
        with Corpus.open(path) as corpus:
            assert corpus.records == 3
            [notice] = corpus.notices
            corpus.append(RECORDS[0])
        assert path.read_bytes() == WHOLE + LINES[0]
        assert torn_files(path) == [torn]
        assert f"{len(torn)} bytes" in notice
        assert Path(re.findall(r"kept aside in (.*)", notice)[0]).read_bytes() == torn

    def test_two_in_the_same_second_are_both_kept(self, path: Path) -> None:
        for torn in (b'{"id":"a', b'{"id":"b', b'{"id":"c'):
            path.write_bytes(WHOLE + torn)
            Corpus.open(path).close()
        assert sorted(torn_files(path)) == [b'{"id":"a', b'{"id":"b', b'{"id":"c']

    def test_a_whole_last_record_gets_its_newline(self, path: Path) -> None:
        path.write_bytes(WHOLE[:-1])
        with Corpus.open(path) as corpus:
            assert corpus.records == 3
            assert corpus.notices == ["The last line of it.jsonl had no newline: added"]
        assert path.read_bytes() == WHOLE
        assert torn_files(path) == []

    @pytest.mark.parametrize("stage", ["write", "cut"])
    def test_a_repair_that_fails_loses_nothing(self, path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
        path.write_bytes(WHOLE + b'{"id":"a')

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            if stage == "write":
                patch.setattr(_FileCorpus, "_keep", full)
            else:
                patch.setattr(os, "ftruncate", full)
            with pytest.raises(CorpusError, match="the disk is full"):
                Corpus.open(path)
        assert path.read_bytes() == WHOLE + b'{"id":"a'
        Corpus.open(path).close()
        assert path.read_bytes() == WHOLE

    @settings(max_examples=60)
    @given(st.integers(0, len(WHOLE)))
    def test_any_prefix_reopens_with_exactly_its_whole_records(self, size: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "it.jsonl"
            path.write_bytes(WHOLE[:size])
            # A record is whole with the brace that ends it; its newline can be added.
            ends = [len(b"".join(LINES[: count + 1])) - 1 for count in range(3)]
            whole = sum(end <= size for end in ends)
            with Corpus.open(path) as corpus:
                assert corpus.records == whole
                corpus.append(RECORDS[0])
            assert path.read_bytes() == b"".join(LINES[:whole]) + LINES[0]
            rest = WHOLE[len(b"".join(LINES[:whole])) : size]
            assert torn_files(path) == ([rest] if rest else [])

    @settings(max_examples=150)
    @given(st.one_of(st.binary(max_size=40), st.text(max_size=20).map(str.encode), st.just(b"\0" * 4096)))
    def test_any_garbage_at_the_end_is_kept_aside_or_refused(self, garbage: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "it.jsonl"
            path.write_bytes(WHOLE + garbage)
            *ended, last = garbage.split(b"\n")
            if any(line.strip() for line in ended):  # a whole line that is no record: its owner decides
                assert "Line 4" in refused(path, CorpusError).cause or ended[0].strip() == b""
                assert torn_files(path) == []
                return
            with Corpus.open(path) as corpus:
                assert corpus.records == 3
            torn = bool(last.strip())
            assert torn_files(path) == ([last] if torn else [])
            blank = garbage.removesuffix(last) if torn else garbage + (b"\n" if last else b"")
            assert path.read_bytes() == WHOLE + blank


class TestForeign:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"id,text\n1,ciao\n", "CSV, which begins with 'id,text'"),
            (b"dear diary\n", "text, which begins with 'dear diary'"),
            (b"caf\xe9;1\n", "CSV"),
            (gzip.compress(WHOLE, mtime=0), "a gzip archive"),
            (b"PAR1\x15\x04", "a Parquet file"),
            (b"\x7fELF\x02\x00\x00", "a binary file"),
            (WHOLE.decode().encode("utf-16"), "UTF-16"),
            (b'[\n{"messages": []}]\n', "a JSON array, not one JSON object a line"),
            (b'{\n  "a": 1\n}\n', "line 1 is not valid JSON"),
            (b'{"instruction": "a", "output": "b"}\n', "has no messages (its keys: instruction, output)"),
            (b'{"instruction": "a", "output": "b"}', "has no messages (its keys: instruction, output)"),
            (b"{}\n", "its keys: none"),
            (b'{"messages": "hi"}\n', "no list of role and content"),
            (b'{"messages": []}\n', "no list of role and content"),
            (b'{"messages": [{"from": "human", "value": "a"}]}\n', "no list of role and content"),
            (b'{"messages": [{"role": "user", "content": ["a"]}]}\n', "no list of role and content"),
            (b'{"a": "\xff"}\n', "is not UTF-8"),
            (b'{"mess', "is not valid JSON"),
            (b'\n\n{"a": 1}\n', "line 3 has no messages"),
        ],
    )
    def test_it_is_refused_for_what_it_is(self, path: Path, content: bytes, said: str) -> None:
        path.write_bytes(content)
        error = refused(path, NotACorpus)
        assert "is not a corpus" in error.cause
        assert said in error.cause
        assert "-o" in error.remedy
        assert list(path.parent.iterdir()) == [path], "no folder beside somebody else's file"

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            (b"oops", "Line 3 of {path} is not valid JSON (Expecting value at its character 1)"),
            (b"[1]", "Line 3 of {path} is no JSON object"),
            (b"null", "Line 3 of {path} is not valid JSON (null)"),
            (b'{"a": 1}', "Line 3 of {path} has no messages (its keys: a)"),
            (b'{"id": "\xff"}', "Line 3 of {path} is not UTF-8 (at its byte 9)"),
            (LINES[0][:30], "Line 3 of {path} is not valid JSON"),
            (LINES[0].strip() + LINES[1].strip(), "Line 3 of {path} is not valid JSON (Extra data"),
        ],
        ids=["word", "list", "null", "keys", "bytes", "half", "two"],
    )
    @pytest.mark.parametrize("last", [True, False])
    def test_a_bad_line_is_named_by_its_number(self, path: Path, line: bytes, said: str, last: bool) -> None:
        path.write_bytes(LINES[0] + b"\n" + line + b"\n" + (b"" if last else LINES[1]))
        error = refused(path, CorpusError)
        assert said.format(path=path) in error.cause
        assert "mend or remove line 3" in error.remedy
        assert torn_files(path) == []

    @pytest.mark.parametrize("ended", [True, False])
    def test_a_newer_schema_asks_for_an_upgrade(self, path: Path, ended: bool) -> None:
        newer = json.dumps({"schema": SCHEMA + 1, "turns": []}).encode()
        path.write_bytes(WHOLE + newer + (b"\n" if ended else b""))
        error = refused(path, CorpusError)
        assert f"schema {SCHEMA + 1}" in error.cause
        assert "upgrade" in error.remedy

    def test_a_refused_corpus_is_not_left_locked(self, path: Path) -> None:
        path.write_bytes(WHOLE + b"oops\n")
        refused(path, CorpusError)
        path.write_bytes(WHOLE)
        Corpus.open(path).close()


class TestPlaces:
    def test_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError) as caught:
            Corpus.open(tmp_path / "a" / "b" / "it.jsonl")
        assert caught.value.remedy == f"mkdir -p {tmp_path / 'a' / 'b'}"
        assert list(tmp_path.iterdir()) == []

    def test_a_folder(self, tmp_path: Path) -> None:
        assert f"-o {tmp_path / 'corpus.jsonl'}" in refused(tmp_path, UsageError).remedy

    def test_a_file_where_a_folder_should_be(self, path: Path) -> None:
        path.touch()
        refused(path / "it.jsonl", UsageError)

    @pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need privileges on Windows")
    def test_links_that_lead_in_a_circle(self, path: Path) -> None:
        path.symlink_to(path)
        with pytest.raises(UsageError, match="cannot be used"):
            Corpus.open(path)

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
    @pytest.mark.parametrize(
        ("mode", "folder_mode", "said"),
        [
            (0o444, 0o777, "it.jsonl cannot be written to: Permission denied"),
            (0o222, 0o777, "it.jsonl cannot be read: Permission denied"),
            (0o666, 0o555, "cannot be written to: Permission denied"),
            (None, 0o555, "cannot be written to"),
        ],
    )
    def test_missing_permissions(self, path: Path, mode: int | None, folder_mode: int, said: str) -> None:
        folder = path.parent
        if mode is not None:
            path.write_bytes(WHOLE)
            path.chmod(mode)
        folder.chmod(folder_mode)
        try:
            with without_privileges(path), pytest.raises(UsageError) as caught:
                Corpus.open(path)
        finally:
            folder.chmod(0o700)
        assert said in caught.value.cause
        assert "-o" in caught.value.remedy
        if mode is not None:
            assert path.read_bytes() == WHOLE

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
    def test_a_folder_that_turns_read_only(self, path: Path) -> None:
        corpus = Corpus.open(path)
        path.parent.chmod(0o555)
        try:
            with without_privileges(path), pytest.raises(UsageError, match="cannot be written to: Perm"):
                corpus.start_run({}, {}, 1)
        finally:
            path.parent.chmod(0o700)
            corpus.close()
        assert list(path.parent.iterdir()) == []
        with Corpus.open(path) as again:
            again.append(RECORDS[0])
        assert ids(path) == [RECORDS[0].id]
