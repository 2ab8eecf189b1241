"""Runs: what was asked for in one go, how far it got, and each attempt it made.

A run is two files in ``it.jsonl.magpie/runs/``: ``<id>.json``, its manifest, and
``<id>.attempts.jsonl``, its journal. What it kept stands in neither: the corpus is the truth of that.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from magpie_ollama.corpus import lines, system
from magpie_ollama.corpus.appender import Appender, failure
from magpie_ollama.corpus.scan import Tally
from magpie_ollama.errors import UsageError
from magpie_ollama.records import Attempt

Status = Literal["running", "done", "short", "interrupted", "failed"]

MAX_SEED = 2**30
"""The highest seed a run may be given: servers take 31 bits, and each attempt adds one to it."""

_ATTEMPT_KEYS = tuple(field.name for field in fields(Attempt))


class Run:
    """One run. Its attempts are numbered from 0; attempt ``index`` has the seed ``run.seed + index``."""

    def __init__(self, manifest: dict[str, Any], tally: Tally, folder: Path | None) -> None:
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

    def attempts(self) -> Iterator[Attempt]:
        """The attempts so far, read from the journal, in the order they ended in. In memory: none."""
        if self._folder is None or not self._journal_path().exists():
            return
        with self._journal_path().open("rb") as file:
            # Half a line is all that a crash leaves of an attempt: it is skipped, wherever it stands.
            for value in lines.reader(file).iter(type=dict, skip_empty=True, skip_invalid=True):
                try:
                    yield Attempt(**{key: value[key] for key in _ATTEMPT_KEYS if key in value})
                except TypeError:
                    continue

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
        newest = self._tally.newest
        seed = newest.get("seed")
        index = seed - self.seed if type(seed) is int else -1
        if index < 0 or index in {attempt.index for attempt in self.attempts() if attempt.outcome == "kept"}:
            return
        numbers = {key: newest[key] for key in ("instruction_tokens", "response_tokens") if key in newest}
        self.journal(Attempt(index, "kept", str(newest.get("steering", "")), **numbers))

    def _journal_path(self) -> Path:
        assert self._folder is not None
        return self._folder / f"{self.id}.attempts.jsonl"


def start(
    settings: Mapping[str, Any],
    manifest: Mapping[str, Any],
    target: int,
    *,
    earlier: Sequence[Run],
    tallies: dict[str, Tally],
    folder: Path | None,
) -> Run:
    """A new run with its manifest written. ``tallies`` are the corpus', by run id; the run's own is added.

    Raises UsageError for a seed out of range, CorpusError.
    """
    created = _now()
    taken = tallies.keys() | {run.id for run in earlier}
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
    run = Run({**own, **manifest, **own}, tallies.setdefault(run_id, Tally()), folder)
    run.update()
    return run


def load(folder: Path, tallies: dict[str, Tally]) -> tuple[list[Run], list[str]]:
    """The runs in ``folder``, oldest first, and a notice for each manifest that cannot be read."""
    runs, notices = [], []
    for path in folder.glob("*.json"):
        try:
            manifest = json.loads(path.read_bytes())
            run = Run(manifest, tallies.setdefault(manifest["run"], Tally()), folder)
            _ = run.id, run.target, run.seed, run.status, manifest["number"] + 0, manifest["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError):
            notices.append(f"{path} cannot be read: that run cannot be continued")
        else:
            runs.append(run)
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


def _write(path: Path, manifest: Mapping[str, Any]) -> None:
    """Replace a manifest in one step: a reader, and a crash, find the old or the new one, and both whole."""
    new = path.with_name(path.name + ".new")
    text = lines.whole_text(json.dumps(manifest, ensure_ascii=False, indent=2, default=str))
    try:
        with new.open("wb") as file:
            file.write(text.encode())
            file.flush()
            system.sync_file(file.fileno())
        system.replace(new, path)
        system.sync_folder(path.parent)
    except OSError as error:
        raise failure(error, path) from error


def _now() -> datetime:
    return datetime.now(UTC)


def _tool_version() -> str:
    try:
        return importlib.metadata.version("magpie-ollama")
    except importlib.metadata.PackageNotFoundError:
        return ""  # run from a checkout that is not installed
