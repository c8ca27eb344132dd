"""Request files, read by root as what they are: written by a process that faces the network.

Every folder on the way is opened from the one above it and never through a symbolic link; a file must be plain, small,
the agent's own and have one name. Whoever removes a request owns it: the agent takes one back by removing it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from agent.machine.acts import Asked, form_problem

MAX_REQUEST_BYTES: Final = 4096
MOST_AT_ONCE: Final = 16
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def requests_folder(run: Path, agent_uid: int) -> Iterator[int | None]:
    """The descriptor of ``run/machine/requests`` for the length of a ``with``; None where there is no such folder.

    Raises:
        OSError: It is behind a symbolic link, or is not the agent's.
    """
    try:
        folder = os.open(run, _FOLDER)
    except FileNotFoundError:
        yield None
        return
    try:
        for part in ("machine", "requests"):
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        if os.fstat(folder).st_uid != agent_uid:
            raise PermissionError(f"{run}/machine/requests is not the agent's")
        yield folder
    finally:
        os.close(folder)


def take(folder: int, agent_uid: int) -> Iterator[Asked | str]:
    """Each request, removed from the folder, or the reason why it is none; at most `MOST_AT_ONCE`.

    What cannot be removed (a folder that is not empty) is reported and left.
    """
    for name in sorted(os.listdir(folder))[:MOST_AT_ONCE]:
        content = _read(folder, name, agent_uid)
        try:
            _remove(folder, name)
        except FileNotFoundError:
            continue  # taken back
        except OSError as err:
            yield f"an entry that cannot be removed: {err.strerror}"
            continue
        yield content if isinstance(content, str) else _decoded(name, content)


def _read(folder: int, name: str, agent_uid: int) -> bytes | str:
    try:
        # Not blocking: opening a pipe would wait for its other end.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=folder)
    except OSError as err:
        return f"a request that cannot be opened: {err.strerror}"
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return "a request that is no plain file"
        if found.st_uid != agent_uid or found.st_nlink != 1:
            return "a request that is not the agent's own file"
        content = os.read(descriptor, MAX_REQUEST_BYTES + 1)
        return content if len(content) <= MAX_REQUEST_BYTES else "a request that is too long"
    finally:
        os.close(descriptor)


def _remove(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        os.rmdir(name, dir_fd=folder)


def _decoded(name: str, content: bytes) -> Asked | str:
    try:
        asked = msgspec.json.decode(content, type=Asked)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "a request of wrong form"
    if name != f"{asked.act.order_id}.json" or form_problem(asked.act) is not None:
        return "a request of wrong form"
    return asked
