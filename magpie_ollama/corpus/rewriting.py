"""Files that are written as a whole: there at the end, or not at all."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from shlex import quote

from magpie_ollama.corpus import system
from magpie_ollama.corpus.appender import cause_and_remedy, write_all
from magpie_ollama.corpus.lock import CorpusLock
from magpie_ollama.corpus.reading import is_stream
from magpie_ollama.errors import CorpusError, UsageError

BUFFER = 2**20


class Output:
    """Lines on their way to a file, or to stdout. ``count`` of them were written.

    ``backup`` is where the old content is kept, once a file was changed in place. With ``unchanged`` set, the block's
    end leaves the file as it was.
    """

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._name = name
        self._waiting: list[bytes] = []
        self._size = 0
        self.count = 0
        self.backup: Path | None = None
        self.unchanged = False

    def write(self, line: bytes) -> None:
        """Add a line, given without its newline. Raises CorpusError; BrokenPipeError for a closed stream."""
        self._waiting.append(line)
        self._size += len(line) + 1
        self.count += 1
        if self._size >= BUFFER:
            self.flush()

    def write_bytes(self, data: bytes) -> None:
        """Add bytes as they stand, for files that are not made of lines. Raises as ``write`` does."""
        self.flush()
        with self._told():
            write_all(self._fd, data)

    def flush(self) -> None:
        waiting, self._waiting, self._size = self._waiting, [], 0
        if waiting:
            with self._told():
                write_all(self._fd, b"\n".join(waiting) + b"\n")

    def finish(self) -> None:
        """Force all of it to the disk and close the file: Windows renames no open one."""
        self.flush()
        with self._told():
            system.sync_file(self._fd)
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            cause, remedy = cause_and_remedy(error)
            raise CorpusError(f"Cannot write to {self._name}: {cause}", f"{remedy}; no file was changed") from error


@contextmanager
def new_file(path: Path, *, force: bool = False) -> Iterator[Output]:
    """A file that takes its name when the block ends, and none at all if the block fails. ``Path("-")`` is stdout; a
    FIFO or a device is written to as it stands.

    Raises UsageError where the file exists already (unless ``force``) or cannot be made.
    """
    if path == Path("-"):
        output = Output(sys.stdout.fileno(), "stdout")
        sys.stdout.flush()
        yield output
        output.flush()
        return
    check_new(path, force)
    if is_stream(path):
        try:
            fd = os.open(path, system.STREAM)
        except OSError as error:
            raise _unwritable(path, error) from error
        output = Output(fd, str(path))
        try:
            yield output
            output.flush()
        finally:
            output.close()
        return
    with _written(path) as (output, temporary):
        yield output
        output.finish()
        check_new(path, force)  # another program may have made it meanwhile
        _replace(temporary, path)


@contextmanager
def in_place(path: Path) -> Iterator[Output]:
    """The new content of ``path``, which replaces it when the block ends; the old one is kept beside it.

    Nobody else may write to the corpus meanwhile. Raises UsageError, CorpusLocked, CorpusError.
    """
    path = path.resolve()
    if not path.is_file():
        raise UsageError(f"{path} is no file", "leave out --in-place and name an output with -o")
    folder = path.with_name(path.name + ".magpie")
    lock = CorpusLock(folder, path) if folder.is_dir() else None  # without the folder, nobody appends
    if lock is not None:
        try:
            lock.acquire()
        except OSError as error:
            raise _unwritable(f"the folder {folder}", error) from error
    try:
        before = path.stat()
        with _written(path) as (output, temporary):
            yield output
            if output.unchanged:
                return
            output.finish()
            now = path.stat()
            if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise CorpusError(f"Another program wrote to {path} meanwhile", "run the same command again")
            temporary.chmod(before.st_mode & 0o7777)
            output.backup = _keep(path)
            _replace(temporary, path)
            system.sync_folder(path.parent)
    finally:
        if lock is not None:
            lock.release()


def check_new(path: Path, force: bool) -> None:
    """Raises UsageError where ``path`` is a file already or cannot be one, or its folder is not there."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if not path.parent.is_dir():
            raise UsageError(
                f"The folder {path.parent} does not exist", f"mkdir -p {quote(str(path.parent))}"
            ) from None
        return
    except OSError as error:
        raise UsageError(f"{path} cannot be used: {error.strerror}", "choose another name with -o") from error
    if stat.S_ISDIR(mode):
        raise UsageError(f"{path} is a folder", f"name a file in it: -o {path / 'new.jsonl'}")
    if is_stream(path):
        return
    if not stat.S_ISREG(mode):
        raise UsageError(f"{path} is neither a file nor a stream", "choose another name with -o")
    if not force:
        raise UsageError(f"{path} is there already", "choose another name with -o, or add --force to replace it")


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file; False where one of them cannot be looked at."""
    try:
        return one.samefile(other)
    except OSError:
        return False


@contextmanager
def _written(path: Path) -> Iterator[tuple[Output, Path]]:
    """A temporary file beside ``path``, which is gone at the end unless it was renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        fd = os.open(temporary, system.APPEND | os.O_CREAT | os.O_TRUNC, 0o666)
    except OSError as error:
        raise _unwritable(f"The folder {path.parent}", error) from error
    output = Output(fd, str(path))
    try:
        yield output, temporary
    finally:
        output.close()
        temporary.unlink(missing_ok=True)


def _replace(temporary: Path, path: Path) -> None:
    try:
        system.replace(temporary, path)
    except OSError as error:  # in a folder such as /tmp nobody may replace what is another's
        raise _unwritable(path, error) from error


def _unwritable(what: Path | str, error: OSError) -> UsageError:
    return UsageError(f"{what} cannot be written to: {error.strerror}", "choose another place with -o")


def _keep(path: Path) -> Path:
    """A second name for the file as it is: ``it.jsonl.bak``, or ``.bak2`` where that is taken."""
    for number in count(1):
        backup = path.with_name(f"{path.name}.bak{number if number > 1 else ''}")
        try:
            os.link(path, backup)
        except FileExistsError:
            continue
        except OSError:  # a file system without hard links
            import shutil

            if backup.exists():
                continue
            shutil.copy2(path, backup)
        return backup
    raise AssertionError("count() has no end")
