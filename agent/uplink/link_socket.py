"""The MQTT socket on the event loop: read when allowed, written when needed, asked for a sign of life when silent.

Costs no wake-up but the keepalive: one timer until the link has been silent that long, one for the answer. A link is
given up after 1.5 × keepalive without a byte. While reading is paused no answer is demanded (it could not be read);
PINGREQ goes out all the same, so the broker keeps us, and the kernel (TCP_USER_TIMEOUT) notices a dead path.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final

ANSWER_SHARE: Final = 0.5  # of the keepalive, for PINGRESP


def tune(sock: socket.socket, keepalive_s: float) -> None:
    """TCP_NODELAY, without which every small packet may wait 44 ms, and a bound on unacknowledged data."""
    with contextlib.suppress(OSError):  # not a TCP socket
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(keepalive_s * 1500))


class LinkSocket:
    """Registers ``sock`` with the running loop until `close`.

    Args:
        read: Takes what has arrived, at least one packet; loses the link itself when that fails.
        write: Sends what waits.
        unsent: True while something waits to be sent.
        lose: Ends the link, with the reason.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        read: Callable[[], None],
        write: Callable[[], None],
        unsent: Callable[[], bool],
        lose: Callable[[str], None],
    ) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self._loop = asyncio.get_running_loop()
        self._read, self._write, self._unsent, self._lose = read, write, unsent, lose
        self._reading = self._waiting_for_space = self._flush_soon = self._closed = False
        self._heard_at = self._spoke_at = self._loop.time()

    @property
    def paused(self) -> bool:
        return not self._reading

    def start_reading(self) -> None:
        """Read whenever there is something; what a TLS layer has buffered already is read at once."""
        if self._closed or self._reading:
            return
        self._reading = True
        self._heard_at = self._loop.time()  # silence is counted from here: before, nobody listened
        self._loop.add_reader(self._fd, self._readable)
        if self._buffered():
            self._loop.call_soon(self._readable)

    def stop_reading(self) -> None:
        """Leave everything in the kernel's buffers, which in time stops the broker."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def flush(self) -> None:
        """Something waits to be sent: write it in this turn of the loop, together with what else comes in it."""
        if not self._closed and not self._flush_soon and not self._waiting_for_space:
            self._flush_soon = True
            self._loop.call_soon(self._writable)

    def close(self) -> None:
        """Take the socket off the loop; the socket itself is the owner's to close. May be called again."""
        self.stop_reading()
        if not self._closed:
            self._closed = True
            self._loop.remove_writer(self._fd)

    async def keep_alive(self, keepalive_s: float, ping: Callable[[], object]) -> None:
        """Send PINGREQ after ``keepalive_s`` without a packet in either direction; runs until the link is lost."""
        while not self._closed:
            heard_at = self._loop.time() if self.paused else self._heard_at
            due_in_s = min(heard_at, self._spoke_at) + keepalive_s - self._loop.time()
            if due_in_s > 0:
                await asyncio.sleep(due_in_s)
                continue
            asked_at = self._loop.time()
            was_paused = self.paused
            ping()
            self._spoke_at = asked_at
            await asyncio.sleep(keepalive_s * ANSWER_SHARE)
            if self._heard_at < asked_at and not was_paused and not self.paused:
                self._lose(f"no answer to PINGREQ within {keepalive_s * ANSWER_SHARE:g} s")

    def _buffered(self) -> bool:
        pending = getattr(self._sock, "pending", None)  # an SSLSocket holds decrypted bytes that epoll knows nothing of
        return pending is not None and not self._closed and pending() > 0

    def _readable(self) -> None:
        while self._reading:
            self._heard_at = self._loop.time()
            self._read()
            if not self._buffered():
                return

    def _writable(self) -> None:
        self._flush_soon = False
        if self._closed:
            return
        self._spoke_at = self._loop.time()
        self._write()
        if self._closed or self._unsent() == self._waiting_for_space:
            return
        self._waiting_for_space = not self._waiting_for_space
        if self._waiting_for_space:
            self._loop.add_writer(self._fd, self._writable)
        else:
            self._loop.remove_writer(self._fd)
