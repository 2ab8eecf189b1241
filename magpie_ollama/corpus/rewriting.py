"""Files that are written as a whole: there at the end, or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from shlex import quote

from magpie_ollama.corpus import files, system
from magpie_ollama.corpus.appender import cause_and_remedy, write_all
from magpie_ollama.corpus.lock import CorpusLock
from magpie_ollama.corpus.reading import is_stream
from magpie_ollama.errors import CorpusError, UsageError

BUFFER = 2**20

_DESCRIPTOR = re.compile(r"/dev/fd/([0-9]{1,4})|/proc/(?:self|thread-self)/fd/([0-9]{1,4})")
_STANDARD = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}


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
    FIFO, a device or an open descriptor (``/dev/fd/3``) is written to as it stands.

    Raises UsageError where the file exists already (unless ``force``) or cannot be made.
    """
    with new_files([path], force=force) as outputs:
        yield outputs[0]


@contextmanager
def new_files(paths: Iterable[Path], *, force: bool = False) -> Iterator[list[Output]]:
    """Several such files: all of them take their names when the block ends, or none does. Raises as ``new_file``."""
    with ExitStack() as stack:
        made = [_open_new(path, force, stack) for path in paths]
        yield [output for output, _, _ in made]
        wholes = []
        for output, temporary, path in made:
            if temporary is None:
                output.flush()
            else:
                output.finish()
                wholes.append((temporary, path))
        for _, path in wholes:
            check_new(path, force)  # another program may have made it meanwhile
        _name_all(wholes, stack)


def _open_new(path: Path, force: bool, stack: ExitStack) -> tuple[Output, Path | None, Path]:
    """What is written to, the file that it is until it has its name (None for a stream), and that name."""
    if path == Path("-"):
        sys.stdout.flush()
        return Output(sys.stdout.fileno(), "stdout"), None, path
    descriptor = descriptor_of(path)
    if descriptor is None:
        check_new(path, force)
        if not is_stream(path):
            path = path.resolve()  # a link goes on leading to its file
            return *stack.enter_context(_written(path)), path
    try:
        fd = os.open(path, system.STREAM) if descriptor is None else os.dup(descriptor)
    except OSError as error:
        raise _unwritable(path, error) from error
    output = Output(fd, str(path))
    stack.callback(output.close)
    return output, None, path


def descriptor_of(path: Path) -> int | None:
    """The descriptor of this process that a path names. Opened by that path, a file would be written from its start;
    replaced, the path itself would be gone."""
    text = os.path.normpath(path.absolute())
    match = _DESCRIPTOR.fullmatch(text)
    return int(match[1] or match[2]) if match else _STANDARD.get(text)


def _name_all(wholes: list[tuple[Path, Path]], stack: ExitStack) -> None:
    """Give the files their names. Where one cannot have its own, those before it are as they were."""
    done: list[tuple[Path, Path | None]] = []
    try:
        for temporary, path in wholes:
            old = _second_name(path, stack) if len(wholes) > 1 and path.exists() else None
            _replace(temporary, path)
            done.append((path, old))
    except BaseException:
        for path, old in done:
            with contextlib.suppress(OSError):
                if old is None:
                    path.unlink()
                else:
                    system.replace(old, path)
        raise
    for folder in {path.parent for _, path in wholes}:
        _sync(folder)


def _second_name(path: Path, stack: ExitStack) -> Path:
    """What stands at ``path``, under a temporary name as well."""
    try:
        fd, old = stack.enter_context(files.temporary(path.parent))
        os.close(fd)
        old.unlink()
        try:
            os.link(path, old)
        except OSError:  # a file system without hard links
            shutil.copy2(path, old)
    except OSError as error:
        raise _unwritable(path, error) from error
    return old


@contextmanager
def in_place(path: Path) -> Iterator[Output]:
    """The new content of ``path``, which replaces it when the block ends; the old one is kept beside it.

    Nobody else may write to the corpus meanwhile. Raises UsageError, CorpusLocked, CorpusError.
    """
    path = path.resolve()
    if not path.is_file():
        raise UsageError(f"{path} is no file", "leave out --in-place and name an output with -o")
    folder = files.folder_beside(path)
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
            _sync(path.parent)
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
    with ExitStack() as stack:
        try:
            fd, temporary = stack.enter_context(files.temporary(path.parent))
        except OSError as error:
            raise _unwritable(f"The folder {path.parent}", error) from error
        output = Output(fd, str(path))
        stack.callback(output.close)
        yield output, temporary


def _replace(temporary: Path, path: Path) -> None:
    try:
        system.replace(temporary, path)
    except OSError as error:  # in a folder such as /tmp nobody may replace what is another's
        raise _unwritable(path, error) from error


def _sync(folder: Path) -> None:
    """Wait until a name that was given in ``folder`` is on the disk."""
    try:
        system.sync_folder(folder)
    except OSError as error:
        cause, remedy = cause_and_remedy(error)
        raise CorpusError(f"Cannot force the folder {folder} to the disk: {cause}", remedy) from error


def _unwritable(what: Path | str, error: OSError) -> UsageError:
    return UsageError(f"{what} cannot be written to: {error.strerror}", "choose another place with -o")


def _keep(path: Path) -> Path:
    """A second name for the file as it is: ``it.jsonl.bak``, or ``.bak2`` where that is taken."""
    for number in count(1):
        backup = path.with_name(f"{path.name}.bak{number if number > 1 else ''}")
        if os.path.lexists(backup):
            continue
        try:
            os.link(path, backup)
        except FileExistsError:
            continue
        except OSError:  # a file system without hard links
            _copy(path, backup)
        return backup
    raise AssertionError("count() has no end")


def _copy(path: Path, copy: Path) -> None:
    """A copy of a file that is there whole, or not at all."""
    try:
        with files.temporary(copy.parent) as (fd, new):
            with path.open("rb") as source, os.fdopen(fd, "wb") as target:
                shutil.copyfileobj(source, target)
                target.flush()
                system.sync_file(fd)
            shutil.copystat(path, new)
            system.replace(new, copy)
    except OSError as error:
        cause, remedy = cause_and_remedy(error)
        raise CorpusError(
            f"Cannot keep what {path} was as {copy}: {cause}", f"{remedy}; no file was changed"
        ) from error
