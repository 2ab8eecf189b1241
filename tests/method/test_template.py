"""The pre-query template: presets against the models' published templates, and cutting whatever a server renders."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from magpie_ollama import prompts
from magpie_ollama.errors import TemplateError
from magpie_ollama.method.template import (
    SENTINELS,
    Preset,
    Template,
    cut,
    leading_bos,
    left_out,
    load_preset,
)
from magpie_ollama.records import Message

CHATML = ("<|im_end|>\n<|im_start|>assistant\n", ("<|im_end|>", "<|im_start|>"))
GEMMA = (
    "<bos><start_of_turn>user\n",
    "<end_of_turn>\n<start_of_turn>model\n",
    ("<end_of_turn>", "<start_of_turn>"),
)

PUBLISHED: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "chatml": ("<|im_start|>user\n", *CHATML),
    "gemma2": GEMMA,
    "gemma3": GEMMA,
    "llama3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ("<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
    ),
    "mistral": ("<s>[INST] ", "[/INST]", ("[/INST]", "<think>")),
    "mistral-nemo": ("<s>[INST]", "[/INST]", ("[/INST]", "<think>")),
    "phi3": ("<|user|>\n", "<|end|>\n<|assistant|>\n", ("<|end|>", "<|assistant|>")),
    "phi4": (
        "<|im_start|>user<|im_sep|>",
        "<|im_end|><|im_start|>assistant<|im_sep|>",
        ("<|im_end|>", "<|im_start|>", "<|im_sep|>"),
    ),
    "phi4-mini": ("<|user|>", "<|end|><|assistant|>", ("<|end|>", "<|assistant|>")),
    "qwen2": ("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n", *CHATML),
    "qwen2.5": (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n",
        *CHATML,
    ),
    "qwen3": (
        "<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        ("<|im_end|>", "<|im_start|>"),
    ),
    "smollm2": (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\n",
        *CHATML,
    ),
}

WITH_SYSTEM = {
    "chatml": "<|im_start|>system\nSYS<|im_end|>\n<|im_start|>user\n",
    "gemma2": "<bos><start_of_turn>user\nSYS\n\n",
    "gemma3": "<bos><start_of_turn>user\nSYS\n\n",
    "llama3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nSYS<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n",
    "mistral": "<s>[INST] SYS\n\n",
    "mistral-nemo": "<s>[INST]SYS\n\n",
    "phi3": "<|system|>\nSYS<|end|>\n<|user|>\n",
    "phi4": "<|im_start|>system<|im_sep|>SYS<|im_end|><|im_start|>user<|im_sep|>",
    "phi4-mini": "<|system|>SYS<|end|><|user|>",
    "qwen2": "<|im_start|>system\nSYS<|im_end|>\n<|im_start|>user\n",
    "qwen2.5": "<|im_start|>system\nSYS<|im_end|>\n<|im_start|>user\n",
    "qwen3": "<|im_start|>system\nSYS<|im_end|>\n<|im_start|>user\n",
    "smollm2": "<|im_start|>system\nSYS<|im_end|>\n<|im_start|>user\n",
}

WITH_AN_EXCHANGE = {
    "gemma3": "<bos><start_of_turn>user\nSYS\n\nQ<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n"
    "<start_of_turn>user\n",
    "llama3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nSYS<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    "A<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
    "mistral": "<s>[INST] SYS\n\nQ[/INST] A</s>[INST] ",
    "mistral-nemo": "<s>[INST]SYS\n\nQ[/INST]A</s>[INST]",
    "phi3": "<|system|>\nSYS<|end|>\n<|user|>\nQ<|end|>\n<|assistant|>\nA<|end|>\n<|user|>\n",
    "qwen2.5": "<|im_start|>system\nSYS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
    "<|im_start|>user\n",
}

SYSTEM: Message = {"role": "system", "content": "SYS"}
EXCHANGE: list[Message] = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]


def rendered(preset: Preset, *before: Message) -> list[str]:
    return [preset.render([*before, {"role": "user", "content": sentinel}]) for sentinel in SENTINELS]


def through(render: Callable[[str], str]) -> Template:
    """Cuts what a chat template makes of a user's words."""
    return cut([render(sentinel) for sentinel in SENTINELS], "test", "model")


def refused(render: Callable[[str], str]) -> str:
    with pytest.raises(TemplateError) as caught:
        through(render)
    assert "--template" in caught.value.remedy
    return caught.value.cause


def test_every_preset_is_checked_here() -> None:
    assert sorted(PUBLISHED) == sorted(WITH_SYSTEM) == prompts.names("templates")


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_are_the_published_templates(name: str) -> None:
    template = cut(rendered(load_preset(name)), "preset", name)
    assert (template.prefix, template.suffix, template.stops) == PUBLISHED[name]


@pytest.mark.parametrize("name", WITH_SYSTEM)
def test_a_system_message_stands_where_the_model_was_trained_to_see_it(name: str) -> None:
    template = cut(rendered(load_preset(name), SYSTEM), "preset", name)
    assert template.prefix == WITH_SYSTEM[name]
    assert template.suffix == PUBLISHED[name][1]


@pytest.mark.parametrize("name", WITH_AN_EXCHANGE)
def test_an_exemplar_exchange_goes_before_the_open_turn(name: str) -> None:
    assert cut(rendered(load_preset(name), SYSTEM, *EXCHANGE), "preset", name).prefix == WITH_AN_EXCHANGE[name]


@given(st.sampled_from(sorted(PUBLISHED)), st.text(), st.text())
@example("gemma3", "{content}", "{system}")
@example("chatml", "{content}", "{content}\\1")
def test_no_text_is_changed_by_a_preset(name: str, system: str, content: str) -> None:
    preset = load_preset(name)
    prompt = preset.render([{"role": "system", "content": system}, {"role": "user", "content": content}])
    assert content in prompt
    assert system in prompt
    if system:
        plain = preset.render([SYSTEM, {"role": "user", "content": "USER"}])
        assert len(prompt) - len(system) - len(content) == len(plain) - len("SYS") - len("USER")


pieces = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from([*SENTINELS, SENTINELS[0][:9], SENTINELS[0][-9:], "QZ"]),
        st.sampled_from(["<|im_end|>", "\n", " ", "<s>", "[INST] "]),
    ),
    max_size=5,
).map("".join)


@given(pieces, pieces)
@example("<s>[INST] ", " [/INST]")
@example(SENTINELS[0][:-2], "")
@example("", SENTINELS[1][2:])
def test_cutting_gives_exactly_what_stands_around_the_words_or_says_why_not(prefix: str, suffix: str) -> None:
    try:
        template = through(lambda words: prefix + words + suffix)
    except TemplateError as error:
        assert error.cause.endswith(".")
        assert error.remedy
    else:
        assert (template.prefix, template.suffix) == (prefix, suffix)
        assert template.stops
        assert all(template.stops)


@given(pieces, pieces)
def test_only_templates_that_cannot_be_cut_are_refused(prefix: str, suffix: str) -> None:
    opens = prefix.removeprefix(leading_bos(prefix)).strip() and suffix.strip()
    plain = not any("QZ" in text for text in (prefix, suffix))
    if opens and plain and not prefix.endswith("<|start|>user<|message|>"):
        assert through(lambda words: prefix + words + suffix).prefix == prefix


def test_templates_that_trim_or_pad() -> None:
    assert through(lambda words: f"<u>{words.strip()}</u><a>").prefix == "<u>"
    assert through(lambda words: f"<u> {words.strip()} </u><a>") == Template(
        "<u> ", " </u><a>", ("</u>", "<a>"), "test"
    )


def test_the_last_space_of_a_prefix_stays() -> None:
    assert through(lambda words: f"<s>[INST] {words} [/INST]").prefix == "<s>[INST] "


def test_a_system_text_inside_the_users_turn() -> None:
    template = through(lambda words: f"<start_of_turn>user\nBe brief.\n\n{words}<end_of_turn>\n<start_of_turn>model\n")
    assert template.prefix == "<start_of_turn>user\nBe brief.\n\n"


@pytest.mark.parametrize(
    ("render", "why"),
    [
        (lambda words: "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n", "leaves out what the user says"),
        (lambda words: "", "leaves out what the user says"),
        (lambda words: f"<u>{words}</u><t>{words}</t>", "repeats what the user says"),
        (lambda words: f"<u>{words.lower()}</u>", "changes what the user says"),
        (lambda words: f"<u n={len(words)}>{words}</u>", "changes with what the user says"),
        (lambda words: f"<u>{words}</u>" + ("!" if "first" in words else ""), "changes with what the user says"),
        (lambda words: words, "a base model?"),
        (lambda words: f"<s>{words}", "a base model?"),
        (lambda words: f"<s>{words}</s>", "a base model?"),
        (lambda words: f"<|im_start|>user\n{words}", "a base model?"),
        (lambda words: f"<|im_start|>user\n{words}\n", "a base model?"),
        (
            lambda words: (
                "<|start|>system<|message|>You are ChatGPT.<|end|><|start|>user<|message|>"
                f"{words}<|end|><|start|>assistant"
            ),
            "harmony",
        ),
    ],
)
def test_templates_without_an_open_user_turn_are_refused_with_the_reason(
    render: Callable[[str], str], why: str
) -> None:
    assert why in refused(render)


@pytest.mark.parametrize(
    ("suffix", "stops"),
    [
        ("\n\n### Response:\n", ("\n### Response:",)),
        (" ASSISTANT:", ("ASSISTANT:",)),
        ("\n\nAssistant:", ("\nAssistant:",)),
        ("\n[|assistant|]", ("[|assistant|]", "<think>")),
        ("\n[|assistant|]<thought>\n", ("[|assistant|]", "<think>")),
        ("</s>\n<|assistant|>\n", ("</s>", "<|assistant|>")),
        (" [/INST]", ("[/INST]", "<think>")),
        ("<｜Assistant｜><think>\n", ("<｜Assistant｜>", "<think>")),
        ("<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
         ("<|END_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|>", "<|CHATBOT_TOKEN|>")),
        ("<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>",
         ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>")),
    ],
)  # fmt: skip
def test_stops_with_control_tokens_and_in_plain_words(suffix: str, stops: tuple[str, ...]) -> None:
    assert through(lambda words: f"<u>{words}{suffix}").stops == stops


@pytest.mark.parametrize(
    ("suffix", "alone"),
    [
        ("[/INST]", "[/INST]"),
        ("<｜Assistant｜><think>\n", "<｜Assistant｜>"),
        ("\n<|assistant|>\n", "<|assistant|>"),
        ("</s>\n<|assistant|>\n", ""),
        ("<|end_of_turn|>GPT4 Correct Assistant:", ""),
        ("<|im_end|>\n<|im_start|>assistant\n", ""),
        (" ASSISTANT:", ""),
    ],
)
def test_a_header_that_alone_ends_a_turn(suffix: str, alone: str) -> None:
    assert through(lambda words: f"<u>{words}{suffix}").lone_end == alone


@pytest.mark.parametrize(
    ("suffix", "opens"),
    [
        ("<|im_end|>\n<|im_start|>assistant\n<think>\n", True),
        ("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("<|im_end|>\n<|im_start|>assistant\n", False),
    ],
)
def test_a_template_that_begins_reasoning(suffix: str, opens: bool) -> None:
    assert through(lambda words: f"<|im_start|>user\n{words}{suffix}").opens_reasoning is opens


def test_the_models_own_stops_come_behind_those_of_the_template() -> None:
    halves = [f"<|im_start|>user\n{words}<|im_end|>\n<|im_start|>assistant\n" for words in SENTINELS]
    assert cut(halves, "test", "model", ["<|im_end|>", "Human:"]).stops == ("<|im_end|>", "<|im_start|>", "Human:")


@pytest.mark.parametrize(
    ("suffix", "role", "glued"),
    [
        (PUBLISHED["gemma2"][1], "model", ()),
        (PUBLISHED["phi4"][1], "assistant", ("assistant",)),
        ("\n\n### Response:\n", "Response", ()),
        (" ASSISTANT:", "ASSISTANT", ()),
        ("<|im_end|>\n<|im_start|>bot\n", "bot", ()),
    ],
)
def test_roles_are_known_as_they_look_without_control_tokens(suffix: str, role: str, glued: tuple[str, ...]) -> None:
    template = through(lambda words: f"<u>{words}{suffix}")
    assert role in template.roles
    assert {"assistant", "user", "system"} <= set(template.roles)
    assert template.glued == glued


@pytest.mark.parametrize(
    ("prefix", "bos"),
    [
        ("<|begin_of_text|><|start_header_id|>", "<|begin_of_text|>"),
        ("<s>[INST] ", "<s>"),
        ("<bos><start_of_turn>", "<bos>"),
        ("<｜begin▁of▁sentence｜><｜User｜>", "<｜begin▁of▁sentence｜>"),
        ("<|im_start|>user\n", ""),
        ("\n<s>", ""),
        ("", ""),
    ],
)
def test_a_leading_bos_is_known(prefix: str, bos: str) -> None:
    assert leading_bos(prefix) == bos


def test_what_a_template_leaves_out_is_named() -> None:
    before: list[Message] = [{"role": "system", "content": " Be  brief…\n"}, *EXCHANGE]
    assert left_out("<s>Be brief... Q A <u>", before) == "", "blanks and forms of letters may differ"
    assert left_out("<s>Q A<u>", before) == "the system message"
    assert left_out("<s>Be brief... Q <u>", before) == "the turns in front of the last one"
