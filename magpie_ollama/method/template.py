"""The pre-query template: cut out of a rendered conversation, never written by hand.

Rendering ``[..., user: SENTINEL]`` and cutting at the sentinel gives the text up to where a user's words
begin (Magpie, arXiv 2406.08464, section 2.1) and what ends the user's turn. Two sentinels guard against
templates that change what they are given.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magpie_ollama import prompts
from magpie_ollama.errors import TemplateError, UsageError
from magpie_ollama.records import Message

SENTINELS = ("QZmagpieQfirstQZ", "QZmagpieQsecondQZ")

BOS = (
    "<|begin_of_text|>",
    "<s>",
    "<bos>",
    "<|startoftext|>",
    "<｜begin▁of▁sentence｜>",
    "<BOS_TOKEN>",
    "<|endoftext|>",
)
"""Beginning-of-sequence tokens. A server may put one in front by itself; then it must not stand in the prompt."""

CONTROL = re.compile(
    r"<\|[^<>|\s]{1,40}\|>|\[\|[^\[\]|\s]{1,40}\|\]|<｜[^<>｜\n]{1,60}｜>|<\|[A-Z_]+\|>|</?[a-z][a-z0-9_]{0,23}>|\[/?[A-Z_]{2,20}\]|<</?SYS>>"
)
"""What control tokens look like: <|im_end|>, [|assistant|], <｜User｜>, <end_of_turn>, </s>, [/INST]."""

REASONING = ("<think>", "</think>", "<thought>", "</thought>")
"""What stands around reasoning. Models write it, and some templates do, but it ends nobody's turn."""

ROLES = ("assistant", "user", "system", "model")
"""Role words that a server which hides control tokens leaves visible when the model opens another turn."""

REMEDY = "choose an instruction-tuned chat model, or give its template with --template NAME|FILE"


@dataclass(frozen=True, slots=True)
class Template:
    """``prefix`` is the pre-query template, ``suffix`` the end of the user's turn and the assistant's header.

    ``stops`` are strings that end an instruction where the server shows them; ``source`` says where the
    template comes from, in words. ``silent`` says that the server shows nothing of the token that ends a user's turn.
    """

    prefix: str
    suffix: str
    stops: tuple[str, ...]
    source: str
    silent: bool = False
    guessed: bool = False

    @property
    def is_chatml(self) -> bool:
        return self.prefix.endswith("<|im_start|>user\n") and self.suffix == "<|im_end|>\n<|im_start|>assistant\n"

    @property
    def first_end(self) -> str:
        """The control token that ends a user's turn, "" where plain words do."""
        return next(iter(_control(self.suffix)), "")

    @property
    def lone_end(self) -> str:
        """What ends a user's turn, where that is the assistant's header alone: [/INST], <｜Assistant｜>; else "".

        Where two tokens stand there, the first is an end token of the model's, at which every server stops, if the
        template is the model's own.
        """
        control = _control(self.suffix)
        return control[0] if len(control) == 1 and not CONTROL.sub("", self.suffix).strip() else ""

    @property
    def opens_reasoning(self) -> bool:
        """Whether the template, asked for a response without reasoning, begins it all the same."""
        return self.suffix.rfind("<think>") > self.suffix.rfind("</think>")

    @property
    def roles(self) -> tuple[str, ...]:
        """Words of role headers, as they stay visible without their control tokens."""
        return tuple(dict.fromkeys((*ROLES, *_headers(self.suffix))))

    @property
    def glued(self) -> tuple[str, ...]:
        """Those of them that the answer follows directly where control tokens are hidden: "...?assistantThe"."""
        hidden = CONTROL.sub("", self.suffix)
        return tuple(word for word in _headers(self.suffix) if hidden.endswith(word))


def cut(rendered: Sequence[str], source: str, model: str, stops: Sequence[str] = ()) -> Template:
    """Cuts two renderings of one conversation, one for each of ``SENTINELS``, at the sentinel.

    ``stops`` are the model's own stop strings, kept beside those of the template. Raises ``TemplateError``
    with the reason where the template leaves no open user turn.
    """
    halves = []
    for text, sentinel in zip(rendered, SENTINELS, strict=True):
        found = text.count(sentinel)
        if found != 1:
            what = "repeats" if found else "changes" if sentinel.casefold() in text.casefold() else "leaves out"
            raise TemplateError(
                f"The chat template of {model} {what} what the user says: it opens no user turn to write.", REMEDY
            )
        halves.append(text.split(sentinel))
    (prefix, suffix), other = halves
    if [prefix, suffix] != other:
        raise TemplateError(f"The chat template of {model} changes with what the user says.", REMEDY)
    if not prefix.removeprefix(leading_bos(prefix)).strip() or not suffix.strip():
        raise TemplateError(f"{model} has no chat template that opens and ends a user's turn (a base model?).", REMEDY)
    if re.search(r"<\|start\|>user<\|message\|>$", prefix):
        raise TemplateError(
            f"{model} uses the harmony format, where turns are routed through channels: it leaves no open user "
            "turn for the model to write.",
            REMEDY,
        )
    return Template(prefix, suffix, _stops(suffix, stops), source)


def left_out(prefix: str, before: Sequence[Message]) -> str:
    """What of the messages in front of the user's turn does not stand in ``prefix``, in words; "" where all does.

    White space and forms of letters may differ: templates trim, and a server that only tells tokens normalises.
    """
    shown = _bare(prefix)
    missing = [message["role"] for message in before if _bare(message["content"]) not in shown]
    if not missing:
        return ""
    return "the system message" if missing[0] == "system" else "the turns in front of the last one"


def _bare(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).split())


def leading_bos(prefix: str) -> str:
    """The beginning-of-sequence text that ``prefix`` starts with, or ""."""
    return next((bos for bos in BOS if prefix.startswith(bos)), "")


def _stops(suffix: str, own: Sequence[str]) -> tuple[str, ...]:
    control = _control(suffix)
    if len(control) == 1:
        control.append(REASONING[0])  # where the server hides the one token, a reasoning model shows this after it
    if not control:
        # A template in plain words (Alpaca, Vicuna): its next header is what ends the turn. Where it stands on a line
        # of its own, only there: a user may name it in a sentence.
        header = suffix.strip().splitlines()[0]
        control = ["\n" + header if suffix.startswith("\n") else header]
    return tuple(dict.fromkeys((*control, *own)))


def _control(suffix: str) -> list[str]:
    return [token for token in CONTROL.findall(suffix) if token not in REASONING]


def _headers(suffix: str) -> list[str]:
    """Words of the suffix that stand alone between its control tokens and line ends: names of roles."""
    parts = [part.strip(" #:") for part in re.split(r"\n", CONTROL.sub("\n", suffix))]
    return [part for part in parts if part.isalpha()]


@dataclass(frozen=True, slots=True)
class Preset:
    """A chat template as data, for servers that cannot render: the text of a turn of each role.

    ``system`` is "" for models without that role; the text then goes into the first user turn by
    ``system_in_user``.
    """

    name: str
    bos: str
    default_system: str
    system: str
    system_in_user: str
    user: str
    assistant: str
    reply: str
    matches: tuple[str, ...]

    def answer_stops(self, own: Sequence[str] = ()) -> tuple[str, ...]:
        """What ends an assistant's turn where the server shows it: its last token, and the beginning of the user's."""
        turn = _fill(self.assistant, content=SENTINELS[0]) + _fill(self.user, content=SENTINELS[1])
        between = turn.split(SENTINELS[0])[1].split(SENTINELS[1])[0]
        return tuple(stop for stop in _stops(between, own) if stop not in REASONING) if between.strip() else tuple(own)

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt of a conversation, with the assistant's header at its end."""
        turns = list(messages)
        system = self.default_system
        if turns and turns[0]["role"] == "system":
            system = turns.pop(0)["content"]
        parts = [self.bos]
        if system and self.system:
            parts.append(_fill(self.system, content=system))
            system = ""
        for turn in turns:
            content = turn["content"]
            if turn["role"] == "user":
                if system:
                    content = _fill(self.system_in_user, system=system, content=content)
                    system = ""
                parts.append(_fill(self.user, content=content))
            else:
                parts.append(_fill(self.assistant, content=content))
        return "".join((*parts, self.reply))


def load_preset(name_or_file: str) -> Preset:
    """The preset of that name, or the one in that TOML file. Raises ``UsageError`` for a bad one."""
    name = name_or_file.lower()
    if name in prompts.names("templates"):
        path = prompts.folder("templates") / f"{name}.toml"
    else:
        path = Path(name_or_file)
        if not path.suffix and not path.exists():
            raise UsageError(
                f"There is no template {name_or_file!r}.",
                f"choose one of {', '.join(prompts.names('templates'))} (see `magpie-ollama template list`), "
                "or give a TOML file",
            )
    return _preset(prompts.read(path), path)


FOREIGN = re.compile(
    r"deepseek|(?<![a-z])r1(?![a-z0-9])|gpt-?oss|glm|tulu|olmo|openchat|starling|zephyr|vicuna|wizard-?(?:lm|math|coder)|"
    r"neural-?chat|chatqa|solar|command-?[ar]|\baya|granite|falcon|exaone|kimi|minimax|hunyuan|ernie|baichuan|alpaca|"
    r"guanaco|orca-mini|capybara|codellama|llama-?[24](?![0-9])|function-?gemma"
)
"""Families with a template that no preset has. Their models are often named after the one they were made from as well,
whose template they were taught to forget (deepseek-r1-0528-qwen3-8b)."""


def preset_for(model: str) -> Preset | None:
    """The preset whose patterns match the model's name, the one with the longest matching pattern first.

    None where the name has two families and none of them is known to be the last word: the wrong template would be
    taken for the right one.
    """
    found: list[tuple[re.Match[str], Preset]] = []
    for name in prompts.names("templates"):
        preset = load_preset(name)
        found += [(match, preset) for pattern in preset.matches if (match := re.search(pattern, model.lower()))]
    if not found or FOREIGN.search(model.lower()):
        return None
    # A pattern with .* is of those who give another maker's model their own template.
    best, preset = max(found, key=lambda entry: (entry[0].re.pattern.endswith(".*"), len(entry[0][0])))
    others = {
        _family(other) for match, other in found if not best.start() <= match.start() <= match.end() <= best.end()
    }
    return None if others - {_family(preset)} and not best.re.pattern.endswith(".*") else preset


def _family(preset: Preset) -> str:
    return re.split(r"[\d-]", preset.name)[0]


def _preset(data: dict[str, Any], path: Path) -> Preset:
    as_in = f"write it as in {prompts.folder('templates') / 'chatml.toml'}"
    texts = {"bos": "", "default_system": "", "system": "", "system_in_user": "{system}\n\n{content}"} | data
    for key in ("bos", "default_system", "system", "system_in_user", "user", "assistant", "reply"):
        if not isinstance(texts.get(key), str):
            raise UsageError(f"{path}: the key {key!r} is missing or no text.", as_in)
    for key, place in _PLACES:
        if (texts[key] or key in ("user", "assistant")) and texts[key].count(place) != 1:
            raise UsageError(
                f"{path}: {key!r} must have the place {place} exactly once, where those words stand.", as_in
            )
    matches = texts.get("matches", [])
    if not isinstance(matches, list) or not all(isinstance(pattern, str) for pattern in matches):
        raise UsageError(f"{path}: 'matches' must be a list of texts.", "mend that line, or leave it out")
    return Preset(
        name=path.stem,
        bos=texts["bos"],
        default_system=texts["default_system"],
        system=texts["system"],
        system_in_user=texts["system_in_user"],
        user=texts["user"],
        assistant=texts["assistant"],
        reply=texts["reply"],
        matches=tuple(matches),
    )


_PLACES = (
    ("user", "{content}"),
    ("assistant", "{content}"),
    ("system", "{content}"),
    ("system_in_user", "{system}"),
    ("system_in_user", "{content}"),
)


def _fill(turn: str, **values: str) -> str:
    """``turn`` with its places filled, in one go: a text that names a place is left as it is."""
    return re.sub(r"\{(system|content)\}", lambda place: values.get(place[1], place[0]), turn)
