"""Holds one booted container: a program of its own, in mounts and control groups of its own, started by `Terminal`.

Everything it makes dies with it: mounts live in its own namespace, the container's network and processes in theirs,
and the kernel ends it when the test run that started it is gone (``PR_SET_PDEATHSIG``). What is left to remove by hand
are empty control groups. Standard library only; arguments as one JSON object.

systemd-nspawn without a systemd on the host ends with 133 when the container wants to reboot; it is started again then.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

REBOOT = 133
CONTROLLERS = ("memory", "cpu", "cpuacct", "pids", "devices", "freezer", "blkio", "systemd", "unified")
_PR_SET_PDEATHSIG = 1


def die_with_parent(number: int) -> None:
    """Source: prctl(2)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def cgroups(name: str) -> list[Path]:
    """This container's own control groups: one in each hierarchy of version 1, or the one of version 2."""
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").exists():
        return [top / f"pos-agent-lab-{name}"]
    return [top / one / f"pos-agent-lab-{name}" for one in CONTROLLERS if (top / one).is_dir()]


def remove_cgroups(name: str) -> None:
    """Those of a container that has ended."""
    for group in cgroups(name):
        for folder, _folders, _files in os.walk(group, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                continue


def _enter_cgroups(name: str) -> None:
    """Two containers at the top of one hierarchy would meet each other, and this machine's own processes."""
    for group in cgroups(name):
        group.mkdir(exist_ok=True)
        (group / "cgroup.procs").write_text(str(os.getpid()))


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def main() -> int:
    """Mount, boot, boot again for as long as the container asks for it; returns nspawn's exit code."""
    options = json.loads(sys.argv[1])
    die_with_parent(signal.SIGTERM)
    work, name = Path(options["work"]), options["name"]
    host_has_systemd = Path("/run/systemd/system").is_dir()
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(work))
    for folder in ("upper", "work", "root"):
        (work / folder).mkdir()
    layers = ":".join(options["layers"])
    _mount(
        "-t", "overlay", "overlay", "-o", f"lowerdir={layers},upperdir={work}/upper,workdir={work}/work", f"{work}/root"
    )
    command = ["systemd-nspawn", "-q", "-D", f"{work}/root", f"--machine={name}", "--register=no", "--private-network"]
    command += ["--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=read-only"]
    if not host_has_systemd:
        _enter_cgroups(name)
        command.append("--keep-unit")
    code = REBOOT
    while code == REBOOT:
        nspawn = subprocess.Popen(
            [*command, *options["arguments"], "/sbin/lab-init"],
            stdin=subprocess.DEVNULL,
            preexec_fn=lambda: die_with_parent(signal.SIGKILL),  # noqa: PLW1509  # one thread
        )
        signal.signal(signal.SIGTERM, lambda *_, one=nspawn: one.kill())
        Path(options["pid_file"]).write_text(str(nspawn.pid))
        code = nspawn.wait()
    return code


if __name__ == "__main__":
    sys.exit(main())
