"""One process of a unit: started in a session of its own, heard on a socket of its own, never left behind.

When the supervisor dies, however it dies, the kernel kills the process (``PR_SET_PDEATHSIG``, prctl(2)). What such a
process starts itself is ended with its session when the unit is stopped, but outlives a killed supervisor unless it
watches its own parent: that is the one thing a cgroup does better.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

ABORT_GRACE_S: Final = 2.0
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_NOT_HANDED_ON: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


def _die_with(parent: int) -> None:
    """Run in the new process before its program: it ends with ``parent``, even when that is gone already."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(127)


class Child:
    """A running process. Made on the loop's own thread: the kernel's promise is tied to the thread that started it.

    Args:
        watchdog_s: As ``WatchdogSec=``; None for no watchdog.
        on_hung: Told when the watchdog ended it.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        folder: Path,
        log_file: Path,
        environment: Mapping[str, str],
        watchdog_s: float | None,
        on_hung: Callable[[], None],
    ) -> None:
        self.invocation = uuid.uuid4().hex
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._watchdog_s = watchdog_s
        self._on_hung = on_hung
        self._timer: asyncio.TimerHandle | None = None
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._pidfd = -1
        try:
            self._process = self._started(argv, folder, log_file, environment)
            self._pidfd = os.pidfd_open(self._process.pid)
        except BaseException:
            self._notify.close()
            raise
        self._loop.add_reader(self._pidfd, self._is_over)
        self._loop.add_reader(self._notify, self._heard)
        self._expect_ping()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal; None while it runs."""
        return self._process.returncode

    def _started(
        self, argv: Sequence[str], folder: Path, log_file: Path, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        # An abstract name: it needs no file, is as random as the invocation, and dies with the socket.
        self._notify.bind(f"\0pos-agent-supervisor-{self.invocation}")
        env = {name: value for name, value in os.environ.items() if name not in _NOT_HANDED_ON}
        env |= {
            **environment,
            "NOTIFY_SOCKET": f"@pos-agent-supervisor-{self.invocation}",
            "INVOCATION_ID": self.invocation,
        }
        if self._watchdog_s is not None:
            env["WATCHDOG_USEC"] = str(int(self._watchdog_s * 1_000_000))
        me = os.getpid()
        with log_file.open("ab") as log:
            return subprocess.Popen(
                argv,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: _die_with(me),  # noqa: PLW1509  # this process has one thread
            )

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL to its whole session after ``grace_s`` seconds; returns when it is gone."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a stopped process takes no SIGTERM
        try:
            async with asyncio.timeout(grace_s):
                await self.ended.wait()
        except TimeoutError:
            self._kill_session()
            await self.ended.wait()

    def _heard(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                lines = self._notify.recv(4096).split(b"\n")
                if b"READY=1" in lines:
                    self.ready.set()
                if b"WATCHDOG=1" in lines or b"READY=1" in lines:
                    self._expect_ping()

    def _expect_ping(self) -> None:
        if self._watchdog_s is None or self.ended.is_set():
            return
        if self._timer is not None:
            self._timer.cancel()
        if self.ready.is_set():  # before that the time limit of the start counts
            self._timer = self._loop.call_later(self._watchdog_s, self._hung)

    def _hung(self) -> None:
        self._on_hung()
        self._signal(signal.SIGABRT)
        self._signal(signal.SIGCONT)
        self._timer = self._loop.call_later(ABORT_GRACE_S, self._kill_session)

    def _is_over(self) -> None:
        """The process is a zombie: what it started is ended first, while its number still belongs to it."""
        self._kill_session()
        self._loop.remove_reader(self._pidfd)
        self._loop.remove_reader(self._notify)
        self._process.wait()
        os.close(self._pidfd)
        self._notify.close()
        if self._timer is not None:
            self._timer.cancel()
        self.ended.set()

    def _signal(self, number: signal.Signals) -> None:
        if not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _kill_session(self) -> None:
        if not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
