"""A model's reasoning in its text: taken off where it is clearly delimited, in front of the answer; else told.

Models mark it in many ways, and servers hide some of the marks: <think>, [THINK], ◁think▷, <|channel>thought, harmony's
channels. A mark within code is what the text is about.
"""

from __future__ import annotations

import re

_WORD = r"(?:ant|\w{1,16}[:_-])?(?:think(?:ing)?|thoughts?|reasoning|reflection|scratchpad|inner_?monologue)"
_TOKEN = rf"(?:{_WORD}|thinking|thought)"
_OPENING = re.compile(
    rf"<\s?{_WORD}(?:\s[^<>\n]{{0,80}})?>|◁{_WORD}▷|<[|｜](?:begin_?(?:of_?)?|start_?(?:of_?)?)?{_TOKEN}(?:_?start|_?begin)?[|｜]>"
    rf"|\[(?-i:THINK(?:ING)?)\]|<unused94>(?:thought\b)?|<\|channel>(?:\s?thought\b)?",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    rf"<\s?/\s?{_WORD}\s?>|◁/{_WORD}▷|<[|｜](?:/|end_?(?:of_?)?){_TOKEN}[|｜]>|<[|｜]{_TOKEN}_?end[|｜]>"
    rf"|\[/(?-i:THINK(?:ING)?)\]|<unused95>|<channel\|>",
    re.IGNORECASE,
)
_NEXT = re.compile(rf"\s*+(?:{_OPENING.pattern})", re.IGNORECASE)

_FINAL = re.compile(
    r"(?:<\|end\|>)?(?:<\|start\|>)?(?:assistant)?<\|channel\|>final\b[^<>\n]{0,40}(?:<\|constrain\|>\w{1,20})?<\|message\|>"
    r"|assistantfinal(?=[^a-z]|\Z)"
)
"""What stands in front of an answer in the harmony format, and what is left of it on a server that hides its tokens."""
_CHANNEL = re.compile(r"<\|channel\|>|<\|message\|>|assistant(?:final|analysis|commentary)(?=[^a-z]|\Z)")
_HIDDEN = re.compile(r"\s*(?:(?:analysis|commentary|final)(?=[^\W\d_a-z])|thought\n)")
"""The name of a channel as a text's first word: glued to the next in harmony, on a line of its own of Gemma's."""
_HARMONY_TOKEN = re.compile(r"<\|[a-z]{3,12}\|>")
_TURN_END = re.compile(r"(?:<\|(?:return|end)\|>\s*)+\Z")

_CODE = re.compile(r"```.*?```|~~~.*?~~~|`[^`\n]{1,200}`", re.DOTALL)
_OPEN_CODE = re.compile(rf"{_CODE.pattern}|(?:```|~~~).*|`[^`\n]{{0,200}}\Z", re.DOTALL)


def without_code(text: str, unfinished: bool = False) -> str:
    """``text`` with spaces in place of its code, inline and in fences: all else stands where it stood. In an
    ``unfinished`` text code may be open at the end."""
    if "`" not in text and "~~~" not in text:
        return text
    return (_OPEN_CODE if unfinished else _CODE).sub(lambda found: " " * len(found[0]), text)


def split_reasoning(text: str, opened: bool = False) -> tuple[str, str]:
    """The reasoning in front of a response, "" where there is none, and what follows it. ``opened``: the prompt began
    it.

    What stands in front of a mark that ends reasoning is reasoning, whether a mark began it or not.
    """
    thoughts: list[str] = []
    rest = _after_channels(text, thoughts)
    # Reasoning that was begun may leave a fence open: its end is no code.
    seen, at = rest if opened or _NEXT.match(rest) else without_code(rest), 0
    while (end := _CLOSING.search(seen, at)) is not None:
        start = _OPENING.search(seen, at, end.start())
        if start is not None and seen[at : start.start()].strip() and (at or not opened):
            break  # an answer has begun before it: nothing says where it goes on
        thoughts.append(_OPENING.sub("", rest[at : end.start()], count=1).strip())
        at = end.end()
        if _NEXT.match(seen, at) is None:
            break  # a later end is not one of this reasoning
    return "\n\n".join(filter(None, thoughts)), text if rest is text and not at else rest[at:].strip()


def shows_reasoning(text: str) -> bool:
    """Whether a mark of reasoning or of a channel is left in a text, outside its code."""
    if not any(sign in text for sign in (">", "]", "▷", "assistant")) and _HIDDEN.match(text) is None:
        return False
    seen = without_code(text)
    marks = (_OPENING, _CLOSING, _CHANNEL)
    return _HIDDEN.match(seen) is not None or any(mark.search(seen) is not None for mark in marks)


def _after_channels(text: str, thoughts: list[str]) -> str:
    """What stands on harmony's final channel, the others added to ``thoughts``; ``text`` where there is none."""
    if not (_HIDDEN.match(text) or text.lstrip().startswith(("<|channel|>", "<|start|>"))):
        return text
    finals = list(_FINAL.finditer(text))
    if not finals:
        return text
    head = re.sub(r"<\|channel\|>(?:analysis|commentary)[^<>\n]{0,60}<\|message\|>", "\n", text[: finals[0].start()])
    head = re.sub(r"\A\s*(?:analysis|commentary)(?=[^\W\d_a-z])", "", _HARMONY_TOKEN.sub("\n", head))
    thoughts.append(head.strip())
    return _TURN_END.sub("", text[finals[0].end() :])
