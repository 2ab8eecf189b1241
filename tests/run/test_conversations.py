"""Conversations: what each turn is asked with, what ends them, and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_ollama import Ask, FakeModel, FakeOllama, FakeOpenAI, Fault, Reply, chatml, default_script
from fake_ollama.models import smollm2
from run.support import ANSWER, GERMAN, QUESTION, Outcome, generate, generating, impatient, settings, until

from magpie_ollama.asking.said import Turns
from magpie_ollama.errors import ShortOfTarget, TemplateError, UsageError
from magpie_ollama.method import languages
from magpie_ollama.method.reasons import Reason, Stage
from magpie_ollama.method.template import SENTINELS, cut, left_out, load_preset
from magpie_ollama.prompts import names
from magpie_ollama.run.session import Session

SYSTEM = languages.load("en").system_multi_turn
FOLLOW_UPS = ["Which tools do I need for that?", "And what if it rains all week?", "Show me an example."]
ANSWERS = [ANSWER, "A spade and a can. Both are cheap.", "Then cover the pots. They dry quickly.", "Here it is: three."]


def turn_of(ask: Ask) -> int:
    """How many answers stand in front."""
    return ask.prompt.count("<|im_start|>assistant\n") - (ask.kind == "chat")


def says(*later: Any, answers: list[Any] | None = None) -> Callable[[Ask], Reply]:
    """A model whose first instruction is by the seed, and whose user goes on with ``later``."""

    def script(ask: Ask) -> Reply:
        turn = turn_of(ask)
        if ask.kind == "chat":
            said = (answers or ANSWERS)[turn]
        elif not turn:
            return default_script(ask)
        else:
            said = later[turn - 1]
        said = said(ask) if callable(said) else said
        return said if isinstance(said, Reply) else Reply(said)

    return script


def converse(
    tmp_path: Path, script: Any, turns: str = "3", target: int = 1, opened: bool = False, **changes: Any
) -> tuple[Outcome, Any]:
    """``opened``: a turn that is tried again begins with words of the language's."""
    served = FakeOllama if changes.get("kind", "ollama") == "ollama" else FakeOpenAI
    with served(models=[changes.pop("fake_model", smollm2())], script=script) as fake:
        asked = settings(fake, target, turns=Turns.read(turns), **{"parallel": 1, "seed": seed_of(turns), **changes})
        if not opened:
            asked = replace(asked, language=replace(asked.language, follow_ups=()))
        made = generate(asked, tmp_path / "en.jsonl")
    return made, generating(fake)


def seed_of(turns: str) -> int:
    """A seed by which a conversation has all of its turns."""
    wanted = Turns.read(turns)
    return next(seed for seed in range(50, 999) if wanted.draw(seed) == wanted.most)


def texts(record: dict[str, Any]) -> list[str]:
    return [message["content"] for message in record["messages"]]


@pytest.mark.parametrize("kind", ["ollama", "openai"])
def test_what_each_turn_is_asked_with(tmp_path: Path, kind: str) -> None:
    made, asked = converse(tmp_path, says(*FOLLOW_UPS), kind=kind)
    assert made.error is None
    (record,) = made.records
    first = texts(record)[0]
    spoken = [first, ANSWERS[0], FOLLOW_UPS[0], ANSWERS[1], FOLLOW_UPS[1], ANSWERS[2]]
    assert texts(record) == spoken
    assert [message["role"] for message in record["messages"]] == ["user", "assistant"] * 3
    paths = ("/api/generate", "/api/chat") if kind == "ollama" else ("/v1/completions", "/v1/chat/completions")
    assert tuple(one.path for one in asked) == paths * 3
    raws, chats = asked[::2], asked[1::2]
    front = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
    roles = ["user", "assistant"] * 3
    for turn in (1, 2):
        said = "".join(
            f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in zip(roles, spoken[: 2 * turn], strict=False)
        )
        assert raws[turn].body["prompt"] == f"{front}{said}<|im_start|>user\n", "the conversation is the exemplar"
    for turn, chat in enumerate(chats):
        told = [{"role": role, "content": text} for role, text in zip(roles, spoken[: 2 * turn + 1], strict=False)]
        assert chat.body["messages"] == [{"role": "system", "content": SYSTEM}, *told], "one message for both sides"
    seeds = [one.body["options"]["seed"] if kind == "ollama" else one.body["seed"] for one in asked]
    assert seeds[:2] == [50, 50]
    assert seeds[::2] == seeds[1::2]
    assert len(set(seeds)) == 3
    assert record["seed"] == 50
    assert made.manifests[0]["system_multi_turn"] == SYSTEM
    assert record["instruction_tokens"] == sum(one["instruction_tokens"] for one in made.attempts)
    assert record["response_tokens"] == made.attempts[0]["response_tokens"]
    assert made.attempts[0]["instruction_tokens"] > len(FOLLOW_UPS[0].split()) + len(FOLLOW_UPS[1].split())


def test_exemplars_serve_the_first_instruction_only(tmp_path: Path) -> None:
    italian = languages.load("it")
    later = ["Quanto tempo ci vuole?", "E se piove?"]
    answers = [
        "Comincia con un vaso grande e tanta luce.",
        "Ci vogliono circa due mesi.",
        "Copri le piante con un telo.",
    ]

    def script(ask: Ask) -> Reply:
        turn = ask.prompt.count("<|im_start|>assistant\n") - (ask.kind == "chat")
        if ask.kind == "chat":
            return Reply(answers[turn])
        return (
            default_script(ask) if italian.exemplars[0].response in ask.prompt or turn >= 3 else Reply(later[turn - 1])
        )

    made, asked = converse(tmp_path, script, language="it", steering="exemplar")
    assert made.error is None
    assert italian.system in asked[0].body["prompt"]
    for one in asked[1:]:
        told = str(one.body.get("messages", one.body.get("prompt")))
        assert italian.system_multi_turn in told
        assert not [shown for shown in italian.exemplars if shown.response in told]


@pytest.mark.parametrize("seed", range(8))
def test_a_range_is_drawn_by_the_seed(tmp_path: Path, seed: int) -> None:
    made, _ = converse(tmp_path, says(*FOLLOW_UPS), "1-3", seed=seed)
    assert len(made.records[0]["messages"]) == 2 * Turns(1, 3).draw(seed)


def test_all_numbers_of_a_range_are_drawn() -> None:
    drawn = [Turns(2, 4).draw(seed) for seed in range(300)]
    assert {count: drawn.count(count) > 70 for count in set(drawn)} == {2: True, 3: True, 4: True}


@pytest.mark.parametrize("said", ["0", "3-2", "", "two", "1-2-3", "-1", "0-2", "101", "²"])
def test_what_is_no_number_of_turns(said: str) -> None:
    with pytest.raises(UsageError, match="no number of turns") as caught:
        Turns.read(said)
    assert "for example 2-4" in caught.value.remedy


# What a later turn of the user may not be.

LONG = (
    "Which mountain ranges separate the northern provinces of Argentina from Bolivia, and how high do the passes climb "
    "where lorries cross the border during the southern winter months?"
)
REJECTED: dict[Reason, Any] = {
    Reason.FOLLOW_UP_CLOSING: "Great, thank you so much!",
    Reason.FOLLOW_UP_ECHO: ANSWER,
    Reason.FOLLOW_UP_UNRELATED: LONG,
    Reason.DUPLICATE: lambda ask: ask.prompt.split("<|im_start|>user\n")[1].split("<|im_end|>")[0],
    Reason.EMPTY: "",
    Reason.WRONG_LANGUAGE: GERMAN,
    Reason.RUN_ON: f"{FOLLOW_UPS[0]}\nassistant\n{ANSWER}",
    Reason.NOT_A_USER: "As an AI language model, I cannot do that for you.",
    Reason.NO_ANSWER: Reply("Why?", fault="engine_dies"),
}


@pytest.mark.parametrize("reason", REJECTED)
def test_a_later_turn_is_tried_once_more_then_the_conversation_ends(tmp_path: Path, reason: Reason) -> None:
    def script(ask: Ask) -> Reply:
        if ask.kind == "chat" or not turn_of(ask):
            return Reply(ANSWER) if ask.kind == "chat" else default_script(ask)
        said = REJECTED[reason]
        said = said(ask) if callable(said) else said
        return said if isinstance(said, Reply) else Reply(said)

    with impatient():
        made, asked = converse(tmp_path, script, "2", max_attempts=1)
    assert isinstance(made.error, ShortOfTarget)
    assert made.outcomes == [reason]
    later = [one for one in asked if one.path == "/api/generate" and ANSWER in one.body["prompt"]]
    if reason is not Reason.NO_ANSWER:
        assert len({one.body["options"]["seed"] for one in later}) == len(later) == 2, "by another seed"
        assert made.attempts[0]["response_tokens"] > 0


@pytest.mark.parametrize("reason", [*REJECTED][:5])
def test_what_suffices_is_kept(tmp_path: Path, reason: Reason) -> None:
    with impatient():
        made, asked = converse(tmp_path, says(FOLLOW_UPS[0], REJECTED[reason], answers=ANSWERS), "2-3")
    assert made.error is None
    assert made.outcomes == ["kept"]
    assert texts(made.records[0])[2:] == [FOLLOW_UPS[0], ANSWERS[1]]
    assert made.records[0]["instruction_tokens"] < made.attempts[0]["instruction_tokens"] or reason in (
        Reason.EMPTY,
        Reason.NO_ANSWER,
    ), "what was tried for nothing counts as spent"
    if reason is Reason.FOLLOW_UP_CLOSING:
        assert len([one for one in asked if one.path == "/api/generate"]) == 3, "thanks end it at once"


def test_a_second_try_saves_the_conversation(tmp_path: Path) -> None:
    tries: list[Ask] = []

    def second(ask: Ask) -> str:
        tries.append(ask)
        return LONG if len(tries) == 1 else " that for less money?"

    made, asked = converse(tmp_path, says(second), "2", opened=True)
    assert made.outcomes == ["kept"]
    follow_ups = languages.load("en").follow_ups
    opener = tries[1].prompt.rsplit("<|im_start|>user\n")[-1]
    assert opener in follow_ups, "the second try is opened"
    assert not tries[0].prompt.endswith(opener)
    assert texts(made.records[0])[2].startswith(opener)
    assert asked


def test_a_response_that_fails_takes_its_question_along(tmp_path: Path) -> None:
    questions = iter(FOLLOW_UPS)
    answers = [
        ANSWER,
        lambda ask: ask.messages[-1]["content"] if "tools" in ask.messages[-1]["content"] else ANSWERS[1],
    ]
    made, _ = converse(tmp_path, says(lambda ask: next(questions), answers=answers), "2")
    assert made.outcomes == ["kept"]
    assert texts(made.records[0])[3] == ANSWERS[1]
    assert FOLLOW_UPS[0] not in texts(made.records[0])


def test_a_response_that_comes_again_is_rejected(tmp_path: Path) -> None:
    made, _ = converse(tmp_path, says(*FOLLOW_UPS, answers=[ANSWER, ANSWER]), "2", max_attempts=1)
    assert made.outcomes == [Reason.RESPONSE_COPY]


def test_one_phrase_has_a_share_of_the_corpus(tmp_path: Path) -> None:
    script = says("Can you explain that?")
    made, _ = converse(tmp_path, script, "2", target=4, max_attempts=6)
    assert made.outcomes == ["kept"] * 3 + [Reason.FOLLOW_UP_COMMON] * 3
    again, _ = converse(tmp_path, script, "2", target=4, max_attempts=2)
    assert again.outcomes[6:] == [Reason.FOLLOW_UP_COMMON] * 2, "in the corpus, not in the run"


@pytest.mark.parametrize("kind", ["raw", "chat"])
@pytest.mark.parametrize(("turns", "outcome"), [("3", None), ("2-3", "kept")])
def test_at_the_context_it_ends(tmp_path: Path, kind: str, turns: str, outcome: str | None) -> None:
    full = Fault("status", status=400, text="the input length exceeds the context length")

    def script(ask: Ask) -> Reply:
        if ask.kind == kind and turn_of(ask) == 2:
            return Reply("", fault=full)
        return says(*FOLLOW_UPS)(ask)

    made, asked = converse(tmp_path, script, turns, max_attempts=1)
    reason = Reason.FOLLOW_UP_NO_ROOM if kind == "raw" else Reason.RESPONSE_TOO_LONG
    assert made.outcomes == [outcome or reason]
    assert len(asked) == (5 if kind == "raw" else 6), "no other seed makes room"
    if outcome:
        assert len(made.records[0]["messages"]) == 4


@pytest.mark.parametrize(("turns", "kept"), [("1-3", 1), ("2-3", 0)])
def test_what_suffices_is_kept_on_ctrl_c(tmp_path: Path, turns: str, kept: int) -> None:
    reached = asyncio.Event()

    def script(ask: Ask) -> Reply:
        return Reply(FOLLOW_UPS[0].split(), delay=0.05) if turn_of(ask) == 1 and ask.kind == "raw" else says()(ask)

    async def interrupt(session: Session, task: asyncio.Task[Any]) -> None:
        await until(lambda: len([one for one in fake.requests if one.generation >= 0]) == 3)
        session.stop()
        reached.set()

    with FakeOllama(models=[smollm2()], script=script) as fake:
        asked = settings(fake, 1, turns=Turns.read(turns), parallel=1, seed=seed_of(turns))
        made = generate(asked, tmp_path / "en.jsonl", interrupt)
    assert reached.is_set()
    assert made.manifests[0]["status"] == ("done" if kept else "interrupted")
    assert len(made.records) == kept
    assert made.outcomes == ["kept" if kept else "dropped"]


def test_never_more_than_asked_for(tmp_path: Path) -> None:
    made, _ = converse(tmp_path, says(*FOLLOW_UPS), "1-3", target=9, parallel=8)
    assert made.error is None
    assert len(made.records) == 9
    assert {*made.outcomes} <= {"kept", "dropped", Reason.FOLLOW_UP_COMMON}


# Chat templates.


@pytest.mark.parametrize("name", names("templates"))
def test_each_preset_is_cut_behind_a_conversation(name: str) -> None:
    preset = load_preset(name)
    said: list[Any] = [
        {"role": role, "content": text} for role, text in zip(["user", "assistant"] * 2, ANSWERS, strict=True)
    ]
    front: list[Any] = [{"role": "system", "content": SYSTEM}]
    for before in (said[:2], said, [*front, *said[:2]], [*front, *said]):
        template = cut([preset.render([*before, {"role": "user", "content": one}]) for one in SENTINELS], "", name)
        assert left_out(template.prefix, before) == ""
        whole = preset.render([*before, {"role": "user", "content": QUESTION}])
        assert template.prefix + QUESTION + template.suffix == whole, "as it will be rendered when it is answered"


def test_without_a_system_role_conversations_go_on_without(tmp_path: Path) -> None:
    model = FakeModel("m", chatml(drops_system=True))
    made, asked = converse(tmp_path, says(*FOLLOW_UPS), fake_model=model)
    assert made.outcomes == ["kept"]
    assert [one["role"] for one in asked[1].body["messages"]] == ["user"]
    assert any("go on without a system message" in notice for notice in made.progress.notices)
    own, _ = converse(tmp_path, says(*FOLLOW_UPS), fake_model=model, system="Ask about the sea.")
    assert isinstance(own.error, TemplateError)


def test_what_was_cut_behind_conversations_is_not_held(tmp_path: Path) -> None:
    held: list[int] = []

    async def look(session: Session, task: asyncio.Task[Any]) -> None:
        await task
        held.append(len(session.prompter._cut))

    with FakeOllama(models=[smollm2()], script=says(*FOLLOW_UPS)) as fake:
        asked = settings(fake, 3, turns=Turns(3, 3), parallel=1)
        generate(asked, tmp_path / "en.jsonl", look)
    assert held == [2], "in front of the first instruction, and of the conversation that was tried"


# Whose turn is the last, and what else of it is kept.


def test_prompt_sets_end_with_the_user(tmp_path: Path) -> None:
    made, asked = converse(tmp_path, says(*FOLLOW_UPS), "2", end_with="user")
    assert made.outcomes == ["kept"]
    assert [message["role"] for message in made.records[0]["messages"]] == ["user", "assistant", "user"]
    assert [one.path for one in asked] == ["/api/generate", "/api/chat", "/api/generate"]


def test_instructions_alone(tmp_path: Path) -> None:
    made, asked = converse(tmp_path, default_script, "1", target=5, end_with="user", parallel=4)
    assert made.error is None
    assert [[message["role"] for message in record["messages"]] for record in made.records] == [["user"]] * 5
    assert {one.path for one in asked} == {"/api/generate"}
    assert {*made.outcomes} <= {"kept", "dropped"}
    assert {(record["finish_reason"], record["response_tokens"]) for record in made.records} == {("", 0)}


def test_a_prompt_set_that_ends_early_still_ends_with_the_user(tmp_path: Path) -> None:
    made, _ = converse(tmp_path, says(FOLLOW_UPS[0], LONG), "2-3", end_with="user")
    assert made.outcomes == ["kept"]
    assert texts(made.records[0])[1:] == [ANSWER, FOLLOW_UPS[0]]


@pytest.mark.parametrize(
    ("steering", "turns", "system"), [("none", "1", ""), ("system", "1", "system"), ("none", "2", "system_multi_turn")]
)
def test_the_system_message_that_was_used_is_kept(tmp_path: Path, steering: str, turns: str, system: str) -> None:
    made, _ = converse(tmp_path, says(*FOLLOW_UPS), turns, steering=steering, include_system=True)
    first, *others = made.records[0]["messages"]
    if system:
        assert first == {"role": "system", "content": getattr(languages.load("en"), system)}
        first = others[0]
    assert first["role"] == "user"


def test_a_line_break_ends_a_turn_of_one_line(tmp_path: Path) -> None:
    made, asked = converse(tmp_path, says("Which one?"), "2", one_line=True)
    assert made.outcomes == ["kept"]
    for one in asked:
        if one.path == "/api/generate":
            assert one.body["options"]["stop"] == ["<|im_end|>", "<|im_start|>", "\n"]


def test_the_stage_of_what_a_later_turn_is_rejected_for() -> None:
    assert {reason for reason in Reason if reason.stage is Stage.FOLLOW_UP} == {
        reason for reason in Reason if reason.startswith("follow_up_")
    }
