"""Who is at the other end of a unix socket, by the kernel's word, and what that allows.

Source: ``unix(7)`` and ``socket(7)``: ``SO_PEERCRED`` (pid, uid, gid at the time of connecting) and ``SO_PEERGROUPS``
(supplementary groups, since Linux 4.13). What the peer says of itself never counts.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Final

from msgspec import Struct

from agent.runtime.process_identity import Process

PAYMENT: Final = "payment"
SUPPORT: Final = "support"
ADMIN: Final = "admin"
ALL_RIGHTS: Final = frozenset({PAYMENT, SUPPORT, ADMIN})
GROUP_NAMES: Final = {PAYMENT: "pos-payment", SUPPORT: "pos-support", ADMIN: "pos-admin"}

_SO_PEERGROUPS: Final = 59  # <asm-generic/socket.h>; Python has no name for it
_CREDENTIALS: Final = struct.Struct("iII")
_MOST_BYTES: Final = 1024  # what Python's getsockopt takes: 256 groups


class Credentials(Struct, frozen=True):
    """A peer as the kernel knows it. ``gids`` holds the primary group too. ``pid`` is 0 from another pid namespace."""

    pid: int
    uid: int
    gids: frozenset[int]


class Caller(Struct, frozen=True):
    """Who makes a call, and the rights (of `ALL_RIGHTS`) that come with it. ``began``: see `Process`."""

    pid: int
    uid: int
    rights: frozenset[str]
    began: int | None = None

    @property
    def process(self) -> Process:
        return Process(self.uid, self.pid, self.began)


def credentials(connection: socket.socket) -> Credentials:
    """Ask the kernel.

    Raises:
        OSError: The connection is broken.
    """
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(packed)
    try:
        groups = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_BYTES)
    except OSError:  # an old kernel, or more than 256 groups: the primary one alone counts then
        groups = b""
    return Credentials(pid, uid, frozenset(struct.unpack(f"{len(groups) // 4}I", groups)) | {gid})


def group_ids(group_file: Path = Path("/etc/group")) -> dict[str, int]:
    """The group ids behind each right, for those groups that exist on this machine.

    Read where the package makes them. Asking the name service would load its modules for ever, 0.5 MB.
    """
    try:
        lines = group_file.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    known = {fields[0]: fields[2] for line in lines if len(fields := line.split(":")) == 4}
    return {right: int(known[name]) for right, name in GROUP_NAMES.items() if known.get(name, "").isdecimal()}


def rights_of(uid: int, gids: Collection[int], groups: dict[str, int], private_to: int | None = None) -> frozenset[str]:
    """What a peer may do.

    Args:
        groups: As `group_ids` gives them.
        private_to: The owner of a socket that belongs to no group (a development folder); this uid may do everything.
    """
    if uid in (0, private_to):
        return ALL_RIGHTS
    rights = {right for right, gid in groups.items() if gid in gids}
    if ADMIN in rights:
        rights.add(SUPPORT)
    return frozenset(rights)
