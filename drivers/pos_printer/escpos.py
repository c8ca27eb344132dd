"""An ESC/POS receipt printer: stream + wire + deadline. It asks, recovers, initialises and prints a test slip only.

Source: Epson ESC/POS command reference, and what printers in the field do wrong: answers of the query before, bytes
nobody asked for, no answer at all. Left out: who may print now. Ask only while the payment application does not print.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from drivers.contract import DeviceSpec, OptionValue, Paper, PrinterStatus, Sensor
from drivers.errors import (
    DeviceBusy,
    DeviceFault,
    DeviceGone,
    DeviceOffline,
    DriverError,
    ProtocolViolation,
    SpecInvalid,
)
from drivers.pos_printer import escpos_wire
from drivers.transports.serial_port import FLOW_CONTROLS, SerialPort
from drivers.transports.stream import Port, Stream

T = TypeVar("T")

_QUIET_S = 0.1  # a line that was silent for so long has no late answer under way: printers answer within a few ms
_BABBLE_LIMIT_BYTES = 4096
_GATHER_S = 0.04  # for four answers: a printer takes a few ms for each, a USB adapter hands on every 16 ms
_TOGETHER_LIMIT_S, _TOGETHER_SHARE = 0.5, 0.25  # of what is left, for a printer that answers only one query at a time
_RECOVERY_POLL_S = 0.2
_RESERVE_SHARE, _RESERVE_LIMIT_S = 0.25, 1.0  # part of a deadline kept to ask why the rest was not enough
_STANDARD_VALUES = ("code_page", "character_set")
_OPTIONS = frozenset({"flow_control", "chinese", "cutter", *_STANDARD_VALUES})


def build_escpos(spec: DeviceSpec) -> EscposPrinter:
    """A printer on a serial port.

    Options: ``flow_control`` ("none", "xonxoff", "rtscts"), ``chinese`` (has a GB 18030 font; default false),
    ``cutter`` (default true); standard values, else the printer's own: ``code_page`` (ESC t) and ``character_set``
    (ESC R), numbers from 0 to 255.

    Raises:
        SpecInvalid: An option or sensor that does not exist, or a value that cannot be.
    """
    options = spec.options
    flow_control = options.get("flow_control", "none")
    problems = [f"unknown option {name}" for name in sorted(options.keys() - _OPTIONS)]
    problems += [f"unknown sensor {name}" for name in sorted(spec.sensors - set(Sensor))]
    problems += [
        f"option {name} must be true or false"
        for name in ("chinese", "cutter")
        if not isinstance(options.get(name, True), bool)
    ]
    problems += [
        f"option {name} must be a number from 0 to 255"
        for name in _STANDARD_VALUES
        if name in options and _byte_option(options, name) is None
    ]
    if not isinstance(flow_control, str) or flow_control not in FLOW_CONTROLS:
        problems.append(f"option flow_control must be one of {', '.join(sorted(FLOW_CONTROLS))}")
    if not spec.port:
        problems.append("port is missing")
    if spec.baud_rate <= 0:
        problems.append("baud_rate must be positive")
    if problems:
        raise SpecInvalid(spec.name, "; ".join(problems))
    return EscposPrinter(spec, SerialPort(spec.name, spec.port, spec.baud_rate, str(flow_control)))


class EscposPrinter:
    """See `drivers.contract.PrinterDevice`. Keeps its port open between calls and opens it afresh after any error."""

    category = "pos_printer"

    def __init__(self, spec: DeviceSpec, port: Port) -> None:
        self.name = spec.name
        self.communication_error_count = 0
        self._spec = spec
        self._port = port
        self._stream: Stream | None = None
        self._lock = asyncio.Lock()
        self._begun_report = b""  # first bytes of an ASB report whose rest is still to come
        self._late_answer_possible = False
        self._confirmed: bytes | None = None  # the four answers of the last look, each told to belong to its query
        self._answers_together = True
        self._waiting_for = ""
        self._ends_s = 0.0  # on the loop's clock

    async def read_status(self, deadline_s: float) -> PrinterStatus:
        return await self._exchange(deadline_s, self._look)

    async def print_test_slip(self, deadline_s: float) -> None:
        await self._exchange(deadline_s, self._print_test_slip)

    async def recover(self, deadline_s: float) -> None:
        await self._exchange(deadline_s, self._recover)

    async def initialise(self, deadline_s: float) -> None:
        await self._exchange(deadline_s, self._initialise, afresh=True)

    async def close(self) -> None:
        async with self._lock:
            self._drop_stream()
            await self._port.closed()

    async def _exchange(self, deadline_s: float, act: Callable[[Stream], Awaitable[T]], *, afresh: bool = False) -> T:
        """Run ``act`` alone on the open port, all of it within the deadline. Any doubt costs the stream.

        Args:
            afresh: The port is closed and opened again before.
        """
        entered = False
        try:
            async with asyncio.timeout(deadline_s) as deadline, self._lock:
                entered = True
                self._ends_s = deadline.when() or 0.0
                try:
                    if afresh:
                        self._drop_stream()
                    return await act(await self._open_stream())
                except DeviceFault:  # a clear answer: nothing is wrong with the line
                    raise
                except BaseException:
                    self._late_answer_possible = True
                    self._drop_stream()
                    raise
        except TimeoutError as err:
            if not entered:
                raise DeviceBusy(self.name, f"another exchange took longer than {deadline_s:g} s") from err
            self.communication_error_count += 1
            if self._begun_report:
                begun = self._begun_report.hex(" ")
                raise ProtocolViolation(self.name, f"bytes that are no answer and lead to nothing: {begun}") from err
            raise DeviceOffline(self.name, f"no {self._waiting_for} within {deadline_s:g} s") from err
        except DriverError as err:
            if not isinstance(err, DeviceFault):
                self.communication_error_count += 1
            raise

    async def _open_stream(self) -> Stream:
        """The stream of the call before, if its port is still there: unplugged and plugged again since is no news."""
        if self._stream is not None:
            try:
                if self._take_arrived(self._stream):
                    self._late_answer_possible = True
            except DeviceGone:
                self._drop_stream()
        if self._stream is None:
            self._waiting_for = "opening of the port"
            self._begun_report = b""
            self._stream = await self._port.open()
        return self._stream

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    # ── the four things it can do ──────────────────────────────────────────────────────────────────────────────
    async def _look(self, stream: Stream) -> PrinterStatus:
        """While nothing changes the queries go out together: one wake-up for the answers, not four."""
        if self._confirmed is not None and await self._is_unchanged(stream, self._confirmed):
            return escpos_wire.parse_status(self._confirmed, self._spec.sensors, self.name)
        return await self._ask_status(stream)

    async def _ask_status(self, stream: Stream) -> PrinterStatus:
        """Ask the four queries, each after the answer to the one before; once more if answers cannot be told apart."""
        self._confirmed = None
        for _attempt in range(2):
            if self._late_answer_possible or self._take_arrived(stream):
                await self._wait_until_quiet(stream)
            answers = await self._ask_queries(stream)
            if answers is not None:
                status = escpos_wire.parse_status(answers, self._spec.sensors, self.name)
                self._confirmed = answers
                return status
            self._late_answer_possible = True
        raise ProtocolViolation(self.name, "more than one answer to one query; is another program at the port?")

    async def _print_test_slip(self, stream: Stream) -> None:
        self._refuse_if_unable(await self._ask_status(stream), "nothing was printed")
        options = self._spec.options
        slip = escpos_wire.compose_test_slip(
            self.name,
            begin=self._initialisation(),
            chinese=bool(options.get("chinese", False)),
            cut=bool(options.get("cutter", True)),
        )
        await self._process(stream, slip, "the test slip", "the test slip did not come out whole")
        self._refuse_if_unable(await self._ask_status(stream), "the test slip may not be whole")

    async def _initialise(self, stream: Stream) -> None:
        """ESC @ is an ordinary command: a printer that stands still would carry it out at some later time, or never."""
        await self._recover(stream)
        undone = "it is not in its standard state"
        self._refuse_if_unable(await self._ask_status(stream), undone)
        await self._process(stream, self._initialisation(), "the initialisation", undone)

    async def _process(self, stream: Stream, commands: bytes, what: str, failed: str) -> None:
        """Send ordinary commands and return once the printer has carried out all of them.

        Args:
            what: Names them, for errors; ``failed`` says what it means that a condition came in between.
        """
        self._waiting_for = f"room for {what}"
        try:
            async with asyncio.timeout_at(self._ends_s - self._reserve_s()):
                await stream.write(commands + escpos_wire.CONFIRM_PROCESSED)
                self._waiting_for = f"confirmation of {what}"
                answers = await self._next_answers(stream)
        except TimeoutError as err:
            unconfirmed = self._waiting_for
            self._late_answer_possible = True
            self._refuse_if_unable(await self._ask_status(stream), failed)
            raise DeviceOffline(self.name, f"answers, but gave no {unconfirmed} in time") from err
        if len(answers) != 1:
            raise ProtocolViolation(self.name, "more than one answer to one query; is another program at the port?")
        escpos_wire.parse_processed(answers[0], self.name)

    async def _recover(self, stream: Stream) -> None:
        self._waiting_for = "room for the recovery command"
        await stream.write(escpos_wire.RECOVER_AND_CLEAR)
        while True:
            status = await self._ask_status(stream)
            if status.unrecoverable_error:
                raise DeviceFault(self.name, "unrecoverable error; switch the printer off and call service")
            if not (status.cutter_error or status.mechanical_error):
                return
            if asyncio.get_running_loop().time() + _RECOVERY_POLL_S > self._ends_s - self._reserve_s():
                raise DeviceFault(self.name, f"{_why_not_printing(status)}; remove the cause, then recover again")
            await asyncio.sleep(_RECOVERY_POLL_S)

    # ── asking ─────────────────────────────────────────────────────────────────────────────────────────────────
    async def _ask_queries(self, stream: Stream) -> bytes | None:
        """One byte for each query, or nothing if more came than was asked for."""
        collected = b""
        for number, query in enumerate(escpos_wire.STATUS_QUERIES, start=1):
            self._waiting_for = f"answer to DLE EOT {number}"
            await stream.write(query)
            answers = await self._next_answers(stream)
            strange = [byte for byte in answers if not escpos_wire.is_status_answer(byte)]
            if strange:
                detail = (
                    f"{bytes(strange[:8]).hex(' ')} is no status; wrong speed, model, or another program at the port"
                )
                raise ProtocolViolation(self.name, detail)
            if len(answers) != 1 or self._take_arrived(stream):
                return None
            collected += answers
        return collected

    async def _is_unchanged(self, stream: Stream, confirmed: bytes) -> bool:
        """Ask all four at once, as the protocol allows; True when every bit is as it was.

        Which answer belongs to which query cannot be told then: whatever is not the same is asked again, one by one.
        """
        if not self._answers_together or self._late_answer_possible or self._take_arrived(stream):
            return False
        gather_s = _GATHER_S + 10 * (len(b"".join(escpos_wire.STATUS_QUERIES)) + len(confirmed)) / self._spec.baud_rate
        left_s = self._ends_s - asyncio.get_running_loop().time()
        limit_s = min(_TOGETHER_LIMIT_S, left_s * _TOGETHER_SHARE)
        if limit_s < 2 * gather_s:
            return False
        self._waiting_for = "answers to DLE EOT 1 to 4"
        answers = b""
        try:
            async with asyncio.timeout(limit_s):
                await stream.write(b"".join(escpos_wire.STATUS_QUERIES))
                await asyncio.sleep(gather_s)
                while len(answers) < len(confirmed):
                    answers += await self._next_answers(stream)
        except TimeoutError:
            self._answers_together = not answers  # some and not all: it is one that wants to be asked one by one
            self._late_answer_possible = True
            return False
        answers += self._take_arrived(stream)
        self._late_answer_possible = len(answers) != len(confirmed)
        return answers == confirmed

    async def _next_answers(self, stream: Stream) -> bytes:
        while True:
            answers = self._told_apart(await stream.read_some())
            if answers:
                return answers

    def _take_arrived(self, stream: Stream) -> bytes:
        """Answers that have arrived without being asked for: of an older query, or meant for somebody else."""
        return self._told_apart(stream.drain_input())

    def _told_apart(self, data: bytes) -> bytes:
        replies = escpos_wire.split_replies(self._begun_report + data)
        self._begun_report = replies.pending
        return replies.answers

    async def _wait_until_quiet(self, stream: Stream) -> None:
        """Throw away what still comes, until nothing has come for a while: no answer is then that of an older query."""
        self._waiting_for = "silence between answers"
        discarded = 0
        while discarded <= _BABBLE_LIMIT_BYTES:
            try:
                async with asyncio.timeout(_QUIET_S):
                    data = await stream.read_some()
            except TimeoutError:
                self._late_answer_possible = False
                return
            discarded += len(data)
            self._told_apart(data)
        raise ProtocolViolation(self.name, "bytes without end that nobody asked for; wrong device at the port?")

    # ── small things ───────────────────────────────────────────────────────────────────────────────────────────
    def _refuse_if_unable(self, status: PrinterStatus, consequence: str) -> None:
        why = _why_not_printing(status)
        if why is not None:
            raise DeviceFault(self.name, f"{why}; {consequence}")

    def _initialisation(self) -> bytes:
        code_page, character_set = (_byte_option(self._spec.options, name) for name in _STANDARD_VALUES)
        return escpos_wire.compose_initialisation(code_page, character_set)

    def _reserve_s(self) -> float:
        left_s = self._ends_s - asyncio.get_running_loop().time()
        return min(_RESERVE_LIMIT_S, max(left_s, 0.0) * _RESERVE_SHARE)


def _byte_option(options: Mapping[str, OptionValue], name: str) -> int | None:
    value = options.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255 else None


def _why_not_printing(status: PrinterStatus) -> str | None:
    """The condition that a person should see to first, or ``None`` if the printer can print."""
    conditions = (
        (status.unrecoverable_error, "unrecoverable error"),
        (status.cutter_error, "cutter error"),
        (status.mechanical_error, "mechanical error"),
        (bool(status.cover_open), "cover open"),
        (status.paper is Paper.END, "paper end"),
        (status.auto_recoverable_error, "print head too hot, it goes on by itself"),
        (status.offline or status.error_present, "the printer says it is offline"),
    )
    return next((text for is_so, text in conditions if is_so), None)
