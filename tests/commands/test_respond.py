"""``magpie-ollama respond``, from the command line to the corpus."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from commands.support import Runner, check_error, records
from fake_ollama import Ask, FakeModel, FakeOllama, Reply

ANSWER = "Start with a clear goal and write it down. Ask somebody who has done it before. Keep notes."
LINES = "What is a cello?\nWhat is a lute?\n\nWhat is a harp?\nWhat is a cello?\n"


def answering(ask: Ask) -> Reply | str:
    return "" if "lute" in ask.prompt else ANSWER


def test_answered_passed_over_and_left(run: Runner) -> None:
    Path("q.txt").write_text(LINES)
    with FakeOllama(script=answering) as fake:
        done = run("respond", "q.txt", "--host", fake.url, "--no-progress", "--json")
        assert done.code == 4
        told = json.loads(done.out)
        assert (told["questions"], told["answered"], told["kept"], told["status"]) == (3, 2, 2, "short")
        assert told["passed_over"] == [
            {"row": 3, "source": "q.txt#3", "reason": "empty", "first": ""},
            {"row": 5, "source": "q.txt#5", "reason": "duplicate", "first": "q.txt#1"},
        ]
        assert told["unanswered"] == [{"row": 2, "source": "q.txt#2", "reason": "response_empty", "tries": 3}]
        assert Path(told["unanswered_file"]).exists()
        for line in (
            "2 of 3 questions of q.txt answered.",
            "1 empty: nothing is asked (row 3)",
            "1 duplicate: an earlier row asks the same, behind the same turns (row 5)",
            "q.txt#2 “What is a lute?” response_empty",
            "--blocks reads it the other way",
            "add --retry",
        ):
            assert line in done.err
        assert [record["source"] for record in records("q.answered.jsonl")] == ["q.txt#1", "q.txt#4"]
        asked = len(fake.requests)
        again = run("respond", "q.txt", "--host", fake.url, "--no-progress", "--json")
        assert again.code == 4
        assert json.loads(again.out)["unanswered"] == told["unanswered"]
        assert len(fake.requests) == asked, "the server is not even looked for"
        fake.script = lambda ask: ANSWER
        assert run("respond", "q.txt", "--host", fake.url, "-q", "--retry").code == 0
        done = run("respond", "q.txt", "--host", fake.url)
    assert done.code == 0
    assert "3 of 3 questions of q.txt answered." in done.err


def test_dry_run_asks_nothing(run: Runner) -> None:
    Path("q.csv").write_text("n;frage\n1;Was ist ein Cello und wie spielt man es?\n")
    with FakeOllama() as fake:
        options = ("--column", "frage", "--host", fake.url, "--dry-run", "--no-progress")
        done = run("respond", "q.csv", *options)
        told = json.loads(run("respond", "q.csv", *options, "--json").out)
        assert not any(one.generation >= 0 and one.path == "/api/chat" for one in fake.requests)
    assert "user: Was ist ein Cello" in done.out
    assert "1 question of 1" in done.out
    assert "Nothing was asked." in done.out
    assert told["languages"] == ["de"]
    assert [message["role"] for message in told["messages"]] == ["system", "user"]
    assert not Path("q.answered.jsonl").exists()


def test_a_short_question_is_in_the_language_of_the_others(run: Runner) -> None:
    questions = ["Explain recursion", "Define entropy.", "How can I learn to play the cello?", "What is it made of?"]
    Path("q.txt").write_text("\n".join([*questions, "Was ist ein Cello und wie spielt man es?"]))
    with FakeOllama() as fake:
        told = json.loads(run("respond", "q.txt", "--host", fake.url, "--dry-run", "--json").out)
    assert told["languages"] == ["en", "de"]


def test_blocks_and_stdout(run: Runner) -> None:
    Path("q.txt").write_text("Mend this text:\nI has a cello\n\nWhat is\na harp?\n")
    with FakeOllama(script=answering) as fake:
        done = run("respond", "q.txt", "-o", "-", "--host", fake.url, "-q", "--parallel", 1)
    assert done.code == 0
    asked = [json.loads(line)["messages"][0]["content"] for line in done.out.splitlines()]
    assert asked == ["Mend this text:\nI has a cello", "What is\na harp?"]


def test_a_corpus_is_answered_anew(run: Runner) -> None:
    with FakeOllama() as fake:
        assert run("generate", "-n", 3, "-o", "en.jsonl", "--host", fake.url, "-q").code == 0
        assert run("respond", "en.jsonl", "--host", fake.url, "-q").code == 0
    old, new = records("en.jsonl"), records("en.answered.jsonl")
    assert {one["id"] for one in old} == {one["source"] for one in new}
    assert {one["messages"][0]["content"] for one in old} == {one["messages"][0]["content"] for one in new}
    assert {one["model"] for one in new} == {one["response_model"] for one in new} == {"smollm2:135m"}
    assert set(old[0]) == set(new[0])
    assert json.loads(run("stats", "en.answered.jsonl", "--json").out)["records"] == 3


@pytest.mark.parametrize(
    ("name", "content", "options", "code", "words"),
    [
        ("q.csv", b"a,b\n1,2\n", (), 1, ["its keys: a, b", "--column"]),
        ("q.csv", b"a,b\n1,2\n", ("--column", "c"), 1, ["no column 'c' (its columns: a, b)", "--column"]),
        ("q.txt", b"", (), 1, ["is empty"]),
        ("q.txt", b"\n \n", (), 1, ["nothing that can be asked"]),
        ("q.txt", b"\x7fELF\0\0\1", (), 1, ["a binary file"]),
        ("q.txt", b"caff\xe8?\n", (), 1, ["not UTF-8", "iconv"]),
        ("q.json", b'[{"question": "a"}', (), 1, ["no whole JSON array"]),
        ("q.jsonl", b'{"question": "What?"}\nno\n', (), 1, ["Line 2", "--skip-bad"]),
        ("q.gz", gzip.compress(LINES.encode(), mtime=0)[:-9], (), 1, ["no whole archive"]),
        ("q.txt", b"What?\n", ("-s", "opener"), 2, ["opener", "choose none, system or exemplar"]),
        ("q.txt", b"What?\n", ("-s", "auto"), 2, ["auto", "choose none, system or exemplar"]),
        ("q.txt", b"What?\n", ("-l", "klingon"), 2, ["klingon"]),
        ("q.txt", b"What?\n", ("-o", "q.txt"), 2, ["is the corpus itself"]),
        ("q.txt", b"What?\n", ("-o", "-", "--json"), 2, ["stdout"]),
        ("q.txt", b"What?\n", ("-m", "absent"), 3, ["absent"]),
    ],
)
def test_bad_input(
    run: Runner, name: str, content: bytes, options: tuple[str, ...], code: int, words: list[str]
) -> None:
    Path(name).write_bytes(content)
    with FakeOllama() as fake:
        check_error(run("respond", name, "--host", fake.url, "-q", *options), code, *words)
        assert not any(one.generation >= 0 for one in fake.requests)
    assert not Path("q.answered.jsonl").exists()
    assert Path(name).read_bytes() == content


def test_another_model_answers_what_generate_asks(run: Runner) -> None:
    with FakeOllama(models=[FakeModel("asks:1b"), FakeModel("answers:8b")]) as fake:
        options = ("-n", 2, "-m", "asks:1b", "--host", fake.url, "--no-progress")
        plan = run("generate", *options, "--response-model", "answers:8b", "--dry-run")
        assert "answers by   answers:8b" in plan.out
        done = run("generate", *options, "--response-model", "answers:8b", "--json")
        assert done.code == 0
        assert "answers by  answers:8b on ollama" in done.err
        assert json.loads(done.out)["response_model"] == "answers:8b"
        loads = fake.loads
        check_error(run("generate", *options, "--response-host", fake.url), 2, "--response-model NAME")
        check_error(run("generate", *options, "--response-model", "absent"), 3, "absent")
        assert fake.loads == loads
    assert {(one["model"], one["response_model"]) for one in records()} == {("asks:1b", "answers:8b")}
