"""``magpie-ollama serve``: the page, for one's own browser."""

from __future__ import annotations

import errno
import platform
import socket
import webbrowser
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from magpie_ollama.commands.base import Command
from magpie_ollama.commands.options import debug_option, option, quiet_option, server_choice, server_options
from magpie_ollama.display import consoles
from magpie_ollama.display.characters import inline
from magpie_ollama.errors import UsageError, extra
from magpie_ollama.loading import loading

PORT = 8427
"""Registered for nobody."""

TRIES = 20
"""Ports behind the one that was asked for, where that is in use."""


@click.command(cls=Command, examples=("serve", "serve it.jsonl --no-browser"))
@click.argument("folder", type=click.Path(path_type=Path), default=".")
@option("--address", default="127.0.0.1", help="Where to listen. Other than this machine's own, a token is asked for.")
@option("--port", type=click.IntRange(1, 65535), default=PORT, help="The next free one is taken where it is in use.")
@option("--no-browser", is_flag=True, help="Only print the address.")
@server_options()
@quiet_option
@debug_option
def command(folder: Path, address: str, port: int, no_browser: bool, quiet: bool, **given: Any) -> None:
    """Open a page in the browser: try a model, read and clean a corpus, look at an experiment.

    FOLDER is where the JSONL files are; a file opens at once. Nothing outside the folder is read. Ctrl-C ends it.
    """
    with loading():
        try:
            import uvicorn

            from magpie_ollama.web.app import application
            from magpie_ollama.web.guard import Access
        except ModuleNotFoundError as error:
            raise UsageError(f"The page needs {error.name}", extra("web")) from error
    if not folder.exists():
        raise UsageError(f"{folder} is not there", "name a folder of JSONL files, or one of them")
    root, opens = (folder.parent, f"corpus/{folder.name}") if folder.is_file() else (folder, "")
    access = Access.to(address)
    listening = _listen(address, port)
    found = listening.getsockname()[1]
    everywhere = address in ("", "0.0.0.0", "::")  # which nobody can open
    shown = platform.node() if everywhere else f"[{address}]" if ":" in address else address
    url = f"http://{shown}:{found}/{opens}" + (f"?token={access.token}" if access.token else "")
    out = consoles.stdout()
    if not quiet and found != port:
        consoles.show_notice(consoles.stderr(), f"Port {port} is in use: taken is {found}.")
    out.print(Text(inline(url)), soft_wrap=True)  # an address to copy stays in one piece
    if not quiet:
        reach = "Whoever has this address, with its token, can read and change" if access.token else "It shows"
        consoles.say(consoles.stderr(), Text(f"{reach} the corpora in {inline(str(root.resolve()))}. Ctrl-C ends it."))
    if not no_browser:
        webbrowser.open(url)
    app = application(root, access, server_choice(given))
    config = uvicorn.Config(
        app, log_level="critical", access_log=False, server_header=False, timeout_graceful_shutdown=2
    )
    uvicorn.Server(config).run(sockets=[listening])


def _listen(address: str, port: int) -> socket.socket:
    """A socket at the port, or at the next free one. Raises UsageError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for tried in range(port, min(port + TRIES, 65536)):
        made = socket.socket(family)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address, tried))
            made.listen()  # a browser that is quicker than the server waits for it
            return made
        except (OSError, TypeError, ValueError) as error:  # what can be no host's name at all is no OSError
            made.close()
            if getattr(error, "errno", 0) != errno.EADDRINUSE:
                why = getattr(error, "strerror", None) or "it is no address"
                raise UsageError(f"{address}:{tried} cannot be listened on: {why}", _REMEDY) from error
    raise UsageError(f"The ports {port} to {tried} are all in use", "choose another --port")


_REMEDY = "choose an --address of this machine and a --port above 1023"
