"""A terminal for the command: a pseudo-terminal, and what stands on it."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyte
import pytest
from corpus.support import PACKAGE

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")


def harmless(text: str) -> bool:
    return not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


class Screen:
    """A terminal: the command's one, and what stands on it, with what scrolled away above."""

    def __init__(self, fd: int, started: subprocess.Popen[bytes], columns: int, rows: int) -> None:
        self.raw = b""
        self._screen = pyte.HistoryScreen(columns, rows, history=10_000)
        self._stream = pyte.ByteStream(self._screen)
        self.process = started
        self._fd = fd
        self.closed = False

    def close(self) -> None:
        """Its window."""
        if not self.closed:
            self.closed = True
            os.close(self._fd)

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        import fcntl
        import struct
        import termios

        self._screen.resize(rows, columns)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def forget(self) -> None:
        """What was written up to now."""
        while self._receive(0):
            pass
        self.raw = b""
        self._screen.reset()

    def wait_for(self, text: str, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while text not in "\n".join(self.rows()):
            assert time.monotonic() < end, f"no {text!r} on\n" + "\n".join(self.rows())
            self._receive(end - time.monotonic())

    def end(self) -> int:
        end = time.monotonic() + 30
        while self.process.poll() is None:
            assert time.monotonic() < end, "it does not end"
            self._receive(0.05)
        while self._receive(0):
            pass
        return self.process.returncode

    @property
    def given_back(self) -> bool:
        """Whether the shell has its cursor, its screen and its folding of lines, by what was last said of each."""
        last = self.raw.rfind
        return (
            last(b"\x1b[?25h") > last(b"\x1b[?25l")
            and last(b"\x1b[?1049l") >= last(b"\x1b[?1049h")
            and last(b"\x1b[?7h") >= last(b"\x1b[?7l")
        )

    def rows(self) -> list[str]:
        for piece in re.split(
            "\x1b\\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r?\n", self.raw.decode(errors="ignore").rpartition("\x1b")[0]
        ):
            assert harmless(re.sub("[\r\b]", "", piece)), piece  # which move within the row
        above = ["".join(row[at].data for at in sorted(row)).rstrip() for row in self._screen.history.top]
        return [*above, *(row.rstrip() for row in self._screen.display)]

    def _receive(self, seconds: float) -> bytes:
        if not select.select([self._fd], [], [], max(0, seconds))[0]:
            return b""
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # the other side is gone
            return b""
        self.raw += data
        self._stream.feed(data)
        return data


SHELL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if not job:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
while os.WIFSTOPPED(status := os.waitpid(job, os.WUNTRACED)[1]):
    os.tcsetpgrp(0, os.getpgrp())
    print("<stopped>", flush=True)
    sys.stdin.readline()
    os.tcsetpgrp(0, job)
    os.kill(job, signal.SIGCONT)
os.tcsetpgrp(0, os.getpgrp())
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""As a shell runs a job: Ctrl-Z stops it, and a line typed then brings it back."""

ALONE = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
"""As the leader of a session, the command makes the terminal its own; then /dev/tty is that."""


@contextmanager
def terminal(
    *args: object, columns: int = 60, rows: int = 12, within: str = ALONE, **environment: str
) -> Iterator[Screen]:
    """The command with a terminal of its own, which ``within`` (Python) makes it."""
    import fcntl
    import pty
    import struct
    import termios

    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    command = [sys.executable, "-c", within, sys.executable, "-m", "magpie_ollama", *map(str, args)]
    own = {"PYTHONPATH": str(PACKAGE), "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    env = {**os.environ, **own, **environment}
    started = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, start_new_session=True, env=env)
    before = termios.tcgetattr(its)
    screen = Screen(ours, started, columns, rows)
    try:
        yield screen
        if not screen.closed:
            screen.end()
            assert termios.tcgetattr(its) == before
    finally:
        started.kill()
        started.wait()
        screen.close()
        os.close(its)
