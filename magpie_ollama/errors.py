"""Every error a user can meet: the cause in one sentence, and the exact next command.

MagpieError                       exit 1
├── UsageError                    exit 2   the command line or a file it names is wrong
│   └── UnknownLanguage
├── ServerError                   exit 3   no usable server or model
│   ├── NoServer                           nothing answers at the address
│   ├── NotThisServer                      something answers, but it is not what was asked for
│   ├── ModelMissing
│   ├── OutOfMemory
│   ├── Unauthorized
│   │   └── Forbidden                      HTTP 403: forbidden, whoever asks
│   ├── RequestRefused                     the server says that the request itself is wrong
│   │   └── PromptTooLong                  more tokens than the loaded context holds
│   ├── Stalled                            the watchdog's finding
│   └── TransientError                     worth another try: busy, died, incomplete
│       ├── Busy                           its queue is full: others are being answered
│       ├── Unfinished                     its answer just ended: the same request may well do so again
│       └── ConnectionLost                 refused or dropped: no server, or one that restarts
├── TemplateError                 exit 3   the model's template leaves no open user turn
├── CorpusError                   exit 1   the corpus cannot be read or written
│   ├── NotACorpus
│   ├── CorpusLocked
│   └── DecidedMeanwhile                   a record was decided on by somebody else, since it was looked at
└── ShortOfTarget                 exit 4   the bound on attempts was reached first
"""

from __future__ import annotations


class MagpieError(Exception):
    """An error to be shown as two lines: ``cause`` and, where there is one, ``remedy``.

    ``remedy`` is the next command or action, in words that can be copied.
    """

    exit_code = 1

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        """Both, for those who meet it in Python."""
        return f"{self.cause}\nnext: {self.remedy}" if self.remedy else self.cause


class UsageError(MagpieError):
    exit_code = 2


class UnknownLanguage(UsageError):
    pass


class ServerError(MagpieError):
    exit_code = 3


class NoServer(ServerError):
    pass


class NotThisServer(ServerError):
    pass


class ModelMissing(ServerError):
    pass


class OutOfMemory(ServerError):
    pass


class Unauthorized(ServerError):
    pass


class Forbidden(Unauthorized):
    """With any key: a path that a proxy does not let through."""


class RequestRefused(ServerError):
    pass


class PromptTooLong(RequestRefused):
    pass


class Stalled(ServerError):
    pass


class TransientError(ServerError):
    """A failure of this request only: the same request may succeed a moment later."""


class Busy(TransientError):
    pass


class Unfinished(TransientError):
    """An answer without an end, from a server that is well. With the same seed it is likely to end there again."""


class ConnectionLost(TransientError):
    pass


class TemplateError(MagpieError):
    exit_code = 3


class CorpusError(MagpieError):
    pass


class NotACorpus(CorpusError):
    pass


class CorpusLocked(CorpusError):
    pass


class DecidedMeanwhile(CorpusError):
    pass


class ShortOfTarget(MagpieError):
    exit_code = 4


INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells count it (128 + SIGINT)."""


def extra(name: str) -> str:
    """The command that installs an extra of this package where it runs: an environment of uv's has no pip of its own,
    and the ``pip`` of the shell may be another's."""
    import sys
    from importlib.util import find_spec
    from pathlib import Path
    from shlex import quote
    from shutil import which

    if find_spec("pip") is None:
        installer = f"uv pip install --python {quote(sys.executable)}"
    elif Path(which("pip") or "").parent == Path(sys.executable).parent:
        installer = "pip install"
    else:
        installer = f"{quote(sys.executable)} -m pip install"
    return f"{installer} 'magpie-ollama[{name}]'"
