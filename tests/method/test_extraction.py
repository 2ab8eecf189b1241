"""Extraction: users' turns stay whole, whatever is in them; what an assistant says, and what runs on, is rejected."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from method.texts import PASS, REJECT

from magpie_ollama.method import languages
from magpie_ollama.method.extraction import Extracted, ending, extract
from magpie_ollama.method.reasons import EXPLANATIONS, Reason
from magpie_ollama.method.template import SENTINELS, Template, cut, load_preset
from magpie_ollama.method.unseen import clean, forbidden


def template(name: str = "chatml") -> Template:
    preset = load_preset(name)
    return cut([preset.render([{"role": "user", "content": words}]) for words in SENTINELS], "preset", name)


CHATML = template()
ALL = {name: template(name) for name in ("chatml", "llama3", "gemma3", "mistral", "phi3", "phi4", "phi4-mini", "qwen3")}
ALL["alpaca"] = cut([f"### Instruction:\n{words}\n\n### Response:\n" for words in SENTINELS], "test", "alpaca")
ALL["vicuna"] = cut([f"A chat. USER: {words} ASSISTANT:" for words in SENTINELS], "test", "vicuna")
ALL["granite"] = cut(
    [
        f"<|start_of_role|>user<|end_of_role|>{words}<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>"
        for words in SENTINELS
    ],
    "test",
    "granite",
)


@pytest.mark.parametrize("text", PASS)
def test_users_pass_whole(text: str) -> None:
    assert extract(text, "stop", CHATML) == Extracted(text.strip().removeprefix("# ") if "\n#" not in text else text)


@pytest.mark.parametrize("name", ALL)
def test_users_pass_whatever_the_template(name: str) -> None:
    assert [text for text in PASS if extract(text, "stop", ALL[name]).reason] == []


@pytest.mark.parametrize(("text", "reason"), REJECT)
def test_others_are_rejected_with_their_reason(text: str, reason: Reason) -> None:
    assert extract(text, "stop", CHATML) == Extracted("", reason)


def test_the_table_is_long_enough_and_nothing_in_it_is_there_twice() -> None:
    texts = [*PASS, *(text for text, _ in REJECT)]
    assert len(texts) == len(set(texts))
    assert min(len(PASS), len(REJECT)) >= 60


@pytest.mark.parametrize("code", languages.codes())
def test_the_exemplars_of_all_languages_are_users(code: str) -> None:
    language = languages.load(code)
    for exemplar in language.exemplars:
        assert extract(exemplar.instruction, "stop", CHATML) == Extracted(exemplar.instruction)
    openers = [opener for group in language.openers.values() for opener in group]
    assert [opener for opener in openers if extract(" ...", "stop", CHATML, opener).reason] == []


@pytest.mark.parametrize("code", ["en", "es", "de", "it", "fr", "pt", "nl"])
def test_system_messages_are_not(code: str) -> None:
    language = languages.load(code)
    assert extract(language.system, "stop", CHATML).reason is Reason.NOT_A_USER
    assert extract(language.system_multi_turn, "stop", CHATML).reason is Reason.NOT_A_USER


# What a server leaves in the text behind a finished turn when the model goes on: with its control tokens shown, where
# the stop strings find them, and hidden, where the bare role stands.
SHOWN = {
    "chatml": "<|im_end|>\n<|im_start|>assistant\nThe capital is Paris.",
    "llama3": "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nThe capital is Paris.",
    "gemma3": "<end_of_turn>\n<start_of_turn>model\nThe capital is Paris.",
    "mistral": "[/INST] The capital is Paris.",
    "phi3": "<|end|>\n<|assistant|>\nThe capital is Paris.",
    "phi4": "<|im_end|><|im_start|>assistant<|im_sep|>The capital is Paris.",
    "phi4-mini": "<|end|><|assistant|>The capital is Paris.",
    "qwen3": "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nThe capital is Paris.",
    "alpaca": "\n\n### Response:\nThe capital is Paris.",
    "vicuna": " ASSISTANT: The capital is Paris.",
    "granite": "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>The capital is Paris.",
}
HIDDEN = {
    "chatml": "\nassistant\nThe capital is Paris.",
    "llama3": "assistant\n\nThe capital is Paris.",
    "gemma3": "\nmodel\nThe capital is Paris.",
    "phi4": "assistantThe capital is Paris.",
    "qwen3": "\nassistant\n\n\n\n\nThe capital is Paris.",
    "granite": "\nassistantThe capital is Paris.",
}


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("text", ["What is the capital of France?", "Describe Paris.\n\nUse three lines."])
def test_a_stop_that_the_server_shows_ends_the_turn(name: str, text: str) -> None:
    assert extract(text + SHOWN[name], "length", ALL[name]).reason is Reason.TRUNCATED
    assert extract(text + SHOWN[name], "stop", ALL[name]) == Extracted(text)


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("text", ["What is the capital of France?", "首都是哪里？", "Describe Paris.\n\nBe brief."])
def test_a_header_without_its_control_tokens_is_a_run_on(name: str, text: str) -> None:
    assert extract(text + HIDDEN[name], "stop", ALL[name]) == Extracted("", Reason.RUN_ON)
    assert extract(text + HIDDEN[name], "length", ALL[name]) == Extracted("", Reason.RUN_ON)


@pytest.mark.parametrize("raw", ["", " ", "\n\n\n", "?", "...", "**", "- \n- \n", "<|im_end|>\nWhat is it?", "😀"])
def test_nothing_is_empty(raw: str) -> None:
    assert extract(raw, "stop", CHATML) == Extracted("", Reason.EMPTY)


def test_what_the_token_limit_cut_is_truncated() -> None:
    assert extract("What is the capital of", "length", CHATML) == Extracted("", Reason.TRUNCATED)
    assert extract("As an AI, I have no capital, and I do not", "length", CHATML).reason is Reason.NOT_A_USER


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("  What is rain?\n", "What is rain?"),
        ("## What is rain?", "What is rain?"),
        ("**What is rain?**", "What is rain?"),
        ('"What is rain?"', "What is rain?"),
        ("“What is rain?”", "What is rain?"),
        ("«Che cos'è la pioggia?»", "Che cos'è la pioggia?"),
        ("「雨とは何ですか？」", "雨とは何ですか？"),
        ("**What is rain?", "What is rain?"),
        ("What is **rain**?", "What is **rain**?"),
        ("**Rain** and **snow**", "**Rain** and **snow**"),
        ('"Rain" or "snow"', '"Rain" or "snow"'),
        ("# Rain\n\n## Snow\n\nWhat is missing?", "# Rain\n\n## Snow\n\nWhat is missing?"),
        ("#include <stdio.h>\nWhat is this?", "#include <stdio.h>\nWhat is this?"),
        ("#hashtag ideas for a bakery", "#hashtag ideas for a bakery"),
    ],
)
def test_only_what_frames_it_goes(raw: str, text: str) -> None:
    assert extract(raw, "stop", CHATML) == Extracted(text)


def test_the_opener_is_part_of_the_instruction() -> None:
    assert extract(" fare il pane?", "stop", CHATML, "Come posso") == Extracted("Come posso fare il pane?")
    assert extract("", "stop", CHATML, "Come posso") == Extracted("Come posso")
    assert extract("?\nRisposta: così", "stop", CHATML, "Come posso").reason is Reason.RUN_ON
    # The opener makes a user of what would be an assistant's first word.
    assert extract(" sicuro, ecco", "stop", CHATML, "È vero che").reason is None


words = st.sampled_from(
    ["Explain", "why", "the sky", "is blue?", "¿Cómo", "funciona", "un motor?", "Explica", "por qué.",
     "请写一首诗", "吗？", "1. one", "2) two", "- item", "| a | b |", "| --- | --- |", "```python", "```",
     "    return x", "x = [1, 2]", "{", "}", "key: value", "Use 3 lines.", "Is it? It is!", "def f(x):", "<b>bold</b>",
     "$x^2$", "e.g.", "“quoted”", "\t", "…", "assistant", "the user", "a model", "AI", "answer"]
)  # fmt: skip
lines = st.lists(words, min_size=1, max_size=5).map(" ".join)
blocks = st.lists(lines, min_size=1, max_size=12).map("\n".join)


@given(blocks, st.sampled_from(["", "\n", "\n\n"]), blocks)
@example("¿Qué es la inflación?", "\n\n", "Explica por qué sube.")
@example("Write a poem.", "\n", "It must have 3 lines.")
def test_lines_lists_tables_and_code_stay_whole(first: str, between: str, second: str) -> None:
    text = (first + between + second).strip()
    found = extract(f"\n {text} \n", "stop", CHATML)
    if found.reason is None:
        # Frames aside: quotes or bold around the whole do not come from the words above.
        assert found.text == text
    else:
        assert found.reason in (Reason.RUN_ON, Reason.EMPTY)


@given(st.text(), st.sampled_from(["stop", "length"]), st.sampled_from(sorted(ALL)), st.text(max_size=10))
def test_any_text_gives_a_text_or_a_reason(raw: str, finish: str, name: str, opener: str) -> None:
    found = extract(raw, finish, ALL[name], opener)
    assert bool(found.text) == (found.reason is None)
    assert found.text == found.text.strip()
    if found.text:
        assert found.text in clean(opener + raw)
        assert not forbidden(found.text)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=60))
def test_nothing_is_cut_at_a_question_mark_or_a_line_end(text: str) -> None:
    text = f"Tell me {text.strip()}"
    whole = f"{text}? {text}?\n{text}"
    found = extract(whole, "stop", CHATML)
    assume(found.reason is None)
    assert found.text == whole.strip()


def test_every_reason_has_an_explanation() -> None:
    assert set(EXPLANATIONS) == set(Reason)


@pytest.mark.parametrize("told", ["stop", "eos", "STOP", "stop_sequence", "end_turn", "eos_token"])
def test_ends_are_ends_by_any_name(told: str) -> None:
    assert ending(told) == "stop"


@pytest.mark.parametrize("told", ["length", "max_tokens", "MAX_TOKENS"])
def test_limits_are_limits_by_any_name(told: str) -> None:
    assert ending(told) == "length"


@pytest.mark.parametrize(
    "told", ["abort", "error", "content_filter", "unload", "load", "tool_calls", "function_call", "SAFETY", "../x", ""]
)
def test_all_else_has_broken_it_off(told: str) -> None:
    assert ending(told) == ""
    assert extract("What is the capital", ending(told), CHATML) == Extracted("", Reason.BROKEN_OFF)


@pytest.mark.parametrize(
    "turn",
    [
        "<|im_start|>user\nAnd Spain?",
        "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAnd Spain?",
        "<start_of_turn>model\nParis.",
        "<|turn>user\nAnd Spain?<turn|>",
        " [/INST] Paris.",
        "</s>[INST] And Spain?",
        "<</SYS>> And Spain?",
        "<｜Assistant｜>Paris.",
        "<|start_of_role|>user<|end_of_role|>And Spain?",
        "[|assistant|]Paris.",
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>And Spain?",
        "\n\n### Human: And Spain?",
        "\n### Assistant: Paris.",
        "<tool_call>{}</tool_call>",
        " <think>Paris, I think.",
    ],
)
@pytest.mark.parametrize("name", ["chatml", "mistral", "alpaca"])
def test_the_marks_of_any_family_are_a_run_on(name: str, turn: str) -> None:
    asked = "What is the capital of France?"
    assert extract(asked + turn, "stop", ALL[name]) in (Extracted("", Reason.RUN_ON), Extracted(asked))
    if not any(stop in turn for stop in ALL[name].stops):
        assert extract(asked + turn, "stop", ALL[name]).reason is Reason.RUN_ON


@pytest.mark.parametrize(
    "text",
    [
        "What does `<|im_start|>user` do in ChatML?",
        "Explain this template:\n```\n<|im_start|>user\n{content}<|im_end|>\n[INST] x [/INST]\n```",
        "Is <s>this</s> or <b>that</b> better HTML? I use <p> and </p>.",
        "Sort [1, 2] and (a <| b |> c) for F#.",
    ],
)
def test_marks_in_code_are_what_the_text_is_about(text: str) -> None:
    assert extract(text, "stop", ALL["llama3"]) == Extracted(text)
