"""Whose turn a text is, and whether another one begins in it: for instructions and responses, whole or being written.

Everything here takes time in proportion to the text. The looks that are costly, at what a reply or a label begins with,
go no further than ``LOOKED`` characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from magpie_ollama import prompts
from magpie_ollama.method.reasoning import without_code
from magpie_ollama.method.template import Template

LOOKED = 4_000
"""Characters of an instruction in which an answer is looked for: twice what 300 words have."""

_SENTENCE = 240
"""Characters at a beginning that are looked at."""

_TOKEN = 80
"""Characters that a turn's mark may have."""


def runs_on(text: str, template: Template, waiting: int = 0, known: int = 0) -> bool:
    """Whether an instruction opens another turn, or begins to answer itself.

    For a text that is still being written: ``waiting`` characters must stand behind what says so, and its first
    ``known`` characters were looked at before.
    """
    since = max(0, known - _SENTENCE - waiting)
    head = text[:LOOKED].rstrip().replace("’", "'")
    end = min(len(text) - waiting, LOOKED)
    voice = _voice()
    return (
        opens_a_turn(text, template, since)
        or _answers_itself(head, since)
        or any(_fits(voice.later, head, start, end) for start in _beginnings(head, since))
        or any(_fits(voice.first, head, start, end) for start in _paragraphs(head) if start >= since)
    )


def speaks_as_assistant(text: str, waiting: int = 0, known: int = 0) -> bool:
    """Whether a text begins as an assistant or a system message does. ``waiting`` and ``known`` as for ``runs_on``."""
    start = len(text) - len(text.lstrip(_BEFORE))
    if known > start + _SENTENCE + waiting:
        return False
    head = text[: start + _SENTENCE].replace("’", "'")
    label = _voice().answer.match(head, start)
    starts = [start] if (greeting := _GREETING.match(head, start)) is None else [start, greeting.end()]
    return (label is not None and len(label[1]) > 2) or any(
        _fits(_voice().first, head, one, len(text) - waiting) for one in starts
    )


def opens_a_turn(text: str, template: Template, known: int = 0) -> bool:
    """Whether another turn begins in a text, of whatever family of templates: with its control tokens, or with what a
    server that hides them leaves of it. In code they are what the text is about."""
    since = max(0, known - _TOKEN)
    seen = without_code(text, unfinished=True)
    closed = seen.find("</s>")
    if _CONTROL.search(seen, since) or (closed >= 0 and "<s>" not in seen[:closed]):
        return True
    if not any(role in seen for role in template.roles):
        return False
    return any(
        _is_header(seen, found.start()) for found in _headers(template.roles, template.glued).finditer(seen, since)
    )


def has_a_dialogue_glued_on(text: str, asked: str) -> bool:
    """Whether a response goes on with a user's turn in plain words ("USER: ...", "Human: ..."), that nothing asks for:
    neither what was ``asked`` nor a line before it speaks of who speaks there."""
    found = _PLAIN_TURN.search(text)
    if found is None or not text[: found.start()].strip():
        return False
    before = text[max(0, found.start() - 4 * _SENTENCE) : found.start()].rstrip()
    return not before.endswith((":", "：")) and _SPEAKERS.search(f"{asked} {before}") is None


def without_end(text: str) -> str:
    """A response without the tokens that end it, where the server shows them: nothing is lost with these."""
    while (found := _END.search(text, max(0, len(text.rstrip()) - _TOKEN))) is not None:
        if found[0].startswith("</s>") and "<s>" in text:
            break  # struck out, in HTML
        text = text[: found.start()].rstrip()
    return text


class _Voice(NamedTuple):
    """``first`` matches what none but an assistant or a system message begins with, ``later`` only its replies."""

    first: re.Pattern[str]
    later: re.Pattern[str]
    answer: re.Pattern[str]
    questions: frozenset[str]


@cache
def _voice() -> _Voice:
    data: dict[str, list[str]] = prompts.read(prompts.folder("screening") / "voices.toml")
    answers = {form for label in data["answers"] for form in (label, label.upper())}
    labels = "|".join(sorted(map(re.escape, answers), key=len, reverse=True))
    return _Voice(
        re.compile("|".join(f"(?:{entry})" for entry in data["replies"] + data["voices"]), re.IGNORECASE),
        re.compile("|".join(f"(?:{entry})" for entry in data["replies"]), re.IGNORECASE),
        # With a letter behind it: a bare "Answer:", "Answer: ___" or "Answer: [one word]" is a form to fill in.
        re.compile(rf"[ \t*#>]*+({labels})\s*+\d*+\**+\s*+[:：]\s*+\**+\s*+[^\W_]"),
        frozenset(form for label in data["questions"] for form in (label, label.upper())),
    )


_BEFORE = " \t\r\n*#>\"'“”«»„‚「『(-–—"
"""What may stand before the first word."""

_GREETING = re.compile(r"[¡]?[^\W\d_]+(?:,?[ ][^\W\d_]+)?[ \xa0\u202f]?[!！](?:[ ]|(?<=！))*+")
"""One word or two with an exclamation mark: "Certo!", behind which an assistant speaks as without it."""

_LABEL = re.compile(r"[\s*#>-]*+([^\W\d_][\w .'’-]{0,24}?)[ \t]{0,8}\d{0,8}\*{0,8}[ \t]{0,8}[:：]\s*+\S")
"""A line such as "Alice: hello": of a dialogue, a form, a protocol or a mapping."""

_BEGINNING = re.compile(r"\n[^\S\n]*+(?=\S)|[?？][ ]*+(?=\S)")
_LINE = re.compile(r"^[^\S\n]*+\S.*", re.MULTILINE)
_INTRODUCED = re.compile(r"[:：][ ]*+\n|\n[ ]*+\n\s*+(?=\S)")

_CONTROL = re.compile(
    r"<[|｜][A-Za-z][^<>|｜\s]{2,40}[|｜]>|<\|[a-z_]{3,20}>|<[a-z_]{3,20}\|>"  # <|im_start|>, <｜User｜>, <turn|>
    r"|</?(?:start|end)_of_(?:turn|utterance|text|image)>|<(?:bos|eos)>|<unused\d{1,4}>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]|<</?SYS>>|</?tool_(?:call|response)s?>"
    r"|\[\|(?:user|assistant|system|human|ai|endofturn|endofuser|endofassistant|begin|end)\|\]"
    r"|\n[ ]{0,3}#{2,4}[ ]*(?:Human|User|Assistant|AI|System|Instruction)[ ]*:",
    re.IGNORECASE,
)
"""What stands around turns in any family of templates, and no other text has outside its code."""

_END = re.compile(r"(?:<[|｜][^<>|｜\s]{2,60}[|｜]>|</s>|<end_of_turn>|<eos>|<turn\|>|\[/INST\])\s*\Z")

_PLAIN_TURN = re.compile(
    r"(?:(?<=\n)[ ]{0,3}|(?<=[.?!。？！][ \n]))(?:USER|HUMAN)[ ]?:|(?<=\n)[ ]{0,3}(?:Human|User)[ ]?:[ ]*\S"
)
_SPEAKERS = re.compile(r"user|human|dialog|diálogo|conversa|chat|interview|assistant|AI\b|bot\b", re.IGNORECASE)


def _fits(pattern: re.Pattern[str], text: str, start: int, end: int) -> bool:
    """Whether ``pattern`` is found at ``start``, and ends at ``end`` or before."""
    found = pattern.match(text, start, start + _SENTENCE)
    return found is not None and found.end() <= end


@cache
def _headers(roles: tuple[str, ...], glued: tuple[str, ...]) -> re.Pattern[str]:
    # What is left on a server that hides control tokens of "<|im_start|>assistant\n": the word alone on its line; of
    # "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n": the word glued to the last one; of
    # "<|im_start|>assistant<|im_sep|>": the answer glued to it as well.
    forms = [
        rf"(?:^|(?<=\n))[ ]*+(?:{'|'.join(map(re.escape, roles))})[ ]*+\n",
        r"(?<=[^\W_])assistant\n\n|(?<=[.?!。？！\"'»”)\]}])[ ]?assistant\n"
        r"|(?<=[?!。？！\"'»”)])user\n",
    ]
    forms += [rf"(?<=[\n.?!。？！])[ ]?{re.escape(word)}(?=[^\W\d_a-z])" for word in glued]
    return re.compile("|".join(forms))


def _is_header(text: str, start: int) -> bool:
    """Whether a role's word at ``start`` is a header, not one word of a list."""
    line = text[max(0, start - _SENTENCE) : start].rstrip().rsplit("\n", 1)[-1].strip()
    if line.endswith((":", "：")):
        return False
    return not line or len(line.split()) > 2 or line[-1] in ".?!。？！…\"'»”)" or not line.isascii()


def _answers_itself(text: str, since: int) -> bool:
    """Whether a line begins with an answer's label that does not belong to what the user brings along: code, a
    dialogue, a form. It does behind other labelled lines, unless those are all that there is, or are a question."""
    voice = _voice()
    before, labelled, asked, fences = "", 0, False, 0  # the last line without a label; what the lines since then have
    for line in _LINE.finditer(text):
        if line.start() >= since and line.start() and fences % 2 == 0:
            found = voice.answer.match(text, line.start(), line.start() + _SENTENCE)
            material = labelled and before and (not asked or before.endswith((":", "：")))
            if found and not material and (found[1] != "A" or asked):
                return True
        fences += line[0].count("```")
        label = _LABEL.match(line[0])
        if label:
            labelled, asked = labelled + 1, asked or label[1] in voice.questions
        else:
            before, labelled, asked = line[0][-_SENTENCE:].rstrip(), 0, False
    return False


def _beginnings(text: str, since: int) -> Iterator[int]:
    """Where a reply would begin: at a line's start that no ":" introduces, and behind a question mark."""
    for found in _BEGINNING.finditer(text, since):
        before = found.start()
        while before and text[before - 1].isspace():
            before -= 1
        if text[before - 1 : before] not in (":", "："):
            yield found.end()


def _paragraphs(text: str) -> Iterator[int]:
    """Where later paragraphs begin, up to the first ":" at a line's end: what that introduces is the user's."""
    for found in _INTRODUCED.finditer(text):
        if found[0][0] in ":：":
            return
        yield found.end()
