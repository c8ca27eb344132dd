"""Bytes to status: every bit by name, and nothing concluded from bytes that cannot be."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.contract import Paper, PowerState, PrinterStatus
from drivers.emulators.escpos_machine import Conditions, EscposMachine
from drivers.errors import ProtocolViolation
from drivers.pos_printer import escpos_wire
from tests.kit.printer_port import ALL_SENSORS

# field, query (from 1), mask: the table of the command reference, written down a second time
BITS = [
    ("drawer_pin_high", 1, 0x04),
    ("offline", 1, 0x08),
    ("waiting_for_recovery", 1, 0x20),
    ("feed_button_pressed", 1, 0x40),
    ("cover_open", 2, 0x04),
    ("paper_fed_by_button", 2, 0x08),
    ("printing_stopped_by_paper_end", 2, 0x20),
    ("error_present", 2, 0x40),
    ("mechanical_error", 3, 0x04),
    ("cutter_error", 3, 0x08),
    ("unrecoverable_error", 3, 0x20),
    ("auto_recoverable_error", 3, 0x40),
    ("near_end", 4, 0x0C),
    ("paper_end", 4, 0x60),
]
FIELDS = [name for name, _query, _mask in BITS]


def answers_of(true_fields: set[str]) -> bytes:
    answers = bytearray(b"\x12\x12\x12\x12")
    for name, query, mask in BITS:
        if name in true_fields:
            answers[query - 1] |= mask
    return bytes(answers)


def parse(answers: bytes, sensors: frozenset[str] = ALL_SENSORS) -> PrinterStatus:
    return escpos_wire.parse_status(answers, sensors, "printer-0")


def true_fields_of(status: PrinterStatus) -> set[str]:
    return {name for name, value in msgspec.structs.asdict(status).items() if value}


def test_the_table_names_every_field_of_the_status() -> None:
    assert set(FIELDS) == {field.name for field in msgspec.structs.fields(PrinterStatus)}


@settings(deadline=None)
@given(st.sets(st.sampled_from(FIELDS)))
def test_every_combination_of_bits_comes_out_under_its_names(true_fields: set[str]) -> None:
    assert true_fields_of(parse(answers_of(true_fields))) == true_fields


@settings(deadline=None)
@given(st.builds(Conditions, **{field.name: st.booleans() for field in dataclasses.fields(Conditions)}))
def test_what_the_emulator_has_is_what_the_driver_reads(conditions: Conditions) -> None:
    machine = EscposMachine()
    machine.change(dataclasses.asdict(conditions))
    status = parse(b"".join(b"".join(machine.receive(query)) for query in escpos_wire.STATUS_QUERIES))
    assert status.cover_open is conditions.cover_open
    assert status.near_end is conditions.near_end
    assert status.paper_end is status.printing_stopped_by_paper_end is conditions.paper_end
    assert status.cutter_error is conditions.cutter_error
    assert status.mechanical_error is conditions.mechanical_error
    assert status.unrecoverable_error is conditions.unrecoverable
    assert status.auto_recoverable_error is conditions.head_hot
    assert status.drawer_pin_high is conditions.drawer_open
    assert status.paper_fed_by_button is status.feed_button_pressed is conditions.feed_button
    assert status.waiting_for_recovery is conditions.waiting_recovery
    assert status.error_present is (
        conditions.cutter_error or conditions.mechanical_error or conditions.unrecoverable or conditions.head_hot
    )
    assert status.offline is machine.offline


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ("12 12 12 12", set()),
        ("16 12 12 12", {"drawer_pin_high"}),  # a healthy printer with a drawer, taken for an error by others
        ("1a 16 12 12", {"offline", "cover_open"}),
        ("1e 16 12 12", {"offline", "drawer_pin_high", "cover_open"}),
        ("1a 32 12 72", {"offline", "printing_stopped_by_paper_end", "paper_end"}),
        ("1a 32 12 7e", {"offline", "printing_stopped_by_paper_end", "paper_end", "near_end"}),
        ("1a 52 1a 12", {"offline", "error_present", "cutter_error"}),
        ("1a 52 32 12", {"offline", "error_present", "unrecoverable_error"}),
        ("1a 52 52 12", {"offline", "error_present", "auto_recoverable_error"}),
        ("12 12 12 1e", {"near_end"}),
    ],
)
def test_typical_answers_read_as_the_reference_says(answers: str, expected: set[str]) -> None:
    assert true_fields_of(parse(bytes.fromhex(answers))) == expected


def test_a_sensor_that_the_model_does_not_have_never_reads_good() -> None:
    healthy = bytes.fromhex("12 12 12 12")
    assert parse(healthy).near_end is False
    assert parse(healthy).paper is Paper.PRESENT
    no_near_end = parse(healthy, frozenset({"paper_end"}))
    assert (no_near_end.near_end, no_near_end.cover_open, no_near_end.paper) == (None, None, Paper.PRESENT)
    assert parse(healthy, frozenset()).paper is Paper.UNKNOWN


def test_trouble_is_believed_from_a_sensor_that_was_not_listed() -> None:
    status = parse(bytes.fromhex("1a 36 12 7e"), frozenset())
    assert (status.near_end, status.paper_end, status.cover_open, status.paper) == (True, True, True, Paper.END)


@pytest.mark.parametrize(
    ("answers", "paper"), [("12 12 12 1e", Paper.NEAR_END), ("1a 32 12 12", Paper.END), ("1a 12 12 72", Paper.END)]
)
def test_paper_in_one_word(answers: str, paper: Paper) -> None:
    assert parse(bytes.fromhex(answers)).paper is paper


def test_a_printer_that_answers_has_power_and_is_offline_by_its_own_word() -> None:
    assert parse(bytes.fromhex("12 12 12 12")).power_state is PowerState.ONLINE
    assert parse(bytes.fromhex("1a 16 12 12")).power_state is PowerState.OFFLINE


@pytest.mark.parametrize("roll", [0x16, 0x1A, 0x32, 0x52, 0x3E, 0x5E, 0x76, 0x7A])
def test_a_lone_bit_of_a_pair_is_a_protocol_violation(roll: int) -> None:
    with pytest.raises(ProtocolViolation, match="lone"):
        parse(b"\x12\x12\x12" + bytes((roll,)))


@settings(deadline=None)
@given(st.binary(max_size=8))
def test_hostile_bytes_give_a_status_of_the_right_form_or_a_protocol_violation(data: bytes) -> None:
    genuine = len(data) == 4 and all(byte & 0x93 == 0x12 for byte in data)
    genuine = genuine and all(data[3] & mask in {0, mask} for mask in (0x0C, 0x60))
    if genuine:
        assert answers_of(true_fields_of(parse(data))) == data
    else:
        with pytest.raises(ProtocolViolation):
            parse(data)


@pytest.mark.parametrize("byte", [0x00, 0xFF, 0x11, 0x13, 0x10, 0x92, 0x02])
def test_these_bytes_are_never_an_answer(byte: int) -> None:
    assert not escpos_wire.is_status_answer(byte)


@settings(deadline=None)
@given(st.lists(st.sampled_from([0x12, 0x16, 0x1A, 0x72, 0xFF, 0x00]), max_size=6), st.data())
def test_flow_control_and_automatic_status_are_taken_out_wherever_they_stand(
    wanted: list[int], data: st.DataObject
) -> None:
    stream: list[int] = []
    for byte in wanted:
        if data.draw(st.booleans()):
            report = [
                data.draw(st.sampled_from([0x10, 0x14, 0x18])),
                *data.draw(st.lists(st.integers(0, 0x0F), min_size=3, max_size=3)),
            ]
            at = data.draw(st.integers(1, 3))
            stream += [*report[:at], 0x13, *report[at:]]
        stream += [*data.draw(st.lists(st.sampled_from([0x11, 0x13]), max_size=2)), byte]
    cut_at = data.draw(st.integers(0, len(stream)))
    first = escpos_wire.split_replies(bytes(stream[:cut_at]))
    second = escpos_wire.split_replies(first.pending + bytes(stream[cut_at:]))
    assert list(first.answers + second.answers) == wanted
    assert second.pending == b""


@pytest.mark.parametrize("answer", [0x00, 0x03, 0x0C, 0x0F])
def test_any_genuine_paper_byte_confirms_that_data_was_processed(answer: int) -> None:
    escpos_wire.parse_processed(answer, "printer-0")


@pytest.mark.parametrize("answer", [0x12, 0xFF, 0x10, 0x80, 0x01, 0x08])
def test_anything_else_confirms_nothing(answer: int) -> None:
    with pytest.raises(ProtocolViolation):
        escpos_wire.parse_processed(answer, "printer-0")


@settings(deadline=None)
@given(st.text(max_size=80), st.booleans(), st.booleans())
def test_a_test_slip_holds_no_real_time_command_whatever_its_title(title: str, chinese: bool, cut: bool) -> None:
    slip = escpos_wire.compose_test_slip(title, chinese=chinese, cut=cut)
    assert slip.startswith(b"\x1b@")
    assert b"\x10" not in slip
    assert slip.endswith(b"\x1dVB\x00") is cut
