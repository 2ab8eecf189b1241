"""A new file of records with their tags, or the same one in place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from magpie_ollama.corpus.reading import Rows
from magpie_ollama.corpus.rewriting import in_place, new_file
from magpie_ollama.curation.provenance import Operation, carrying, note
from magpie_ollama.tagging import scales
from magpie_ollama.tagging.judgements import Judgements


@dataclass(frozen=True, slots=True)
class Written:
    """``counts`` are those of each tag's values, "unjudged" among them; ``example`` is an instruction with its tags in
    words; ``backup`` what the old file is kept as, where it was replaced by another."""

    counts: dict[str, Counter[str]]
    example: tuple[str, str] | None
    backup: Path | None


def write_tagged(
    file: Path,
    output: Path | None,
    reading: AbstractContextManager[Rows],
    judgements: Judgements,
    more: Collection[str],
    proof: str,
    *,
    force: bool,
) -> Written:
    """Writes the rows of ``file``, which ``reading`` gives, with their ``judgements``: to ``output``, without one in
    place. ``more`` is what the judge was asked besides, ``proof`` what it was worth, for the file's story. Raises
    MagpieError."""
    keys = (*scales.KEYS, *(key for key in more if key == "language"))
    counts: dict[str, Counter[str]] = {key: Counter() for key in keys}
    with (
        nullcontext() if output is None else carrying(file, output) as carrier,
        in_place(file) if output is None else new_file(output, force=force) as target,
        reading as rows,  # the inner one: nothing takes its name where there were no rows
    ):
        changed, runs, example = False, set(), None
        for row in rows:
            runs.add(row.text("run"))
            tags = judgements.tags(scales.key(row)) or scales.unjudged(judgements.model, more)
            line = scales.tagged(row, tags)
            target.write(line)
            changed = changed or line is not row.line
            for key in keys:
                counts[key][tags[key] or "unjudged"] += 1
            example = example or (row.instruction, ", ".join(f"{key} {tags[key]}" for key in scales.KEYS if tags[key]))
        target.unchanged = output is None and not changed
        done = Operation.now("tag", f"--model {judgements.model} ({proof})", rows.count, rows.count, {})
        if carrier is not None:
            carrier.take(runs, done)
    if target.backup:
        note(file, done)
    return Written(counts, example, target.backup)
