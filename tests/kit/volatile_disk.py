"""A disk with a cache that a power cut empties: what was written is seen at once, and stays only if it was synced.

Taken by the letter of POSIX: the content of a file is safe after its own fsync, a name (create, rename, unlink, mkdir)
after an fsync of its folder. What was not synced may have reached the disk all the same: in pages of 4 KiB, in any
selection; names in the order in which they changed. An fsync that fails leaves pages behind that look written and never
will be, as Linux does. Modes, owners and times are not part of this: they count at once.

No FUSE in this file; ``fault_filesystem.py`` puts it below a mount point.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PAGE: Final = 4096
_ROOT: Final = 1


@dataclass
class Node:
    """A file or a folder. Of a folder only ``names`` count, of a file all but those; on the disk is ``durable_…``."""

    number: int
    mode: int
    live: int = -1  # descriptors of the two contents
    durable: int = -1
    dirty: set[int] = field(default_factory=set)  # pages that the next fsync brings to the disk
    lowest: int = 0  # the shortest it has been since the last fsync
    names: dict[str, int] = field(default_factory=dict)
    durable_names: dict[str, int] = field(default_factory=dict)
    uid: int = field(default_factory=os.getuid)
    gid: int = field(default_factory=os.getgid)
    times_ns: tuple[int, int] = field(default_factory=lambda: (time.time_ns(), time.time_ns()))

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def size(self) -> int:
        return 0 if self.is_folder else os.fstat(self.live).st_size


Change = tuple[int, str, int | None]  # folder, name, the node it means from now on


class VolatileDisk:
    """Not locked: its caller is. Errors are OSErrors with their errno. ``capacity``: bytes of all files together."""

    def __init__(self, backing: Path) -> None:
        self._live, self._durable = backing / "live", backing / "durable"
        for folder in (self._live, self._durable):
            folder.mkdir(parents=True)
        self._nodes = {_ROOT: Node(_ROOT, stat.S_IFDIR | 0o700)}
        self._next = _ROOT + 1
        self._pending: list[tuple[Change, ...]] = []
        self.capacity: int | None = None
        self.used = 0

    # ── names ──────────────────────────────────────────────────────────────────────────────────────────────────
    def find(self, path: str) -> Node:
        node = self._nodes[_ROOT]
        for name in path.split("/"):
            if not name:
                continue
            if not node.is_folder:
                raise OSError(errno.ENOTDIR, path)
            if name not in node.names:
                raise OSError(errno.ENOENT, path)
            node = self._nodes[node.names[name]]
        return node

    def _place(self, path: str) -> tuple[Node, str]:
        folder, _, name = path.rpartition("/")
        return self.find(folder), name

    def _change(self, *changes: Change) -> None:
        for folder, name, number in changes:
            _rename(self._nodes[folder].names, name, number)
        self._pending.append(changes)

    def make_folder(self, path: str, mode: int) -> None:
        folder, name = self._place(path)
        if name in folder.names:
            raise OSError(errno.EEXIST, path)
        self._change((folder.number, name, self._new(stat.S_IFDIR | mode).number))

    def create(self, path: str, mode: int) -> Node:
        folder, name = self._place(path)
        if name in folder.names:
            raise OSError(errno.EEXIST, path)
        node = self._new(stat.S_IFREG | stat.S_IMODE(mode))
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        node.live = os.open(self._live / str(node.number), flags, 0o600)
        node.durable = os.open(self._durable / str(node.number), flags, 0o600)
        self._change((folder.number, name, node.number))
        return node

    def _new(self, mode: int) -> Node:
        node = self._nodes[self._next] = Node(self._next, mode)
        self._next += 1
        return node

    def remove(self, path: str) -> None:
        folder, name = self._place(path)
        node = self.find(path)
        if node.names:
            raise OSError(errno.ENOTEMPTY, path)
        self.used -= node.size
        self._change((folder.number, name, None))

    def rename(self, old: str, new: str) -> None:
        node = self.find(old)
        (from_folder, from_name), (to_folder, to_name) = self._place(old), self._place(new)
        replaced = to_folder.names.get(to_name)
        if replaced == node.number:
            return
        if replaced is not None:
            if self._nodes[replaced].names:
                raise OSError(errno.ENOTEMPTY, new)
            self.used -= self._nodes[replaced].size
        self._change((from_folder.number, from_name, None), (to_folder.number, to_name, node.number))

    # ── contents ───────────────────────────────────────────────────────────────────────────────────────────────
    def write(self, node: Node, data: bytes, offset: int) -> int:
        before, end = node.size, offset + len(data)
        self._need(end - before)
        written = os.pwrite(node.live, data, offset)
        self.used += max(end - before, 0)
        node.dirty.update(range(min(offset, before) // PAGE, (end + PAGE - 1) // PAGE))
        return written

    def truncate(self, node: Node, length: int) -> None:
        before = node.size
        self._need(length - before)
        os.ftruncate(node.live, length)
        self.used += length - before
        node.lowest = min(node.lowest, length)
        node.dirty = {page for page in node.dirty if page * PAGE < length}
        node.dirty.update(range(min(length, before) // PAGE, (length + PAGE - 1) // PAGE))

    def _need(self, more: int) -> None:
        if self.capacity is not None and more > 0 and self.used + more > self.capacity:
            raise OSError(errno.ENOSPC, "the disk is full")

    # ── durability ─────────────────────────────────────────────────────────────────────────────────────────────
    def sync(self, node: Node) -> None:
        """What fsync promises, of a file or of a folder."""
        if node.is_folder:
            self._sync_names(node)
            return
        self._persist(node, node.dirty)
        os.ftruncate(node.durable, node.size)
        node.dirty, node.lowest = set(), node.size

    def fail_sync(self, node: Node) -> None:
        """An fsync that failed: its pages count as written from now on, and are not."""
        node.dirty = set()

    def _persist(self, node: Node, pages: set[int]) -> None:
        if node.lowest < os.fstat(node.durable).st_size:
            os.ftruncate(node.durable, node.lowest)
        for page in pages:
            if content := os.pread(node.live, PAGE, page * PAGE):
                os.pwrite(node.durable, content, page * PAGE)

    def _sync_names(self, folder: Node) -> None:
        """Its own changes, and of others what they build on: a name moved away from here must first have come here."""
        touched: set[tuple[int, str]] = set()
        chosen = []
        for changes in reversed(self._pending):
            places = {(number, name) for number, name, _node in changes}
            if places & touched or any(number == folder.number for number, _name in places):
                touched |= places
                chosen.append(changes)
        for changes in reversed(chosen):
            self._reach_disk(changes)
            self._pending.remove(changes)

    def _reach_disk(self, changes: tuple[Change, ...]) -> None:
        for folder, name, number in changes:
            _rename(self._nodes[folder].durable_names, name, number)

    def cut_power(self, chance: random.Random | None) -> None:
        """Forget what was not synced; with ``chance`` a random part of it has reached the disk. Nothing may be open."""
        if chance is not None:
            for changes in self._pending[: chance.randint(0, len(self._pending))]:
                self._reach_disk(changes)
        self._pending = []
        reached = self._reachable()
        for number, node in list(self._nodes.items()):
            if number not in reached:
                self._forget(node)
            elif node.is_folder:
                node.names = dict(node.durable_names)
            else:
                self._lose(node, chance)
        self.used = sum(node.size for node in self._nodes.values())

    def _lose(self, node: Node, chance: random.Random | None) -> None:
        if chance is not None and chance.random() < 0.7:
            kept = {page for page in sorted(node.dirty) if chance.random() < 0.5}
            self._persist(node, kept)
        shutil.copyfile(self._durable / str(node.number), self._live / str(node.number))
        node.dirty, node.lowest = set(), node.size

    def _reachable(self) -> set[int]:
        reached, ahead = set(), [_ROOT]
        while ahead:
            number = ahead.pop()
            reached.add(number)
            ahead += self._nodes[number].durable_names.values()
        return reached

    def _forget(self, node: Node) -> None:
        if not node.is_folder:
            for descriptor, folder in ((node.live, self._live), (node.durable, self._durable)):
                os.close(descriptor)
                (folder / str(node.number)).unlink()
        del self._nodes[node.number]


def _rename(names: dict[str, int], name: str, number: int | None) -> None:
    if number is None:
        names.pop(name, None)
    else:
        names[name] = number
