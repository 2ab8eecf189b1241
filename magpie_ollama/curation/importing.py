"""Records of our schema out of any tool's rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, get_type_hints

from magpie_ollama.corpus import names, shapes
from magpie_ollama.corpus.reading import IMPORT, Row
from magpie_ollama.curation.filters import language_code
from magpie_ollama.method.writing import SCRIPTS
from magpie_ollama.records import FIRST, KEYS, Record, Tags, new_id, tags

EXPLANATIONS = {
    **shapes.REASONS,
    "no_language": "names no language (-l gives it, --redetect finds it)",
    "unknown_language": "too short to tell the language (-l gives it)",
    "other_language": "in a language or a script that this tool has no data for (-l names it)",
    "wrong_language": "the instruction is in another language than -l",
    "response_wrong_language": "the response is in another language than -l",
    "duplicate": "an instruction that the corpus has, but for case, punctuation and spaces",
    "near_duplicate": "nearly an instruction that the corpus has",
    "bad_line": "no record (--skip-bad), or torn",
}

_NOTHING: dict[Any, Any] = {str: "", int: 0, float: 0.0}
_OTHERS = {key: _NOTHING[kind] for key, kind in get_type_hints(Record).items() if kind in _NOTHING and key != "schema"}
_OTHERS["server"] = IMPORT
"""What another tool's record does not say; one of ours keeps its own."""

_READ = {*FIRST, "model_name", *names.REASONING}
"""Keys that nothing is lost of, beside the columns that were read."""


@dataclass(slots=True)
class Importer:
    """Makes records of rows. ``language`` is a code, "" for each row's own; with ``redetect`` the texts are read.

    ``left_out`` counts what rows had and a record has no place for: columns by name, and parts of conversations;
    ``details`` what was no text in those that have no record.
    """

    language: str = ""
    redetect: bool = False
    model: str = ""
    left_out: Counter[str] = field(default_factory=Counter)
    details: Counter[str] = field(default_factory=Counter)

    def record(self, row: Row) -> Record | str:
        """The record, or the name of the reason why there is none."""
        if row.said.reason:
            self.details.update(filter(None, [row.said.detail]))
            return row.said.reason
        language = self._language(row)
        if language in EXPLANATIONS:
            return language
        found = as_record(row)
        return replace(
            found,
            id=found.id or new_id(),
            language=language,
            model=self.model or found.model,
            run="",
            created_at=found.created_at or datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def take_note(self, row: Row, keys: Collection[str] = KEYS) -> None:
        """Count what is left out of a row that became a record; ``keys`` are those of its line."""
        said, own = row.said, row.data.keys() >= set(FIRST)
        kept = {*said.columns, *_READ, *(keys if own else ())} - {"tags"}
        if "tags" in keys and (_judged(row) or (own and row.data.get("tags") == tags())):
            kept.add("tags")
        for key, value in row.data.items():
            nothing = value is None or (own and value in ("", 0, tags()))
            if key not in kept and not nothing:
                self.left_out[str(key)] += 1
        self.left_out["(further turns)"] += said.lost

    def _language(self, row: Row) -> str:
        """A code, or the name of a reason."""
        named = self.language or language_code(row.text("language"))
        if not self.redetect:
            return named or "no_language"
        from magpie_ollama.method.detection import Verdict, check, identify

        if not self.language:
            likeliest = identify(f"{row.instruction}\n{row.response}")
            if likeliest and likeliest not in SCRIPTS:
                return "other_language"
            return likeliest or named or "unknown_language"
        if check(row.instruction, named) is Verdict.NO:
            return "wrong_language"
        return "response_wrong_language" if check(row.response, named) is Verdict.NO else named


def as_record(row: Row) -> Record:
    """What a row says, with "" and 0 for the rest. Where nobody answers, or the answer is labelled as one that is not
    wanted, the messages are those up to the last question."""
    own = row.data if row.data.keys() >= set(FIRST) else {}
    kept = {key: _like(default, own.get(key)) for key, default in _OTHERS.items()}
    given = {
        "messages": [{"role": turn.role, "content": turn.text} for turn in row.said.turns or row.said.asked],
        "language": language_code(row.text("language")) or row.text("language"),
        "model": row.model,
        "confidence": row.confidence if own else 0.0,
        "reasoning": row.said.reasoning,
        "tags": tags(_judged(row)),
    }
    return Record(**{**kept, **given})


def _judged(row: Row) -> dict[str, str]:
    """The tags of this tool's judge; {} where nobody judged, or another tool."""
    return row.tags if {"judge"} <= row.tags.keys() <= Tags.__annotations__.keys() else {}


def _like(default: Any, value: Any) -> Any:
    """The value where it is of the default's type, and can be written; jq writes 1.0 as 1."""
    if type(default) is float:
        return float(value) if type(value) in (int, float) and abs(value) < 2**63 else default  # NaN is neither
    return value if type(value) is type(default) else default
