"""The listening sockets: handed over by systemd under their names, or made here below the run folder.

Source: ``sd_listen_fds(3)``. What systemd made stays systemd's: it is never unlinked, and its permissions are the unit
file's. A socket made here replaces a dead one of the same name, never a live one, nor anything that is no socket.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct

from agent.errors import NeedsPerson

log = structlog.get_logger("local_api")

BACKLOG: Final = 1024
_FIRST_INHERITED: Final = 3
_LONGEST_PATH_BYTES: Final = 107


class Listener(Struct, frozen=True):
    """``made``: by us, so that we remove the file at the end. ``private``: for the agent's own uid alone."""

    socket: socket.socket
    path: Path
    made: bool
    private: bool


def inherited_sockets(environ: Mapping[str, str], pid: int) -> dict[str, socket.socket]:
    """The listening unix sockets that systemd handed over, by name; empty when there are none for this process.

    Raises:
        NeedsPerson: One named ``payment`` or ``control`` is not a listening unix stream socket.
    """
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(pid) or not count.isdigit():
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    found: dict[str, socket.socket] = {}
    for index in range(int(count)):
        name = names[index] if index < len(names) else ""
        if name not in ("payment", "control") or name in found:
            continue
        os.set_inheritable(_FIRST_INHERITED + index, False)
        found[name] = _checked(name, socket.socket(fileno=_FIRST_INHERITED + index))
    return found


def _checked(name: str, given: socket.socket) -> socket.socket:
    listens = given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    if given.family != socket.AF_UNIX or given.type != socket.SOCK_STREAM or not listens:
        given.detach()
        raise NeedsPerson(
            f"the socket handed over as {name} is not a listening unix stream socket",
            hint=f"in the socket unit: ListenStream=/run/pos-agent/{name}.sock and FileDescriptorName={name}",
        )
    return given


def take_over(given: socket.socket, group_exists: bool) -> Listener:
    """Use a socket of systemd's."""
    given.setblocking(False)
    return Listener(given, Path(str(given.getsockname())), made=False, private=not group_exists)


def make(path: Path, gid: int | None) -> Listener:
    """Bind and listen at ``path``: 0660 with group ``gid``, or 0600 where there is no such group to give it to.

    Raises:
        NeedsPerson: Another process listens there, something else is in the way, or the folder cannot be used.
    """
    if len(os.fsencode(path)) > _LONGEST_PATH_BYTES:
        raise NeedsPerson(
            f"{path} is too long for a socket ({_LONGEST_PATH_BYTES} bytes at most)", hint="choose a shorter paths.run"
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _clear_the_way(path)
        listener.bind(os.fspath(path))
        private = not _give_to_group(path, gid)  # before listening: nobody can connect yet
        listener.listen(BACKLOG)
    except OSError as err:
        listener.close()
        raise NeedsPerson(
            f"cannot listen at {path}: {err.strerror or err}", hint="check paths.run and who owns it"
        ) from err
    except NeedsPerson:
        listener.close()
        raise
    return Listener(listener, path, made=True, private=private)


def _clear_the_way(path: Path) -> None:
    """Remove the socket of an agent that is no more."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise NeedsPerson(f"{path} exists and is no socket", hint="move it away; it was left alone")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as probe:
        answer = probe.connect_ex(os.fspath(path))
    if answer == errno.ECONNREFUSED:
        path.unlink(missing_ok=True)
    elif answer != errno.ENOENT:  # connected, its backlog is full (EAGAIN), or we may not even ask
        raise NeedsPerson(
            f"another process listens at {path}", hint="stop the other pos-agent, or give this one another paths.run"
        )


def _give_to_group(path: Path, gid: int | None) -> bool:
    path.chmod(0o600)
    if gid is None:
        return False
    try:
        os.chown(path, -1, gid)
    except PermissionError:
        log.warning("socket.group_not_given", path=str(path), gid=gid, hint="the agent is no member of the group")
        return False
    path.chmod(0o660)
    return True
