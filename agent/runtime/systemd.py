"""What systemd gives a service, and is told by it: ``sd_notify(3)`` datagrams, the watchdog, credentials."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_EXTENDED_BY_S: Final = 30.0
_SAID_AGAIN_AFTER_S: Final = 10.0


class Notifier:
    """Sends to ``$NOTIFY_SOCKET``; a lost datagram is never an error of the agent."""

    def __init__(self, address: str | None) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address

    @classmethod
    def from_environment(cls) -> Notifier:
        """Take the address from the environment, as systemd gives it."""
        return cls(os.environ.get("NOTIFY_SOCKET"))

    def send(self, *lines: str) -> None:
        """Send lines such as ``READY=1``, ``STATUS=…``, ``STOPPING=1``, ``WATCHDOG=1``."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            return


@contextlib.contextmanager
def more_time(notifier: Notifier, *, longest_s: float, again_s: float = _SAID_AGAIN_AFTER_S) -> Iterator[None]:
    """Within the block a start may take longer than ``TimeoutStartSec=``, but not for ever.

    Said again every ``again_s`` seconds by a thread, as whatever is done in the block does not let go.
    """
    is_over = threading.Event()

    def ask() -> None:
        for _ in range(int(longest_s / again_s)):
            notifier.send(f"EXTEND_TIMEOUT_USEC={int(_EXTENDED_BY_S * 1_000_000)}")
            if is_over.wait(again_s):
                return

    thread = threading.Thread(target=ask, name="more-time", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def watchdog_interval_s() -> float | None:
    """How often to ping: half of systemd's ``WATCHDOG_USEC``, in seconds; None where this process has no watchdog."""
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not usec.isdigit() or int(usec) == 0 or (pid.isdigit() and int(pid) != os.getpid()):
        return None
    return int(usec) / 1_000_000 / 2


def credential_or(configured: str | None, name: str) -> Path | None:
    """The configured file, else systemd's credential ``name`` (``LoadCredential=``) where there is one, else None."""
    if configured is not None:
        return Path(configured)
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    found = Path(folder) / name if folder else None
    return found if found is not None and found.is_file() else None
