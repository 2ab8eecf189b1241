"""What is asked and answered in other tools' rows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from magpie_ollama.corpus import names, shapes
from magpie_ollama.corpus.shapes import Said
from magpie_ollama.errors import UsageError

Q, A = "Why is the sea salty?", "Rivers carry salts into it."
PAIR = [("user", Q), ("assistant", A)]
MORE = [("user", "All of them?"), ("assistant", "All.")]


def find(row: Any) -> Said:
    line = json.dumps(row).encode()
    found = shapes.find(shapes.as_row(row) if isinstance(row, list) else row, line)
    assert isinstance(found, Said), found
    return found


def turns(row: Any) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in find(row).turns]


def chat(*said: tuple[str, Any], who: str = "role", what: str = "content") -> list[dict[str, Any]]:
    return [{who: role, what: text} for role, text in said]


FORMS: dict[str, Any] = {
    **{
        f"{question}, {answer}": {question: Q, answer: A}
        for question, answer in (
            *(("prompt", "response"), ("question", "answer"), ("query", "response"), ("input", "output")),
            *(("inputs", "targets"), ("user", "assistant"), ("human", "assistant"), ("problem", "solution")),
            *(("instruction", "answer"), ("instruction", "generation"), ("prompt", "completion")),
        )
    },
    "chosen": {"prompt": Q, "chosen": A, "rejected": "Fish do it."},
    "chosen turns": {"prompt": Q, "chosen": chat(*PAIR), "rejected": chat(PAIR[0], ("assistant", "Fish."))},
    "chosen alone": {"chosen": chat(*PAIR), "rejected": chat(PAIR[0], ("assistant", "Fish."))},
    "chosen turn": {"conversations": chat(PAIR[0]), "chosen": {"from": "gpt", "value": A}, "rejected": {"from": "gpt"}},
    "prompt turns": {"prompt": chat(PAIR[0]), "chosen": chat(PAIR[1]), "rejected": chat(("assistant", "Fish."))},
    "mixed prompt": {"prompt": chat(PAIR[0]), "completion": A},
    "xtuner": {"conversation": [{"input": Q, "output": A}]},
    "ms-swift": {"conversation": [{"human": Q, "assistant": A}]},
    "a list": chat(*PAIR),
    "text of JSON": {"messages": json.dumps(chat(*PAIR))},
    "blocks": {"messages": chat(("user", [{"type": "text", "text": Q}]), ("assistant", [{"type": "text", "text": A}]))},
    "nulls": {
        "messages": None,
        "instruction": None,
        "query": Q,
        "answer": A,
        "tools": None,
    },
    "nulls in turns": {"messages": [turn | {"name": None, "tool_calls": None} for turn in chat(*PAIR)], "prompt": None},
    **{
        f"{who}, {what}": {"conversations": chat(*PAIR, who=who, what=what)}
        for who in ("role", "from")
        for what in ("content", "value", "text")
    },
    **{f"by {one}": {"dialogue": chat((one, Q), (other, A))} for one, other in (("Human", "AI"), ("prompter", "bot"))},
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_the_same_pair(form: str) -> None:
    row = FORMS[form]
    assert turns(row) == PAIR
    assert (find(row).instruction, find(row).response, find(row).reason) == (Q, A, "")


def test_xtuners_turns_with_a_system_message() -> None:
    row = {"conversation": [{"system": "S", "input": Q, "output": A}, {"input": MORE[0][1], "output": MORE[1][1]}]}
    assert turns(row) == [("system", "S"), *PAIR, *MORE]


@pytest.mark.parametrize(
    ("said", "expected", "lost"),
    [
        ([("user", "Hi."), *PAIR], [("user", f"Hi.\n\n{Q}"), PAIR[1]], False),
        ([*PAIR, ("assistant", "Slowly.")], [PAIR[0], ("assistant", f"{A}\n\nSlowly.")], False),
        ([("assistant", "Welcome!"), *PAIR], PAIR, True),
        ([("user", Q), ("system", "Be brief."), PAIR[1]], [("system", "Be brief."), *PAIR], False),
        ([("system", "S"), ("system", "T"), *PAIR], [("system", "S\n\nT"), *PAIR], False),
        ([*PAIR, ("system", "Be brief."), *MORE], [*PAIR, ("user", f"Be brief.\n\n{MORE[0][1]}"), MORE[1]], False),
        ([*PAIR, MORE[0]], PAIR, True),
        ([*PAIR, MORE[0], ("tool", "{}"), MORE[1]], PAIR, True),
        ([*PAIR, ("narrator", "It rains."), *MORE], PAIR, True),
    ],
)
def test_roles_alternate_and_nothing_is_lost_unsaid(said: Any, expected: Any, lost: bool) -> None:
    row = {"messages": chat(*said)}
    assert (turns(row), find(row).lost) == (expected, lost)
    assert (find(row).instruction, find(row).response) == tuple(text for role, text in expected if role != "system")[:2]


@pytest.mark.parametrize(
    ("value", "text"), [(4, "4"), (0, "0"), (False, "false"), (True, "true"), (3.1, "3.1"), (2**70, str(2**70))]
)
def test_numbers_and_booleans_are_texts_with_all_their_digits(value: Any, text: str) -> None:
    assert find({"instruction": Q, "output": value}).response == text
    assert find({"messages": chat(PAIR[0], ("assistant", value))}).response == text
    found = shapes.find({"prompt": Q, "answer": 3.1}, b'{"prompt": "Q", "answer": 3.10}')
    assert isinstance(found, Said)
    assert found.response == "3.10"


@pytest.mark.parametrize(
    ("row", "detail"),
    [
        ({"instruction": Q, "output": {"a": 1}}, "output is no text, but an object"),
        ({"question": Q, "answer": ["a", "b"]}, "answer is no text, but a list"),
        ({"instruction": "Sum up.", "input": ["a", "b"], "output": A}, "input is no text, but a list"),
    ],
)
def test_what_is_no_text_is_told_as_such(row: Any, detail: str) -> None:
    assert (find(row).reason, find(row).detail, find(row).turns) == ("no_text", detail, ())
    assert find(row | {"input": ["c"]}).instruction != find(row).instruction, "they ask for different things"


@pytest.mark.parametrize("key", ["input", "context"])
def test_what_a_question_is_about_belongs_to_it(key: str) -> None:
    found = find({"instruction": "Translate.", key: "Acqua.", "output": "Water."})
    assert (found.instruction, found.input, found.lost) == ("Translate.\n\nAcqua.", "Acqua.", False)
    assert find({"question": "How many?", key: 12, "answer": "Twelve."}).instruction == "How many?\n\n12"
    assert find({"instruction": "", key: Q, "output": A}).instruction == Q


LABELS: list[dict[str, Any]] = [
    *({"label": value} for value in (False, 0, 0.0, -1, "false", "False", "0", "bad", "rejected")),
    *({key: False} for key in ("kto_tag", "train", "desirable", "accepted", "chosen")),
    *({key: 0} for key in ("weight", "mask", "loss_mask", "sample_weight")),
    *({key: True} for key in ("rejected", "undesirable", "masked")),
]


@pytest.mark.parametrize("label", LABELS, ids=str)
def test_an_answer_that_is_labelled_bad_is_none(label: dict[str, Any]) -> None:
    wanted = {key: not value if isinstance(value, bool) else 1 for key, value in label.items()}
    for row in ({"prompt": Q, "completion": A}, {"messages": chat(*PAIR)}, {"conversations": chat(*PAIR, who="from")}):
        assert (find(row | label).reason, find(row | label).turns) == ("labelled_bad", ())
        assert turns(row | wanted) == turns(row | dict.fromkeys(label)) == PAIR


@pytest.mark.parametrize(
    "label",
    [{"weight": 0}, {"train": False}, {"loss": False}, {"mask": 0}, {"loss_weight": 0.0}, {"label": "bad"}],
    ids=str,
)
def test_of_a_conversation_only_the_wanted_answers_remain(label: dict[str, Any]) -> None:
    bad = {"role": "assistant", "content": "Fish do it.", **label}
    asked, again = chat(PAIR[0], MORE[0])
    good = {"role": "assistant", "content": A, **dict.fromkeys(label, True)}
    assert (find({"messages": [asked, bad]}).reason, find({"messages": [asked, bad]}).turns) == ("labelled_bad", ())
    assert turns({"messages": [asked, good, again, bad]}) == PAIR
    row = {"messages": [{**asked, **label}, bad, again, good]}
    assert turns(row) == [("user", f"{Q}\n\n{MORE[0][1]}"), ("assistant", A)]
    assert find(row).lost


def test_an_answer_that_was_rejected_alone_is_labelled_bad() -> None:
    assert find({"prompt": Q, "rejected": "Fish do it."}).reason == "labelled_bad"
    assert find({"prompt": Q, "chosen": None, "rejected": "Fish do it."}).reason == "labelled_bad"


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [chat(PAIR[0])[0], {"role": "assistant", "content": A, "reasoning_content": "Hm."}]},
        {"messages": [chat(PAIR[0])[0], {"role": "assistant", "content": A, "thinking": "Hm.", "reasoning": None}]},
        {"messages": chat(*PAIR), "reasoning": "Hm."},
        {"question": Q, "answer": A, "thinking": "Hm."},
        {
            "messages": chat(
                PAIR[0], ("assistant", [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": A}])
            )
        },
        {"messages": chat(PAIR[0], ("thinking", "Hm."), PAIR[1])},
    ],
)
def test_what_was_thought_is_kept_with_its_answer(row: Any) -> None:
    assert turns(row) == PAIR
    assert find(row).reasoning == find(row).turns[-1].reasoning == "Hm."


def test_columns_are_named() -> None:
    columns = names.parse_columns("instruction=q, response=a, input=about")
    row = {"q": Q, "a": A, "about": "the Dead Sea", "prompt": "not this", "label": True, "system": "S"}
    found = shapes.find(row, columns=columns)
    assert isinstance(found, Said)
    assert [turn.text for turn in found.turns] == ["S", f"{Q}\n\nthe Dead Sea", A]
    found = shapes.find(
        {"talk": chat(*PAIR), "prompt": "x", "response": "y"}, columns=names.parse_columns("messages=talk")
    )
    assert isinstance(found, Said)
    assert found.instruction == Q


@pytest.mark.parametrize("text", ["instruction", "instruction=a", "q=a,response=b", "instruction=a,instruction=b", "="])
def test_columns_that_name_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="--columns") as caught:
        names.parse_columns(text)
    assert caught.value.remedy
