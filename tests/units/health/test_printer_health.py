"""Every fault of the emulated printer, through the real driver, a pty and the real store: state, fault, readiness."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.errors import BadRequest, NotFound
from agent.health.catalog import device_subject
from drivers.emulators.pos_printer import PrinterEmulator
from tests.kit.health_room import HealthRoom, health_room, until
from tests.kit.printer_port import emulated_printer

OK = ("ok", "online")


@contextlib.asynccontextmanager
async def _watched(
    folder: Path, *, answers: bool = True, required: bool = True
) -> AsyncIterator[tuple[PrinterEmulator, HealthRoom]]:
    async with emulated_printer(folder) as (emulator, printer):
        subject = device_subject(printer, answers=answers, required=required)
        async with health_room(folder, [subject]) as room:
            await until(lambda: room.state("printer-0") == OK and room.ready())
            yield emulator, room


@pytest.mark.parametrize(
    ("trouble", "state", "code", "impact"),
    [
        ({"paper_end": True}, ("failed", "online"), "HW-PRN-002", "sale"),
        ({"near_end": True}, ("degraded", "online"), "HW-PRN-003", "none"),
        ({"cover_open": True}, ("failed", "online"), "HW-PRN-004", "sale"),
        ({"unrecoverable": True}, ("failed", "online"), "HW-PRN-006", "sale"),
        ({"head_hot": True}, ("degraded", "online"), "HW-PRN-007", "print"),
        ({"garbage": True}, ("unknown", "unknown"), "HW-PRN-008", "sale"),
        ({"unplugged": True}, ("failed", "off"), "HW-PRN-001", "sale"),
        ({"silent": True}, ("failed", "offline"), "HW-PRN-001", "sale"),
        ({"stalled": True}, ("failed", "offline"), "HW-PRN-001", "sale"),
        ({"slow": 5.0}, ("failed", "offline"), "HW-PRN-001", "sale"),
    ],
)
async def test_each_trouble_is_seen_and_its_end_too(
    tmp_path: Path, trouble: dict[str, Any], state: tuple[str, str], code: str, impact: str
) -> None:
    async with _watched(tmp_path) as (emulator, room):
        emulator.apply(trouble)
        await until(lambda: room.state("printer-0") == state)
        assert room.faults()[code] == impact
        assert room.ready() == (impact != "sale")
        emulator.apply(dict.fromkeys(trouble, False) if "slow" not in trouble else {"slow": 0})
        await until(lambda: room.state("printer-0") == OK)
        assert room.faults() == {}
        assert room.ready()


@pytest.mark.parametrize("trouble", ["cutter_error", "mechanical_error"])
async def test_a_latched_error_stays_until_it_is_recovered(tmp_path: Path, trouble: str) -> None:
    async with (
        emulated_printer(tmp_path) as (emulator, printer),
        health_room(tmp_path, [device_subject(printer, answers=True, required=False)]) as room,
    ):
        await until(lambda: room.state("printer-0") == OK)
        emulator.apply({trouble: True})
        await until(lambda: room.faults() == {"HW-PRN-005": "print"})
        assert room.ready()  # not required: it sells on without receipts
        emulator.apply({trouble: False})
        assert (await room.monitor.check("printer-0", "internal")).state == "failed"
        await printer.recover(5.0)
        await until(lambda: room.state("printer-0") == OK)


async def test_silence_of_a_model_that_never_answers_means_nothing(tmp_path: Path) -> None:
    async with _watched(tmp_path, answers=False) as (emulator, room):
        emulator.apply({"silent": True})
        await until(lambda: room.state("printer-0") == ("unknown", "unknown"))
        assert room.faults() == {}
        (reason,) = room.monitor.snapshot().readiness.reasons
        assert reason.code == "DEVICE_STATE_UNKNOWN"
        emulator.apply({"silent": False})
        await until(room.ready)


async def test_a_port_that_comes_back_silent_is_never_called_ok_in_between(tmp_path: Path) -> None:
    async with _watched(tmp_path) as (emulator, room):
        emulator.apply({"unplugged": True})
        await until(lambda: room.state("printer-0") == ("failed", "off"))
        emulator.apply({"silent": True, "unplugged": False})
        await until(lambda: room.state("printer-0") == ("failed", "offline"))
        states = [
            e["data"]["active"] for e in await room.messages("agent/e/fault") if e["data"]["code"] == "HW-PRN-001"
        ]
        assert states == [True]


async def test_faults_known_before_stay_while_the_printer_is_away(tmp_path: Path) -> None:
    async with _watched(tmp_path) as (emulator, room):
        emulator.apply({"paper_end": True})
        await until(lambda: "HW-PRN-002" in room.faults())
        emulator.apply({"unplugged": True})
        await until(lambda: set(room.faults()) == {"HW-PRN-001", "HW-PRN-002"})
        emulator.apply({"unplugged": False, "paper_end": False})
        await until(lambda: room.state("printer-0") == OK and room.faults() == {})


async def test_changes_and_their_messages_reach_the_outbox_as_the_contract_words_them(tmp_path: Path) -> None:
    async with _watched(tmp_path) as (emulator, room):
        emulator.apply({"paper_end": True})
        await until(lambda: room.state("printer-0")[0] == "failed")
        (event,) = await room.awaited("agent/e/fault")
        (health,) = await room.messages("dev/printer-0/health")
        assert health.keys() == {"device", "category", "state", "power_state", "detail", "since", "at"}
        assert (health["state"], health["detail"]) == ("failed", "paper end")
        (faults,) = await room.messages("agent/faults")
        (fault,) = faults["faults"]
        assert fault.keys() == {"code", "device", "severity", "impact", "since", "detail"}
        (readiness,) = await room.messages("agent/readiness")
        assert readiness["ready"] is False
        assert [reason["code"] for reason in readiness["reasons"]] == ["HW-PRN-002"]
        assert (event["specversion"], event["type"], event["subject"]) == ("1.0", "pos-agent.fault.raised", "printer-0")
        assert room.gauges["printer-0"]["paper"] == "end"


async def test_an_external_check_prints_exactly_one_slip(tmp_path: Path) -> None:
    async with _watched(tmp_path) as (emulator, room):
        health = await room.monitor.check("printer-0", "external")
        assert health.state == "ok"
        assert emulator.machine.counters["slips"] == 1


async def test_an_external_check_without_paper_fails_with_the_reason(tmp_path: Path) -> None:
    async with _watched(tmp_path) as (emulator, room):
        emulator.apply({"paper_end": True})
        health = await room.monitor.check("printer-0", "external")
        assert (health.state, health.detail) == ("failed", "paper end")
        assert emulator.machine.counters["slips"] == 0


async def test_an_internal_check_decides_at_once(tmp_path: Path) -> None:
    async with emulated_printer(tmp_path) as (emulator, printer):
        subject = device_subject(printer, answers=True, required=True)
        async with health_room(tmp_path, [subject], running=False) as room:
            assert (await room.monitor.check("printer-0", "internal")).state == "ok"
            emulator.apply({"cover_open": True})
            assert (await room.monitor.check("printer-0", "internal")).state == "failed"
            emulator.apply({"cover_open": False, "silent": True})
            assert (await room.monitor.check("printer-0", "internal")).power_state == "offline"


async def test_a_check_of_nothing_is_refused(tmp_path: Path) -> None:
    async with _watched(tmp_path) as (_emulator, room):
        with pytest.raises(NotFound):
            await room.monitor.check("printer-9", "internal")
        with pytest.raises(BadRequest):
            await room.monitor.check("printer-0", "interactive")
