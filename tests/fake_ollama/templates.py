"""Chat templates in the shapes that real models have, each with what a pre-query prefix can trip over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Message = dict[str, str]
Render = Callable[[Sequence[Message]], str]


@dataclass(frozen=True, slots=True)
class Template:
    """`control` are the control tokens, `ends` those that end generation, `text` what /api/show tells."""

    render: Render
    control: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    bos: str = ""
    text: str = "{{ .Prompt }}"

    def __call__(self, messages: Sequence[Message]) -> str:
        return self.render(messages)


def _split_system(messages: Sequence[Message]) -> tuple[str, Sequence[Message]]:
    if messages and messages[0]["role"] == "system":
        return messages[0]["content"], messages[1:]
    return "", messages


def chatml(default_system: str = "", bos: str = "", drops_system: bool = False) -> Template:
    """Qwen, SmolLM2 and many more. `default_system` stands where the first message is no system message."""

    def render(messages: Sequence[Message]) -> str:
        system, rest = _split_system(messages)
        system = "" if drops_system else system
        turns = [("system", system or default_system)] if system or default_system else []
        turns += [(message["role"], message["content"]) for message in rest]
        body = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
        return f"{bos}{body}<|im_start|>assistant\n"

    return Template(
        render,
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        ("<|im_end|>", "<|endoftext|>"),
        bos or "<|endoftext|>",
        "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n",
    )


def lone(end: str = "<repo_name>") -> Template:
    """ChatML where a control token that is no end token ends the user's and the system's turn, as Mistral's [/INST]."""
    plain = chatml()

    def render(messages: Sequence[Message]) -> str:
        body = "".join(
            f"<|im_start|>{message['role']}\n{message['content']}"
            f"{'<|im_end|>' if message['role'] == 'assistant' else end}\n"
            for message in messages
        )
        return body.removesuffix("\n")

    return Template(render, (*plain.control, end), plain.ends, plain.bos)


def llama3() -> Template:
    """Writes its BOS itself (a server that adds one makes two) and trims what stands in a turn."""

    def render(messages: Sequence[Message]) -> str:
        body = "".join(
            f"<|start_header_id|>{message['role']}<|end_header_id|>\n\n{message['content'].strip()}<|eot_id|>"
            for message in messages
        )
        return f"<|begin_of_text|>{body}<|start_header_id|>assistant<|end_header_id|>\n\n"

    return Template(
        render,
        (
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
            "<|eom_id|>",
        ),
        ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"),
        "<|begin_of_text|>",
        "{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n{{ .Content }}<|eot_id|>"
        "{{- end }}<|start_header_id|>assistant<|end_header_id|>\n\n",
    )


def gemma() -> Template:
    """No system role: the system text stands inside the first user's turn, in front of the user's words."""

    def render(messages: Sequence[Message]) -> str:
        system, rest = _split_system(messages)
        parts = ["<bos>"]
        for number, message in enumerate(rest):
            role = "model" if message["role"] == "assistant" else message["role"]
            lead = f"{system.strip()}\n\n" if system and number == 0 else ""
            parts.append(f"<start_of_turn>{role}\n{lead}{message['content'].strip()}<end_of_turn>\n")
        return "".join(parts) + "<start_of_turn>model\n"

    return Template(
        render,
        ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        ("<end_of_turn>", "<eos>"),
        "<bos>",
        "{{- range .Messages }}<start_of_turn>{{ .Role }}\n{{ .Content }}<end_of_turn>\n{{ end }}"
        "<start_of_turn>model\n",
    )


def mistral() -> Template:
    """The prefix ends with a space, and no header stands in front of the answer."""

    def render(messages: Sequence[Message]) -> str:
        system, rest = _split_system(messages)
        last = max((n for n, message in enumerate(rest) if message["role"] == "user"), default=-1)
        parts = ["<s>"]
        for number, message in enumerate(rest):
            if message["role"] == "user":
                lead = f"{system}\n\n" if system and number == last else ""
                parts.append(f"[INST] {lead}{message['content']} [/INST]")
            else:
                parts.append(f" {message['content']}</s>")
        return "".join(parts)

    return Template(
        render,
        ("<s>", "</s>", "[INST]", "[/INST]"),
        ("</s>",),
        "<s>",
        "{{- range .Messages }}[INST] {{ .Content }} [/INST]{{ end }}",
    )


def harmony() -> Template:
    """gpt-oss: a long system turn, the user's system text in a developer turn, channels in the answer.

    `<|end|>` ends a turn but not the generation: only a stop string can end a user's turn here.
    """
    preamble = (
        "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
        "Knowledge cutoff: 2024-06\nCurrent date: 2026-11-22\n\nReasoning: medium\n\n"
        "# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>"
    )

    def render(messages: Sequence[Message]) -> str:
        system, rest = _split_system(messages)
        parts = [preamble]
        if system:
            parts.append(f"<|start|>developer<|message|># Instructions\n\n{system}\n\n<|end|>")
        for message in rest:
            channel = "<|channel|>final" if message["role"] == "assistant" else ""
            parts.append(f"<|start|>{message['role']}{channel}<|message|>{message['content']}<|end|>")
        return "".join(parts) + "<|start|>assistant"

    return Template(
        render,
        ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>", "<|endoftext|>"),
        ("<|return|>", "<|call|>"),
        "<|startoftext|>",
        "<|start|>system<|message|>You are ChatGPT...<|end|>"
        "{{- range .Messages }}<|start|>{{ .Role }}<|message|>{{ .Content }}<|end|>{{ end }}"
        "<|start|>assistant",
    )


def base_model() -> Template:
    """A base model: no template, the prompt alone."""

    def render(messages: Sequence[Message]) -> str:
        return "".join(message["content"] for message in messages if message["role"] != "system")

    return Template(render, ("<|endoftext|>",), ("<|endoftext|>",), "<|endoftext|>")
