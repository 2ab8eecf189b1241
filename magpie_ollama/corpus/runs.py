"""Runs: what was asked for in one go, how far it got, and each attempt it made.

A run is two files in ``it.jsonl.magpie/runs/``: ``<id>.json``, its manifest, and
``<id>.attempts.jsonl``, its journal. What it kept stands in neither: the corpus is the truth of that.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.metadata
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from magpie_ollama.corpus import files, lines, system
from magpie_ollama.corpus.appender import Appender, cause_and_remedy, failure
from magpie_ollama.corpus.scan import LAST_SEED, OfRun
from magpie_ollama.decoding import Count, Misshapen, convert, decode
from magpie_ollama.errors import CorpusError, UsageError
from magpie_ollama.records import MAX_SEED, Attempt, Name, TopicName

Status = Literal["running", "done", "short", "interrupted", "failed"]

_Number = Annotated[int, Meta(ge=1, lt=2**53)]


class _Manifest(msgspec.Struct):
    """What continuing a run asks of its manifest. An id is a file's name too, and never a path."""

    run: Annotated[str, Meta(pattern=r"\A[0-9]{8}-[0-9]{6}-[0-9a-f]{4}\Z")]
    number: _Number
    target: _Number
    seed: Annotated[int, Meta(ge=0, lt=LAST_SEED)]
    status: Status
    fingerprint: str
    seconds: Annotated[float, Meta(ge=0, lt=2**53)] = 0.0


class _Newest(msgspec.Struct):
    seed: int
    steering: Name = ""
    topic: TopicName = ""
    instruction_tokens: Count = 0
    response_tokens: Count = 0


class Run:
    """One run. Its attempts are numbered from 0; attempt ``index`` has the seed ``run.seed + index``."""

    def __init__(self, manifest: dict[str, Any], tally: OfRun, folder: Path | None) -> None:
        """``folder`` holds the run's two files; None for a run that lives in memory only."""
        self.manifest = manifest
        self._tally = tally
        self._folder = folder
        self._journal: Appender | None = None
        self._journaled: int | None = None

    @property
    def id(self) -> str:
        return str(self.manifest["run"])

    @property
    def target(self) -> int:
        """Records wanted of this run."""
        return int(self.manifest["target"])

    @property
    def seed(self) -> int:
        return int(self.manifest["seed"])

    @property
    def status(self) -> Status:
        status: Status = self.manifest["status"]
        return status

    @property
    def kept(self) -> int:
        """Records of this run in the corpus."""
        return self._tally.kept

    @property
    def next_index(self) -> int:
        """The first index that no attempt has had."""
        if self._journaled is None:
            self._journaled = max((attempt.index for attempt in self.attempts()), default=-1)
        return 1 + max(self._journaled, self._tally.top_seed - self.seed)

    def is_of_another(self, digest: str) -> bool:
        """Whether the run's model had another digest. "" is one that nobody knows, as in a manifest without it."""
        own = self.manifest.get("model_digest") or digest
        return bool(digest) and own != digest

    def attempts(self) -> Iterator[Attempt]:
        """The attempts so far, read from the journal, in the order they ended in. In memory: none."""
        if self._folder is None:
            return
        path = self._journal_path()
        try:
            with os.fdopen(system.open_plain(path, os.O_RDONLY), "rb") as file:
                for line in file:
                    # Half a line is all that a crash leaves of an attempt: it is skipped, wherever it stands.
                    with contextlib.suppress(Misshapen):
                        yield decode(line, Attempt)
        except FileNotFoundError:
            return
        except OSError as error:
            raise CorpusError(
                f"The journal {path} cannot be read: {cause_and_remedy(error)[0]}",
                f"move it away, and the run goes on without: mv {quote(str(path))} {quote(f'{path}.damaged')}",
            ) from error

    def journal(self, attempt: Attempt) -> None:
        """Add an attempt that has ended; a kept one after its record was appended. Raises CorpusError."""
        self._journaled = max(self.next_index - 1, attempt.index)
        if self._folder is None:
            return
        if self._journal is None:
            path = self._journal_path()
            try:
                self._journal = Appender(path, create=not path.exists(), sync="never")
            except OSError as error:
                raise failure(error, path) from error
            self._journal.end_line()
        self._journal.append(lines.encode(lines.values(attempt)))

    def go_behind(self, seed: int) -> None:
        """Give the attempts to come no seed below ``seed``."""
        self._journaled = max(self.next_index, seed - self.seed) - 1

    def resume(self, target: int) -> None:
        """Go on with a run that an earlier process left, towards ``target`` records. Raises CorpusError."""
        self._journal_newest()
        self.update(target=target, status="running")

    def update(self, **changes: Any) -> None:
        """Set keys of the manifest. Raises CorpusError."""
        self.manifest.update(changes)
        if self._folder is not None:
            _write(self._folder / f"{self.id}.json", self.manifest)

    def finish(self, status: Status) -> None:
        """Say in the manifest how the run ended, and when. Raises CorpusError."""
        self.close()
        self.update(status=status, kept=self.kept, finished_at=_now().isoformat(timespec="seconds"))

    def close(self) -> None:
        """Close the journal. The run goes on being "running" in its manifest."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _journal_newest(self) -> None:
        # A process may be killed between a record and its line in the journal; then that is the newest one.
        try:
            newest = convert(self._tally.newest, _Newest)
        except Misshapen:  # nothing, or not this tool's
            return
        index = newest.seed - self.seed
        if index < 0 or index in {attempt.index for attempt in self.attempts() if attempt.outcome == "kept"}:
            return
        tokens = newest.instruction_tokens, newest.response_tokens
        self.journal(Attempt(index, "kept", newest.steering, *tokens, topic=newest.topic))

    def _journal_path(self) -> Path:
        assert self._folder is not None
        return self._folder / f"{self.id}.attempts.jsonl"


def start(
    settings: Mapping[str, Any],
    manifest: Mapping[str, Any],
    target: int,
    *,
    earlier: Sequence[Run],
    tallies: dict[str, OfRun],
    folder: Path | None,
) -> Run:
    """A new run with its manifest written. ``tallies`` are the corpus', by run id; the run's own is added.

    Raises UsageError for a seed out of range, CorpusError.
    """
    created = _now()
    taken = tallies.keys() | {run.id for run in earlier}
    taken |= {path.stem for path in folder.glob("*.json")} if folder else set()  # a damaged one is not written over
    run_id = ""
    while not run_id or run_id in taken:  # the clock alone makes no id: it may stand still or go back
        run_id = f"{created:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    mark = fingerprint(settings)
    same = [run for run in earlier if run.manifest["fingerprint"] == mark]
    own = {
        "run": run_id,
        "number": 1 + max((run.manifest["number"] for run in earlier), default=0),
        "status": "running",
        "target": target,
        "seed": _first_seed(settings.get("seed"), same),
        "created_at": created.isoformat(timespec="seconds"),
        "finished_at": "",
        "tool_version": _tool_version(),
        "fingerprint": mark,
        "settings": dict(settings),
    }
    run = Run({**own, **manifest, **own}, tallies.setdefault(run_id, OfRun()), folder)
    run.update()
    return run


def load(folder: Path, tallies: dict[str, OfRun]) -> tuple[list[Run], list[str]]:
    """The runs in ``folder``, oldest first, and a notice for each manifest that cannot be read."""
    runs, notices = [], []
    try:
        system.check_kind(folder, stat.S_IFDIR)
        paths = sorted(folder.glob("*.json"))
    except OSError as error:
        return [], [f"{folder} cannot be read: {error.strerror}; earlier runs cannot be continued"]
    for path in paths:
        try:
            manifest = decode(files.read(path), dict[str, Any])
            run_id = convert(manifest, _Manifest).run
            if run_id != path.stem:
                raise Misshapen(f"it is the manifest of the run {run_id}")
            _text(manifest)
        except (OSError, Misshapen) as error:
            if getattr(error, "errno", 0) in (errno.EMFILE, errno.ENFILE):
                raise  # it is whole, but for this process
            why = error.strerror if isinstance(error, OSError) else str(error)
            notices.append(f"{path} cannot be read: that run cannot be continued; mend it or remove it ({why})")
        else:
            runs.append(Run(manifest, tallies.setdefault(run_id, OfRun()), folder))
    # By number, not by time: the clock may have been set back between two runs.
    return sorted(runs, key=lambda run: (run.manifest["number"], run.id)), notices


def fingerprint(settings: Mapping[str, Any]) -> str:
    """16 hexadecimal digits, the same for equal settings in whatever order."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _first_seed(given: int | None, same: Sequence[Run]) -> int:
    """A random seed, or the given one. Runs that were given the same go on where the last one stopped,
    or each would repeat the records of the one before."""
    if given is None:
        return secrets.randbelow(MAX_SEED)
    if not 0 <= given <= MAX_SEED:
        raise UsageError(f"The seed {given} is out of range", f"choose --seed between 0 and {MAX_SEED}")
    return max(given, behind(same))


def behind(runs: Iterable[Run]) -> int:
    """The first seed above all that the runs have used."""
    return max((run.seed + run.next_index for run in runs), default=0)


def _text(manifest: Mapping[str, Any]) -> str:
    """Raises Misshapen for what is nested more deeply than can be written."""
    try:
        return lines.whole_text(json.dumps(manifest, ensure_ascii=False, indent=2, default=str))
    except RecursionError as error:
        raise Misshapen("nested too deeply") from error


def _write(path: Path, manifest: Mapping[str, Any]) -> None:
    try:
        files.write(path, _text(manifest).encode())
    except OSError as error:
        raise failure(error, path) from error


def _now() -> datetime:
    return datetime.now(UTC)


def _tool_version() -> str:
    try:
        return importlib.metadata.version("magpie-ollama")
    except importlib.metadata.PackageNotFoundError:
        return ""  # run from a checkout that is not installed
