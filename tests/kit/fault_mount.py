"""The child of ``fault_filesystem.py``: a FUSE file system over `VolatileDisk` that does as its rules say.

``python -m tests.kit.fault_mount MOUNTPOINT BACKING``; orders come in on standard input, a line each, and are answered
with a number. At the end of its input it unmounts and ends.
"""

from __future__ import annotations

import errno
import os
import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.kit.fault_filesystem import CHANGES, ORDERS, AwaitHalt, Fail, HaltAt, Hits, Revive, Rule, Rules, Size
from tests.kit.volatile_disk import PAGE, Node, VolatileDisk


class _Faults:
    """Rules with their counters, and the state of the power; used by all threads of the child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[tuple[Rule, re.Pattern[str], list[int]]] = []
        self.hits = 0
        self._changes = 0
        self._halt_at = 0
        self.halted = threading.Event()
        self._resumed = threading.Event()
        self.is_dead = False

    def set(self, rules: list[Rule]) -> None:
        with self._lock:
            self._rules = [(rule, re.compile(rule.path), [0]) for rule in rules]
            self.hits = 0

    def halt_at(self, change: int) -> int:
        with self._lock:
            before, self._changes, self._halt_at = self._changes, 0, change
            return before

    def fail(self) -> None:
        self.is_dead = True
        self._resumed.set()

    def revive(self) -> None:
        with self._lock:
            self._halt_at = 0
            self.halted.clear()
            self._resumed.clear()
            self.is_dead = False

    def meet(self, operation: str, path: str) -> bool:
        """Wait, fail, or go on; True: a short write."""
        with self._lock:
            if operation in CHANGES and not self.is_dead:
                self._changes += 1
                if self._changes == self._halt_at:
                    self.halted.set()
            rule = self._rule_for(operation, path)
        if self.halted.is_set():
            self._resumed.wait()
        if self.is_dead:
            raise OSError(errno.EIO, path)
        if rule is not None and rule.delay_s:
            time.sleep(rule.delay_s)
        if rule is not None and rule.error:
            raise OSError(getattr(errno, rule.error), path)
        return rule is not None and rule.short

    def _rule_for(self, operation: str, path: str) -> Rule | None:
        for rule, pattern, calls in self._rules:
            if operation in rule.operation.split("|") and pattern.search(path):
                calls[0] += 1
                late = calls[0] - rule.after
                if late > 0 and late % rule.every == 0 and (rule.times is None or late <= rule.times):
                    self.hits += 1
                    return rule
        return None


def _serve(mountpoint: Path, backing: Path) -> None:
    """The child: be the file system until unmounted."""
    import mfusepy  # type: ignore[import-untyped]  # here: the tests' own process needs no libfuse

    disk, faults, lock = VolatileDisk(backing), _Faults(), threading.Lock()
    open_nodes: dict[int, Node] = {}

    class Mounted(mfusepy.Operations):  # type: ignore[misc]
        use_ns = True

        def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
            with lock:
                node = open_nodes[fh] if fh in open_nodes else disk.find(path)
                sizes = {"st_size": node.size, "st_blocks": (node.size + 511) // 512}
                times = {"st_atime": node.times_ns[0], "st_mtime": node.times_ns[1], "st_ctime": node.times_ns[1]}
                owner = {"st_uid": node.uid, "st_gid": node.gid}
                return {"st_mode": node.mode, "st_nlink": 1, "st_ino": node.number, **owner, **sizes, **times}

        def readdir(self, path: str, fh: int) -> list[str]:
            with lock:
                return [".", "..", *disk.find(path).names]

        def statfs(self, path: str) -> dict[str, int]:
            host = os.statvfs(backing)
            total = host.f_blocks * host.f_frsize if disk.capacity is None else disk.capacity
            free = host.f_bavail * host.f_frsize if disk.capacity is None else max(disk.capacity - disk.used, 0)
            room = {"f_blocks": total // PAGE, "f_bfree": free // PAGE, "f_bavail": free // PAGE}
            files = {"f_files": 1 << 20, "f_ffree": 1 << 19, "f_favail": 1 << 19}
            return {"f_bsize": PAGE, "f_frsize": PAGE, "f_namemax": 255, **room, **files}

        def _opened(self, node: Node) -> int:
            number = max(open_nodes, default=0) + 1
            open_nodes[number] = node
            return number

        def open(self, path: str, flags: int) -> int:
            with lock:
                return self._opened(disk.find(path))

        def create(self, path: str, mode: int, fi: Any = None) -> int:
            faults.meet("create", path)
            with lock:
                return self._opened(disk.create(path, mode))

        opendir = None

        def release(self, path: str, fh: int) -> int:
            with lock:
                del open_nodes[fh]
            return 0

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            faults.meet("read", path)
            return os.pread(open_nodes[fh].live, size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            if faults.meet("write", path):
                data = data[: max(len(data) // 2, 1)]
            with lock:
                return disk.write(open_nodes[fh], data, offset)

        def truncate(self, path: str, length: int, fh: int | None = None) -> int:
            faults.meet("truncate", path)
            with lock:
                disk.truncate(open_nodes[fh] if fh in open_nodes else disk.find(path), length)
            return 0

        def fsync(self, path: str, datasync: int, fh: int) -> int:
            return self._synced(path, open_nodes.get(fh))

        def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
            return self._synced(path, None)

        def _synced(self, path: str, node: Node | None) -> int:
            try:
                faults.meet("fsync", path)
            except OSError:
                with lock:
                    if not faults.is_dead:
                        disk.fail_sync(node or disk.find(path))
                raise
            with lock:
                disk.sync(node or disk.find(path))
            return 0

        def unlink(self, path: str) -> int:
            faults.meet("unlink", path)
            with lock:
                disk.remove(path)
            return 0

        def rename(self, old: str, new: str) -> int:
            faults.meet("rename", old)
            with lock:
                disk.rename(old, new)
            return 0

        def mkdir(self, path: str, mode: int) -> int:
            faults.meet("mkdir", path)
            with lock:
                disk.make_folder(path, mode)
            return 0

        def rmdir(self, path: str) -> int:
            faults.meet("rmdir", path)
            with lock:
                disk.remove(path)
            return 0

        def chmod(self, path: str, mode: int) -> int:
            with lock:
                node = disk.find(path)
                node.mode = (node.mode & ~0o7777) | (mode & 0o7777)
            return 0

        def chown(self, path: str, uid: int, gid: int) -> int:
            with lock:
                node = disk.find(path)
                node.uid, node.gid = (uid if uid >= 0 else node.uid), (gid if gid >= 0 else node.gid)
            return 0

        def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
            with lock:
                disk.find(path).times_ns = times or (time.time_ns(), time.time_ns())
            return 0

    def obey(order: Any) -> int:
        match order:
            case Rules():
                faults.set(order.rules)
            case Size():
                disk.capacity = order.capacity
            case HaltAt():
                return faults.halt_at(order.change)
            case AwaitHalt():
                return int(faults.halted.wait(order.within_s))
            case Fail():
                faults.fail()
            case Revive():
                deadline = time.monotonic() + 10
                while open_nodes and time.monotonic() < deadline:
                    time.sleep(0.001)  # the kernel closes what the dead had open
                with lock:
                    disk.cut_power(random.Random(order.seed) if order.seed is not None else None)
                faults.revive()
            case Hits():
                return faults.hits
        return 0

    def listen() -> None:
        with open(0, "rb", closefd=False) as orders:
            for line in orders:
                os.write(1, b"%d\n" % obey(ORDERS.decode(line)))
        faults.fail()  # whoever mounted it is gone
        subprocess.run(["umount", "--lazy", str(mountpoint)], check=False, capture_output=True)

    threading.Thread(target=listen, daemon=True).start()
    options: dict[str, Any] = {"attr_timeout": 0, "entry_timeout": 0, "default_permissions": True, "big_writes": True}
    mfusepy.FUSE(Mounted(), str(mountpoint), foreground=True, **options)
    os._exit(0)  # a thread may still be waiting for an order


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), Path(sys.argv[2]))
