"""The inside of an emulated ESC/POS printer: bytes and conditions in, replies and counters out. No I/O, no time.

Source: Epson ESC/POS command reference. Real-time commands act as they arrive, even inside data and while the printer
is offline; everything else waits in the receive buffer until it is online. Left out: what the print looks like.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from drivers.emulators.escpos_commands import DLE, LF, command_length

RECEIVE_BUFFER_BYTES = 4096
_LARGEST_COMMAND_BYTES = 1_048_576  # an image; a longer one is given up
_EOT, _ENQ = 0x04, 0x05
COUNTERS = (
    *("bytes", "dropped_bytes", "sent_bytes", "lost_bytes"),
    *("queries", "dle_eot_1", "dle_eot_2", "dle_eot_3", "dle_eot_4", "unknown_queries", "gs_r", "gs_i", "asb_reports"),
    *("lines", "feeds", "cuts", "slips", "drawer_kicks", "recovery_requests", "recoveries", "initialisations"),
)
_IDENTITY = {
    **{1: b"\x20", 2: b"\x02", 3: b"\x01"},  # model, type (has a cutter), ROM version
    **{65: b"_1.00\x00", 66: b"_EMULATOR\x00", 67: b"_POS80\x00", 68: b"_EMU0001\x00"},
}


@dataclass
class Conditions:
    """What is the matter with the printer. Each can be changed while it runs."""

    near_end: bool = False
    paper_end: bool = False
    cover_open: bool = False
    cutter_error: bool = False  # its cause: once there, the error stays until DLE ENQ comes after the cause is gone
    mechanical_error: bool = False  # likewise
    head_hot: bool = False  # goes by itself with its cause
    unrecoverable: bool = False
    drawer_open: bool = False
    feed_button: bool = False
    waiting_recovery: bool = False


class EscposMachine:
    """One printer. `receive` takes bytes, `change` sets conditions; both return what the printer sends, in pieces."""

    def __init__(self) -> None:
        self.conditions = Conditions()
        self.counters: Counter[str] = Counter(dict.fromkeys(COUNTERS, 0))
        self.last_slip: list[str] = []
        self.code_page = 0
        self.character_set = 0
        self._latched: set[str] = set()  # recoverable errors, by the name of their condition
        self._buffer = bytearray()
        self._held = bytearray()  # the beginning of what may become a real-time command
        self._line = bytearray()
        self._slip: list[str] = []
        self._asb_mask = 0
        self._asb_seen: tuple[int, ...] = ()
        self._replies: list[bytes] = []

    # ── conditions ─────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def offline(self) -> bool:
        """It does not print now, whatever the cause."""
        now = self.conditions
        causes = (now.paper_end, now.cover_open, now.head_hot, now.unrecoverable, now.feed_button, now.waiting_recovery)
        return bool(self._latched) or any(causes)

    @property
    def latched_errors(self) -> list[str]:
        """Recoverable errors that wait for DLE ENQ, whether their cause is gone or not."""
        return sorted(self._latched)

    def change(self, conditions: dict[str, bool]) -> list[bytes]:
        """Set conditions by name."""
        for name, value in conditions.items():
            setattr(self.conditions, name, value)
        self._latch()
        self._run()
        return self._sent()

    def power_cycle(self) -> None:
        """What a printer forgets without power. Conditions stay: paper does not come back by itself."""
        for memory in (self._buffer, self._held, self._line, self._slip, self._latched):
            memory.clear()
        self._set_defaults()
        self._latch()

    def _set_defaults(self) -> None:
        self.code_page = self.character_set = self._asb_mask = 0

    def _latch(self) -> None:
        self._latched.update(name for name in ("cutter_error", "mechanical_error") if getattr(self.conditions, name))

    # ── bytes ──────────────────────────────────────────────────────────────────────────────────────────────────
    def receive(self, data: bytes) -> list[bytes]:
        """Take bytes from the line."""
        self.counters["bytes"] += len(data)
        for byte in data:
            self._held.append(byte)
            self._sort_out()
        self._run()
        return self._sent()

    def _sort_out(self) -> None:
        """Act on a real-time command once it is whole; hand on what cannot become one."""
        held = self._held
        while held:
            if held[0] != DLE or (len(held) > 1 and held[1] not in {_EOT, _ENQ}):
                self._take(bytes(held[:1]))
                del held[:1]
            elif len(held) < 3:
                return
            else:
                command = bytes(held)
                held.clear()
                if not self.offline:  # a running printer finds the bytes again in its data, and skips them there
                    self._take(command)
                self._answer_query(command[2]) if command[1] == _EOT else self._recover(command[2])

    def _take(self, data: bytes) -> None:
        """Into the receive buffer. A printer that prints empties it, so only one that stands still can overflow."""
        room = (RECEIVE_BUFFER_BYTES if self.offline else _LARGEST_COMMAND_BYTES) - len(self._buffer)
        kept = data[: max(room, 0)]
        self._buffer += kept
        self.counters["dropped_bytes"] += len(data) - len(kept)

    def _run(self) -> None:
        """Carry out what waits, as far as it is whole and the printer can."""
        while self._buffer and not self.offline:
            length = command_length(self._buffer)
            if length is None:
                if len(self._buffer) >= _LARGEST_COMMAND_BYTES:
                    self._buffer.clear()
                return
            command = bytes(self._buffer[:length])
            del self._buffer[:length]
            self._carry_out(command)

    def _carry_out(self, command: bytes) -> None:
        match command[:2]:
            case b"\x1b@":
                self.counters["initialisations"] += 1
                self._line.clear()
                self._set_defaults()
            case b"\x1bt":
                self.code_page = command[2]
            case b"\x1bR":
                self.character_set = command[2]
            case b"\x1bd" | b"\x1bJ":
                self._end_line()
                self.counters["feeds"] += 1
            case b"\x1dV" | b"\x1bi" | b"\x1bm":
                self._cut()
            case b"\x1dr":
                self.counters["gs_r"] += 1
                self._replies.append(self._paper_or_drawer(command[2]))
            case b"\x1dI":
                self.counters["gs_i"] += 1
                self._replies.append(_IDENTITY.get(command[2], b""))
            case b"\x1da":
                self._asb_mask, self._asb_seen = command[2], ()
            case b"\x1dk":
                self._print("[barcode]")
            case b"\x1dv" | b"\x1b*":
                self._print("[image]")
            case b"\x1d(" if command[2:3] == b"k" and command[6:7] == b"Q":
                self._print("[QR code]")
            case b"\x1bp":
                self.counters["drawer_kicks"] += 1
            case _ if command[0] == LF:
                self._end_line()
            case _ if len(command) == 1 and command[0] >= 0x20:
                self._line += command

    def _end_line(self) -> None:
        if self._line:
            self._print(self._line.decode("gb18030", errors="replace"))
            self._line.clear()

    def _print(self, line: str) -> None:
        self.counters["lines"] += 1
        self._slip.append(line)

    def _cut(self) -> None:
        self._end_line()
        self.counters["cuts"] += 1
        if self._slip:
            self.counters["slips"] += 1
            self.last_slip, self._slip = self._slip, []

    # ── answers ────────────────────────────────────────────────────────────────────────────────────────────────
    def _answer_query(self, number: int) -> None:
        now = self.conditions
        cutter, mechanical = "cutter_error" in self._latched, "mechanical_error" in self._latched
        error = cutter or mechanical or now.unrecoverable or now.head_hot
        bits = {
            1: _bits(now.drawer_open, self.offline, now.waiting_recovery, now.feed_button),
            2: _bits(now.cover_open, now.feed_button, now.paper_end, error),
            3: _bits(mechanical, cutter, now.unrecoverable, now.head_hot),
            4: _bits(now.near_end, now.near_end, now.paper_end, now.paper_end),
        }
        self.counters["queries"] += 1
        self.counters[f"dle_eot_{number}" if number in bits else "unknown_queries"] += 1
        if number in bits:
            self._replies.append(bytes((0x12 | bits[number],)))

    def _recover(self, number: int) -> None:
        """DLE ENQ 1 goes on where it stopped, 2 clears the buffers first; nothing happens while the cause is there."""
        self.counters["recovery_requests"] += 1
        curable = {name for name in self._latched if not getattr(self.conditions, name)}
        if number not in {1, 2} or not curable:
            return
        self._latched -= curable
        self.counters["recoveries"] += 1
        if number == 2:
            for memory in (self._buffer, self._line, self._slip):
                memory.clear()

    def _paper_or_drawer(self, number: int) -> bytes:
        now = self.conditions
        if number in {1, 49}:
            return bytes(((0x03 if now.near_end else 0) | (0x0C if now.paper_end else 0),))
        return bytes((int(now.drawer_open),)) if number in {2, 50} else b""

    def _sent(self) -> list[bytes]:
        """Replies since last time, and the automatic status if something changed that it is switched on for."""
        now = self.conditions
        report = (
            0x10 | now.drawer_open << 2 | self.offline << 3 | now.cover_open << 5 | now.feed_button << 6,
            int(now.waiting_recovery)
            | now.feed_button << 1
            | ("mechanical_error" in self._latched) << 2
            | ("cutter_error" in self._latched) << 3
            | now.unrecoverable << 5
            | now.head_hot << 6,
            (0x03 if now.near_end else 0) | (0x0C if now.paper_end else 0),
            0,
        )
        groups = ((report[0] & 0x04,), (report[0] & 0x68, report[1] & 0x03), (report[1] & 0x6C,), (report[2],))
        watched = tuple(value for bit, group in enumerate(groups) if self._asb_mask >> bit & 1 for value in group)
        if watched and watched != self._asb_seen:
            self.counters["asb_reports"] += 1
            self._replies.append(bytes(report))
        self._asb_seen = watched
        replies, self._replies = self._replies, []
        return [reply for reply in replies if reply]


def _bits(bit2: bool, bit3: bool, bit5: bool, bit6: bool) -> int:
    return bit2 << 2 | bit3 << 3 | bit5 << 5 | bit6 << 6
