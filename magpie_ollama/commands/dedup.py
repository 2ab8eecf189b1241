"""``magpie-ollama dedup``: each instruction once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from magpie_ollama.commands.base import Command
from magpie_ollama.commands.cleaning import STREAM, cleaning, data_argument, writing_options
from magpie_ollama.commands.options import FloatRange, distance_option, model_options, option
from magpie_ollama.errors import UsageError

if TYPE_CHECKING:
    from magpie_ollama.curation.neighbours import Meaning

EXPLANATIONS = {
    "duplicate": "an earlier instruction, but for case, punctuation and spaces",
    "near_duplicate": "nearly an earlier instruction",
    "semantic_duplicate": "an earlier instruction in other words, by its vector",
    "bad_line": "no record (--skip-bad), or torn",
}


@click.command(cls=Command, examples=("dedup it.jsonl --show", "dedup it.jsonl --semantic -o once.jsonl"))
@data_argument
@option("--exact", is_flag=True, help="Leave near-duplicates in.")
@option(
    "--threshold",
    type=FloatRange(0.5, 1),
    default=0.7,
    help="Similarity of a near-duplicate: the share of common runs of five characters, estimated to 0.06.",
)
@option("--semantic", is_flag=True, help="Remove what says the same in other words too, by an embedding model.")
@distance_option
@model_options("Ollama")
@option("--show", is_flag=True, help="Print each removed instruction with the one that is kept.")
@writing_options("dedup")
def command(file: Path, **given: Any) -> None:
    """Remove records whose instruction repeats an earlier one, exactly or nearly. The first is kept.

    FILE is a corpus, or any other tool's JSONL of instruction data; - is stdin. `generate` already keeps duplicates out
    of its own corpus, by the same measure. With --semantic, -m and the options after it name an embedding model.
    """
    from magpie_ollama.curation.deduplication import Deduplicator, deduplicated
    from magpie_ollama.display import consoles
    from magpie_ollama.display.removals import show_pair
    from magpie_ollama.display.words import counted

    meaning = _meaning(file, given) if given["semantic"] else None
    show = given["show"] and (given["as_json"] or not given["quiet"])
    console = consoles.stderr() if given["output"] == STREAM else consoles.stdout()
    kept: list[tuple[int, str]] = []
    pairs: list[dict[str, Any]] = []
    unwanted = 0
    deduplicator = Deduplicator(threshold=given["threshold"], exact=given["exact"], meaning=meaning)
    with cleaning(file, EXPLANATIONS, given, prints=show) as job:
        # What is labelled as a bad answer would take the place of a good one to the same instruction.
        items = ((None if row.unwanted else row.instruction, row) for row in job.rows)
        for row, twin in deduplicated(items, deduplicator, lambda row: row.input):
            job.settle(row, twin.reason if twin else None)
            unwanted += row.unwanted
            if not show or row.unwanted:
                continue
            if twin is None:
                kept.append((row.number, row.instruction))
                continue
            number, text = kept[twin.first]
            if given["as_json"]:
                pair = {"similarity": round(twin.similarity, 2), "kept_line": number, "removed_line": row.number}
                pairs.append({**pair, "reason": twin.reason, "kept": text, "removed": row.instruction})
            else:
                show_pair((number, text), (row.number, row.instruction), twin.similarity, twin.reason, console)
        if show and given["as_json"]:
            job.facts["pairs"] = pairs
        if unwanted:
            job.facts["labelled_bad"] = unwanted
    if unwanted and not given["quiet"]:
        told = f"Compared with none and kept: {counted(unwanted, 'record')} labelled as an answer that is not wanted."
        consoles.show_notice(consoles.stderr(), told)


def _meaning(file: Path, given: dict[str, Any]) -> Meaning:
    """The vectors of all that is to be compared. They are made before a new file is begun: that may take hours."""
    from magpie_ollama.commands.embedding import embedded
    from magpie_ollama.curation.neighbours import Meaning

    if given["exact"]:
        raise UsageError("--exact leaves in what --semantic is to remove", "leave out one of the two")
    row_of, vectors, _ = embedded(file, given)
    return Meaning(vectors, row_of, given["distance"])
