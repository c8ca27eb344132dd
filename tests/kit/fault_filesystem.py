"""A real file system that fails on demand: FUSE in a child process, its rules changed while others work on it.

Errors of one's choice from any operation, by path, after so many calls, so many times; short writes; delays; a disk of
a given size; a stop in the middle of the n-th change; and a power cut, after which only what was synced is there
(``volatile_disk.py``; the child is ``fault_mount.py``). Memory mapping works, so SQLite's WAL does. However this
process ends, it is unmounted.

    with fault_filesystem(tmp_path) as disk:
        disk.break_with(Rule("fsync", "EIO", path="agent.db-wal$"))
        …
        disk.heal()
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

ROOT: Final = Path(__file__).parents[2]
MOUNT_S: Final = 20.0
CHANGES: Final = frozenset({"write", "fsync", "truncate", "create", "unlink", "rename", "mkdir", "rmdir"})


class Rule(msgspec.Struct, frozen=True):
    """What goes wrong. The first rule that fits an operation decides.

    Args:
        operation: ``read``, or one of `CHANGES` (an fsync of a folder counts as ``fsync``); several with ``|``.
        error: A name of `errno`; empty for none, where only ``delay_s`` or ``short`` is wanted.
        path: A regular expression that is searched for in the path below the mount point.
        after: So many calls go well first.
        times: So many calls are counted then; None: all.
        every: Of those that are counted, each so-manieth goes wrong.
        short: A write takes only half of what it is given.
    """

    operation: str
    error: str = ""
    path: str = ""
    after: int = 0
    times: int | None = None
    every: int = 1
    delay_s: float = 0.0
    short: bool = False


class Order(msgspec.Struct, frozen=True, tag=True):
    """What the child is told, one line each; it answers each with a number."""


class Rules(Order, frozen=True):
    rules: list[Rule]


class Size(Order, frozen=True):
    capacity: int | None


class HaltAt(Order, frozen=True):
    """Stand still in the middle of the change of this number, counted from now; 0: never. Answers the count so far."""

    change: int


class AwaitHalt(Order, frozen=True):
    """Answers 1 once it stands still, 0 after ``within_s``."""

    within_s: float


class Fail(Order, frozen=True):
    """The power is gone: whatever is asked fails from now on, and so does what stands still."""


class Revive(Order, frozen=True):
    """The power is back. ``seed``: a random part of what was not synced has survived; None: nothing of it."""

    seed: int | None


class Hits(Order, frozen=True):
    """Answers how often the rules have struck since they were given."""


ORDERS: Final = msgspec.json.Decoder(Rules | Size | HaltAt | AwaitHalt | Fail | Revive | Hits)


class FaultFilesystem:
    """The mounted file system, as tests use it; everything below ``path``."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "disk"
        self.path.mkdir(parents=True)
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.kit.fault_mount", str(self.path), str(folder / "backing")],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        deadline = time.monotonic() + MOUNT_S
        while not os.path.ismount(self.path):
            assert self._child.poll() is None, "the file system's process ended"
            assert time.monotonic() < deadline, f"not mounted within {MOUNT_S:g} s"
            time.sleep(0.005)

    def _tell(self, order: Order) -> int:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(msgspec.json.encode(order) + b"\n")
        self._child.stdin.flush()
        return int(self._child.stdout.readline())

    def break_with(self, *rules: Rule) -> None:
        """From now on these rules, and no others."""
        self._tell(Rules(list(rules)))

    def heal(self) -> None:
        """From now on everything goes well."""
        self._tell(Rules([]))

    def hits(self) -> int:
        """How often the present rules have struck."""
        return self._tell(Hits())

    def resize(self, capacity: int | None) -> None:
        """Bytes of all files together; None: as much as there is."""
        self._tell(Size(capacity))

    def halt_at(self, change: int) -> int:
        """Stand still in the middle of a change, see `HaltAt`; gives how many changes were made before this call."""
        return self._tell(HaltAt(change))

    def await_halt(self, within_s: float) -> bool:
        """True once it stands still."""
        return bool(self._tell(AwaitHalt(within_s)))

    def cut_power(self, *victims: subprocess.Popen[bytes], seed: int | None = None) -> None:
        """Kill the processes that use it, forget what was not synced, and be there again; see `Revive`."""
        for victim in victims:
            victim.kill()
        self._tell(Fail())
        for victim in victims:
            victim.wait(20)
        self._tell(Revive(seed))

    def close(self) -> None:
        """Unmount; what still has files open on it sees errors."""
        subprocess.run(["umount", "--lazy", str(self.path)], check=False, capture_output=True)
        if self._child.stdin is not None:
            self._child.stdin.close()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()


@contextlib.contextmanager
def fault_filesystem(folder: Path) -> Iterator[FaultFilesystem]:
    """Mounted below ``folder`` for the length of a ``with``. A test is skipped only where nobody may mount anything."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as err:
        if os.geteuid() == 0:
            pytest.fail(f"/dev/fuse: {err.strerror}; root must have it, or these tests would never run")
        pytest.skip(f"/dev/fuse: {err.strerror}")
    disk = FaultFilesystem(folder)
    try:
        yield disk
    finally:
        disk.close()
