"""The command line's frame: the group of commands, loaded when they are called, and the way errors end."""

from __future__ import annotations

import errno
import importlib
import io
import keyword
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

from magpie_ollama.errors import INTERRUPTED, MagpieError
from magpie_ollama.loading import loading

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer
    from click.shell_completion import CompletionItem

with loading():
    import click

COMMANDS = {
    "generate": "Make instruction data: the model writes users' instructions, then answers them.",
    "respond": "Answer your own questions: of a text, CSV, JSON, Parquet or a corpus.",
    "converse": "Go on with the conversations of a corpus: the model asks on, and answers.",
    "prefer": "Several responses to each instruction, scored, and pairs of the better and the worse.",
    "compare": "Measure which steering works for which language, on your own models.",
    "doctor": "Check server, model and template, and what a run would take; each finding with its remedy.",
    "stats": "What is in a corpus: languages, steerings, lengths, duplicates, and what its runs cost.",
    "view": "Read a corpus, one record a page.",
    "review": "Keep, drop, edit and tag record after record, in the terminal.",
    "serve": "Open a page in the browser: try a model, read and clean a corpus, look at an experiment.",
    "sample": "Draw some records at random.",
    "filter": "Keep the records that pass: by language, length, confidence, tag, or the Magpie paper's rules.",
    "dedup": "Remove duplicates and near-duplicates.",
    "drop": "Remove records by id or line.",
    "tag": "Let a local model judge quality, difficulty, category and safety.",
    "import": "Turn other tools' instruction data into records of a corpus.",
    "upgrade": "Give a corpus of an older version the keys of this one.",
    "derive": "Make preference data of what was rejected: KTO rows, DPO pairs.",
    "export": "Write the form that a trainer wants: messages, prompt/completion, Alpaca, ShareGPT, Parquet.",
    "check": "Hold a file to a trainer's own rules, before it trains.",
    "push": "Publish a corpus on the Hugging Face Hub, with its dataset card.",
    "config": "Your own defaults: model, server, language, folder.",
    "completion": "What a shell reads to complete commands, options and values.",
    "languages": "List the languages that have steering data.",
    "template": "Show the chat templates that models are asked with.",
}
"""Each command with its short help, so that --help imports none. ``commands/<name>.py`` has its ``command``; a name
that Python keeps for itself has an underscore behind it."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        with loading():
            command: click.Command = importlib.import_module(f"magpie_ollama.commands.{module}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = [one for one in COMMANDS if one.startswith(name)] or get_close_matches(name, COMMANDS, n=1)
            meant = f" Did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"No such command {name!r}.{meant}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        named = [CompletionItem(name, help=words) for name, words in COMMANDS.items() if name.startswith(incomplete)]
        return named + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> object:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _drop_stdout()  # whoever reads it has had enough, as `head` has: that is no failure
            return 0
        return result

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"magpie-ollama {version('magpie-ollama')}")
        ctx.exit()


@click.group(
    cls=_Commands,
    context_settings={
        "show_default": True,
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 server or model not available, 4 stopped short of the target, "
    "130 interrupted.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def cli() -> None:
    """Make instruction data in your language, on your laptop.

    The Magpie method: an aligned model is given only the beginning of a user's turn and writes the
    instruction itself; then it answers it; and the pair is appended to a JSONL corpus.

    \b
    Start with:  magpie-ollama generate -l it -n 100
    """


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP, which comes when the terminal's window is closed
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # nohup's stays ignored
            signal.signal(number, _end)
    sys.exit(_run())


def _end(number: int, frame: FrameType | None) -> None:
    """As Ctrl-C ends what is under way just now: in order, with the terminal as it was."""
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler) and handler is not signal.default_int_handler:
        handler(signal.SIGINT, frame)
    else:
        sys.exit(128 + number)  # as shells count it


def _run() -> int:
    _take_any_text()
    # Read here and not from the parsed command line, which an error may have come before.
    debug = "--debug" in sys.argv or os.environ.get("MAGPIE_OLLAMA_DEBUG", "").lower() in ("1", "true", "yes", "on")
    try:
        from magpie_ollama.commands.options import check_texts

        check_texts(sys.argv[1:], os.environ)
        result = cli.main(prog_name="magpie-ollama", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show(file=(told := io.StringIO()))  # which quotes the command line: a file's name may be anything
        _tell(told.getvalue().rstrip("\n"))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except MagpieError as error:
        if debug:
            return _trace(error.exit_code)
        if "ulimit" not in error.remedy and _wants_files(error):
            return 1
        from magpie_ollama.display.consoles import show_error

        show_error(error)
        return error.exit_code
    except Exception as error:
        if debug:
            return _trace(1)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # with files, the corpus' own code tells
            _drop_stdout()
            _tell(f"error: Cannot write to stdout: {error.strerror}.")
            _tell("   next: make room where it goes; what the command wrote to files is there")
            return 1
        if _wants_files(error):
            return 1
        if isinstance(error, OSError) and error.errno:
            from magpie_ollama.corpus.appender import cause_and_remedy
            from magpie_ollama.display.consoles import show_error

            cause, remedy = cause_and_remedy(error)
            what = error.filename if isinstance(error.filename, str) else "A file"
            show_error(MagpieError(f"{what} cannot be read or written: {cause}", remedy))
            return 1
        _tell(f"error: {type(error).__name__}: {' '.join(str(error).split())}")
        _tell("   next: this is a bug; run the same command with --debug and report what it prints")
        return 1
    finally:
        if (plugins := sys.modules.get("magpie_ollama.plugins")) and (notices := plugins.take_notices()):
            from magpie_ollama.display import consoles
            from magpie_ollama.display.characters import inline

            for notice in notices:
                consoles.show_notice(consoles.stderr(), inline(notice))


def _wants_files(error: BaseException | None) -> bool:
    """Tells of it where an error comes from the limit of open files: whatever it says itself, and without any import,
    which would meet the limit too."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            click.echo("error: This process may not open as many files as it needs.", err=True)
            click.echo("   next: allow more with `ulimit -n 1024`, then run the same command again", err=True)
            return True
        error = error.__cause__ or error.__context__
    return False


def _tell(text: str) -> None:
    from magpie_ollama.display.characters import printable

    click.echo(printable(text), err=True)


def _trace(code: int) -> int:
    import traceback

    _tell(traceback.format_exc().rstrip("\n"))
    return code


class _Terminal(io.FileIO):
    """Once the terminal is gone, what is written to it goes nowhere: that is no reason to end the work."""

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return memoryview(data).nbytes


def _drop_stdout() -> None:
    """Python would fail to flush what it still holds."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _take_any_text() -> None:
    """A letter that stdout's encoding lacks must not end a command, nor a terminal that is gone. stderr escapes such
    letters by itself."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if sys.platform != "win32" and isinstance(stream, io.TextIOWrapper) and stream.isatty():
            raw = io.BufferedWriter(_Terminal(stream.fileno(), "w", closefd=False))
            lasting = io.TextIOWrapper(raw, stream.encoding, stream.errors, line_buffering=True)
            setattr(sys, name, lasting)
    if sys.stdout is None:  # the shell's `>&-`
        sys.stdout = io.TextIOWrapper(io.FileIO(os.devnull, "w"), encoding="utf-8")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
        # Windows gives a pipe or a file an old code page, which lacks most of the world's letters.
        if sys.platform == "win32" and not sys.stdout.isatty() and "PYTHONIOENCODING" not in os.environ:
            sys.stdout.reconfigure(encoding="utf-8")


if __name__ == "__main__":
    main()
