"""The emulator is as faithful as the reference: real-time commands, buffers, recovery, automatic status, identity."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.emulators.escpos_commands import command_length
from drivers.emulators.escpos_machine import RECEIVE_BUFFER_BYTES, EscposMachine
from drivers.pos_printer import escpos_wire

QUERY_1 = escpos_wire.STATUS_QUERIES[0]


def answers(machine: EscposMachine, data: bytes) -> bytes:
    return b"".join(machine.receive(data))


def test_a_query_inside_image_data_is_answered_and_the_image_stays_whole() -> None:
    machine = EscposMachine()
    image = b"\x1dv0\x00\x04\x00\x04\x00" + b"\x00" * 6 + QUERY_1 + b"\x00" * 7  # the query is part of the 16 bytes
    assert answers(machine, image + b"after\n") == b"\x12"
    machine.receive(escpos_wire.FEED_AND_CUT)
    assert machine.last_slip == ["[image]", "after"]


@settings(deadline=None)
@given(st.data())
def test_queries_are_found_however_the_line_cuts_the_bytes(data: st.DataObject) -> None:
    stream = b"text\n\x10" + b"".join(escpos_wire.STATUS_QUERIES) + b"\x10\x10\x04\x01more\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    machine = EscposMachine()
    sent = b"".join(
        answers(machine, stream[begin:end]) for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
    )
    assert sent == b"\x12" * 5
    assert machine.counters["lines"] == 2


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=5))
def test_hostile_bytes_never_stop_it_from_answering(chunks: list[bytes]) -> None:
    machine = EscposMachine()
    for chunk in chunks:
        machine.receive(chunk)
    machine.receive(b"\x00\x00")  # whatever looked like the begin of a real-time command is none now
    assert b"\x12" in answers(machine, QUERY_1) or machine.conditions.drawer_open


def test_data_wait_while_it_is_offline_and_are_printed_when_the_cause_is_gone() -> None:
    machine = EscposMachine()
    machine.change({"cover_open": True})
    assert answers(machine, b"waits\n" + QUERY_1) == b"\x1a"
    assert machine.counters["lines"] == 0
    machine.change({"cover_open": False})
    assert machine.counters["lines"] == 1


def test_a_queued_confirmation_comes_only_when_the_data_before_it_are_printed() -> None:
    machine = EscposMachine()
    machine.change({"paper_end": True})
    assert answers(machine, b"line\n" + escpos_wire.CONFIRM_PROCESSED) == b""
    assert b"".join(machine.change({"paper_end": False})) == b"\x00"


def test_an_offline_printer_drops_what_its_buffer_cannot_hold_and_still_answers() -> None:
    machine = EscposMachine()
    machine.change({"paper_end": True})
    assert answers(machine, b"x" * (RECEIVE_BUFFER_BYTES + 10) + QUERY_1) == b"\x1a"
    assert machine.counters["dropped_bytes"] == 10


@pytest.mark.parametrize(("enq", "printed"), [(b"\x10\x05\x01", 1), (b"\x10\x05\x02", 0)])
def test_recovery_1_goes_on_with_the_data_and_recovery_2_forgets_them(enq: bytes, printed: int) -> None:
    machine = EscposMachine()
    machine.change({"cutter_error": True})
    machine.receive(b"line\n" + enq)
    assert machine.counters["recoveries"] == 0  # its cause is still there
    machine.change({"cutter_error": False})
    assert machine.offline
    machine.receive(enq)
    assert (machine.offline, machine.counters["recoveries"], machine.counters["lines"]) == (False, 1, printed)
    assert machine.counters["recovery_requests"] == 2


@pytest.mark.parametrize("condition", ["head_hot", "unrecoverable", "paper_end", "cover_open"])
def test_recovery_does_nothing_for_what_is_not_recoverable(condition: str) -> None:
    machine = EscposMachine()
    machine.change({condition: True})
    machine.receive(b"line\n" + escpos_wire.RECOVER_AND_CLEAR)
    assert (machine.offline, machine.counters["recoveries"]) == (True, 0)
    machine.change({condition: False})
    assert machine.counters["lines"] == 1


def test_automatic_status_is_sent_at_once_and_on_every_change_that_it_is_switched_on_for() -> None:
    machine = EscposMachine()
    assert answers(machine, b"\x1da\x0f") == b"\x10\x00\x00\x00"
    assert b"".join(machine.change({"cover_open": True})) == b"\x38\x00\x00\x00"
    assert b"".join(machine.change({"cover_open": True})) == b""
    machine.change({"cover_open": False})
    assert b"".join(machine.change({"cutter_error": True})) == b"\x18\x08\x00\x00"
    machine.power_cycle()
    assert b"".join(machine.change({"near_end": True})) == b""


def test_automatic_status_for_paper_only_does_not_report_the_drawer() -> None:
    machine = EscposMachine()
    machine.receive(b"\x1da\x08")
    assert machine.change({"drawer_open": True}) == []
    assert b"".join(machine.change({"near_end": True})) == b"\x14\x00\x03\x00"
    assert answers(machine, b"\x1da\x00") == b""


def test_identity_and_queued_status_are_answered() -> None:
    machine = EscposMachine()
    assert answers(machine, b"\x1dI\x02") == b"\x02"
    assert answers(machine, b"\x1dIC") == b"_POS80\x00"
    machine.change({"near_end": True, "drawer_open": True})
    assert answers(machine, b"\x1dr\x01\x1dr\x02") == b"\x03\x01"


def test_an_unknown_query_is_counted_and_not_answered() -> None:
    machine = EscposMachine()
    assert answers(machine, b"\x10\x04\x07") == b""
    assert machine.counters["unknown_queries"] == 1


@pytest.mark.parametrize(
    ("command", "length"),
    [
        (b"\x1b@", 2),
        (b"\x1ba\x01", 3),
        (b"\x1bp\x00\x19\xfa", 5),
        (b"\x1bD\x08\x10\x00", 5),
        (b"\x1b*\x21\x02\x00" + b"\x00" * 6, 11),
        (b"\x1dV\x01", 3),
        (b"\x1dVB\x00", 4),
        (b"\x1dk\x04*A*\x00", 7),
        (b"\x1dkI\x03ABC", 7),
        (b"\x1d(k\x03\x001C\x04", 8),
        (b"\x1dv0\x00\x02\x00\x01\x00\xaa\xbb", 10),
        (b"\x10\x14\x08\x01\x03\x14\x01\x06\x02\x08", 10),
        (b"A", 1),
    ],
)
def test_the_end_of_a_command_is_known_exactly(command: bytes, length: int) -> None:
    assert command_length(command + b"AB") == length
    for missing in range(1, len(command)):
        assert command_length(command[:-missing]) in {None, *range(1, length)}
    if length > 1:
        assert command_length(command[:-1]) is None
