"""Rows of any tool's JSONL file."""

from __future__ import annotations

import gzip
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from magpie_ollama.corpus import reading
from magpie_ollama.corpus.reading import Rows
from magpie_ollama.errors import CorpusError, NotACorpus, UsageError

GOOD = {"messages": [{"role": "user", "content": "Chi?"}, {"role": "assistant", "content": "Io."}]}

SHAPES = {
    "messages": GOOD,
    "conversations": {"conversations": [{"from": "human", "value": "Chi?"}, {"from": "gpt", "value": "Io."}]},
    "conversation": {"conversation": [{"role": "system", "content": "S"}, *GOOD["messages"]]},
    "instruction": {"instruction": "Chi?", "output": "Io."},
    "prompt": {"prompt": [GOOD["messages"][0]], "completion": [GOOD["messages"][1]]},
}


def write(path: Path, *rows: object) -> Path:
    path.write_bytes(b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in rows))
    return path


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_gives_its_pair(tmp_path: Path, shape: str) -> None:
    (row,) = Rows(write(tmp_path / "a.jsonl", SHAPES[shape]))
    assert (row.shape, row.instruction, row.response) == (shape, "Chi?", "Io.")
    assert json.loads(row.line) == SHAPES[shape]


def test_alpaca_input_belongs_to_the_instruction(tmp_path: Path) -> None:
    (row,) = Rows(write(tmp_path / "a.jsonl", {"instruction": "Sum.", "input": "1 2", "output": "3"}))
    assert row.instruction == "Sum.\n\n1 2"


@pytest.mark.parametrize("user", ["user", "human", "Human"])
@pytest.mark.parametrize("name", ["gpt", "chatgpt", "bing", "bard", "claude", "model", "GPT"])
def test_every_tools_name_for_who_speaks(tmp_path: Path, user: str, name: str) -> None:
    said = [{"from": user, "value": "Chi?"}, {"from": name, "value": "Io."}]
    (row,) = Rows(write(tmp_path / "a.jsonl", {"conversations": said}))
    assert (row.instruction, row.response) == ("Chi?", "Io.")


def test_text_parts_are_a_text(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Chi"}, {"type": "text", "text": "sei?"}]
    (row,) = Rows(write(tmp_path / "a.jsonl", {"messages": [{"role": "user", "content": parts}]}))
    assert (row.instruction, row.response) == ("Chi\nsei?", "")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "turn 1 .* no text .image_url."),
        (
            {"messages": [GOOD["messages"][0], {"role": "assistant", "content": None}]},
            "turn 2 .* content that is no text",
        ),
        ({"conversations": ["Chi?", "Io."]}, "turn 1 of its conversations is no object of role and content"),
        ({"conversations": "Chi?"}, "its conversations is no list of turns"),
        ({"messages": [{"role": "system", "content": "S"}]}, r"no turn .* is a user's \(its roles: system\)"),
        ({"messages": []}, r"no turn .* is a user's \(its roles: none\)"),
    ],
)
def test_what_is_wrong_with_a_conversation_is_said(tmp_path: Path, bad: object, why: str) -> None:
    with pytest.raises(CorpusError, match=why) as caught:
        list(Rows(write(tmp_path / "a.jsonl", GOOD, bad, GOOD)))
    assert "its keys" not in str(caught.value)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"not json\n", r"Line 2 .* is not valid JSON"),
        (b'"text"\n', r"Line 2 .* is no JSON object"),
        (b'{"a": "\xff"}\n', r"Line 2 .* is not UTF-8"),
        (b'{"a": 1}\n', r"Line 2 .* has no instruction"),
    ],
)
def test_a_bad_line_is_refused_by_number_or_skipped(tmp_path: Path, bad: bytes, why: str) -> None:
    path = write(tmp_path / "a.jsonl", GOOD, bad, GOOD)
    with pytest.raises(CorpusError, match=why):
        list(Rows(path))
    rows = Rows(path, skip_bad=True)
    assert [row.number for row in rows] == [1, 3]
    assert [number for number, _ in rows.bad] == [2]
    assert "line 2" in rows.notice()


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    rows = Rows(write(tmp_path / "a.jsonl", GOOD, b'{"messages": [{"ro'))
    assert len(list(rows)) == 1
    assert rows.bad == [(2, "is torn")]


def test_a_line_too_long_to_hold_is_a_bad_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LONGEST", 200)
    long = {"instruction": "x" * 1000, "output": ""}
    path = write(tmp_path / "a.jsonl", GOOD, long, GOOD)
    with pytest.raises(CorpusError, match=r"Line 2 .* is longer than"):
        list(Rows(path))
    rows = Rows(path, skip_bad=True)
    assert [row.number for row in rows] == [1, 3]


@pytest.mark.parametrize(
    ("content", "error", "cause", "remedy"),
    [
        (b"", NotACorpus, "is empty", "generate"),
        (gzip.compress(b"{}", mtime=0), NotACorpus, "gzip", "gunzip <"),
        (b"a,b\n1,2\n", NotACorpus, "CSV", "JSONL"),
        (b'[{"instruction": "a"}]', NotACorpus, "JSON array", "jq -c"),
        (b'{"a": 1}\n', NotACorpus, "no instruction data: line 1 has no instruction", "messages"),
        (
            b'{"n": 1, "frage": "a", "antwort": "b"}\n',
            NotACorpus,
            "its keys",
            "--columns instruction=frage,response=antwort",
        ),
        ('{"instruction": "Où ?", "output": "Là."}\n'.encode("cp1252"), NotACorpus, "not UTF-8", "iconv -f CP1252"),
        ('{"a": 1}\n'.encode("utf-16-le"), NotACorpus, "UTF-16", "iconv -f UTF-16LE"),
        ('{"a": 1}\n'.encode("utf-16-be"), NotACorpus, "UTF-16", "iconv -f UTF-16BE"),
        ('{"a": 1}\n'.encode("utf-32"), NotACorpus, "UTF-32", "iconv -f UTF-32 "),
        (
            b'{"prompt": "a", "response": "b"},\n{"prompt": "c", "response": "d"}\n',
            NotACorpus,
            "Extra data",
            "sed 's/,",
        ),
        (b'{"schema": 99, "messages": []}\n', CorpusError, "newer magpie-ollama", "pip install"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, error: type, cause: str, remedy: str) -> None:
    path = write(tmp_path / "a.jsonl", content)
    with pytest.raises(error) as caught:
        list(Rows(path))
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("content", [b"[]", b"PAR1", '{"a": 1}\n'.encode("utf-16")], ids=["array", "parquet", "utf-16"])
def test_remedies_write_to_a_name_that_is_free(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "my it.jsonl", content)
    for there in ("my it-lines.jsonl", "my it-lines2.jsonl"):
        (tmp_path / there).touch()
    with pytest.raises(NotACorpus) as caught:
        Rows(path)
    assert shlex.split(caught.value.remedy)[-3:] == [str(path), ">", str(tmp_path / "my it-lines3.jsonl")]


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
@pytest.mark.parametrize("name", ["a.jsonl.gz", "it's.jsonl"])
def test_the_remedy_for_gzip_works_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(json.dumps(GOOD).encode(), mtime=0))
    with pytest.raises(NotACorpus) as caught:
        Rows(tmp_path / name)
    command = caught.value.remedy.partition("unpack it first: ")[2]
    subprocess.run(command, shell=True, check=True)
    assert [row.data for row in Rows(Path(shlex.split(command)[-1]))] == [GOOD]


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
def test_the_remedy_for_parquet_works(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([GOOD]), tmp_path / "it's.parquet")
    with pytest.raises(NotACorpus) as caught:
        Rows(tmp_path / "it's.parquet")
    command = caught.value.remedy.partition(": python ")[2]
    subprocess.run(f"{shlex.quote(sys.executable)} {command}", shell=True, check=True)
    assert [row.data for row in Rows(tmp_path / "it's-lines.jsonl")] == [GOOD]


PAIRS = [{"instruction": "Chi?", "output": "Io."}, {"instruction": "Che?", "output": "Questo."}]


@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("jq"), reason="jq")
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "make",
    [
        lambda indent: json.dumps(PAIRS, indent=indent),
        lambda indent: json.dumps({"data": PAIRS}, indent=indent),
        lambda indent: json.dumps({"my rows": PAIRS}),
        lambda indent: "".join(json.dumps(one, indent=indent) for one in PAIRS),
        lambda indent: "".join(json.dumps(one, indent=indent or 1) + "\n" for one in PAIRS),
        lambda indent: json.dumps([[{"role": "user", "content": one["instruction"]}] for one in PAIRS], indent=indent),
    ],
    ids=["array", "object around it", "of another name", "one behind another", "over several lines", "of lists"],
)
def test_json_that_is_no_lines_is_refused_with_the_command_that_mends_it(
    tmp_path: Path, make: Callable[[int | None], str], indent: int | None
) -> None:
    path = tmp_path / "it's.json"
    path.write_text(make(indent))
    with pytest.raises(NotACorpus) as caught:
        list(Rows(path))
    command = caught.value.remedy.partition(": ")[2]
    subprocess.run(command, shell=True, check=True)
    assert [row.instruction for row in Rows(Path(shlex.split(command)[-1]))] == ["Chi?", "Che?"]


@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("iconv"), reason="iconv")
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_told_with_the_command_that_mends_them(tmp_path: Path, encoding: str) -> None:
    path = write(
        tmp_path / "a.jsonl", json.dumps({"prompt": "Où ?", "answer": "Là."}, ensure_ascii=False).encode(encoding)
    )
    with pytest.raises(NotACorpus) as caught:
        list(Rows(path))
    command = caught.value.remedy.rpartition(": ")[2]
    subprocess.run(command, shell=True, check=True)
    assert [row.response for row in Rows(Path(shlex.split(command)[-1]))] == ["Là."]


def test_a_byte_that_is_no_utf8_amid_a_file_is_told_with_both_remedies(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD, '{"prompt": "Où ?", "answer": "Là."}\n'.encode("cp1252"))
    with pytest.raises(CorpusError, match=r"Line 2 .* is not UTF-8") as caught:
        list(Rows(path))
    assert "--skip-bad" in caught.value.remedy
    assert "iconv" in caught.value.remedy


def test_an_object_that_is_no_record_is_not_torn_for_lack_of_a_line_end(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"Line 2 .* has no instruction"):
        list(Rows(write(tmp_path / "a.jsonl", GOOD, b'{"a": 1}')))


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b""])
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_marks_ends_and_odd_values_are_read(tmp_path: Path, prefix: bytes, end: bytes) -> None:
    texts = [r'"Chi\u0000?"', r'"Chi \ud83d"', '"Chi?", "score": NaN', '"Chi?", "score": -Infinity']
    lines = [f'{{"output": "Io.", "instruction": {text}}}'.encode() for text in texts]
    rows = list(Rows(write(tmp_path / "a.jsonl", prefix + end.join([*lines, b""]))))
    assert [(row.number, row.response) for row in rows] == [(n, "Io.") for n in range(1, 5)]


def test_an_id_of_0_is_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *({**GOOD, "id": value} for value in (0, "", None, "x")))
    assert [row.id for row in Rows(path)] == ["0", "line 2", "line 3", "x"]


def test_ids_beyond_64_bits_keep_all_their_digits(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *({**GOOD, "id": value} for value in (2**70, 2**70 + 1, 1.5)))
    assert [row.id for row in Rows(path)] == [str(2**70), str(2**70 + 1), "1.5"]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        Rows(tmp_path / "none.jsonl")


def test_progress_ends_at_the_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD, GOOD)
    told: list[int] = []
    rows = Rows(path, on_progress=told.append)
    list(rows)
    assert told[-1] == rows.size == path.stat().st_size
