"""The terminal's root file system: Debian with systemd and what the package depends on, kept until its recipe changes.

``python -m tests.lab.root_filesystem`` prints its folder, building it when it is not there: about half a minute, and
190 MB in ``/var/cache/pos-agent-lab`` (``POS_AGENT_LAB_CACHE`` names another folder).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.lab.conditions import DEBIAN

CACHE = Path(os.environ.get("POS_AGENT_LAB_CACHE", "/var/cache/pos-agent-lab"))
PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "python3-nacl", "age", "procps")
LEFT_OUT = ("man", "doc", "locale", "info")
# What a container of a minute has no use for; each would cost boot time or a failed unit.
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-networkd-wait-online.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-timesyncd.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
    "getty.target",
    "console-getty.service",
)
# systemd-nspawn mounts the controllers of cgroup version 1 read-only; MemoryMax= and the like need them writable.
INIT = """#!/bin/sh
for one in memory cpu cpuacct pids devices blkio freezer; do
    mount -o remount,rw,bind "/sys/fs/cgroup/$one" 2>/dev/null
done
exec /lib/systemd/systemd
"""


def recipe() -> str:
    """What the content depends on, as 16 hex characters."""
    return hashlib.sha256(repr((DEBIAN, PACKAGES, LEFT_OUT, MASKED, INIT)).encode()).hexdigest()[:16]


def root_filesystem() -> Path:
    """Its folder; never written to by a test. Older recipes' folders are removed."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = CACHE / recipe()
        if not ready.is_dir():
            for old in CACHE.iterdir():
                if old.is_dir():
                    shutil.rmtree(old)
            _build(CACHE / "unfinished")
            (CACHE / "unfinished").rename(ready)
        return ready


def _build(root: Path) -> None:
    options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT]
    sources = [str(file) for file in _debian_sources()]
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    command += [*options, "--dpkgopt=force-unsafe-io", DEBIAN, str(root), *sources]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise RuntimeError(f"mmdebstrap ended with {done.returncode}:\n{done.stdout.decode(errors='replace')[-2000:]}")
    (root / "etc/hostname").write_text("terminal\n")
    (root / "etc/machine-id").write_text("")
    for unit in MASKED:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    init = root / "sbin/lab-init"
    init.write_text(INIT)
    init.chmod(0o755)


def _debian_sources() -> list[Path]:
    """The machine's own apt sources, those of them that are Debian's."""
    folder = Path("/etc/apt")
    found = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    return [file for file in found if file.is_file() and f"{DEBIAN}-security" in file.read_text()]


if __name__ == "__main__":
    print(root_filesystem())
