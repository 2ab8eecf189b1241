"""``magpie-ollama converse``, from the command line to the corpus."""

from __future__ import annotations

import json
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from commands.support import Runner, check_error, records
from fake_ollama import Ask, FakeModel, FakeOllama, Reply

from magpie_ollama.asking.said import TRIES
from magpie_ollama.method import languages
from magpie_ollama.method.topics import load
from magpie_ollama.records import Record

ANSWER = "Start with a clear goal and write it down. Ask somebody who has done it before."
LATER = [
    {"role": "user", "content": "And after that?"},
    {"role": "assistant", "content": "Rest for a day, then begin anew."},
    {"role": "user", "content": "Which tools help?"},
    {"role": "assistant", "content": "A pencil and a good chair."},
]


def row(name: str, **more: Any) -> dict[str, Any]:
    messages = [
        {"role": "user", "content": f"How do I learn the {name}?"},
        {"role": "assistant", "content": ANSWER},
    ]
    return {"id": name, "messages": messages, "language": "en", **more}


def write(*rows: dict[str, Any]) -> None:
    Path("a.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in rows))


def going_on(ask: Ask) -> Reply:
    return Reply(LATER[ask.prompt.count("<|im_start|>user\n") * 2 - (4 if ask.kind == "raw" else 3)]["content"])


def test_what_is_there_goes_on(run: Runner) -> None:
    own = {"role": "system", "content": "You teach the lute."}
    lute = row("lute")
    lute["messages"].insert(0, own)
    harp = {"instruction": "How do I tune a harp at home?", "output": ANSWER}
    long = row("horn")
    long["messages"] += LATER
    write(row("cello"), lute, harp, long, row("gong", language="tlh"), {"instruction": "What is a drum?", "output": ""})
    with FakeOllama(script=going_on) as fake:
        done = run("converse", "a.jsonl", "--turns", 3, "--host", fake.url, "--no-progress", "--json")
        assert done.code == 0, done.err
        asked = [one.body for one in fake.requests if one.generation >= 0]
    made = {record["source"]: record for record in records("a.conversations.jsonl")}
    assert made.keys() == {"cello", "lute", "a.jsonl#3"}
    for source, given in (("cello", row("cello")["messages"]), ("lute", lute["messages"])):
        assert made[source]["messages"] == [*given, *LATER], "with its own system message"
    told = made["cello"]
    assert (told["language"], told["response_model"], told["opener"]) == ("en", "", "")
    assert told["instruction_tokens"] == sum(len(LATER[turn]["content"].split()) for turn in (0, 2)) or told["model"]
    for why in ("1 of a.jsonl: as long already", "a language without data", "unanswered"):
        assert why in done.err
    system = languages.load("en").system_multi_turn
    fronts = [body["messages"][0]["content"] for body in asked if "messages" in body]
    assert fronts.count(system) == 4
    assert fronts.count(own["content"]) == 2, "the record's own in the place of the language's"
    raws = [body["prompt"] for body in asked if body.get("raw")]
    lutes = [prompt for prompt in raws if "the lute?" in prompt]
    assert lutes[0] == (
        "<|im_start|>system\nYou teach the lute.<|im_end|>\n<|im_start|>user\nHow do I learn the lute?<|im_end|>\n"
        f"<|im_start|>assistant\n{ANSWER}<|im_end|>\n<|im_start|>user\n"
    )


def test_the_same_command_goes_on_with_the_others(run: Runner) -> None:
    write(*map(row, ("cello", "lute", "harp")))

    def silent(ask: Ask) -> Reply:
        return Reply("") if "lute" in ask.prompt else going_on(ask)

    with FakeOllama(script=silent) as fake:
        done = run("converse", "a.jsonl", "--turns", 2, "--host", fake.url, "--no-progress", "--seed", 5)
        check_error(done, 4, "Extended 2 of 3", "run the same command again")
        assert "rejected" in done.err
        asked = [one.body for one in fake.requests if one.generation >= 0 and "the lute?" in one.body.get("prompt", "")]
        assert len(asked) == len({body["options"]["seed"] for body in asked}) == 2 * TRIES, "each exchange has two"
        before = len(fake.requests)
        fake.script = going_on
        again = run("converse", "a.jsonl", "--turns", 2, "--host", fake.url, "--no-progress", "--seed", 5)
        assert again.code == 0, again.err
        asked = [one.body for one in fake.requests[before:] if one.generation >= 0]
        assert {"lute" in str(body) for body in asked} == {True}, "the others are there"
        before = len(fake.requests)
        done = run("converse", "a.jsonl", "--turns", 2, "--host", fake.url, "--no-progress", "--seed", 5)
        assert (done.code, len(fake.requests)) == (0, before)
        assert "has all of them already" in done.err
    made = records("a.conversations.jsonl")
    assert sorted(record["source"] for record in made) == ["cello", "harp", "lute"]
    assert len({record["run"] for record in made}) == 1
    assert len({record["seed"] for record in made}) == 3


def test_one_that_fails_comes_again(run: Runner) -> None:
    write(*map(row, ("cello", "lute")))
    failed: list[str] = []

    def at_first(ask: Ask) -> Reply:
        if ask.kind == "raw" and "lute" in ask.prompt and len(failed) < 2:
            failed.append(ask.prompt)
            return Reply("")
        return going_on(ask)

    with FakeOllama(script=at_first) as fake:
        once = ("converse", "a.jsonl", "-o", "c.jsonl", "--tries", 1, "--turns", 2, "--host", fake.url, "-q")
        assert "Extended 1 of 2" in run(*once).err
        failed.clear()
        done = run("converse", "a.jsonl", "--turns", 2, "--host", fake.url, "--json", "-q")
    assert done.code == 0, done.err
    assert json.loads(done.out)["attempts_here"] == 3
    assert [record["source"] for record in records("a.conversations.jsonl")] == ["cello", "lute"]


def test_another_model_answers_in_phases(run: Runner) -> None:
    write(*map(row, ("cello", "lute", "harp", "horn")))
    models = [FakeModel("asks:1b"), FakeModel("answers:8b")]
    failed: list[str] = []

    def at_first(ask: Ask) -> Reply:
        if ask.kind != "raw" and "harp" in ask.prompt and not failed:
            failed.append(ask.prompt)
            return Reply("")
        return going_on(ask)

    with FakeOllama(models=models, holds=1, script=at_first) as fake:
        more = ("--response-model", "answers:8b", "--host", fake.url, "--no-progress")
        done = run("converse", "a.jsonl", "--turns", 3, "-m", "asks:1b", *more)
        assert done.code == 0, done.err
        assert "not in memory together" in done.err
        asked = [one.body["model"] for one in fake.requests if one.generation >= 0]
        assert fake.loads <= 9, "two to begin with; once a phase, of which the one tried again has two of its own"
        before = len(fake.requests)
        check_error(
            run("converse", "a.jsonl", "-o", "c.jsonl", "-m", "asks:1b", "--response-model", "absent", *more[2:]), 3,
            "absent", "ollama pull absent"
        )  # fmt: skip
        assert not any(one.generation >= 0 for one in fake.requests[before:])
    assert {model for model, _ in groupby(asked)} == {"asks:1b", "answers:8b"}
    made = records("a.conversations.jsonl")
    assert {record["response_model"] for record in made} == {"answers:8b"}
    assert len(made) == 4


def test_a_topic_keeps_its_message_and_its_rules(run: Runner) -> None:
    asked, answer = "Translate into French: The cat sleeps on the roof.", "Le chat dort sur le toit, et il y dort bien."
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    texts = dict.fromkeys(("server", "steering", "run", "created_at", "finish_reason", "reasoning"), "")
    numbers = dict.fromkeys(("seed", "instruction_tokens", "response_tokens", "confidence"), 0)
    record = partial(Record, messages=messages, language="en", model="m", **texts, **numbers)  # type: ignore[arg-type]
    write(record(id="a", topic="translation").to_dict(), record(id="b", topic="of-mine").to_dict())

    def script(ask: Ask) -> Reply:
        if ask.kind == "raw":
            return Reply("And now: The cat eats its fish.")
        return Reply("Le chat mange son poisson dans la cuisine de la maison, puis il boit du lait.")

    with FakeOllama(script=script) as fake:
        done = run("converse", "a.jsonl", "--turns", 2, "--host", fake.url, "--no-progress", "--tries", 1)
        check_error(done, 4, "Extended 1 of 2", "run the same command again")
        fronts = {one.body["messages"][0]["content"] for one in fake.requests if one.path == "/api/chat"}
    assert "Of the topics of-mine the package has no system message" in done.err
    assert "wrong_language" in done.err, "of the one whose rules are those of the language"
    assert fronts >= {load("translation").voices["en"].system, languages.load("en").system_multi_turn}
    (made,) = records("a.conversations.jsonl")
    assert (made["topic"], made["source"]) == ("translation", "a")


def test_each_language_is_its_own(run: Runner) -> None:
    write(
        row("cello"),
        row(
            "liuto",
            language="it",
            messages=[
                {"role": "user", "content": "Come posso imparare a suonare il liuto?"},
                {"role": "assistant", "content": "Comincia con un obiettivo chiaro e trova un buon maestro."},
            ],
        ),
    )

    def both(ask: Ask) -> Reply:
        if "liuto" in ask.prompt:
            return Reply("Quanto tempo ci vuole?" if ask.kind == "raw" else "Ci vogliono almeno due anni di studio.")
        return going_on(ask)

    with FakeOllama(script=both) as fake:
        assert run("converse", "a.jsonl", "--turns", 2, "--host", fake.url, "-q").code == 0
        systems = {
            one.body["messages"][0]["content"]
            for one in fake.requests
            if one.path == "/api/chat" and one.generation >= 0
        }
    assert systems == {languages.load(code).system_multi_turn for code in ("en", "it")}
    assert {record["language"] for record in records("a.conversations.jsonl")} == {"en", "it"}


def test_openers_and_a_plan(run: Runner) -> None:
    write(row("cello"))
    with FakeOllama(script=lambda ask: Reply(" that is hard?") if ask.kind == "raw" else going_on(ask)) as fake:
        done = run("converse", "a.jsonl", "--turns", 2, "--host", fake.url, "--dry-run", "--json")
        plan = json.loads(done.out)
        assert plan["prompt"].endswith(f"{ANSWER}<|im_end|>\n<|im_start|>user\n")
        assert not Path("a.conversations.jsonl").exists()
        assert run("converse", "a.jsonl", "--turns", 2, "--openers", "--host", fake.url, "-q").code == 0
    asked = records("a.conversations.jsonl")[0]["messages"][2]["content"]
    assert asked.endswith(" that is hard?")
    assert asked.removesuffix(" that is hard?") in languages.load("en").follow_ups


def test_nothing_that_can_go_on(run: Runner) -> None:
    write(row("cello"))
    check_error(
        run("converse", "a.jsonl", "--turns", 1), 1, "no conversation to go on with: 1 as long already", "--turns"
    )
    check_error(run("converse", "a.jsonl", "--turns", 0), 2, "--turns 0 is no number of turns", "2-4")
    check_error(run("converse", "a.jsonl", "-o", "a.jsonl"), 2, "is the corpus itself", "-o")
    Path("q.txt").write_text("What is tea?\n")
    check_error(run("converse", "q.txt"), 1, "1 unanswered", "magpie-ollama respond q.txt")
    for command in ("converse", "respond"):
        done = run(command, "nope.jsonl")
        check_error(done, 2, "No such file", "check its name")
        assert "generate" not in done.err, "which makes nobody's questions"
    assert "No such option '--topics'" in run("converse", "a.jsonl", "--topics", "maths").err


def test_only_instructions_and_how_long_the_model_stays(run: Runner) -> None:
    with FakeOllama() as fake:
        options = ("-o", "p.jsonl", "-n", 3, "--host", fake.url, "-q")
        assert run("generate", *options, "--only-instructions", "--keep-alive", "90m").code == 0
        asked = [one.body for one in fake.requests if one.generation >= 0]
        assert {body["keep_alive"] for body in asked} == {"90m"}
        assert all("messages" not in body for body in asked), "nothing is answered"
        assert run("generate", *options, "--end-with", "user", "--keep-alive", "-1", "-n", 1).code == 0
        assert fake.requests[-1].body["keep_alive"] == -1, "a number is one"
    assert {tuple(turn["role"] for turn in one["messages"]) for one in records("p.jsonl")} == {("user",)}
    check_error(run("generate", "--only-instructions", "--turns", 2), 2, "makes no conversations", "--end-with user")


def test_prompts_can_be_read_and_answered(run: Runner) -> None:
    """What --end-with user makes is what ``respond`` takes."""
    with FakeOllama() as fake:
        assert run("generate", "-o", "p.jsonl", "-n", 2, "--host", fake.url, "-q", "--only-instructions").code == 0
        assert json.loads(run("stats", "p.jsonl", "--json").out)["without_response"] == 2
        assert run("respond", "p.jsonl", "-o", "q.jsonl", "--host", fake.url, "-q").code == 0
    assert [len(one["messages"]) for one in records("q.jsonl")] == [2, 2]
