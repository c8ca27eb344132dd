"""Holds one booted container: process 1 of namespaces of its own, started by `Terminal` through unshare(1).

Everything it makes dies with it: mounts live in its mount namespace, every process of the container in its process
namespace, which the kernel empties when process 1 ends; and that ends with the test run, however the run ends
(``PR_SET_PDEATHSIG``, ``unshare --kill-child``). Left to remove by hand are empty control groups. Standard library
only; arguments as one JSON object.

systemd-nspawn without a systemd on the host ends with 133 when the container wants to reboot; it is started again then.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

REBOOT = 133
CONTROLLERS = ("memory", "cpu", "cpuacct", "pids", "devices", "freezer", "blkio", "systemd", "unified")


def cgroups(name: str) -> list[Path]:
    """This container's own control groups: one in each hierarchy of version 1, or the one of version 2."""
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").exists():
        return [top / f"pos-agent-lab-{name}"]
    return [top / one / f"pos-agent-lab-{name}" for one in CONTROLLERS if (top / one).is_dir()]


def remove_cgroups(name: str, within_s: float) -> list[Path]:
    """Those of a container that has ended; its last processes may still be going. Returns what is left."""
    deadline = time.monotonic() + within_s
    while True:
        for group in cgroups(name):
            for folder, _folders, _files in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        left = [group for group in cgroups(name) if group.exists()]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def _enter_cgroups(name: str) -> None:
    """Two containers at the top of one hierarchy would meet each other, and this machine's own processes."""
    for group in cgroups(name):
        group.mkdir(exist_ok=True)
        (group / "cgroup.procs").write_text("0")  # the writer itself


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def main() -> int:
    """Mount, boot, boot again for as long as the container asks for it; returns nspawn's exit code."""
    options = json.loads(sys.argv[1])
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
        code = subprocess.run([*command, *options["arguments"], "/sbin/lab-init"], stdin=subprocess.DEVNULL).returncode
    return code


if __name__ == "__main__":
    sys.exit(main())
