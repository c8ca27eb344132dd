"""The real driver over a real pty against the shipped emulator: each of its faults, and its own counters as witness."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from drivers.contract import Initialisable, Paper, PrinterDevice, Recoverable
from drivers.errors import DeviceFault, DeviceGone, DeviceOffline, DriverError, ProtocolViolation, SpecInvalid
from tests.kit.printer_port import emulated_printer, printer_at

LONG_S = 20.0  # a deadline that is never reached
SHORT_S = 0.3  # one that is meant to be reached


async def test_a_healthy_printer_has_no_fault_and_was_asked_four_questions(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        assert isinstance(printer, PrinterDevice)
        assert isinstance(printer, Recoverable)
        assert isinstance(printer, Initialisable)
        status = await printer.read_status(LONG_S)
        assert (status.offline, status.paper, status.cover_open, status.near_end) == (
            False,
            Paper.PRESENT,
            False,
            False,
        )
        counters = emulator.machine.counters
        assert [counters[f"dle_eot_{number}"] for number in (1, 2, 3, 4)] == [1, 1, 1, 1]
        assert counters["bytes"] == 12  # nothing but the four queries
        assert printer.communication_error_count == 0


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"near_end": True}, {"near_end": True, "offline": False, "paper": Paper.NEAR_END}),
        ({"paper_end": True}, {"paper_end": True, "offline": True, "paper": Paper.END}),
        ({"cover_open": True}, {"cover_open": True, "offline": True}),
        ({"cutter_error": True}, {"cutter_error": True, "error_present": True, "offline": True}),
        ({"mechanical_error": True}, {"mechanical_error": True, "error_present": True}),
        ({"head_hot": True}, {"auto_recoverable_error": True, "error_present": True, "offline": True}),
        ({"unrecoverable": True}, {"unrecoverable_error": True, "error_present": True, "offline": True}),
        ({"drawer_open": True}, {"drawer_pin_high": True, "offline": False}),
        ({"feed_button": True}, {"feed_button_pressed": True, "paper_fed_by_button": True}),
        ({"waiting_recovery": True}, {"waiting_for_recovery": True}),
    ],
)
async def test_each_condition_is_read_while_it_lasts_and_no_longer(
    tmp_path: Path, settings: dict[str, bool], expected: dict[str, Any]
) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        healthy = await printer.read_status(LONG_S)
        emulator.apply(settings)
        status = await printer.read_status(LONG_S)
        assert {name: getattr(status, name) for name in expected} == expected
        emulator.apply(dict.fromkeys(settings, False))
        await printer.recover(LONG_S)
        assert await printer.read_status(LONG_S) == healthy


async def test_a_silent_printer_is_offline_within_the_deadline_and_is_asked_again_afterwards(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        emulator.apply({"silent": True})
        with pytest.raises(DeviceOffline, match="no answer to DLE EOT 1"):
            await printer.read_status(SHORT_S)
        assert printer.communication_error_count == 1
        assert emulator.machine.counters["dle_eot_1"] == 1
        emulator.apply({"silent": False})
        assert not (await printer.read_status(LONG_S)).offline


async def test_garbage_is_a_protocol_violation_every_time_and_never_a_status(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        emulator.apply({"garbage": True})
        for _each_byte_of_it in range(6):
            with pytest.raises(ProtocolViolation):
                await printer.read_status(LONG_S)
        emulator.apply({"garbage": False})
        assert not (await printer.read_status(LONG_S)).offline


async def test_a_slow_printer_is_read_when_the_deadline_allows_and_offline_when_not(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        emulator.apply({"slow": 0.1, "near_end": True})
        assert (await printer.read_status(LONG_S)).near_end
        with pytest.raises(DeviceOffline):
            await printer.read_status(0.25)  # answers 1 and 2 come, 3 is late
        emulator.apply({"slow": 0.0})
        assert (await printer.read_status(LONG_S)).near_end  # the late answer is not taken for one of these


async def test_an_unplugged_printer_is_gone_and_works_under_the_same_path_when_plugged_again(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        await printer.read_status(LONG_S)
        emulator.apply({"unplugged": True})
        assert not emulator.port.is_symlink()
        for _round in range(3):
            with pytest.raises(DeviceGone):
                await printer.read_status(LONG_S)
        emulator.apply({"unplugged": False})
        assert not (await printer.read_status(LONG_S)).offline


async def test_unplugged_and_plugged_between_two_calls_is_no_fault(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        for _round in range(5):
            await printer.read_status(LONG_S)
            emulator.apply({"unplugged": True})
            emulator.apply({"unplugged": False})
        assert printer.communication_error_count == 0


async def test_unplugged_while_an_answer_is_awaited_is_gone_at_once(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        emulator.apply({"silent": True})
        reading = asyncio.ensure_future(printer.read_status(LONG_S))
        while emulator.machine.counters["queries"] == 0:
            await asyncio.sleep(0.001)
        emulator.apply({"unplugged": True})
        with pytest.raises(DeviceGone):
            await reading
        emulator.apply({"unplugged": False, "silent": False})
        assert not (await printer.read_status(LONG_S)).offline


async def test_a_test_slip_is_printed_cut_and_confirmed(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path, chinese=True) as (emulator, printer):
        await printer.print_test_slip(LONG_S)
        counters = emulator.machine.counters
        assert (counters["slips"], counters["cuts"], counters["gs_r"], counters["dropped_bytes"]) == (1, 1, 1, 0)
        assert emulator.machine.last_slip[0] == "printer-0"
        assert {"测试页 打印正常", "[barcode]", "[QR code]"} <= set(emulator.machine.last_slip)


async def test_a_model_without_cutter_gets_no_cut(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path, cutter=False) as (emulator, printer):
        await printer.print_test_slip(LONG_S)
        assert (emulator.machine.counters["cuts"], emulator.machine.counters["lines"]) == (0, 6)


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("paper_end", "paper end"),
        ("cover_open", "cover open"),
        ("cutter_error", "cutter"),
        ("mechanical_error", "mechanical"),
        ("head_hot", "too hot"),
        ("unrecoverable", "unrecoverable"),
        ("waiting_recovery", "offline"),
    ],
)
async def test_a_printer_that_cannot_print_is_sent_no_slip(tmp_path: Path, condition: str, why: str) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        emulator.apply({condition: True})
        with pytest.raises(DeviceFault, match=f"{why}.*nothing was printed"):
            await printer.print_test_slip(LONG_S)
        assert emulator.machine.counters["bytes"] == 12
        assert printer.communication_error_count == 0


async def test_paper_that_ends_under_the_slip_is_named_and_no_slip_is_claimed(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        emulator.apply({"slow": 0.02})
        printing = asyncio.ensure_future(printer.print_test_slip(1.0))
        while emulator.machine.counters["dle_eot_4"] == 0:
            await asyncio.sleep(0.001)
        emulator.apply({"paper_end": True})
        with pytest.raises(DeviceFault, match=r"paper end.*did not come out whole"):
            await printing
        assert emulator.machine.counters["slips"] == 0


async def test_a_slip_is_not_confirmed_by_a_printer_that_turns_silent(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        emulator.apply({"slow": 0.02})
        printing = asyncio.ensure_future(printer.print_test_slip(0.6))
        while emulator.machine.counters["dle_eot_4"] == 0:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.03)  # the fourth answer is under way
        emulator.apply({"silent": True})
        with pytest.raises(DriverError) as refused:
            await printing
        assert isinstance(refused.value, DeviceOffline)


async def test_recovery_clears_a_cutter_error_only_after_its_cause_is_gone(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        emulator.apply({"cutter_error": True})
        with pytest.raises(DeviceFault, match="remove the cause"):
            await printer.recover(2.0)
        assert emulator.machine.counters["recoveries"] == 0
        emulator.apply({"cutter_error": False})
        assert (await printer.read_status(LONG_S)).cutter_error  # the error stays until it is recovered
        await printer.recover(LONG_S)
        assert not (await printer.read_status(LONG_S)).cutter_error
        assert emulator.machine.counters["recoveries"] == 1


async def test_recovery_sends_dle_enq_2_even_to_a_printer_without_an_error(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        await printer.recover(LONG_S)
        assert emulator.machine.counters["recovery_requests"] == 1


async def test_recovery_of_an_unrecoverable_error_calls_for_a_person(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        emulator.apply({"unrecoverable": True})
        with pytest.raises(DeviceFault, match="service"):
            await printer.recover(LONG_S)


async def test_initialising_opens_afresh_recovers_and_leaves_the_models_standard_values(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path, code_page=255, character_set=15) as (emulator, printer):
        await printer.read_status(LONG_S)
        emulator.machine.receive(b"\x1bt\x02\x1bR\x03\x1da\xff")  # what a payment application left behind
        emulator.apply({"cutter_error": True})
        emulator.apply({"cutter_error": False})
        for repeat in (1, 2):
            await printer.initialise(LONG_S)
            assert (emulator.machine.code_page, emulator.machine.character_set) == (255, 15)
            counters = emulator.machine.counters
            assert (counters["initialisations"], counters["recovery_requests"]) == (repeat, repeat)
        assert not (await printer.read_status(LONG_S)).cutter_error
        reports = emulator.machine.counters["asb_reports"]
        emulator.apply({"near_end": True})
        assert emulator.machine.counters["asb_reports"] == reports  # automatic status is off again
        await printer.print_test_slip(LONG_S)
        assert (emulator.machine.code_page, emulator.machine.character_set) == (255, 15)


async def test_a_printer_without_standard_values_is_initialised_to_its_own(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        emulator.machine.receive(b"\x1bt\x02\x1bR\x03")
        await printer.initialise(LONG_S)
        assert (emulator.machine.code_page, emulator.machine.character_set) == (0, 0)
        assert emulator.machine.counters["initialisations"] == 1


@pytest.mark.parametrize("condition", ["paper_end", "cover_open", "head_hot", "waiting_recovery", "unrecoverable"])
async def test_a_printer_that_stands_still_is_not_called_initialised_and_gets_nothing_to_do_later(
    tmp_path: Path, condition: str
) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        emulator.apply({condition: True})
        with pytest.raises(DeviceFault):
            await printer.initialise(LONG_S)
        emulator.apply({condition: False})
        await printer.recover(LONG_S)
        assert emulator.machine.counters["initialisations"] == 0


async def test_a_printer_that_stops_during_initialisation_says_why(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        emulator.apply({"slow": 0.02})
        initialising = asyncio.ensure_future(printer.initialise(2.0))
        while emulator.machine.counters["dle_eot_4"] < 2:  # asked by the recovery, and again before ESC @
            await asyncio.sleep(0.001)
        emulator.apply({"cover_open": True})
        with pytest.raises(DeviceFault, match=r"cover open.*not in its standard state"):
            await initialising


async def test_initialising_a_printer_that_is_silent_or_gone_ends_in_time_and_says_which(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        emulator.apply({"silent": True})
        with pytest.raises(DeviceOffline):
            await printer.initialise(SHORT_S)
        emulator.apply({"unplugged": True})
        with pytest.raises(DeviceGone):
            await printer.initialise(LONG_S)


async def test_a_model_file_cannot_ask_for_a_standard_value_that_does_not_exist(tmp_path: Path) -> None:
    for value in (-1, 256, True, "0"):
        with pytest.raises(SpecInvalid, match="code_page must be a number from 0 to 255"):
            printer_at(tmp_path / "port", code_page=value)


async def test_an_automatic_status_that_another_program_switched_on_disturbs_nothing(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        emulator.machine.receive(b"\x1da\x0f")
        for condition in ("near_end", "cover_open", "near_end"):
            emulator.apply({condition: True})
            await printer.read_status(LONG_S)
            emulator.apply({condition: False})
            assert (await printer.read_status(LONG_S)).paper is Paper.PRESENT
        assert emulator.machine.counters["asb_reports"] >= 6
        assert printer.communication_error_count == 0
