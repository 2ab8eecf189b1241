"""Records of a file, from Python."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from magpie_ollama.corpus.forms import Wanted
from magpie_ollama.corpus.reading import Rows
from magpie_ollama.curation.importing import as_record
from magpie_ollama.errors import UsageError
from magpie_ollama.records import Record

if TYPE_CHECKING:
    from datasets import Dataset


def read(path: str | Path, *, skip_bad: bool = False) -> Iterator[Record]:
    """The records of a file, one at a time: this tool's, or any other's instruction data that ``stats`` and ``view``
    read (JSON, JSONL, CSV, Parquet, packed by gzip).

    A row of another tool's has "" and 0 for what it does not say, and an ``id`` of its place, "line 7"; one that nobody
    answers has the user's message alone. With ``skip_bad``, lines that are no records are passed over, with a warning
    at the end.

    Raises ``errors.MagpieError``: at once for a file that is not there or none of the kind, later for a bad line.

    >>> for record in read("it.jsonl"):
    ...     print(record.instruction, "->", record.response)
    Quanto fa due più due? -> Quattro.
    """
    return _records(Rows(Path(path), skip_bad=skip_bad, wanted=Wanted()))


def _records(rows: Rows) -> Iterator[Record]:
    for row in rows:
        record = as_record(row)
        yield record if record.id else replace(record, id=row.id)
    if notice := rows.notice():
        warnings.warn(notice, stacklevel=2)


def to_dataset(path: str | Path, *, skip_bad: bool = False) -> Dataset:
    """A ``datasets.Dataset`` of the records of a file, as ``read`` gives them: a column for each key of a record, all
    of it in memory.

    Raises as ``read`` does, and ``errors.UsageError`` where the package datasets is not installed.

    >>> to_dataset("it.jsonl").select_columns(["language", "model"])[0]
    {'language': 'it', 'model': 'm:1b'}
    """
    try:
        from datasets import Dataset
    except ImportError as error:
        raise UsageError("The package datasets is not installed.", "pip install datasets") from error
    records = [record.to_dict() for record in read(path, skip_bad=skip_bad)]
    return Dataset.from_dict({one.name: [record[one.name] for record in records] for one in fields(Record)})
