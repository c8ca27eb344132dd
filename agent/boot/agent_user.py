"""Offline verbs are given by root and done by the daemon's own user, so that every file they leave is the daemon's."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.errors import Refused, StateLocked
from agent.runtime.state_lock import StateLock

AGENT_USER: Final = "pos-agent"


def become_agent_user(state: Path) -> None:
    """Where this is root: become the owner of the state folder, which is made for ``pos-agent`` if it is not there.

    Raises:
        Refused: The folder cannot be used.
    """
    try:
        if os.geteuid() != 0:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.listdir(state)
            return
        if not state.exists():
            _make_folder(state)
        owner = state.stat()
    except OSError as err:
        raise Refused(f"{state} cannot be used: {err.strerror}", hint="run it as root, or as the agent's user") from err
    if owner.st_uid == 0:
        return  # the daemon runs as root here, in a container perhaps
    with contextlib.suppress(KeyError):
        os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
    os.setresgid(owner.st_gid, owner.st_gid, owner.st_gid)
    os.setresuid(owner.st_uid, owner.st_uid, owner.st_uid)
    os.umask(0o077)


@contextlib.contextmanager
def state_alone(state: Path) -> Iterator[None]:
    """Hold the state folder as the agent's user.

    Raises:
        Refused: The daemon, or another such verb, works there; or as `become_agent_user`.
    """
    become_agent_user(state)
    lock = StateLock(state)
    try:
        lock.take()
    except StateLocked as err:
        hint = "stop the daemon first: systemctl stop pos-agent; start it again afterwards"
        raise Refused(err.message, reason="STATE_LOCKED", hint=hint) from err
    except OSError as err:
        raise Refused(f"{state} cannot be used: {err.strerror}", hint="run it as root, or as the agent's user") from err
    try:
        yield
    finally:
        lock.release()


def _make_folder(state: Path) -> None:
    """As the package does; on a machine without its user the daemon is run as root, too."""
    state.mkdir(mode=0o700, parents=True)
    with contextlib.suppress(KeyError):
        user = pwd.getpwnam(AGENT_USER)
        os.chown(state, user.pw_uid, user.pw_gid)
