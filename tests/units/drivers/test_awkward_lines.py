"""Printers and cables that misbehave as reported from the field; the test itself is the printer."""

from __future__ import annotations

import asyncio

import pytest

from drivers.contract import Paper
from drivers.errors import DeviceBusy, DeviceGone, DeviceOffline, ProtocolViolation
from drivers.pos_printer.escpos_wire import STATUS_QUERIES
from tests.kit.printer_port import HEALTHY, BarePort, open_descriptors, played_printer, printer_at

LONG_S = 20.0
SHORT_S = 0.3
PAPER_END = dict(zip(STATUS_QUERIES, (b"\x1a", b"\x32", b"\x12", b"\x72"), strict=True))


def healthy(_query: bytes) -> bytes:
    return HEALTHY


async def test_answers_that_lie_around_from_before_are_not_taken_for_new_ones() -> None:
    async with played_printer(lambda query: PAPER_END[query]) as (port, printer):
        await printer.read_status(LONG_S)
        port.send(b"\x12\x12\x12\x12")  # late answers of an older exchange, all "healthy"
        assert (await printer.read_status(LONG_S)).paper is Paper.END


async def test_a_late_answer_after_a_deadline_is_not_taken_for_the_next() -> None:
    late: list[bytes] = []

    def answer(query: bytes) -> bytes:
        if late:
            return PAPER_END[query]
        late.append(query)
        asyncio.get_running_loop().call_later(SHORT_S + 0.05, port.send, HEALTHY)
        return b""

    async with played_printer(answer) as (port, printer):
        with pytest.raises(DeviceOffline):
            await printer.read_status(SHORT_S)
        status = await printer.read_status(LONG_S)
        assert status.paper is Paper.END
        assert status.offline


async def test_two_bytes_to_one_query_are_discarded_and_everything_is_asked_again() -> None:
    asked: list[bytes] = []

    def answer(query: bytes) -> bytes:
        asked.append(query)
        return PAPER_END[query] + (b"\x12" if len(asked) == 2 else b"")

    async with played_printer(answer) as (_port, printer):
        assert (await printer.read_status(LONG_S)).paper is Paper.END
    assert asked == [*STATUS_QUERIES[:2], *STATUS_QUERIES]


async def test_two_bytes_to_every_query_are_a_protocol_violation() -> None:
    async with played_printer(lambda _query: b"\x12\x12") as (_port, printer):
        with pytest.raises(ProtocolViolation, match="more than one answer"):
            await printer.read_status(LONG_S)
        assert printer.communication_error_count == 1


@pytest.mark.parametrize("strange", [b"\x00", b"\xff", b"\x80", b"\x02"])
async def test_a_byte_that_is_no_answer_ends_the_exchange_at_once(strange: bytes) -> None:
    async with played_printer(lambda _query: strange) as (_port, printer):
        with pytest.raises(ProtocolViolation, match=strange.hex()):
            await printer.read_status(LONG_S)


async def test_flow_control_bytes_around_answers_are_skipped() -> None:
    async with played_printer(lambda query: b"\x13" + PAPER_END[query] + b"\x11") as (_port, printer):
        assert (await printer.read_status(LONG_S)).paper is Paper.END


async def test_flow_control_alone_is_silence() -> None:
    async with played_printer(lambda _query: b"\x11\x13") as (_port, printer):
        with pytest.raises(DeviceOffline):
            await printer.read_status(SHORT_S)


async def test_a_report_in_pieces_around_an_answer_is_put_together_and_thrown_away() -> None:
    rest: list[bytes] = []

    def answer(query: bytes) -> bytes:
        if query == STATUS_QUERIES[0]:
            asyncio.get_running_loop().call_soon(port.send, b"\x00\x00" + PAPER_END[query])
            rest.append(query)
            return b"\x18\x00"  # the first half of a four-byte report
        return PAPER_END[query]

    async with played_printer(answer) as (port, printer):
        assert (await printer.read_status(LONG_S)).paper is Paper.END
    assert rest


async def test_a_report_that_never_ends_is_no_silence_but_a_protocol_violation() -> None:
    async with played_printer(lambda _query: b"\x18") as (_port, printer):  # what a printer of another dialect says
        with pytest.raises(ProtocolViolation, match="18"):
            await printer.read_status(SHORT_S)


async def test_a_lone_bit_of_a_pair_is_a_protocol_violation() -> None:
    async with played_printer(lambda query: b"\x16" if query == STATUS_QUERIES[3] else HEALTHY) as (_port, printer):
        with pytest.raises(ProtocolViolation, match="lone"):
            await printer.read_status(LONG_S)


async def test_a_device_that_babbles_without_end_is_a_protocol_violation() -> None:
    async with played_printer(lambda _query: b"") as (port, printer):

        def babble() -> None:
            port.send(b"\x12" * 100)
            babbling.append(asyncio.get_running_loop().call_later(0.005, babble))

        babbling: list[asyncio.TimerHandle] = []
        babble()
        try:
            with pytest.raises(ProtocolViolation, match="without end"):
                await printer.read_status(LONG_S)
        finally:
            babbling[-1].cancel()


async def test_a_port_that_stops_draining_neither_stops_the_loop_nor_outlives_the_deadline() -> None:
    async with played_printer(None) as (_port, printer):
        beats = 0

        async def heart() -> None:
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0.01)

        stream = await printer._port.open()  # the driver's own transport, filled up by hand until it blocks
        heartbeat = asyncio.ensure_future(heart())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT_S):
                await stream.write(b"\x00" * 1_000_000)
        printer._stream = stream
        beats_before = beats
        with pytest.raises(DeviceOffline, match="DLE EOT 1"):
            await printer.read_status(SHORT_S)
        heartbeat.cancel()
        assert beats_before >= 5
        assert beats - beats_before >= 5


async def test_hung_up_in_the_middle_of_the_four_answers_is_gone() -> None:
    def answer(query: bytes) -> bytes:
        if query == STATUS_QUERIES[2]:
            asyncio.get_running_loop().call_soon(port.hang_up)
            return b""
        return HEALTHY

    async with played_printer(answer) as (port, printer):
        with pytest.raises(DeviceGone):
            await printer.read_status(LONG_S)


async def test_hung_up_while_a_write_waits_is_gone() -> None:
    async with played_printer(None) as (port, printer):
        stream = await printer._port.open()
        writing = asyncio.ensure_future(stream.write(b"\x00" * 1_000_000))
        await asyncio.sleep(0.05)
        assert not writing.done()
        port.hang_up()
        with pytest.raises(DeviceGone):
            await writing
        stream.close()


async def test_calls_wait_for_each_other_and_their_bytes_never_mix() -> None:
    async with played_printer(healthy) as (port, printer):
        await asyncio.gather(*(printer.read_status(LONG_S) for _call in range(20)))
        assert port.heard == b"".join(STATUS_QUERIES) * 20


async def test_a_call_that_had_to_wait_too_long_says_nothing_about_the_device() -> None:
    async with played_printer(lambda _query: b"") as (_port, printer):
        first = asyncio.ensure_future(printer.read_status(3 * SHORT_S))
        await asyncio.sleep(0)
        with pytest.raises(DeviceBusy):
            await printer.read_status(SHORT_S)
        with pytest.raises(DeviceOffline):
            await first
        assert printer.communication_error_count == 1


async def test_a_cancelled_call_leaves_no_descriptor_and_the_next_one_works() -> None:
    silent = True
    before = 0

    async with played_printer(lambda _query: b"" if silent else HEALTHY) as (port, printer):
        before = open_descriptors()
        for _round in range(5):
            reading = asyncio.ensure_future(printer.read_status(LONG_S))
            heard = len(port.heard)
            while len(port.heard) == heard:
                await asyncio.sleep(0.001)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        await printer.close()
        assert open_descriptors() == before
        silent = False
        assert not (await printer.read_status(LONG_S)).offline


async def test_a_driver_opens_its_port_two_hundred_times_without_keeping_anything() -> None:
    port = BarePort(healthy)
    printer = printer_at(port.path)
    try:
        await printer.read_status(LONG_S)
        await printer.close()
        before = open_descriptors()
        for _cycle in range(200):
            await printer.read_status(LONG_S)
            await printer.close()
        assert open_descriptors() == before
    finally:
        await printer.close()
        port.hang_up()


async def test_while_nothing_changes_the_four_queries_go_out_together_and_a_change_is_asked_again_one_by_one() -> None:
    answers = dict.fromkeys(STATUS_QUERIES, HEALTHY)
    async with played_printer(lambda query: answers[query]) as (port, printer):
        writes: list[bytes] = []
        await printer.read_status(LONG_S)
        stream = printer._stream
        assert stream is not None
        write = stream.write

        async def seen(data: bytes) -> None:
            writes.append(data)
            await write(data)

        stream.write = seen  # type: ignore[method-assign]
        assert not (await printer.read_status(LONG_S)).offline
        assert writes == [b"".join(STATUS_QUERIES)]
        answers.update(PAPER_END)
        assert (await printer.read_status(LONG_S)).paper is Paper.END
        assert writes[1:] == [b"".join(STATUS_QUERIES), *STATUS_QUERIES]
        assert (await printer.read_status(LONG_S)).paper is Paper.END
        assert writes[6:] == [b"".join(STATUS_QUERIES)]
        assert port.heard == b"".join(STATUS_QUERIES) * 5


async def test_a_printer_that_answers_one_query_at_a_time_is_found_out_and_asked_so() -> None:
    heard = 0

    def answer(query: bytes) -> bytes:
        nonlocal heard
        alone, heard = len(port.heard) != heard, len(port.heard)
        return PAPER_END[query] if alone else b""

    async with played_printer(answer) as (port, printer):
        for _look in range(4):
            assert (await printer.read_status(LONG_S)).paper is Paper.END
        assert printer.communication_error_count == 0
        assert port.heard == b"".join(STATUS_QUERIES) * 5, "together once, at the second look"


async def test_a_stray_byte_and_a_lost_one_are_not_taken_for_the_four_answers() -> None:
    """The burst is answered by four bytes that belong to other queries: three of them, and one from before."""
    answers = dict.fromkeys(STATUS_QUERIES, HEALTHY)
    async with played_printer(lambda query: answers[query]) as (port, printer):
        await printer.read_status(LONG_S)
        asked: list[bytes] = []

        def shifted(query: bytes) -> bytes:
            asked.append(query)
            if len(asked) == 1:
                return HEALTHY + PAPER_END[query]
            return PAPER_END[query] if len(asked) != 4 else b""

        port._answer = shifted
        status = await printer.read_status(LONG_S)
        assert (status.paper, status.offline) == (Paper.END, True)
        assert asked == [*STATUS_QUERIES, *STATUS_QUERIES]
