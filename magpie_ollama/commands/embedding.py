"""What the commands that compare instructions by their vectors share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.text import Text

from magpie_ollama.commands.options import server_choice
from magpie_ollama.corpus import files, lines
from magpie_ollama.corpus.appender import failure
from magpie_ollama.corpus.forms import Wanted
from magpie_ollama.corpus.reading import Row, Rows, is_stream
from magpie_ollama.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from magpie_ollama.curation.neighbours import Neighbours


class Embedded(NamedTuple):
    """The instructions of a file, each once, with the row of its vector, and the model that made these."""

    row_of: dict[str, int]
    vectors: NDArray[np.float32]
    model: str


class Pair(NamedTuple):
    """Two records that say the same: line and instruction of each."""

    distance: float
    first: tuple[int, str]
    second: tuple[int, str]

    def to_dict(self) -> dict[str, Any]:
        (line, text), (other, words) = self.first, self.second
        told = {"distance": round(self.distance, 4), "line": line, "neighbour_line": other}
        return {**told, "instruction": text, "neighbour": words}


def embedded(file: Path, given: Mapping[str, Any]) -> Embedded:
    """What is labelled as badly answered is left out."""
    from magpie_ollama.display import consoles, live
    from magpie_ollama.display.judging import showing
    from magpie_ollama.run.interrupts import run
    from magpie_ollama.tagging.embedding import embed
    from magpie_ollama.tagging.judging import JudgingProgress

    if is_stream(file):
        raise UsageError("Vectors are kept beside the file, and stdin or a pipe has no such place", "give it a file")
    texts = list(dict.fromkeys(row.instruction for row in _rows(file, given)))
    progress = JudgingProgress(deed="embedded")
    console = consoles.stderr()

    async def made() -> tuple[NDArray[np.float32], str]:
        async with showing(progress, console, live.mode(console, quiet=given["quiet"], plain=False)):
            return await embed(file, server_choice(given, writes=False), texts, progress)

    try:
        vectors, model = run(made())
    except KeyboardInterrupt:
        if not given["quiet"]:
            left = f"{progress.total - progress.done:,} are left. " if progress.started else ""
            consoles.say(console, Text(f"Stopped. {left}The same command continues."))
        raise
    return Embedded({text: row for row, text in enumerate(texts)}, vectors, model)


def beside(file: Path, given: Mapping[str, Any]) -> tuple[Neighbours, list[Pair]]:
    """How far the records of a file are from one another, and those that say the same, each two once. Magpie's columns
    are written beside the file, a line a record."""
    from magpie_ollama.curation.neighbours import neighbours

    row_of, vectors, model = embedded(file, given)
    rows = [(row.number, row.id, row.instruction) for row in _rows(file, given) if row.instruction in row_of]
    found = neighbours(vectors[[row_of[text] for _, _, text in rows]], given["distance"], model)
    ids = [name for _, name, _ in rows]
    columns = zip(ids, found.distance.tolist(), found.repeats.tolist(), found.first.tolist(), strict=True)
    told = (
        {
            "id": name,
            "min_neighbor_distance": round(distance, 4),
            "repeat_count": count,
            "min_similar_conversation_id": ids[first] if count else "",
        }
        for name, distance, count, first in columns
    )
    target = files.folder_beside(file.resolve()) / "neighbours.jsonl"
    try:
        files.write(target, b"".join(map(lines.encode, told)))
    except OSError as error:
        raise failure(error, target) from error
    near = [at for at, count in enumerate(found.repeats.tolist()) if count]
    nearest = found.nearest.tolist()
    return found, [
        Pair(float(found.distance[at]), rows[at][::2], rows[nearest[at]][::2])
        for at in near
        if nearest[nearest[at]] != at or at < nearest[at]
    ]


def _rows(file: Path, given: Mapping[str, Any]) -> Iterator[Row]:
    return (row for row in Rows(file, skip_bad=given["skip_bad"], wanted=Wanted()) if not row.unwanted)
