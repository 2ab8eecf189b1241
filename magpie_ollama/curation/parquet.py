"""Conversations in Parquet, written a row group at a time. Needs pyarrow (the extra ``parquet``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from magpie_ollama.corpus import lines
from magpie_ollama.corpus.rewriting import Output
from magpie_ollama.errors import UsageError, extra

GROUP_ROWS = 5_000
GROUP_BYTES = 4 * 2**20
"""A row group ends at whichever comes first, so that memory stays the same however long the records are."""


class MessagesTable:
    """The column ``messages``: a list of turns with these ``keys``, the same as in the JSONL form.

    A context manager: its end writes the last rows and the footer, but for an error, when nothing more is written.
    """

    def __init__(self, output: Output, keys: Sequence[str] = ("role", "content")) -> None:
        """Raises UsageError where pyarrow is not installed."""
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise UsageError(
                "Parquet needs pyarrow",
                f"install it with `{extra('parquet')}`, or choose --to messages",
            ) from None
        self._arrow = pyarrow
        turn = pyarrow.struct([(key, pyarrow.string()) for key in keys])
        self._keys = keys
        self._schema = pyarrow.schema([("messages", pyarrow.list_(turn))])
        self._sink = _Sink(output)
        # Roles repeat and texts do not: a dictionary of those would be built in vain, and their least and greatest
        # would stand in the footer, whole.
        roles = ["messages.list.element.role"]
        self._writer = pyarrow.parquet.ParquetWriter(
            self._sink, self._schema, compression="zstd", use_dictionary=roles, write_statistics=roles
        )
        self._clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None:
                self._write()
            else:
                self._sink.open = False  # the writer adds a footer in any case, if only when it is forgotten
        except BaseException:
            self._sink.open = False
            raise
        finally:
            self._writer.close()

    def add(self, values: dict[str, Any]) -> None:
        for turn in values["messages"]:
            for key in self._keys:
                self._values[key].append(turn[key])
                self._size += len(turn[key])
        self._ends.append(len(self._values["role"]))
        if len(self._ends) > GROUP_ROWS or self._size > GROUP_BYTES:
            self._write()

    def _write(self) -> None:
        if len(self._ends) == 1:
            return
        arrow = self._arrow
        turns = arrow.StructArray.from_arrays(
            [self._texts(self._values[key]) for key in self._keys],
            fields=list(self._schema.field("messages").type.value_type),
        )
        column = arrow.ListArray.from_arrays(
            arrow.array(self._ends, arrow.int32()), turns, type=self._schema.field("messages").type
        )
        self._writer.write_table(arrow.Table.from_arrays([column], schema=self._schema))
        self._clear()

    def _texts(self, values: list[str]) -> Any:
        try:
            return self._arrow.array(values, self._arrow.string())
        except UnicodeEncodeError:  # a half of a surrogate pair somewhere
            return self._arrow.array(map(lines.whole_text, values), self._arrow.string())

    def _clear(self) -> None:
        self._values: dict[str, list[str]] = {key: [] for key in self._keys}
        self._ends = [0]
        self._size = 0


class _Sink:
    """What pyarrow asks of a file to write to: it counts the position by itself and never seeks."""

    closed = False

    def __init__(self, output: Output) -> None:
        self._output = output
        self.open = True

    def write(self, data: bytes) -> int:
        if self.open:
            self._output.write_bytes(bytes(data))
        return len(data)

    def flush(self) -> None: ...
