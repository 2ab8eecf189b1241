"""Pictures of a real run for the README: what a terminal shows amid it, and a record that it made.

    pip install pyte
    python benchmarks/picture.py --seconds 25 -- -l en -n 20 --server embedded --seed 42

Runs ``magpie-ollama generate`` with what stands behind ``--`` in a terminal of its own, and writes docs/live.svg after
so many seconds and docs/record.svg at its end, with a record in short. pyte is the terminal, Rich draws the SVG.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import select
import struct
import sys
import tempfile
import termios
import time
from itertools import groupby
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

COLUMNS, LINES = 88, 30
COLOURS = {"default": None, "brown": "yellow", "brightbrown": "bright_yellow"}
"""Where pyte names a colour otherwise than Rich."""

DOCS = Path(__file__).resolve().parent.parent / "docs"


class Terminal:
    """A command in a terminal of ``COLUMNS`` times ``LINES``, and the screen that it sees."""

    def __init__(self, folder: Path, words: list[str]) -> None:
        self.screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self.screen)
        self._command = words
        self._folder = f"{folder}/"
        self._child, self._fd = pty.fork()
        if not self._child:
            os.chdir(folder)
            os.environ["TERM"] = "xterm-256color"
            os.execv(sys.executable, [sys.executable, "-m", "magpie_ollama", *words])
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))

    def watch(self, seconds: float = float("inf")) -> None:
        """Until it ends, or for so many seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self._fd], [], [], min(left, 1.0))[0]:
                continue
            try:
                data = os.read(self._fd, 65536)
            except OSError:  # it has ended
                data = b""
            if not data:
                os.waitpid(self._child, 0)
                return
            self._stream.feed(data)

    def save(self, path: Path) -> None:
        rows = [self._row(number) for number in range(LINES)]
        while rows and not rows[-1].plain.strip():
            rows.pop()
        with Path(os.devnull).open("w") as nothing:
            console = Console(record=True, width=COLUMNS, file=nothing, force_terminal=True)
            console.print(Text(f"$ magpie-ollama {' '.join(self._command)}", style="bold"))
            for row in rows:
                console.print(row, no_wrap=True, overflow="crop")
        drawing = console.export_svg(title="magpie-ollama", unique_id="magpie")
        # Its web font would be fetched from elsewhere by whoever looks at the page.
        drawing = re.sub(r"@font-face \{.*?\}\s*", "", drawing, flags=re.DOTALL).replace("Fira Code, ", "")
        path.write_text(drawing, "utf-8")
        print(path)

    def _row(self, number: int) -> Text:
        line, text = self.screen.buffer[number], Text()
        for style, cells in groupby((line[column] for column in range(COLUMNS)), _style):
            text.append("".join(cell.data for cell in cells).replace(self._folder, ""), style)
        text.rstrip()
        return text


def _style(cell: pyte.screens.Char) -> Style:
    colour = COLOURS.get(cell.fg, f"#{cell.fg}" if re.fullmatch("[0-9a-f]{6}", cell.fg) else cell.fg)
    return Style(color=colour, bold=cell.bold, italic=cell.italics)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=25.0, help="amid the run")
    parser.add_argument("arguments", nargs="+", help="of generate")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Terminal(Path(folder), ["generate", *chosen.arguments])
        run.watch(chosen.seconds)
        run.save(DOCS / "live.svg")
        run.watch()
        run.save(DOCS / "record.svg")


if __name__ == "__main__":
    main()
