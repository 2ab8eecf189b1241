"""The doctor examines: this machine, the server, its model; then what the model does when asked (``doctor.trial``).

A check that fails is a finding too, and the checks after it go on as far as they can.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import urllib.request
from pathlib import Path

from magpie_ollama.asking.opening import connect, load
from magpie_ollama.asking.settings import Settings
from magpie_ollama.asking.watchdog import watched
from magpie_ollama.doctor.findings import Diagnosis
from magpie_ollama.doctor.trial import HELLO, Trial
from magpie_ollama.errors import MagpieError, Stalled
from magpie_ollama.run import measurements
from magpie_ollama.run.continuing import short
from magpie_ollama.run.prepared import Prepared
from magpie_ollama.servers.address import is_loopback, without_password
from magpie_ollama.servers.base import InMemory, Model, Server
from magpie_ollama.servers.loaded import LoadedModel

LITTLE_DISK = 10**9
"""Bytes. A full disk ends a run."""

LITTLE_CONTEXT = 2048
"""Tokens. An exemplar (up to 500), an instruction (256) and a response (1,024) fit, with little to spare."""

NEARLY_ALL = 0.9
"""A model that takes more than this share of the memory leaves too little for everything else: it is swapped."""

SERVERS_OWN = ("OLLAMA_NUM_PARALLEL", "OLLAMA_CONTEXT_LENGTH", "OLLAMA_KEEP_ALIVE", "OLLAMA_MAX_QUEUE")
"""Variables that only Ollama itself reads."""


async def examine(settings: Settings, diagnosis: Diagnosis) -> None:
    """All checks, in their order. ``settings`` say which server, model and language."""
    _machine(diagnosis)
    doctor = _Doctor(settings, diagnosis)
    try:
        if await diagnosis.check("server", "Looking for the server", doctor.connect) is None:
            await doctor.ask()
    finally:
        if doctor.server is not None:
            await doctor.server.close()
    _proxies(diagnosis, settings.server.host, doctor.server)
    _variables(diagnosis)


class _Doctor:
    """The checks that need a server."""

    server: Server | None = None

    def __init__(self, settings: Settings, diagnosis: Diagnosis) -> None:
        self._settings = settings
        self._diagnosis = diagnosis

    async def connect(self) -> None:
        choice, enter = self._settings.server, self._diagnosis.progress.enter
        server, self._version, notice = await connect(
            choice, self._settings.parallel, None, enter, [self._settings.language]
        )
        self.server = server
        text = f"{server.kind} {self._version}".strip() + f" at {server.address}"
        missing = server.lacks(self._version)
        if notice:
            self._diagnosis.warn("server", f"{text}. {notice}", "start Ollama, or mean it with --server embedded")
        elif missing:
            self._diagnosis.warn("server", f"{text}: {missing}", f"update {server.named}")
        else:
            self._diagnosis.ok("server", text)

    async def ask(self) -> None:
        assert self.server is not None
        server = self.server
        if await self._diagnosis.check("model", "Looking for the model", self._load) is not None:
            return
        if await self._diagnosis.check("template", "Reading the template", self._open) is not None:
            return
        try:
            async with watched(server, lambda: 1):
                await Trial(self._asked, self._diagnosis).run()
        except Stalled as error:
            self._diagnosis.fail("server", error)
        for notice in server.notices:
            remedy = "start the server so that it takes them, or go on without"
            self._diagnosis.warn("parameters", notice, remedy if "takes no" in notice else "")

    async def _open(self) -> None:
        self._asked = Prepared(self._settings, self._model, self._diagnosis.progress)

    async def _load(self) -> None:
        assert self.server is not None
        progress = self._diagnosis.progress
        model = self._model = await load(self.server, self._version, self._settings.server, progress)
        in_memory, gone = await _in_memory(model)
        self._diagnosis.ok("model", _described(model, in_memory))
        _context(self._diagnosis, model)
        _memory(self._diagnosis, in_memory, gone, self.server)


def _machine(diagnosis: Diagnosis) -> None:
    version, system = importlib.metadata.version("magpie-ollama"), f"{platform.system()} {platform.machine()}"
    diagnosis.ok("environment", f"magpie-ollama {version}, Python {platform.python_version()}, {system}")
    folder = measurements.folder()
    if _writable(folder):
        diagnosis.ok("data folder", str(folder))
    else:
        remedy = "set MAGPIE_OLLAMA_DATA_DIR to a folder that can be written"
        diagnosis.warn("data folder", f"{folder} cannot be written: what auto measures would be lost", remedy)
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    if not _writable(here):
        diagnosis.warn("disk", f"{here} cannot be written", "change to another folder, or name the corpus with -o")
    elif free < LITTLE_DISK:
        diagnosis.warn("disk", f"{_size(free)} free here", "free some, or put the corpus on another disk with -o")
    else:
        diagnosis.ok("disk", f"{_size(free)} free here")


def _described(model: Model, loaded: InMemory) -> str:
    parts = [model.name]
    if loaded.parameters or loaded.quantisation:
        parts.append(f"{loaded.parameters} {loaded.quantisation}".strip())
    if model.digest:
        parts.append(f"digest {short(model.digest)}")
    return ", ".join(parts)


def _context(diagnosis: Diagnosis, model: LoadedModel) -> None:
    context = model.context
    if not context:
        diagnosis.ok("context", "the server does not tell it")
    elif context < LITTLE_CONTEXT:
        text = f"{context:,} tokens: little for an exemplar, an instruction and a response of up to 1,024"
        diagnosis.warn("context", text, model.server.more_context)
    else:
        diagnosis.ok("context", f"{context:,} tokens")


async def _in_memory(model: LoadedModel) -> tuple[InMemory, bool]:
    """What the model takes, and whether it is gone after each request, although a request for it succeeds."""
    found = await model.in_memory()
    if found is None:
        try:
            await model.render(HELLO)
        except MagpieError:
            return InMemory(), False
        found = await model.in_memory()
    return found or InMemory(), found is None


def _memory(diagnosis: Diagnosis, loaded: InMemory, gone: bool, server: Server) -> None:
    machine = _machine_memory() if is_loopback(server.address) else 0  # of another one nothing is known
    of = f"; this machine has {_size(machine)}" if machine else ""
    if gone:
        text = f"the model was loaded and is gone: {server.named} unloads it after each request, and loads it again"
        diagnosis.warn("memory", text, server.stay_loaded)
        return
    if not loaded.size:
        diagnosis.ok("memory", f"the server does not tell what the model takes{of}")
        return
    text = f"the model takes {_size(loaded.size)}"
    on_cpu = loaded.size - loaded.on_gpu
    if machine and on_cpu > NEARLY_ALL * machine:
        remedy = "choose a smaller model or quantisation, or lower --num-ctx"
        diagnosis.warn("memory", f"{text}, {_size(on_cpu)} of it outside a GPU{of}: it will swap", remedy)
    elif 0 < loaded.on_gpu < loaded.size:
        share = f"{100 * loaded.on_gpu / loaded.size:.0f} %"
        remedy = "choose a smaller model or quantisation, lower --num-ctx, or close what else uses the GPU"
        diagnosis.warn("memory", f"{text}, {share} of it on the GPU: the rest is computed by the slower CPU", remedy)
    elif loaded.on_gpu:
        diagnosis.ok("memory", f"{text}, all of it on the GPU")
    else:
        hint = f"if there is a GPU, {server.named}'s log says why it is not used"
        diagnosis.ok("memory", f"{text}, none of it on a GPU{of}", hint)


def _proxies(diagnosis: Diagnosis, host: str, server: Server | None) -> None:
    proxies = urllib.request.getproxies_environment()
    names = sorted(f"{scheme}_proxy".upper() for scheme in proxies if scheme != "no")
    if not names:
        return
    text = f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} set"
    host = host or os.environ.get("OLLAMA_HOST", "")
    if is_loopback(server.address) if server else not host:
        diagnosis.ok("proxy", f"{text}, and never used for a server on this machine")
    elif server:
        diagnosis.ok("proxy", f"{text}; what goes to {server.address} goes through it, unless NO_PROXY names that host")
    else:
        diagnosis.warn(
            "proxy", f"{text}, and {without_password(host)} was asked through it", "name that host in NO_PROXY"
        )


def _variables(diagnosis: Diagnosis) -> None:
    defaults = [name for name in sorted(os.environ) if name.startswith("MAGPIE_OLLAMA_")]
    servers = [name for name in SERVERS_OWN if name in os.environ]
    parts = [f"in effect: {', '.join(defaults)}"] if defaults else []
    if servers:
        parts.append(f"of no effect here, since Ollama reads them as it starts: {', '.join(servers)}")
    diagnosis.ok("variables", "; ".join(parts) or "none is set that changes anything")


def _writable(folder: Path) -> bool:
    """Whether the folder can be written, or made, if it is not there yet."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _machine_memory() -> int:
    """Bytes of this machine's memory; 0 where the system does not tell (Windows)."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0


def _size(amount: int) -> str:
    """In gigabytes as disks and Ollama count them.

    >>> _size(318_630_788)
    '0.3 GB'
    """
    return f"{amount / 1e9:.1f} GB"
