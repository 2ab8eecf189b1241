"""upgrade: a corpus of an older schema as one of the newest, and what goes on with either."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas
import pytest
from commands.support import Runner, check_error, records
from corpus.support import first, record
from fake_ollama import FakeOllama

from magpie_ollama.corpus import Corpus, lines
from magpie_ollama.records import FIRST, KEYS, SCHEMA, tags

TARGET = Path("en.jsonl")
JUDGED = {"quality": "good", "difficulty": "easy", "category": "Math", "safety": "safe", "judge": "m"}


def as_first(path: Path) -> None:
    """Makes a corpus of schema 1 of one of today's."""
    old = [{key: one[key] for key in FIRST} | {"schema": 1} for one in records(path)]
    path.write_bytes(b"".join(map(lines.encode, old)))


def test_each_record_has_what_it_had_and_the_new_keys(run: Runner) -> None:
    old = first(TARGET, {}, {"confidence": 1, "tags": JUDGED}, {"topic": "bread", "reasoning": "Mah.\ud83d"})
    before = TARGET.read_bytes()
    done = run("upgrade", TARGET)
    assert (done.code, done.err) == (0, "")
    done_in = f"upgraded to schema {SCHEMA}; what it was is kept as {Path.cwd()}/en.jsonl.bak.\n"
    assert done.out == f"3 records of en.jsonl {done_in}"
    assert Path("en.jsonl.bak").read_bytes() == before
    made = records(TARGET)
    assert [list(one) for one in made] == [list(lines.values(record()))] * 3
    for new, one in zip(made, old, strict=True):
        same = set(FIRST) - {"schema", "reasoning"}
        assert {key: new[key] for key in same} == {key: one[key] for key in same}
    assert [one["tags"] for one in made] == [tags(), tags(JUDGED), tags()]
    assert [one["topic"] for one in made] == ["", "", "bread"]
    assert [type(one["confidence"]) for one in made] == [float] * 3


def test_a_second_time_it_does_nothing(run: Runner) -> None:
    first(TARGET, {})
    assert run("upgrade", TARGET, "-q").code == 0
    before = TARGET.read_bytes(), TARGET.stat().st_mtime_ns
    assert run("upgrade", TARGET).out == f"en.jsonl has schema {SCHEMA} already.\n"
    assert (TARGET.read_bytes(), TARGET.stat().st_mtime_ns) == before
    assert not Path("en.jsonl.bak2").exists()


def test_keys_of_others_stay_where_each_record_has_them_and_are_told_where_not(run: Runner) -> None:
    each: dict[str, Any] = {"score": 2**60, "mine": "a", "parts": [1], "reward": "high", "mixed": 1}
    first(TARGET, each, each | {"some": 1, "mixed": 0.5, "tags": ["x"]}, each | {"none": None})
    done = run("upgrade", TARGET, "--json")
    report = json.loads(done.out)
    assert (report["upgraded"], report["kept"]) == (3, ["mine", "score"])
    assert report["left_out"] == {"parts": 3, "reward": 3, "mixed": 3, "some": 1, "tags": 1}
    assert "en.jsonl.bak alone" in done.err and "parts (3)" in done.err
    assert all(one.keys() == KEYS | {"mine", "score"} and one["score"] == 2**60 for one in records(TARGET))
    assert [one["reward"] for one in records(TARGET)] == [0.0] * 3


OURS = lines.encode(lines.values(record()))
NEWEST = b'"schema":%d' % SCHEMA


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b'{"instruction": "Chi sei?", "output": "Boh."}\n',
            ("Line 1 of en.jsonl is no record of this tool", "import"),
        ),
        (b'{"messages": [{"role": "user", "content": "Chi?"}]}\n', ("names no schema", "import en.jsonl -o")),
        (OURS.replace(NEWEST, b'"schema":1').replace(b'"seed":0', b'"seed":"0"'), ("Expected `int`", "$.seed")),
        (OURS.replace(b'"role":"user"', b'"name":"x","role":"user"'), ("turns with more than role and content",)),
        (OURS + b"{}\n", ("Line 2",)),
        (OURS.replace(NEWEST, b'"schema":99'), ("newer magpie-ollama", "pip install --upgrade")),
        (b"a,b\n1,2\n", ("CSV",)),
        (b"\n\n", ("holds no records",)),
    ],
)
def test_what_is_no_corpus_of_ours_is_refused(run: Runner, content: bytes, words: tuple[str, ...]) -> None:
    TARGET.write_bytes(content)
    check_error(run("upgrade", TARGET), 1, *words)
    assert TARGET.read_bytes() == content
    assert [path.name for path in Path().iterdir()] == ["en.jsonl"]


def test_no_file_and_one_that_is_written_to(run: Runner) -> None:
    check_error(run("upgrade", "none.jsonl"), 2, "none.jsonl cannot be read")
    check_error(run("upgrade", "-"), 2, "cannot be changed in place")
    first(TARGET, {})
    with Corpus.open(TARGET):
        check_error(run("upgrade", TARGET), 1, "writes to")


def test_an_old_corpus_goes_on_as_it_is_until_it_is_upgraded_and_then_as_the_same_run(run: Runner) -> None:
    with FakeOllama() as fake:
        generate = ("generate", "-l", "en", "--seed", 1, "--steering", "opener", "--host", fake.url, "-n")
        assert run(*generate, 4, "-o", TARGET).code == 0
        assert all(one["messages"][0]["content"].startswith(one["opener"]) for one in records(TARGET))
        assert all(one["opener"] and one["temperature"] == 1.0 for one in records(TARGET))
        as_first(TARGET)
        manifest = next(Path("en.jsonl.magpie/runs").glob("*.json"))
        told = json.loads(manifest.read_bytes())
        manifest.write_text(json.dumps(told | {"status": "interrupted", "target": 6}))
        done = run(*generate, 6, "-o", TARGET)
        assert done.code == 0, done.err
        assert done.err.count("schema 1, and goes on without response_model, temperature, source, topic, opener, ") == 1
        command = done.err.partition("`magpie-ollama ")[2].partition("`")[0]
        assert [one.keys() == set(FIRST) and one["schema"] for one in records(TARGET)] == [1] * 6
        assert len({one["run"] for one in records(TARGET)}) == 1
        manifest.write_text(json.dumps(told | {"status": "interrupted", "target": 8}))
        assert run(*shlex.split(command)).code == 0
        done = run(*generate, 8, "-o", TARGET)
        assert done.code == 0 and "schema" not in done.err
    made = records(TARGET)
    assert [(one.keys() == KEYS, one["schema"]) for one in made] == [(True, SCHEMA)] * 8
    assert {one["run"] for one in made} == {told["run"]}
    assert [bool(one["opener"]) for one in made] == [False] * 6 + [True] * 2
    assert [one["command"] for one in json.loads(run("stats", TARGET, "--json").out)["operations"]] == ["upgrade"]


def test_the_index_of_what_is_known_is_made_anew(run: Runner) -> None:
    first(TARGET, *({} for _ in range(3)))
    with Corpus.open(TARGET) as corpus:
        assert corpus.schema == 1 and len(corpus.notices) == 1
        corpus.remember(b"state")
    with Corpus.open(TARGET) as corpus:
        assert corpus.schema == 1 and corpus.recall() == b"state"
    assert run("upgrade", TARGET).code == 0
    with Corpus.open(TARGET) as corpus:
        assert (corpus.schema, corpus.records, corpus.recall()) == (SCHEMA, 3, b"")


LOAD = """
import json, sys, datasets
datasets.disable_progress_bars()
found = datasets.load_dataset("json", data_files=sys.argv[2], split="train", cache_dir=sys.argv[1])
print(json.dumps([len(found), found.column_names, found[0], found[-1]], default=str))
"""


def is_conversational(row: dict[str, Any]) -> bool:
    """TRL's rule (``data_utils.is_conversational``): one of its columns holds a list of role and content. A row with
    ``prompt`` or ``completion`` beside ``messages`` would be taken for another kind."""
    return (
        {"prompt", "chosen", "rejected", "completion", "messages"} & row.keys() == {"messages"}
        and isinstance(row["messages"], list)
        and isinstance(row["messages"][0], dict)
        and {"role", "content"} == row["messages"][0].keys()
    )


def test_forty_thousand_upgraded_and_two_thousand_new_ones_load(run: Runner, own_folder: Path) -> None:
    first(TARGET, *({"tags": JUDGED} if number % 2 else {} for number in range(40_000)))
    begun = time.process_time()
    assert run("upgrade", TARGET).code == 0
    assert time.process_time() - begun < 15, "of CPU; four on a busy machine"
    with Corpus.open(TARGET, sync="never") as corpus:
        for number in range(2000):
            corpus.append(record("new", number, topic="bread", temperature=0.7, tags=tags(JUDGED)))
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, str(own_folder / "cache"), TARGET], capture_output=True, text=True
    )
    assert loaded.returncode == 0, loaded.stderr[-2000:]
    count, columns, old, new = json.loads(loaded.stdout)
    assert (count, columns) == (42_000, list(lines.values(record())))
    assert (old["tags"], new["tags"]) == (tags(), tags(JUDGED))
    assert old.keys() == new.keys() and is_conversational(old) and is_conversational(new)
    frame = pandas.read_json(TARGET, lines=True)
    assert (len(frame), list(frame)) == (42_000, columns)
    assert not frame.isna().any().any()


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_folder_that_cannot_be_written_to_says_what_to_do(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    from magpie_ollama.corpus import files

    first(TARGET, {})

    def refuse(*given: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "_make", refuse)
    done = run("upgrade", TARGET)
    check_error(done, 2, "Permission denied", "upgrade a copy of en.jsonl")
    assert " -o" not in done.err
