"""The forms in which tools keep instruction data, and what is asked and answered in each.

magpie-ollama, TRL    messages: [{role, content}, ...]
ShareGPT, Magpie      conversations: [{from: human, value}, {from: gpt, value}, ...]
distilabel            conversation: [{role, content}, ...]; or instruction and response (or generation)
XTuner, ms-swift      conversation: [{system, input, output}, ...], [{human, assistant}, ...]
Alpaca, and Manuel Romero's magpie-ollama-datagen    instruction, output, and often input
TRL                   prompt and completion, or chosen and rejected, as texts or as lists of messages; chosen alone
others                two columns by the names in ``names``; a bare list of turns a line; turns as a text of JSON
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from magpie_ollama.corpus import lines, names
from magpie_ollama.decoding import Misshapen, decode

BETWEEN = "\n\n"
"""Between an instruction and its input, and between turns of one speaker."""


class Turn(msgspec.Struct, frozen=True, gc=False):
    """``role`` is one of ``names.role``'s. ``wrong`` says why it is no text, to follow after its number; what a tool
    has a part in may have no text. ``unwanted`` is labelled as what nobody should learn."""

    role: str
    text: str
    reasoning: str = ""
    tool: bool = False
    unwanted: bool = False
    wrong: str = ""


class Said(msgspec.Struct):
    """What a row holds that can be trained on.

    ``shape`` is the key that gave it away, ``columns`` all that were read. ``turns`` are a system message, if there is
    one, then a user's and an assistant's in turn, up to the last answer; turns of one speaker in a row are one.
    ``instruction`` and ``response`` are the first pair of them; ``input`` is the part of the instruction that stood in
    a column of its own. ``asked`` are the turns up to the last question, whether or not somebody answers it. ``lost``
    says that the row had more than that. ``reason`` is a key of ``REASONS`` where nobody
    answers: then there are no turns. ``detail`` says which column is no text.
    """

    shape: str
    instruction: str
    response: str
    columns: tuple[str, ...]
    turns: tuple[Turn, ...] = ()
    input: str = ""
    lost: bool = False
    reason: str = ""
    detail: str = ""
    asked: tuple[Turn, ...] = ()

    @property
    def asks(self) -> int:
        """How many turns the user has."""
        return sum(turn.role == "user" for turn in self.turns or self.asked)

    @property
    def reasoning(self) -> str:
        """What was thought before the response."""
        return next((turn.reasoning for turn in self.turns if turn.role == "assistant"), "")


REASONS = {
    "no_instruction": "the instruction is empty",
    "no_response": "there is no response",
    "labelled_bad": "labelled as an answer that is not wanted",
    "tool_call": "the answer needs a tool, which a record has no place for",
    "other_speaker": "before the answer somebody speaks who is neither user nor assistant",
    "no_text": "the instruction, its input or the response is no text",
}
"""Why a row has an instruction that nobody answers."""


def find(data: dict[str, Any], line: bytes = b"", columns: names.Columns | None = None) -> Said | str:
    """What is said in a row; or why it holds no instruction that can be read, to follow after its line's number.
    ``line`` has the digits of its numbers."""
    try:
        return _named(data, columns) if columns else _find(data)
    except _DigitsError:
        exact = literal(line or json.dumps(data))
        if exact is None:
            return "is nested too deeply"
        return _named(exact, columns) if columns else _find(exact)


def question(data: dict[str, Any], line: bytes = b"", column: str = "") -> Said | str:
    """What is asked in a row that may be without an answer: in ``column``, or else wherever a tool has it. The same
    as ``find`` otherwise."""
    if column and column not in data:
        return f"has no column {column!r} (its columns: {_some(data)})"
    if not column:
        found = find(data, line)
        present = [name for name in names.ASKED if name in data]
        if isinstance(found, Said) or not present:
            return found
        column = names.given(data, tuple(present)) or present[0]
    if names.given(data, (column,)) == "":
        return Said(column, "", "", (column,), reason="no_instruction")
    beside = "" if column in names.BESIDE_ASKED else names.given(data, names.BESIDE_ASKED)
    return find(data, line, names.Columns(instruction=column, input=beside))


def literal(line: bytes | str) -> dict[str, Any] | None:
    """The row of a line, with its fractions as texts that have all their digits. None where it is nested too deeply."""
    try:
        value = json.loads(line, parse_float=str)
    except RecursionError:
        return None
    return value if type(value) is dict else as_row(value)


def as_row(turns: Any) -> dict[str, Any]:
    """A line that is a bare list of turns, as a row."""
    return {"messages": turns}


def around(data: Mapping[str, Any]) -> str:
    """The key of an object under which there is a list of rows; "" where it is none."""
    for key, value in data.items():
        if type(value) is list and value and type(value[0]) is dict and isinstance(find(value[0]), Said):
            return str(key)
    return ""


def raw_turns(data: Mapping[str, Any], columns: Iterable[str]) -> list[Any]:
    """The turns of a row as they stand, [] where the pair is in columns of text. ``columns`` are ``Said``'s."""
    first, *others = columns
    if first in names.CONVERSATIONS:
        return _listed(data[first]) or []
    found = [_dialogue(data[key]) for key in (first, *others[:1])]
    return [turn for turns in found for turn in turns or ()] if found[0] else found[-1] or []


def turns_of(value: Any, speaker: str = "") -> list[Turn]:
    """One element of a conversation: a turn, or several where an object has a key for each speaker. ``speaker`` is who
    says what names nobody."""
    if type(value) is not dict:
        return [Turn("", "", wrong="is no object of role and content")]
    who, said = names.given(value, names.WHO), names.given(value, names.SAID)
    content = value[said] if said else None
    role = names.role(value[who]) if who else speaker
    if type(content) is str and len(value) == 2:
        return [Turn(role, content, tool=role == "tool")]
    if not who and (question := names.given(value, tuple(names.QUESTIONS))):
        spoken = {"system": names.SYSTEM, "user": (question,), "assistant": names.answers(question)}
        keys = {role: names.given(value, columns) for role, columns in spoken.items()}
        return [_turn(role, value[key], value) for role, key in keys.items() if key]
    return [_turn(role, content, value)]


def thought(value: Mapping[str, Any]) -> str:
    """What was thought before an answer, by any name beside it."""
    for name in names.REASONING:
        if told := value.get(name):
            text = told if type(told) is str else _content(told)[0] if type(told) is list else ""
            if text.strip():
                return text
    return ""


def guess(data: Mapping[str, Any]) -> str:
    """How ``--columns`` could name the pair of a row that has none by a known name; "" where it has no two texts."""
    texts = [str(key) for key, value in data.items() if type(value) is str]
    plain = [key for key in texts if not {",", "="} & set(key) and key.strip() == key != ""]
    return f"instruction={plain[0]},response={plain[1]}" if len(plain) > 1 else ""


class _DigitsError(Exception):
    """A number is wanted as it is written."""


def _named(data: Mapping[str, Any], columns: names.Columns) -> Said | str:
    found = _find(columns.renamed(data))
    if isinstance(found, Said):
        found.columns = tuple(getattr(columns, name, "") or name for name in found.columns)
        return found
    return found if columns.messages else f"has no instruction in the columns that were named (its keys: {_some(data)})"


def _find(data: Mapping[str, Any]) -> Said | str:
    messages = data.get("messages")
    if type(messages) is list and len(messages) == 2 and names.BESIDE.isdisjoint(data):
        asked, answered = map(_plain, messages)
        if asked and answered and asked[0] == "user" and answered[0] == "assistant":  # this tool's own, quickly
            own = (Turn(*asked), Turn(*answered, thought(data)))
            return Said("messages", asked[1], answered[1], ("messages",), own, asked=own[:1])
    wrong = ""
    for key in names.CONVERSATIONS:
        if data.get(key) is None:
            continue
        turns = _listed(data[key])
        if turns is None:
            found: Said | str = f"has no instruction: its {key} is no list of turns"
        elif (answer := names.given(data, names.ANSWERS)) and turns and turns_of(turns[-1])[-1].role == "user":
            found = _pair(data, key, answer, unwanted=False)  # LLaMA-Factory's conversations and chosen
        else:
            found = _said(key, turns, data)
        if isinstance(found, Said):
            return found
        wrong = wrong or found
    return _in_columns(data) or wrong or f"has no instruction (its keys: {_some(data)})"


def _plain(turn: Any) -> tuple[str, str] | None:
    """Role and content of a turn that has a text and nothing else."""
    if type(turn) is not dict or len(turn) != 2:
        return None
    role, text = turn.get("role"), turn.get("content")
    return (role, text) if type(role) is str and type(text) is str and text.strip() else None


def _in_columns(data: Mapping[str, Any]) -> Said | str:
    """The pair in two columns; "" where there is none by a known name."""
    for question in names.QUESTIONS:
        if names.given(data, (question,)):
            answer = names.given(data, names.answers(question))
            if answer and type(data[answer]) is bool and answer.startswith("chosen"):
                answer = ""  # a label
            refused = "" if answer else names.given(data, names.REJECTED)
            if answer or refused or question == "instruction":
                return _pair(data, question, answer or refused, unwanted=bool(refused))
    for key in names.WHOLE:
        if (turns := _dialogue(data.get(key))) is not None:
            return _said(key, turns, data)
    return ""


def _pair(data: Mapping[str, Any], question: str, answer: str, *, unwanted: bool) -> Said | str:
    columns = tuple(filter(None, (question, answer)))
    asked, answered = _dialogue(data[question]), _dialogue(data.get(answer))  # turns, or None for a text
    if answered is not None and any(turn.role == "user" for one in answered for turn in turns_of(one)):
        return _said(question, answered, data, columns)  # the question stands in it once more
    if asked is not None:
        more = answered if answered is not None else [{"role": "assistant", "content": data[answer]}] if answer else []
        return _said(question, [*asked, *more], data, columns)
    text, detail = _text(data[question], question)
    extras = _extras(data, question, answer)
    extra = BETWEEN.join(text for _, text, _ in extras)
    detail = detail or next((wrong for _, _, wrong in extras if wrong), "")
    if not text.strip():
        text, extra = extra, ""
    turns = [Turn("user", text + BETWEEN + extra if extra else text)]
    if answered is not None:
        turns += [turn for one in answered for turn in turns_of(one, "assistant")]
    elif answer:
        said, wrong = _text(data[answer], answer)
        detail = detail or wrong
        turns.append(Turn("assistant", said, unwanted=unwanted))
    found = _tidied(question, turns, data, (*columns, *(key for key, _, _ in extras)))
    found.input = extra
    if detail and found.reason != "labelled_bad":
        found.reason, found.detail, found.turns, found.response = "no_text", detail, (), ""
    return found


def _said(key: str, values: list[Any], data: Mapping[str, Any], columns: tuple[str, ...] = ()) -> Said | str:
    turns = [turn for value in values for turn in turns_of(value)]
    for number, turn in enumerate(turns, 1):
        if turn.tool or (turn.role == "assistant" and not turn.wrong and not turn.unwanted):
            break
        if turn.wrong:
            return f"has no instruction that can be read: turn {number} of its {key} {turn.wrong}"
    if not any(turn.role == "user" for turn in turns):
        roles = dict.fromkeys(turn.role for turn in turns)
        return f"has no instruction: no turn of its {key} is a user's (its roles: {_some(roles)})"
    return _tidied(key, turns, data, columns or (key,))


def _tidied(key: str, turns: Iterable[Turn], data: Mapping[str, Any], columns: tuple[str, ...]) -> Said:
    """What trainers' templates take of the turns: see ``Said``."""
    system: list[str] = []
    kept: list[Turn] = []
    answered, pending, reason = False, "", ""
    lost = any(data.get(name) not in (None, "", "[]", [], {}) for name in names.OFFERED)
    for turn in turns:
        role = turn.role
        if turn.tool or turn.wrong or role not in ("system", "user", "assistant", "thinking"):
            reason, lost = "tool_call" if turn.tool else reason if turn.wrong else "other_speaker", True
            break
        if role == "thinking":
            pending = turn.text
        elif role == "system" and not answered:
            system.append(turn.text)
        elif role != "assistant":  # a later system message belongs to what follows, as in templates without one
            _join(kept, Turn("user", turn.text))
        elif not kept:
            lost = True  # a greeting
        elif turn.unwanted:
            reason, lost = "labelled_bad", True
        elif turn.text.strip():
            _join(kept, Turn("assistant", turn.text, turn.reasoning or pending))
            answered, pending = True, ""
        else:
            lost = True
            break
    instruction = kept[0].text if kept else ""
    if (beside := names.given(data, names.SYSTEM)) and not system:
        text, wrong = _text(data[beside], beside)
        system, lost = [text], lost or bool(wrong)
        columns = (*columns, beside)
    front = BETWEEN.join(filter(str.strip, system))
    first = (Turn("system", front),) if front else ()
    asked = (*first, *(kept if kept and kept[-1].role == "user" else kept[:-1]))
    if names.unwanted(data):
        response = next((turn.text for turn in kept if turn.role == "assistant"), "")
        return Said(key, instruction, response, columns, reason="labelled_bad", asked=asked)
    while kept and kept[-1].role == "user":
        lost = len(kept) > 1 or lost
        kept.pop()
    if not instruction.strip():
        reason = reason or "no_instruction"
    if not kept or not instruction.strip():
        return Said(key, instruction, "", columns, reason=reason or "no_response", lost=lost, asked=asked)
    if not kept[-1].reasoning:
        kept[-1] = Turn("assistant", kept[-1].text, thought(data))
    return Said(key, instruction, kept[1].text, columns, (*first, *kept), lost=lost, asked=asked)


def _join(kept: list[Turn], turn: Turn) -> None:
    """Add a turn, to the one before it where one speaks twice."""
    if kept and kept[-1].role == turn.role:
        texts, thoughts = zip(*((one.text, one.reasoning) for one in (kept.pop(), turn)), strict=True)
        text, told = (BETWEEN.join(filter(str.strip, both)) for both in (texts, thoughts))
        turn = Turn(turn.role, text, told)
    kept.append(turn)


def _extras(data: Mapping[str, Any], question: str, answer: str) -> list[tuple[str, str, str]]:
    """(column, text, why it is none) of what belongs to a question and stands beside it."""
    found = []
    for key in names.EXTRAS:
        if key not in (question, answer) and data.get(key) not in (None, "", [], {}) and names.given(data, (key,)):
            text, wrong = _text(data[key], key)
            if text.strip() and text not in str(data[question]):
                found.append((key, text, wrong))
    return found


def _listed(value: Any) -> list[Any] | None:
    """The list of turns in a value: as it stands, or as a text of JSON. None where it holds none."""
    if type(value) is str and value.lstrip()[:1] == "[":
        try:
            value = decode(value, list[Any])
        except Misshapen:
            return None
    return value if type(value) is list else None


def _dialogue(value: Any) -> list[Any] | None:
    """The turns in a column that may have a text as well: a list of them, or one alone."""
    turns = [value] if type(value) is dict else _listed(value)
    if not turns:
        return None
    return turns if all(type(one) is dict and _speaks(one) for one in turns) else None


def _speaks(turn: Mapping[str, Any]) -> bool:
    return bool(names.given(turn, names.WHO)) and not {*names.SAID, "tool_calls"}.isdisjoint(turn)


def _turn(role: str, content: Any, value: Mapping[str, Any]) -> Turn:
    """A turn that says ``content``, labelled by the keys of ``value``."""
    text, told, tool, wrong = _content(content)
    tool = tool or role == "tool" or bool(value.get("tool_calls") or value.get("function_call"))
    bad = role == "assistant" and names.unwanted(value, turn=True)
    return Turn(role, text, thought(value) or told, tool, bad, "" if tool else wrong)


def _content(value: Any) -> tuple[str, str, bool, str]:
    """Text, reasoning, whether a tool has a part in it, and why it is no text, of a turn's content."""
    if type(value) is list or type(value) is dict:
        texts, thoughts, tool = [], [], False
        for part in value if type(value) is list else [value]:
            block: dict[str, Any] = part if type(part) is dict else {"text": part, "type": type(part).__name__}
            kind, text = str(block.get("type") or "of no type"), block.get("text")
            if kind in ("thinking", "reasoning"):
                told = names.given(block, (kind, "text", "content"))
                thoughts.append(_content(block[told])[0] if told else "")
            elif type(text) is str:
                texts.append(text)
            elif kind.startswith(("tool", "function")):
                tool = True
            elif type(value) is list:
                return "", "", False, f"has a part that is no text ({kind[:30]})"
            else:
                return "", "", False, "has a content that is no text"
        return "\n".join(texts), "\n".join(thoughts), tool, ""
    text, wrong = _text(value, "content")
    return ("", "", False, "has a content that is no text") if wrong else (text, "", False, "")


def _text(value: Any, key: str) -> tuple[str, str]:
    """A value as a text, and why it is none: "its output is no text, but an object". What is none is told as JSON."""
    if type(value) is str:
        return value, ""
    if type(value) is float and math.isfinite(value):
        raise _DigitsError
    if type(value) in (bool, int):
        return json.dumps(value), ""
    if type(value) is list and value and all(type(one) is dict and type(one.get("text")) is str for one in value):
        return _content(value)[0], ""
    kind = "an object" if type(value) is dict else "a list" if type(value) is list else "nothing"
    return lines.shown(value), f"{key} is no text, but {kind}"


def _some(keys: Mapping[Any, Any]) -> str:
    return ", ".join(str(name)[:30] for name in list(keys)[:8]) or "none"
