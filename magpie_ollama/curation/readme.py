"""A dataset's README.md, and what others have written in it. Pure.

The tool's own part stands between two marks, of which the first has a digest of it and one of the metadata: so it is
known whether somebody has edited them. All else is theirs, and stays.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import NamedTuple

from magpie_ollama.errors import UsageError

_END = "<!-- magpie-ollama: end -->"
_BEGIN = re.compile(r"<!-- magpie-ollama: written anew with each push; .*? \(([0-9a-f]{8}) ([0-9a-f]{8})\) -->")
_METADATA = re.compile(r"\A\s*---[ \t]*\n(.*?\n)?---[ \t]*(?:\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"""^(?=[\w"'][^\n]*?:(?:\s|$))""", re.MULTILINE)

_RENEWED = ("configs", "size_categories", "language", "license")
"""Fields that follow the data, or an option: the tool's are taken where it has them."""

_STALE = "dataset_info"
"""What somebody's library counted in the data before this."""


class Merged(NamedTuple):
    """``notices`` say what was there and what becomes of it."""

    text: str
    notices: list[str]


def marked(card: str) -> str:
    """A card as ``card.card`` makes it, with its part between marks."""
    metadata, part = _divided(card)
    return _joined(metadata, _part(metadata, part))


def merged(card: str, there: bytes, path: str) -> Merged:
    """The card, in what is ``there`` already under the name ``path``: of ours only where it is as it was written.

    Raises UsageError where the tool's own part was edited, and where what is there is no text.
    """
    try:
        old = there.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is there already, and is no text in UTF-8", "add --replace-card") from error
    metadata, part = _divided(card)
    old_metadata, old_body = _divided(old)
    begin, end = _BEGIN.search(old_body), old_body.rfind(_END)
    marks = begin.groups() if begin else ("", "")
    notices = []
    fields = metadata
    if old_metadata and marks[0] != _digest(old_metadata):
        fields, notice = _with_fields(metadata, old_metadata)
        notices.append(notice)
    before, after = old_body.strip(), ""
    if begin:
        own = old_body[begin.end() : end]
        if end < begin.end() or marks[1] != _digest(own):
            raise UsageError(
                f"Somebody has edited {path} between the marks of this tool, which would write it anew",
                "move those words below the last mark, or add --replace-card",
            )
        before, after = old_body[: begin.start()].strip(), old_body[end + len(_END) :].strip()
    if before or after:
        notices.append("the text is kept, and the card " + ("renewed in it" if begin else "added below it"))
    parts = (before, _part(metadata, part), after)
    told = (
        [f"{path} has somebody's own words: {'; '.join(notices)} (--replace-card writes all anew)."] if notices else []
    )
    return Merged(_joined(fields, *filter(None, parts)), told)


def _divided(text: str) -> tuple[str, str]:
    """The lines of metadata, and what follows them."""
    found = _METADATA.match(text)
    return (found[1] or "", text[found.end() :]) if found else ("", text)


def _joined(metadata: str, *parts: str) -> str:
    return "\n\n".join((f"---\n{metadata}---", *parts)) + "\n"


def _part(metadata: str, part: str) -> str:
    """Between its marks. ``metadata`` is what the tool alone would have written."""
    digests = f"{_digest(metadata)} {_digest(part)}"
    begin = f"<!-- magpie-ollama: written anew with each push; your words go outside the two marks ({digests}) -->"
    return f"{begin}\n\n{part.strip()}\n\n{_END}"


def _digest(text: str) -> str:
    """The same where an editor has changed the ends of lines or the number of blank ones."""
    plain = "\n".join(line.rstrip() for line in text.split("\n") if line.strip())
    return blake2b(plain.encode("utf-8", "replace"), digest_size=4).hexdigest()


def _fields(metadata: str) -> dict[str, str]:
    """The lines of each field by its name; what stands before the first by ""."""
    blocks = _FIELD.split(metadata)
    return {block.partition(":")[0].strip("\"' \n") if at else "": block for at, block in enumerate(blocks) if block}


def _with_fields(ours: str, theirs: str) -> tuple[str, str]:
    """Metadata of both, and what to say of it."""
    new, old = _fields(ours), _fields(theirs)
    path = new["configs"].rpartition("path:")[2].strip().strip('"')
    if path in old.get("configs", ""):  # theirs tell more: further splits
        new["configs"] = old["configs"]
    changed = [name for name in _RENEWED if name in old and name in new and old[name] != new[name]]
    dropped = [_STALE] if old.pop(_STALE, "") else []
    fields = {**new, **{name: text for name, text in old.items() if name not in _RENEWED or name not in new}}
    told = "the metadata is kept"
    if changed or dropped:
        told += f" but for {', '.join((*changed, *dropped))}"
    return "".join(text if text.endswith("\n") else f"{text}\n" for text in fields.values()), told
