"""The judgements on a file's records, written down as they come: ``it.jsonl.magpie/tags.jsonl``.

They are kept by what was judged, and not by line or id: they hold however the file is cut, filtered or added to.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from magpie_ollama.corpus import files, lines, system
from magpie_ollama.corpus.appender import Appender, cause_and_remedy, failure
from magpie_ollama.errors import CorpusError
from magpie_ollama.tagging.scales import Judge, Judgement, check


class Judgements:
    """Those that ``model`` made with these scales; others in the file are left alone. A context manager."""

    name = "tags.jsonl"

    def __init__(self, source: Path, judge: Judge, model: str) -> None:
        """For the records of ``source``. Raises CorpusError."""
        self.path = files.folder_beside(source.resolve()) / self.name
        self._judge = judge
        self.model = model
        self._appender: Appender | None = None
        self._found: dict[str, Judgement] = {}
        try:
            self._read()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise failure(error, self.path) from error

    def __len__(self) -> int:
        return len(self._found)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._appender is not None:
            self._appender.close()

    def tags(self, key: str) -> Judgement | None:
        """Those written down for a record; None where this judge gave none. Those that stand in its line do not count:
        they do not say for which prompt or text they were given."""
        return self._found.get(key)

    def add(self, key: str, tags: Judgement) -> None:
        """Write a judgement down: it is in the file, whole, when this returns. Raises CorpusError."""
        if self._appender is None:
            try:
                files.make_folder(self.path.parent)
                self._appender = Appender(self.path, create=not self.path.exists(), sync="second")
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                    raise CorpusError(
                        f"Cannot write to {self.path}: {cause_and_remedy(error)[0]}",
                        "judgements are kept beside the file: copy it to a folder that can be written to, "
                        "and tag the copy",
                    ) from error
                raise failure(error, self.path) from error
            self._appender.end_line()
        self._appender.append(lines.encode({"record": key, "scales": self._judge.mark, **tags}))
        self._found[key] = tags

    def _read(self) -> None:
        with os.fdopen(system.open_plain(self.path, os.O_RDONLY), "rb") as file:
            # Half a line is all that a crash leaves of a judgement: it is skipped, wherever it stands.
            for value in lines.reader(file).iter(type=dict, skip_empty=True, skip_invalid=True):
                if (value.get("judge"), value.get("scales")) == (self.model, self._judge.mark):
                    tags = self._checked(value)
                    if tags is not None and isinstance(value.get("record"), str):
                        self._found[value["record"]] = tags

    def _checked(self, value: dict[str, Any]) -> Judgement | None:
        return check(value, self._judge, self.model)
