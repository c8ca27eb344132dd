"""One peer: its frames go to the server in the order sent, its answers go back as they come.

A peer that does not read is not read from either; its answers may wait only so long. A peer that is refused or that
sends what cannot be understood is told so, then closed: its further bytes are thrown away for a moment, because a
socket closed with unread input would destroy the message on its way. What a call does is the server's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from typing import Final, cast

from agent.contract import rpc
from agent.contract.rpc import ErrorObject
from agent.local_api import wire
from agent.local_api.host import Host
from agent.local_api.peer import Caller
from agent.local_api.unread import UnreadAnswers
from agent.local_api.wire import FrameCutter, FrameTooLong, WireFault

READ_BYTES: Final = 64 * 1024
_MOST_DISCARDED_BYTES: Final = 2 * 1024 * 1024


class Connection(asyncio.BufferedProtocol):
    """See the module. States: open; ending (no more requests); lingering (said everything, waits for the peer)."""

    def __init__(self, host: Host, caller: Caller, refusal: ErrorObject | None = None) -> None:
        """``refusal``: why this peer may not talk here; it is told and closed."""
        self.caller = caller
        self.open_calls = 0
        self.held_bytes = 0
        self.waiting_bytes = 0
        self.tasks: set[asyncio.Future[object]] = set()
        self._host = host
        self._refusal = refusal
        self._limits = host.limits
        self._frames = FrameCutter(host.limits.frame_bytes)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._answers: list[bytes] = []
        self._answers_bytes = 0
        self._soon = False
        self._notice_soon = False
        self._unread = UnreadAnswers()
        self._reading = True
        self._eof = False
        self._ending = False
        self._abandon_input = False
        self._lingering = False
        self._discarded_bytes = 0
        self._waits_its_turn = False
        self._linger_end: asyncio.TimerHandle | None = None

    # ── asyncio calls these ────────────────────────────────────────────────────────────────────────────────────
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._limits.pause_bytes // 2)
        if self._refusal is not None:
            self.refuse(self._refusal)

    def get_buffer(self, _sizehint: int) -> bytearray:
        return self._host.inbound

    def buffer_updated(self, nbytes: int) -> None:
        if self._ending:
            self._discarded_bytes += nbytes
            if self._discarded_bytes > _MOST_DISCARDED_BYTES:
                self.abort()
            return
        self._frames.feed(memoryview(self._host.inbound)[:nbytes])
        self._proceed()

    def eof_received(self) -> bool:
        """The peer sends nothing more, and may still read: ``printf … | socat - UNIX-CONNECT:…`` does that."""
        self._eof = True
        if self._lingering:
            return False
        self._proceed()
        if self.open_calls and self._has_left():
            self.abort()
        return True

    def resume_writing(self) -> None:
        self._proceed()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._ending = True
        if self._linger_end is not None:
            self._linger_end.cancel()
        self._frames.clear()
        self._count_held()
        self._count_waiting(0)
        for task in self.tasks:
            task.cancel()
        self._host.peer_lost(self)

    # ── the server calls these ─────────────────────────────────────────────────────────────────────────────────
    def finish(self, answer: bytes | None) -> None:
        """A call that was under way is over."""
        self.open_calls -= 1
        if self._transport is None:
            return
        if answer is not None:
            self._say(answer)
        if not self._soon:
            self._soon = True
            self._host.answers_soon(self)

    def notify(self, notice: bytes) -> None:
        """Tell the peer something that it did not ask for in this moment. It waits for its reader as answers do."""
        if self._transport is None or self._ending:
            return
        self._say(notice)
        if not self._soon and not self._notice_soon:
            self._notice_soon = True
            self._host.notices_soon(self)

    def flush(self) -> None:
        """Hand all answers to the kernel in one piece; then go on with what had to wait."""
        self._soon = self._notice_soon = False
        self._write()
        if not self._reading or self._eof or self._ending:
            self._proceed()

    def check_reader(self, now_s: float) -> bool:
        """Cut a peer off whose answers have waited too long. False: nothing waits any more."""
        if self._transport is None:
            return False
        waiting = self._transport.get_write_buffer_size()
        self._count_waiting(waiting)
        if self._unread.waited_s(waiting, now_s) >= self._limits.stalled_s:
            self.cut_off("its answers waited too long")
            return False
        return waiting > 0

    def refuse(self, error: ErrorObject) -> None:
        """Say why, and take nothing more; calls under way are still answered."""
        self._say(rpc.error_line(wire.NO_ID, error))
        self._abandon_input = True
        self.end()

    def end(self) -> None:
        """Take no more requests; close when calls under way are answered and the answers are read."""
        self._ending = True
        self._frames.clear()
        self._count_held()
        if self._transport is None:
            return
        if not self._abandon_input:
            self._set_reading(False)
        self._write()
        self._close_when_done()

    def abort(self) -> None:
        """Close now, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    # ── requests in ────────────────────────────────────────────────────────────────────────────────────────────
    def _proceed(self) -> None:
        """Handle frames in order, as many as may be under way at once and as this turn allows."""
        if self._transport is None or self._waits_its_turn:
            return
        left = self._limits.turn_frames
        turns, pid, began_s = self._host.turns, self.caller.pid, self._loop.time()
        until_s = began_s + turns.left_s(pid)
        try:
            while not self._ending and not self._is_full():
                if not left or self._loop.time() >= until_s:
                    self._waits_its_turn = True
                    turns.wait(pid, self._begin_turn)
                    break
                frame = self._frames.cut()
                if frame is None:
                    self._ending = self._eof
                    break
                left -= 1
                self._handle(frame)
        except FrameTooLong:
            self.refuse(rpc.FRAME_TOO_LONG)
            return
        self._count_held()
        self._write()
        if self._ending:
            self._close_when_done()
        elif not self._eof:
            self._set_reading(not self._waits_its_turn and not self._is_full())
        turns.used(pid, self._loop.time() - began_s)

    def _begin_turn(self) -> None:
        self._waits_its_turn = False
        self._proceed()

    def _is_full(self) -> bool:
        if self.open_calls >= self._limits.in_flight:
            return True
        if self._answers_bytes >= self._limits.pause_bytes:
            self._write()
        if not self._unread or self._transport is None:
            return False
        return self._transport.get_write_buffer_size() >= self._limits.pause_bytes

    def _handle(self, frame: bytes) -> None:
        try:
            request = wire.parse_request(frame)
        except WireFault as fault:
            if fault.rule is not None:
                self._host.card_data_seen(fault.rule)
            self._say(rpc.error_line(fault.request_id, fault.error))
            return
        answer = self._host.perform(self, request)
        if answer is not None:
            self._say(answer)

    def _has_left(self) -> bool:
        """True when the peer's end is closed in both directions: nobody will read an answer."""
        if self._transport is None:
            return True
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), 0)
        return any(events & select.POLLHUP for _descriptor, events in poll.poll(0))

    def _set_reading(self, wanted: bool) -> None:
        transport = self._transport
        if wanted is self._reading or transport is None or transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def _count_held(self) -> None:
        held = self._frames.held_bytes
        if held != self.held_bytes:
            change, self.held_bytes = held - self.held_bytes, held
            self._host.holds(change)

    def _count_waiting(self, waiting: int) -> None:
        if waiting != self.waiting_bytes:
            change, self.waiting_bytes = waiting - self.waiting_bytes, waiting
            self._host.keeps_waiting(change)

    # ── answers out ────────────────────────────────────────────────────────────────────────────────────────────
    def _say(self, answer: bytes) -> None:
        self._answers.append(answer)
        self._answers_bytes += len(answer)

    def _write(self) -> None:
        transport = self._transport
        if transport is None or not self._answers or self._lingering:
            return
        if self._unread and transport.get_write_buffer_size() > self._limits.waiting_bytes:
            self.cut_off("too many of its answers waited")
            return
        transport.write(self._answers[0] if len(self._answers) == 1 else b"".join(self._answers))
        self._unread.sent(self._answers_bytes)
        self._answers.clear()
        self._answers_bytes = 0
        waiting = transport.get_write_buffer_size()
        if waiting:
            self._unread.wait(self._loop.time())
            self._host.answers_wait(self)
        elif self._unread:
            self._unread.all_left()
        self._count_waiting(waiting)

    def _close_when_done(self) -> None:
        """Nothing more is coming: close, or leave a peer that may still be sending the time to read why."""
        transport = self._transport
        if transport is None or self.open_calls or self._answers or self._lingering:
            return
        if not self._abandon_input or self._eof:
            transport.close()
            return
        self._lingering = True
        self._set_reading(True)
        with contextlib.suppress(OSError):  # it has gone already
            transport.write_eof()
        self._linger_end = self._loop.call_later(self._limits.linger_s, transport.abort)

    def cut_off(self, why: str) -> None:
        """It costs too much: closed without a word, for it does not listen."""
        self._host.peer_cut_off(self, why)
        self._ending = True
        self.abort()
