"""``tag`` from the file to the tagged file."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands.support import Done, Runner, check_error, finished, process, records
from fake_ollama import FakeOllama, Reply

from magpie_ollama.tagging.scales import KEYS

GOOD = '{ "category": "Math", "difficulty": "easy", "quality": "good", "safety": "safe" }'
TAGS = {"quality": "good", "difficulty": "easy", "category": "Math", "safety": "safe", "judge": "smollm2:135m"}


@pytest.fixture(autouse=True)
def unproven(monkeypatch: pytest.MonkeyPatch, own_folder: Path) -> None:
    """How judges prove themselves is in tests/tagging/test_proof.py and, through the command, in test_tag_proof.py."""
    monkeypatch.setenv("MAGPIE_OLLAMA_UNPROVEN", "1")


def write(path: Path, count: int) -> Path:
    turns = ({"role": "user", "content": "Quanto?"}, {"role": "assistant", "content": "Tanto."})
    path.write_text(
        "".join(
            json.dumps({"id": f"{n}", "messages": [{**turn, "content": f"{turn['content']} {n}"} for turn in turns]})
            + "\n"
            for n in range(count)
        ),
        "utf-8",
    )
    return path


def test_the_tagged_file_has_the_records_in_their_order(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl", 12)
    before = source.read_bytes()
    with FakeOllama(script=lambda ask: Reply(GOOD)) as fake:
        done = run("tag", source, "-o", "out.jsonl", "--host", fake.url)
    assert done.code == 0, done.err
    assert records("out.jsonl") == [{**record, "tags": TAGS} for record in records(source)]
    assert source.read_bytes() == before
    assert "smollm2:135m judged 12 records" in done.out
    assert "quality     12 good" in done.out


def test_in_place_keeps_a_backup_and_the_same_again_changes_nothing(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl", 5)
    before = source.read_bytes()
    with FakeOllama(script=lambda ask: Reply("nothing" if " 3" in str(ask.messages[-1]) else GOOD)) as fake:
        done = run("tag", source, "--in-place", "--json", "--host", fake.url)
        report = json.loads(done.out)
        assert (report["judged"], report["unjudged"], report["invalid"]) == (4, 1, 4)
        assert report["tags"]["quality"] == {"good": 4, "unjudged": 1}
        assert Path("it.jsonl.bak").read_bytes() == before
        assert records(source)[3]["tags"] == {**dict.fromkeys(KEYS, ""), "judge": "smollm2:135m"}
        tagged = source.read_bytes()
        again = run("tag", source, "--in-place", "--host", fake.url)
        assert "as it was" in again.out
        assert source.read_bytes() == tagged
        assert not Path("it.jsonl.bak2").exists()
        fake.script = lambda ask: Reply(GOOD)
        assert run("tag", source, "--in-place", "-q", "--host", fake.url) == Done(0, "", "")
    assert [record["tags"] for record in records(source)] == [TAGS] * 5


def test_tags_in_a_line_are_no_judgement_of_an_edited_text(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl", 3)
    with FakeOllama(script=lambda ask: Reply(GOOD)) as fake:
        assert run("tag", source, "--in-place", "--host", fake.url).code == 0
        source.write_text(source.read_text("utf-8").replace("Tanto. 1", "Poco. 1"), "utf-8")
        assert json.loads(run("tag", source, "--in-place", "--json", "--host", fake.url).out)["judged"] == 1
        assert len(fake.requests_to("/api/chat")) == 4


def test_a_file_without_records_leaves_no_output(run: Runner) -> None:
    Path("it.jsonl").write_bytes(b"\n\n")
    with FakeOllama() as fake:
        check_error(run("tag", "it.jsonl", "-o", "out.jsonl", "--host", fake.url), 1, "holds no records")
    assert not Path("out.jsonl").exists()


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_pipe_is_refused(run: Runner) -> None:
    os.mkfifo("pipe")
    check_error(run("tag", "pipe", "-o", "out.jsonl"), 2, "a pipe can be read once")
    assert not Path("out.jsonl").exists()


def test_a_judge_has_no_template_of_ours(run: Runner) -> None:
    done = run("tag", "it.jsonl", "--in-place", "--template", "chatml")
    assert done.code == 2
    assert "--template" in done.err


LOAD = """
import json, sys, datasets
datasets.disable_progress_bars()
# Blocks of 2 kB: the records without tags begin in a block of their own, as they do in a file of many megabytes.
found = datasets.load_dataset("json", data_files=sys.argv[2], split="train", cache_dir=sys.argv[1], chunksize=2000)
print(json.dumps([row["tags"] for row in found]))
"""


def test_datasets_loads_it_and_also_when_untagged_records_follow(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl", 30)
    more = source.read_text("utf-8")
    with FakeOllama(script=lambda ask: Reply(GOOD)) as fake:
        assert run("tag", source, "--in-place", "--host", fake.url).code == 0
    with source.open("a", encoding="utf-8") as file:
        file.write(more.replace("Tanto", "Poco"))
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, str(own_folder / "cache"), source], capture_output=True, text=True, check=True
    )
    assert json.loads(loaded.stdout) == [TAGS] * 30 + [None] * 30


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to another process there")
def test_ctrl_c_keeps_what_was_judged_and_the_same_command_goes_on(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl", 60)
    journal = Path("it.jsonl.magpie/tags.jsonl")
    with FakeOllama(delay=0.01, script=lambda ask: Reply(GOOD)) as fake:
        started = process("tag", source, "-o", "out.jsonl", "--host", fake.url)
        fake.wait_until(lambda: len(fake.requests_to("/api/chat")) > 8)
        started.send_signal(signal.SIGINT)
        done = finished(started)
        assert done.code == 130, done.err
        assert "The same command continues." in done.err
        judged = len(records(journal))
        assert 4 < judged < 60
        assert not Path("out.jsonl").exists()
        assert run("tag", source, "-o", "out.jsonl", "--host", fake.url).code == 0
        assert len(fake.requests_to("/api/chat")) == 60
    assert [record["tags"] for record in records("out.jsonl")] == [TAGS] * 60


def test_to_stdout_with_the_report_on_stderr(run: Runner, own_folder: Path) -> None:
    source = write(own_folder / "it.jsonl", 2)
    with FakeOllama(script=lambda ask: Reply(GOOD)) as fake:
        done = run("tag", source, "-o", "-", "--host", fake.url)
    assert [json.loads(line)["tags"] for line in done.out.splitlines()] == [TAGS] * 2
    assert "judged 2 records" in done.err


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("it.jsonl",), 2, ("either -o FILE or --in-place",)),
        (("it.jsonl", "-o", "a.jsonl", "--in-place"), 2, ("either -o FILE or --in-place",)),
        (("-", "-o", "a.jsonl"), 2, ("stdin",)),
        (("missing.jsonl", "--in-place"), 2, ("cannot be read",)),
        (("it.jsonl", "-o", "it.jsonl", "--force"), 2, ("--in-place",)),
        (("it.jsonl", "-o", "bad.jsonl"), 2, ("there already", "--force")),
        (("bad.jsonl", "--in-place"), 1, ("Line 2 of bad.jsonl", "--skip-bad")),
        (("it.jsonl", "--in-place", "-m", "nosuch"), 3, ("nosuch",)),
    ],
)
def test_it_refuses_before_anything_is_judged(
    run: Runner, own_folder: Path, args: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    write(own_folder / "it.jsonl", 3)
    Path("bad.jsonl").write_text('{"prompt": "x", "completion": "y"}\n{\n{}\n')
    before = {path.name: path.read_bytes() for path in own_folder.iterdir()}
    with FakeOllama() as fake:
        check_error(run("tag", *args, "--host", fake.url), code, *words)
        assert not fake.requests_to("/api/chat")
    assert {path.name: path.read_bytes() for path in own_folder.iterdir()} == before


@pytest.mark.parametrize("theirs", [["math", "easy"], "math", {"quality": "poor"}])
def test_tags_of_another_kind_are_never_replaced(run: Runner, own_folder: Path, theirs: object) -> None:
    source = write(own_folder / "it.jsonl", 2)
    with source.open("a") as file:
        file.write(json.dumps({"instruction": "Quanto?", "output": "Tanto.", "tags": theirs}) + "\n")
    before = source.read_bytes()
    with FakeOllama() as fake:
        done = run("tag", "it.jsonl", "--in-place", "--host", fake.url)
        check_error(done, 1, "Line 3 of it.jsonl has tags of its own", "python -c", "it.jsonl > it-own-tags.jsonl")
        assert not fake.requests_to("/api/chat")
    assert source.read_bytes() == before


def test_the_remedy_for_tags_of_another_kind_loses_nothing(run: Runner, own_folder: Path) -> None:
    given = {"id": 2**70, "instruction": "Perché?", "output": "\ud83d", "tags": ["math"], "score": 0.1}
    Path("it.jsonl").write_text(f"{json.dumps(given)}\n\n", "utf-8")
    with FakeOllama() as fake:
        told = run("tag", "it.jsonl", "--in-place", "--host", fake.url).err
    command = told.partition("then tag that file: ")[2].partition(" > ")[0]
    done = subprocess.run([sys.executable, *shlex.split(command)[1:]], capture_output=True, check=True)
    own_tags = given.pop("tags")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{**given, "own_tags": own_tags}]


@pytest.mark.parametrize("none", [None, "", [], {}])
def test_tags_that_hold_nothing_are_in_nobodys_steering(run: Runner, own_folder: Path, none: object) -> None:
    Path("it.jsonl").write_text(json.dumps({"instruction": "Quanto?", "output": "Tanto.", "tags": none}), "utf-8")
    with FakeOllama(script=lambda ask: Reply(GOOD)) as fake:
        assert run("tag", "it.jsonl", "--in-place", "--host", fake.url).code == 0


def test_numbers_stay_what_they_are(run: Runner, own_folder: Path) -> None:
    source = own_folder / "it.jsonl"
    source.write_text(f'{{"instruction":"Quanto?","output":"Tanto.","id":{2**70},"score":NaN,"tags":null}}\n')
    with FakeOllama(script=lambda ask: Reply(GOOD)) as fake:
        assert run("tag", source, "--in-place", "--host", fake.url).code == 0
    assert f'"id":{2**70},"score":NaN,' in source.read_text("utf-8")
