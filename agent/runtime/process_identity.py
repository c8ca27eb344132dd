"""Which process, and which systemd unit, a pid stands for: a pid alone is used again sooner or later.

Source: Linux ``proc_pid_stat(5)`` field 22 and ``cgroups(7)``; systemd's ``cg_path_get_unit``: the first part of a path
that is no slice is the unit. Read from the machine's own procfs, never from an emulated one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from msgspec import Struct

PROC: Final = Path("/proc")
SUPERVISED_UNIT: Final = "SUPERVISED_UNIT"
"""The environment variable in which a unit of the supervisor finds its own name."""

_START_TIME: Final = 22 - 3  # fields are numbered from 1, and the first two stand before the last parenthesis


class Process(Struct, frozen=True):
    """A process as the kernel tells it apart.

    Attributes:
        pid: 0 for one of another pid namespace.
        began: Its start in clock ticks since boot; None when nobody could say: then uid and pid alone count.
    """

    uid: int
    pid: int
    began: int | None


def began(pid: int, proc: Path = PROC) -> int | None:
    """When the process with this pid started, in clock ticks since boot; None when there is none such."""
    try:
        with open(f"{proc}/{pid}/stat", "rb", buffering=0) as file:  # asked at every connection
            stat = file.read(4096)
        return int(stat.rpartition(b")")[2].split()[_START_TIME])
    except (OSError, ValueError, IndexError):
        return None


def is_alive(process: Process, proc: Path = PROC) -> bool:
    """Whether this very process still runs. One that cannot be told apart counts as gone."""
    return process.began is not None and began(process.pid, proc) == process.began


def unit_of(process: Process, proc: Path = PROC) -> str | None:
    """The system service in which a process runs, such as ``payment.service``; None outside of any, or when gone."""
    try:
        lines = (proc / str(process.pid) / "cgroup").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return service_in(lines) if is_alive(process, proc) else None


def supervised_unit_of(process: Process, proc: Path = PROC) -> str | None:
    """As `unit_of`, where a supervisor keeps the units of an emulated machine: it names them in their environment.

    A process can change its own environment, so this is for a development machine only.
    """
    try:
        environment = (proc / str(process.pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    prefix = f"{SUPERVISED_UNIT}=".encode()
    named = next((one.removeprefix(prefix) for one in environment if one.startswith(prefix)), None)
    return named.decode("ascii", "replace") if named and is_alive(process, proc) else None


def service_in(cgroup_lines: list[str]) -> str | None:
    """The service named by the lines of ``/proc/<pid>/cgroup``, of either version of control groups. Pure."""
    paths = {}
    for line in cgroup_lines:
        _number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        paths[controllers] = path
    for controllers in ("name=systemd", ""):
        for part in paths.get(controllers, "").split("/"):
            if part and not part.endswith(".slice"):
                name = part.removeprefix("_")  # systemd's escape for names that the kernel could take for its own
                return name if name.endswith(".service") else None
    return None
