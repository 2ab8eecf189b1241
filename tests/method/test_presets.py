"""Presets: which one a model's name stands for, and a template file of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from magpie_ollama.errors import UsageError
from magpie_ollama.method.template import SENTINELS, Preset, Template, cut, load_preset, preset_for
from magpie_ollama.records import Message

SYSTEM: Message = {"role": "system", "content": "SYS"}


def rendered(preset: Preset, *before: Message) -> list[str]:
    return [preset.render([*before, {"role": "user", "content": sentinel}]) for sentinel in SENTINELS]


@pytest.mark.parametrize(
    ("model", "preset"),
    [
        ("llama3.2:3b", "llama3"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama3"),
        ("hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M", "llama3"),
        ("qwen2.5:0.5b", "qwen2.5"),
        ("Qwen/Qwen2-7B-Instruct", "qwen2"),
        ("qwen3:4b", "qwen3"),
        ("gemma2:2b", "gemma2"),
        ("gemma:7b", "gemma2"),
        ("google/gemma-3-4b-it", "gemma3"),
        ("gemma3n:e2b", "gemma3"),
        ("phi3:mini", "phi3"),
        ("microsoft/Phi-3.5-mini-instruct", "phi3"),
        ("phi4", "phi4"),
        ("phi4-mini", "phi4-mini"),
        ("microsoft/Phi-4-mini-instruct", "phi4-mini"),
        ("mistral:7b", "mistral"),
        ("mistral-nemo", "mistral-nemo"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mistral"),
        ("smollm2:135m", "smollm2"),
        ("NousResearch/Hermes-3-Llama-3.1-8B", "chatml"),
        ("dolphin-llama3:8b", "chatml"),
        ("nous-hermes2-mixtral", "chatml"),
        # Of two families the wrong one is worse than none, unless one is known to be the last word.
        ("deepseek-r1-0528-qwen3-8b", ""),
        ("unsloth/DeepSeek-R1-Distill-Llama-3.1-8B-GGUF", ""),
        ("Llama-3.1-Tulu-3-8B", ""),
        ("openchat-3.6-8b-llama3", ""),
        ("Qwen2.5-Llama-3-merge", ""),
        ("gemma-2-mistral-9b", ""),
        ("Mistral-7B-OpenOrca", "chatml"),
        ("Llama-3.1-Hermes-3", "chatml"),
        ("llava-llama3", "llama3"),
        ("smollm:135m", "chatml"),
        ("gpt-oss:20b", ""),
        ("command-r", ""),
        ("gemma4:12b", ""),
        ("openchat", ""),
        ("orca-mini", ""),
        ("nomic-embed-text", ""),
    ],
)
def test_a_preset_is_found_by_the_models_name(model: str, preset: str) -> None:
    found = preset_for(model)
    assert (found.name if found else "") == preset


OWN = 'user = "<u>{content}</u>"\nassistant = "<a>{content}</a>"\nreply = "<a>"\n'


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN, encoding="utf-8")
    preset = load_preset(str(path))
    assert preset.name == "own"
    assert cut(rendered(preset), "file", "m") == Template("<u>", "</u><a>", ("</u>", "<a>"), "file")
    assert cut(rendered(preset, SYSTEM), "file", "m").prefix == "<u>SYS\n\n"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (OWN.replace("<u>{content}</u>", "<u></u>"), "'user' must have the place {content} exactly once"),
        (OWN.replace("<u>{content}</u>", "{content}{content}"), "'user' must have the place {content} exactly once"),
        (OWN.replace("<a>{content}</a>", ""), "'assistant' must have the place {content}"),
        (OWN + 'system = "<sys>"', "'system' must have the place {content}"),
        (OWN + 'system_in_user = "{content}"', "'system_in_user' must have the place {system}"),
        (OWN.replace("reply =", "answer ="), "'reply' is missing"),
        (OWN.replace('reply = "<a>"', "reply = 1"), "'reply' is missing or no text"),
        (OWN + "bos = 1", "'bos' is missing or no text"),
        (OWN + 'matches = "llama"', "'matches' must be a list of texts"),
        ("user = ", "is not TOML"),
        ("", "'user' is missing"),
        (b"\xff\xfe\x00", "is not UTF-8"),
    ],
)
def test_a_wrong_template_file_is_named_with_what_is_wrong(tmp_path: Path, content: str | bytes, named: str) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError) as caught:
        load_preset(str(path))
    assert str(path) in caught.value.cause
    assert named in caught.value.cause
    assert caught.value.remedy


def test_a_wrong_template_file_has_a_right_one_to_look_at(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_preset(str(path))
    model = caught.value.remedy.removeprefix("write it as in ")
    assert load_preset(model).name == "chatml"


def test_a_missing_file_and_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_preset(str(tmp_path / "no.toml"))
    with pytest.raises(UsageError, match="cannot be read"):
        load_preset(str(tmp_path))
    with pytest.raises(UsageError, match="There is no template 'lama3'") as caught:
        load_preset("lama3")
    assert "llama3" in caught.value.remedy


def test_a_preset_is_found_in_any_case() -> None:
    assert load_preset("ChatML").name == "chatml"


@pytest.mark.parametrize(
    ("name", "stops"),
    [
        ("chatml", ("<|im_end|>", "<|im_start|>")),
        ("mistral", ("</s>", "[INST]")),
        ("llama3", ("<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>")),
        ("phi3", ("<|end|>", "<|user|>")),
    ],
)
def test_a_response_ends_at_the_assistants_token_and_at_the_next_user(name: str, stops: tuple[str, ...]) -> None:
    assert load_preset(name).answer_stops(("Own:", stops[0])) == (*stops, "Own:")


def test_a_response_of_a_template_in_plain_words(tmp_path: Path) -> None:
    path = tmp_path / "alpaca.toml"
    path.write_text(
        'user = "### Instruction:\\n{content}\\n\\n"\n'
        'assistant = "### Response:\\n{content}\\n\\n"\n'
        'reply = "### Response:\\n"',
        encoding="utf-8",
    )
    assert load_preset(str(path)).answer_stops() == ("\n### Instruction:",)
