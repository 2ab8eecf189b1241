"""The one seam for calls that differ between Linux, macOS and Windows."""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
import time
from pathlib import Path

_BINARY: int = getattr(os, "O_BINARY", 0)  # else Windows writes every newline as two bytes

STREAM = os.O_WRONLY | _BINARY
"""Flags to write to a FIFO or a device."""

APPEND = os.O_RDWR | os.O_APPEND | _BINARY
"""Flags to append to a file. Readable too: what is already there decides what may be written next."""

_PLAIN: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe would wait for its other end

_CANNOT_SYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})


def open_plain(path: Path, flags: int) -> int:
    """A descriptor of a file. Raises OSError for anything else that is there: a link, a pipe, a folder, a device."""
    if sys.platform == "win32":
        check_kind(path, stat.S_IFREG)
    fd = os.open(path, flags | _BINARY | _PLAIN, 0o666)
    try:
        _check(os.fstat(fd), path, stat.S_IFREG)
    except OSError:
        os.close(fd)
        raise
    return fd


def check_kind(path: Path, kind: int) -> None:
    """Raises OSError where ``path`` is there and of another kind than ``kind`` (``stat.S_IFREG``, ``stat.S_IFDIR``); a
    link is a link, wherever it leads."""
    try:
        file = path.lstat()
    except FileNotFoundError:
        return
    _check(file, path, kind)


def _check(file: os.stat_result, path: Path, kind: int) -> None:
    if stat.S_ISLNK(file.st_mode):
        raise OSError(errno.ELOOP, "it is a link", str(path))
    if stat.S_IFMT(file.st_mode) != kind:
        raise OSError(errno.EINVAL, "it is no folder" if kind == stat.S_IFDIR else "it is no regular file", str(path))


def hold(fd: int) -> bool | None:
    """Lock an open file, until its last descriptor is closed or the process ends. False where another process has it
    locked; None where files cannot be locked."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def is_own(file: os.stat_result) -> bool:
    """Whether a file is this user's."""
    return sys.platform == "win32" or file.st_uid == os.geteuid()


def sync_file(fd: int) -> None:
    """Wait until the bytes of ``fd`` are on the disk. Raises OSError, but not for want of a sync at all."""
    try:
        if sys.platform == "darwin":
            import fcntl

            try:
                # On macOS, fsync stops at the drive's cache; this goes through it.
                fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            except OSError:
                os.fsync(fd)  # network file systems know this one only
        else:
            os.fsync(fd)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk: else a power cut may undo a new or renamed file."""
    if sys.platform == "win32":
        return  # folders cannot be opened there; NTFS journals names itself
    try:
        fd = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return  # a folder that may be written to but not read
    try:
        sync_file(fd)
    finally:
        os.close(fd)


def is_still(file: os.stat_result, path: Path) -> bool:
    """Whether ``path`` still names the open ``file``: not deleted, moved or replaced."""
    if sys.platform == "win32":
        return True  # Windows refuses all three while the file is open
    try:
        return os.path.samestat(file, path.stat())
    except FileNotFoundError:
        return False


def may_create_in(folder: Path) -> bool:
    """Whether this process may make files in ``folder``. On Windows only the attempt itself tells."""
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def replace(source: Path, target: Path) -> None:
    """Rename ``source`` over ``target`` in one step."""
    for _ in range(20 if sys.platform == "win32" else 0):
        try:
            source.replace(target)
            return
        except PermissionError:
            time.sleep(0.05)  # a virus scanner or indexer holds new files open for a moment
    source.replace(target)


def wait_writable(fd: int) -> None:
    """Wait until ``fd`` takes bytes again: another program may have set the shared stdout to non-blocking."""
    if sys.platform == "win32":
        time.sleep(0.01)  # select knows only sockets there
    else:
        select.select([], [fd], [])


def process_alive(pid: int) -> bool:
    """Whether a process ``pid`` of this machine is running (of any user)."""
    if pid <= 0:
        return False  # kill() takes these for whole groups of processes
    if sys.platform == "win32":
        import ctypes

        # os.kill(pid, 0) would send Ctrl-C there.
        query_limited_information, still_active = 0x1000, 259
        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(query_limited_information, False, pid)
        if not handle:
            return False
        try:
            code = ctypes.c_ulong()
            return bool(kernel.GetExitCodeProcess(handle, ctypes.byref(code))) and code.value == still_active
        finally:
            kernel.CloseHandle(handle)
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
