"""The corpus: one JSONL file that the user owns, and beside it a folder with what the tool needs.

    it.jsonl             one record a line, only ever appended to
    it.jsonl.magpie/     lock, runs/ (see ``corpus.runs``), torn-*.txt (ends of lines that a crash cut),
                         rejected.jsonl, unwanted.jsonl (what was not taken, see ``corpus.rejections``),
                         cache/ (see ``corpus.cache``; may be deleted at any time),
                         decisions.jsonl (what a reader decided, see ``corpus.decisions``),
                         and what ``curation`` notes: tags.jsonl (judgements), operations.jsonl (what was done since)

Without the folder no record is lost, but earlier runs cannot be continued.
"""

from __future__ import annotations

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import Any, Self

from magpie_ollama.corpus import cache, files, lines, runs, system
from magpie_ollama.corpus.appender import Appender, Sync, cause_and_remedy, failure, write_all
from magpie_ollama.corpus.lock import CorpusLock
from magpie_ollama.corpus.runs import Run
from magpie_ollama.corpus.scan import Contents, instructions, scan
from magpie_ollama.errors import CorpusError, UsageError
from magpie_ollama.records import SCHEMA, Record, keys_of

_OTHER_FILE = "choose another file with -o"


class Corpus(ABC):
    """Where records go. ``Corpus.open`` gives one for a path, ``StdoutCorpus`` is the one for ``-o -``.

    ``path`` is the resolved path, None for a stream.
    """

    path: Path | None = None

    def __init__(self) -> None:
        self._contents = Contents()
        self._runs: list[Run] = []
        self._runs_folder: Path | None = None

    @staticmethod
    def open(path: Path, *, sync: Sync = "second") -> Corpus:
        """Open the corpus at ``path``, which need not be there yet: nothing is created before the first
        record or run. A last line that a crash tore is set aside. A FIFO or a device is written as a stream.

        Raises UsageError for a place that cannot hold a corpus, NotACorpus for a foreign file, CorpusLocked
        while another process writes to it, CorpusError for a line that is no record.
        """
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            mode = stat.S_IFREG
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be used: {_words(error)}", _OTHER_FILE) from error
        if stat.S_ISDIR(mode):
            raise UsageError(f"{path} is a folder", f"name a file in it: -o {path / 'corpus.jsonl'}")
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            return StdoutCorpus(path)
        if not stat.S_ISREG(mode):
            raise UsageError(f"{path} is neither a file nor a stream", _OTHER_FILE)
        return _FileCorpus(path.resolve(), sync)  # two paths to one file are one corpus, with one lock

    @property
    def notices(self) -> list[str]:
        """What the user should be told: what opening mended, and what other programs did since."""
        return []

    @property
    def records(self) -> int:
        """The number of records in the corpus, of all runs."""
        return self._contents.records

    @property
    def schema(self) -> int:
        """Of the records that are appended: an older corpus goes on with the keys that it has."""
        return self._contents.schema

    def models(self) -> set[str]:
        """The models that wrote the records."""
        return set(self._contents.models)

    def instructions(self, *, new: bool = False) -> Iterator[tuple[str, str]]:
        """(record id, instruction) of each record, streamed from disk; with ``new``, of those only that ``recall`` does
        not cover. Nothing for a stream."""
        return iter(())

    def recall(self) -> bytes:
        """What ``remember`` was given when the corpus was open before, b"" where that is not known any more."""
        return b""

    def remember(self, state: bytes) -> None:  # noqa: B027, a stream has no place for it
        """Keep ``state``, which says something of all records that were there at the opening, for later openings.

        It may be lost at any time, and is never given back for other records than these.
        """

    def append(self, record: Record, **more: Any) -> None:
        """Add a record: it is in the file, whole, when this returns, and counted in its run's ``kept``. ``more`` are
        further keys of its line, or other values.

        Raises CorpusError, and then nothing of it is in the file; BrokenPipeError for a closed stream.
        """
        fields = lines.values(record)
        if self.schema < SCHEMA:
            fields = {key: fields[key] for key in keys_of(self.schema)} | {"schema": self.schema}
        fields |= more
        self._write(lines.encode(fields))
        self._contents.count(fields)

    @property
    def runs(self) -> Sequence[Run]:
        """Those that the folder beside the corpus tells of, oldest first."""
        return self._runs

    def unfinished(self, settings: Mapping[str, Any], digest: str = "") -> Run | None:
        """The newest run of equal settings, by no model of another ``digest``, that did not end as done; it may have
        its last record all the same, where a crash came right after it. ``Run.resume`` goes on with it, behind all
        seeds that such runs were given."""
        mark = runs.fingerprint(settings)
        same = [run for run in self._runs if run.manifest["fingerprint"] == mark]
        for run in reversed(same):
            if run.status != "done" and not run.is_of_another(digest):
                if settings.get("seed") is not None:  # drawn ones are far apart
                    run.go_behind(runs.behind(same))
                return run
        return None

    def start_run(self, settings: Mapping[str, Any], manifest: Mapping[str, Any], target: int) -> Run:
        """A new run of ``target`` records.

        ``settings`` is what makes two runs the same; its "seed", if any, is the first attempt's.
        ``manifest`` is whatever else should stand in the manifest. Both hold what JSON can hold.

        Raises UsageError for a seed out of range, CorpusError.
        """
        run = runs.start(
            settings,
            manifest,
            target,
            earlier=self._runs,
            tallies=self._contents.runs,
            folder=self._runs_folder,
        )
        self._runs.append(run)
        return run

    @abstractmethod
    def close(self) -> None:
        """Force everything to the disk, as ``sync`` has it, and give the corpus free. Raises CorpusError."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _write(self, line: bytes) -> None: ...


class _FileCorpus(Corpus):
    def __init__(self, path: Path, sync: Sync) -> None:
        super().__init__()
        self.path: Path = path
        self._sync = sync
        self._mended: list[str] = []
        self._folder = files.folder_beside(path)
        self._runs_folder: Path = self._folder / "runs"
        self._lock = CorpusLock(self._folder, path)
        self._appender: Appender | None = None
        self._cache = cache.Cache(self._folder)
        if not path.parent.is_dir():
            raise UsageError(f"The folder {path.parent} does not exist", f"mkdir -p {quote(str(path.parent))}")
        if path.exists():
            self._scan(first_only=True)  # before the lock: a foreign file gets no folder beside it
        if path.exists() or self._folder.exists():
            self._take_lock()
            try:
                self._read_and_mend()
            except BaseException:
                self.close()
                raise
        elif not system.may_create_in(path.parent):
            raise self._unwritable()

    @property
    def notices(self) -> list[str]:
        return self._mended + (self._appender.notices if self._appender else [])

    def instructions(self, *, new: bool = False) -> Iterator[tuple[str, str]]:
        if not self.path.exists():
            return iter(())
        size, number = self._cache.covered if new else (0, 0)
        return instructions(self.path, size=size, number=number)

    def recall(self) -> bytes:
        return self._cache.state()

    def remember(self, state: bytes) -> None:
        self._cache.write(self.path, state)

    def start_run(self, settings: Mapping[str, Any], manifest: Mapping[str, Any], target: int) -> Run:
        self._begin()
        try:
            files.make_folder(self._runs_folder)
        except OSError as error:
            raise failure(error, self._runs_folder) from error
        return super().start_run(settings, manifest, target)

    def close(self) -> None:
        try:
            for run in self._runs:
                run.close()
            if self._appender:
                self._appender.close()
        finally:
            self._lock.release()

    def _write(self, line: bytes) -> None:
        self._begin()
        if self._appender is None:
            try:
                self._appender = Appender(self.path, create=True, sync=self._sync)
            except FileExistsError:
                raise self._appeared() from None
            except OSError as error:
                raise failure(error, self.path) from error
        self._appender.append(line)

    def _begin(self) -> None:
        """Take the lock on a corpus that was not there when it was opened."""
        if self._lock.held:
            return
        self._take_lock()
        if self.path.exists() or self._runs_folder.exists():
            self._lock.release()
            raise self._appeared()

    def _take_lock(self) -> None:
        try:
            files.make_folder(self._folder)
            self._lock.acquire()
        except OSError as error:
            raise self._unwritable(error) from error

    def _scan(self, *, first_only: bool = False, known: Contents | None = None) -> Contents:
        try:
            return scan(self.path, first_only=first_only, known=known)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be read: {_words(error)}", _OTHER_FILE) from error

    def _read_and_mend(self) -> None:
        if self.path.exists():
            try:
                appender = self._appender = Appender(self.path, create=False, sync=self._sync)
            except OSError as error:
                raise UsageError(
                    f"{self.path} cannot be written to: {_words(error)}",
                    f"chmod u+w {self.path}, or {_OTHER_FILE}",
                ) from error
            self._contents = self._scan(known=self._cache.contents())
            self._cache.opened(self._contents)
            if self.schema < SCHEMA:
                without = [key for key in keys_of(SCHEMA) if key not in keys_of(self.schema)]
                self._mended.append(
                    f"{self.path.name} has records of schema {self.schema}, and goes on without {', '.join(without)}. "
                    f"`magpie-ollama upgrade {quote(str(self.path))}` gives it these keys first"
                )
            if self._contents.torn:
                self._set_aside(appender)
            elif appender.end_line():
                self._mended.append(f"The last line of {self.path.name} had no newline: added")
        self._runs, unread = runs.load(self._runs_folder, self._contents.runs)
        self._mended += unread
        if not self._runs and any(tally.kept for tally in self._contents.runs.values()):
            self._mended.append(f"{self._runs_folder} is missing: earlier runs cannot be continued; a new one starts")

    def _set_aside(self, appender: Appender) -> None:
        """Move the torn last line to a file of its own: it may be all that is left of a long answer."""
        torn = self._contents.torn
        try:
            aside = self._keep(torn)
            appender.cut(len(torn))
        except OSError as error:
            raise failure(error, self._folder) from error
        self._mended.append(
            f"The last line of {self.path.name} was torn: its {len(torn)} bytes are kept aside in {aside}"
        )

    def _keep(self, torn: bytes) -> Path:
        now = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
        names = (f"torn-{now}{f'-{copy}' if copy > 1 else ''}.txt" for copy in count(1))
        aside = next(path for name in names if not os.path.lexists(path := self._folder / name))
        files.write(aside, torn)
        return aside

    def _unwritable(self, error: OSError | None = None) -> UsageError:
        if error and error.errno in (errno.ELOOP, errno.EINVAL):  # something else stands in a file's place
            return UsageError(f"{error.filename} cannot be used: {_words(error)}", f"move it away, or {_OTHER_FILE}")
        why = f": {_words(error)}" if error else ""
        return UsageError(f"The folder {self.path.parent} cannot be written to{why}", _OTHER_FILE)

    def _appeared(self) -> CorpusError:
        return CorpusError(
            f"Another program made {self.path} after this one had looked for it", "run the same command again"
        )


class MemoryCorpus(Corpus):
    """Records that nothing but the caller keeps; runs that end with the process."""

    def close(self) -> None: ...

    def _write(self, line: bytes) -> None: ...


class StdoutCorpus(Corpus):
    """Records as lines on a stream: no lock, no folder, and runs that end with the process."""

    def __init__(self, path: Path | None = None) -> None:
        """Write to stdout, or to the FIFO or device at ``path``."""
        super().__init__()
        self._stream = path
        self._fd = 1 if path is None else -1
        self._left: BaseException | None = None

    @property
    def notices(self) -> list[str]:
        return [f"What went to {self._stream or 'stdout'} may end in half a line."] if self._left is not None else []

    def close(self) -> None:
        if self._stream is not None and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, line: bytes) -> None:
        if self._left is not None:
            raise self._left
        try:
            if self._stream is not None and self._fd < 0:
                self._fd = os.open(self._stream, system.STREAM)  # a FIFO waits here for its reader
            write_all(self._fd, line)
        except BrokenPipeError:
            raise  # the reader has had enough, as `head` has: no failure
        except OSError as error:
            cause, remedy = cause_and_remedy(error)
            raise CorpusError(f"Cannot write to {self._stream or 'stdout'}: {cause}", remedy) from error
        except BaseException as error:  # Ctrl-C, while nobody reads: what came now would stand behind half a line
            self._left = error
            raise


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
