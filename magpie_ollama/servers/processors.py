"""How many threads the embedded engine should have on this machine, and whether they get the processors they want.

llama.cpp's threads wait for each other hundreds of times a token. One that has to wait for a processor holds up all:
with two busy loops beside it on two cores, two threads made 0.2 to 1.0 tokens a second where one made 2.9 to 16.
"""

from __future__ import annotations

import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_TOPOLOGY = Path("/sys/devices/system/cpu")
_SELF = Path("/proc/self/cgroup")


def threads() -> int:
    """Physical cores less one, of those that this process may use: the client, and whatever else runs, needs one too.
    Where waiting cannot be measured (``Waiting``), what the machine is busy with is left out as well."""
    usable = min(_cores(), int(_limit()) or 1)
    busy = 0 if Waiting.is_measured() else round(_load())
    return max(1, usable - max(1, busy))


class Waiting:
    """The share of its time that a process' threads waited for a processor, from one look to the next (Linux)."""

    def __init__(self, process: int) -> None:
        self._tasks = Path(f"/proc/{process}/task")
        self._before = self._times()

    @staticmethod
    def is_measured() -> bool:
        return Path("/proc/self/schedstat").exists()

    def share(self) -> float:
        """0.0 where they did nothing, or nobody knows."""
        now, before = self._times(), self._before
        self._before = now
        ran, waited = (max(0, after - earlier) for after, earlier in zip(now, before, strict=True))
        return waited / (ran + waited) if ran + waited else 0.0

    def _times(self) -> tuple[int, int]:
        """Nanoseconds that all threads ran, and that they waited for a processor."""
        ran = waited = 0
        for path in self._tasks.glob("*/schedstat"):
            try:
                one, other, _ = map(int, path.read_text().split())
            except (OSError, ValueError):
                continue  # it has ended
            ran, waited = ran + one, waited + other
        return ran, waited


def _cores() -> int:
    """Physical cores among the processors that this process is bound to; where that is not told, processors."""
    try:
        usable = os.sched_getaffinity(0)
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
    siblings = set()
    for number in usable:
        try:
            siblings.add((_TOPOLOGY / f"cpu{number}" / "topology" / "thread_siblings_list").read_text())
        except OSError:
            return len(usable)
    return len(siblings)


def _limit() -> float:
    """Processors that a container's limit allows, by cgroup v2 or v1; infinity is 2 ** 20 here."""
    most = float(2**20)
    try:
        groups = [line.split(":", 2) for line in _SELF.read_text().splitlines()]
    except OSError:
        return most
    for _, controllers, group in groups:
        if controllers not in ("", "cpu", "cpu,cpuacct", "cpuacct,cpu"):
            continue
        for name in (controllers, "cpu") if controllers else ("", "unified"):
            mount = _CGROUPS / name
            # Each group above it limits as well. In a container the path may be that of the host, and its root is ours.
            place = Path(group.lstrip("/"))
            for folder in {mount, *(mount / part for part in (place, *place.parents))}:
                most = min(most, _allowed(folder))
    return most


def _allowed(folder: Path) -> float:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 and int(period) > 0 else float(2**20)
    except (OSError, ValueError):  # "max" is no number
        return float(2**20)


def _load() -> float:
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # not on Windows
        return 0.0
