"""One piece of heavy work in a process of its own: its memory and its mistakes end with it.

The job goes in as one line on its input, the result comes out as one line. Its input stays open as long as this process
lives: a child that reads its end knows that nobody waits any more (``parent.py``). No shell, no environment of ours
beyond what a Python of the same release needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import AsyncGenerator, Callable
from typing import ClassVar, Final

from agent.errors import ChildFailed
from agent.runtime.interpreter import interpreter_command

_MAX_RESULT_BYTES: Final = 1024 * 1024
_READ_BYTES: Final = 65536
_KILLED_WITHIN_S: Final = 2.0
"""One that SIGKILL does not end by then is stuck in the kernel; nobody waits for it."""
_MOST_STUCK: Final = 4


async def run_child(
    module: str,
    job: bytes,
    *,
    deadline_s: float,
    on_progress: Callable[[bytes], None] | None = None,
    arguments: tuple[str, ...] = (),
) -> bytes:
    """Run ``python -m module`` with ``job`` on its input, and give the last line it wrote.

    Args:
        job: One line without its end.
        deadline_s: Then it is killed.
        on_progress: Told every line before the last one.

    Raises:
        ChildFailed: It took too long, ended with another code than 0, wrote nothing or too much, or could not start.
    """
    child = _Child(interpreter_command(module, *arguments), job)
    try:
        async with asyncio.timeout(deadline_s):
            lines = await child.lines(on_progress)
            code = await child.ended()
    except TimeoutError as err:
        raise ChildFailed(f"{module} took longer than {deadline_s:g} s and was ended", hint="see the log") from err
    finally:
        await child.close()
    if code != 0 or not lines:
        raise ChildFailed(f"{module} ended with {_how(code)} and no result", hint="see the log for what it said")
    return lines


async def stream_child(module: str, job: bytes, *, arguments: tuple[str, ...] = ()) -> AsyncGenerator[bytes, None]:
    """Run ``python -m module`` and give each line it writes; it waits while nobody asks for the next one.

    Close it (``contextlib.aclosing``): that ends the process.

    Raises:
        ChildFailed: After the last line: it ended with another code than 0. Before the first: it could not start.
    """
    child = _Child(interpreter_command(module, *arguments), job)
    held = bytearray()
    try:
        while part := await child.read():
            held += part
            while (end := held.find(b"\n")) >= 0:
                line = bytes(held[:end])
                del held[: end + 1]
                yield line
        code = await child.ended()
    finally:
        await child.close()
    if code != 0:
        raise ChildFailed(f"{module} ended with {_how(code)}", hint="see the log for what it said")


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


class _Child:
    """A started process with its two pipes; `close` leaves neither it nor them behind."""

    stuck: ClassVar[int] = 0  # of this process's children; a dead disk must not use up what the unit may start

    def __init__(self, argv: list[str], job: bytes) -> None:
        if _Child.stuck >= _MOST_STUCK:
            what = f"{_Child.stuck} processes before this one wait for a disk that does not answer"
            raise ChildFailed(what, hint="look at the media; a reboot may be needed")
        self._loop = asyncio.get_running_loop()
        self._to_write = memoryview(job + b"\n")
        read_in, self._stdin = os.pipe2(os.O_CLOEXEC)
        self._stdout, write_out = os.pipe2(os.O_CLOEXEC)
        self._pid: int | None = None
        self._pidfd = -1
        try:
            self._pid = os.posix_spawn(
                argv[0],
                argv,
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, read_in, 0), (os.POSIX_SPAWN_DUP2, write_out, 1)],
            )
            self._pidfd = os.pidfd_open(self._pid)
        except OSError as err:
            self._close_descriptors()
            raise ChildFailed(f"{argv[0]} cannot be started: {err.strerror}", hint="see limits of the unit") from err
        finally:
            os.close(read_in)
            os.close(write_out)
        for descriptor in (self._stdin, self._stdout):
            fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_NONBLOCK)
        self._loop.add_writer(self._stdin, self._feed)

    def _feed(self) -> None:
        try:
            self._to_write = self._to_write[os.write(self._stdin, self._to_write) :]
        except BlockingIOError:
            return
        except OSError:  # it ended without reading its job: its exit code says more
            self._to_write = memoryview(b"")
        if not self._to_write:
            self._loop.remove_writer(self._stdin)

    async def lines(self, on_progress: Callable[[bytes], None] | None) -> bytes:
        """Everything it writes, to the end; the last line is given back, earlier ones told."""
        held, last, total = bytearray(), b"", 0
        while part := await self.read():
            total += len(part)
            if total > _MAX_RESULT_BYTES:
                raise ChildFailed("the child wrote more than 1 MiB and was ended", hint="see the log")
            held += part
            while (end := held.find(b"\n")) >= 0:
                if last and on_progress is not None:
                    on_progress(last)
                last = bytes(held[:end])
                del held[: end + 1]
        return last

    async def read(self) -> bytes:
        """What it wrote since, empty at its end."""
        while True:
            with contextlib.suppress(BlockingIOError):
                return os.read(self._stdout, _READ_BYTES)
            await self._readable(self._stdout)

    async def ended(self) -> int:
        """Wait for its end; the exit code, or minus the signal's number."""
        await self._readable(self._pidfd)
        return self._reap()

    async def _readable(self, descriptor: int) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(descriptor, _resolve, ready)
        try:
            await ready
        finally:
            self._loop.remove_reader(descriptor)

    def _reap(self) -> int:
        if self._pid is None:
            return 0
        _pid, status = os.waitpid(self._pid, 0)
        self._pid = None
        return os.waitstatus_to_exitcode(status)

    async def close(self) -> None:
        """Kill it if it still runs, reap it, and close the pipes."""
        if self._to_write:
            self._loop.remove_writer(self._stdin)
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_KILLED_WITHIN_S):
                    await self.ended()
        if self._pid is not None:  # it waits for a dead disk, and the kernel ends it when that answers
            _reap_later(self._loop, self._pid, self._pidfd)
            self._pid, self._pidfd = None, -1
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        for descriptor in (self._stdin, self._stdout, self._pidfd):
            if descriptor >= 0:
                os.close(descriptor)
        self._stdin = self._stdout = self._pidfd = -1


def _reap_later(loop: asyncio.AbstractEventLoop, pid: int, pidfd: int) -> None:
    _Child.stuck += 1

    def reap() -> None:
        _Child.stuck -= 1
        loop.remove_reader(pidfd)
        os.close(pidfd)
        os.waitpid(pid, 0)

    loop.add_reader(pidfd, reap)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
