"""generate with a user's own examples, system messages and documents."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from commands.support import Runner, check_error, records
from fake_ollama import Ask, FakeOllama, Reply, default_script, question
from run.support import generating

from magpie_ollama.method import languages, topics

PASSAGES = [
    "The warranty of the red bicycle lasts two years from the day of purchase. It covers defects of the material.",
    "The swimming pool is open from May to September, daily from nine to eight. Children enter free with adults.",
]
ABOUT = {"warranty": "The warranty lasts two years.", "swimming": "The pool is open from May to September."}


def manifest() -> dict[str, object]:
    (path,) = Path("en.jsonl.magpie/runs").glob("*-????.json")
    found: dict[str, object] = json.loads(path.read_text("utf-8"))
    return found


def of_document(ask: Ask) -> Reply | str:
    """Answers from the passage that the user's turn begins with; every third answer is about something else."""
    if ask.kind == "raw":
        opener = ask.prompt.rpartition("\n\n")[2]
        return question(ask.seed or 0).partition(" ")[2] if opener else ""
    if (ask.seed or 0) % 3 == 0:
        return "Bananas ripen faster beside apples because of the ethylene that these release."
    return next(answer for word, answer in ABOUT.items() if word in str(ask.messages[-1]["content"]))


@pytest.mark.parametrize("given", [(), ("--no-passage",)])
def test_a_document(run: Runner, given: tuple[str, ...]) -> None:
    Path("doc.md").write_text("\n\n".join(f"{passage} {'Nothing else is told here. ' * 30}" for passage in PASSAGES))
    with FakeOllama(script=of_document) as fake:
        done = run("generate", "--document", "doc.md", "-n", 8, "--seed", 1, "--host", fake.url, *given)
    assert done.code == 0, done.err
    assert "response_not_grounded" in done.err
    assert {record["source"] for record in records()} == {"doc.md#1", "doc.md#2"}
    system = topics.load("document-questions").voices["en"].system
    for exchange in generating(fake):
        if exchange.path == "/api/generate":
            head, _, tail = exchange.body["prompt"].rpartition("<|im_start|>user\n")
            assert tail.startswith(tuple(PASSAGES))
            passage, _, opener = tail.rpartition("\n\n")
            assert passage.endswith("told here.")
            assert opener in languages.load("en").openers["questions"]
            assert head.startswith(f"<|im_start|>system\n{system}<|im_end|>\n")
    chats = {one.body["options"]["seed"]: one.body["messages"][-1]["content"] for one in generating(fake)
             if one.path == "/api/chat"}  # fmt: skip
    for record in records():
        asked, answered = (message["content"] for message in record["messages"])
        assert chats[record["seed"]].startswith(tuple(PASSAGES)), "the model sees the passage in any case"
        assert chats[record["seed"]].endswith(asked.rpartition("\n\n")[2])
        assert asked.startswith(tuple(PASSAGES)) is not bool(given)
        assert answered in ABOUT.values()
    digest = hashlib.sha256(Path("doc.md").read_bytes()).hexdigest()
    assert manifest()["files"] == {"doc.md": digest}


def test_sentences_of_ones_own_are_answered_and_shown(run: Runner) -> None:
    sentences = ["How do I prune an old rose?", "Write a short poem about our harbor.", "Explain tides to my son."]
    Path("mine.txt").write_text("\n".join(sentences), "utf-8")
    with FakeOllama() as fake:
        done = run("generate", "--examples", "mine.txt", "-n", 3, "--seed", 5, "--host", fake.url)
        again = run("generate", "--examples", "mine.txt", "-n", 3, "--seed", 5, "--host", fake.url)
    assert (done.code, again.code) == (0, 0), done.err
    asked = [one.body for one in generating(fake)]
    first = [body["messages"][-1]["content"] for body in asked[:3]]
    assert first == sentences
    for body in asked[3:]:
        if "raw" in body:
            assert all(f"<|im_start|>user\n{sentence}<|im_end|>" in body["prompt"] for sentence in sentences)
            assert "<|im_start|>assistant\n<|im_end|>" not in body["prompt"], "each has its answer"
    assert {record["steering"] for record in records()} == {"exemplar"}


def test_system_messages_take_turns_and_keep_their_ids(run: Runner) -> None:
    rows = [{"id": f"persona-{n}", "system": f"You help the crew of ship {n}."} for n in range(3)]
    Path("personas.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    with FakeOllama() as fake:
        done = run("generate", "--systems", "personas.jsonl", "-n", 6, "--seed", 9, "--parallel", 1, "--host", fake.url)
    assert done.code == 0, done.err
    assert [record["source"] for record in records()] == [f"persona-{n % 3}" for n in range(6)]
    for exchange in generating(fake):
        if exchange.path == "/api/chat":
            n = (exchange.body["options"]["seed"] - 9) % 3
            assert exchange.body["messages"][0] == {"role": "system", "content": f"You help the crew of ship {n}."}
    assert list(manifest()["files"]) == ["personas.jsonl"]  # type: ignore[call-overload]


def test_a_sentence_whose_answer_fails_is_left_out_with_a_word(run: Runner) -> None:
    Path("mine.txt").write_text("How do I prune an old rose?\nExplain tides to my son.", "utf-8")

    def script(ask: Ask) -> Reply | str:
        return "" if ask.kind == "chat" and "tides" in str(ask.messages[-1]["content"]) else default_script(ask)

    with FakeOllama(script=script) as fake:
        done = run("generate", "--examples", "mine.txt", "-n", 2, "--host", fake.url)
    assert done.code == 0, done.err
    assert "Your example is left out, its answer failed (response_empty): Explain tides" in done.err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--document", "gone.txt"), ("gone.txt cannot be read",)),
        (("--document", "doc.txt", "-s", "prefix+system"), ("begins with a passage", "leave out -s")),
        (("--examples", "doc.txt", "--topics", "maths"), ("A topic has exemplars", "leave out --topics")),
        (("--systems", "doc.txt", "--system", "Be kind."), ("--systems and --system", "leave out one")),
        (("--systems", "t.csv"), ("no instruction (its keys: a, b)", "call its column `system`")),
        (("--examples", "t.csv"), ("no instruction (its keys: a, b)", "columns called question and answer")),
        (("--examples", "empty.txt"), ("empty.txt is empty", "write a sentence a line")),
    ],
)
def test_what_does_not_go_together(run: Runner, given: tuple[str, ...], words: tuple[str, ...]) -> None:
    Path("doc.txt").write_text(PASSAGES[0], "utf-8")
    Path("t.csv").write_text("a,b\n1,2\n", "utf-8")
    Path("empty.txt").touch()
    check_error(run("generate", *given, "--host", "http://127.0.0.1:9"), 2, *words)
