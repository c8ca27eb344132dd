"""What health went through: written with the change itself, newest first, page by page, and never more than is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.contract.health import HistoryEntry, HistoryKind, Severity, State
from agent.errors import BadRequest, StoreFull
from agent.health import history, records
from agent.health.history import HealthHistory
from agent.health.rules import PROBE_BROKEN, Rule
from agent.health.sample import Sample
from agent.health.subject import Subject
from agent.store.database import Connection, Database, Worth
from tests.kit.health_room import HealthRoom, health_room
from tests.kit.manual_clock import ManualClock

RULES = (PROBE_BROKEN, Rule("cover", "cover", State.FAILED, "cover open", "HW-PRN-004"))


@dataclass
class Printer:
    is_open: bool = False

    async def look(self, deadline_s: float) -> Sample:
        return Sample(True, {"cover": self.is_open})

    async def test(self) -> None:
        return


def _subject(printer: Printer, name: str = "printer-0") -> Subject:
    return Subject(name, "pos_printer", name, RULES, device=printer)


async def _look(room: HealthRoom, clock: ManualClock, name: str = "printer-0") -> None:
    clock.advance(10)
    await room.monitor.check(name, "internal")


def _entry(number: int, device: str = "printer-0") -> HistoryEntry:
    at = f"2026-11-21T02:{number // 60:02}:{number % 60:02}.000Z"
    return HistoryEntry(at=at, kind=HistoryKind.STATE, device=device, state=State.OK, detail=str(number))


async def test_a_fault_and_its_end_are_four_entries_newest_first(tmp_path: Path) -> None:
    clock, printer = ManualClock(), Printer()
    async with health_room(tmp_path, [_subject(printer)], clock=clock, running=False) as room:
        for printer.is_open in (False, False, True, True, False):
            await _look(room, clock)
        page = await HealthHistory(room.database).page(10, None)
        assert [(one.kind.value, one.state, one.code) for one in page.items] == [
            ("fault_cleared", None, "HW-PRN-004"),
            ("state", State.OK, None),
            ("fault_raised", None, "HW-PRN-004"),
            ("state", State.FAILED, None),
            ("state", State.OK, None),
        ]
        assert page.next_cursor is None
        raised = page.items[2]
        assert (raised.device, raised.severity, raised.detail) == ("printer-0", Severity.S2, "cover open")
        assert raised.at == "2026-11-21T02:00:30.000Z"


async def test_a_fault_that_another_room_reports_is_history_too(tmp_path: Path) -> None:
    async with health_room(tmp_path, [], clock=ManualClock()) as room:
        room.monitor.report("SEC-PAN-001", "payment_socket", True, "rule R2")
        await room.awaited("agent/e/fault")
        (entry,) = (await HealthHistory(room.database).page(10, None)).items
        assert (entry.kind, entry.code, entry.device) == (HistoryKind.FAULT_RAISED, "SEC-PAN-001", "payment_socket")


async def test_pages_follow_each_other_without_hole_or_repeat_while_more_is_written(tmp_path: Path) -> None:
    async with health_room(tmp_path, [], clock=ManualClock(), running=False) as room:
        entries = [_entry(number, f"d{number % 3}") for number in range(25)]
        await room.database.write(lambda db: history.append(db, entries), worth=Worth.OUTBOX)
        reader, cursor, seen = HealthHistory(room.database), None, []
        while True:
            page = await reader.page(7, cursor)
            seen += [int(one.detail) for one in page.items]
            late = [_entry(100 + len(seen))]
            await room.database.write(lambda db, late=late: history.append(db, late), worth=Worth.OUTBOX)  # type: ignore[misc]
            if (cursor := page.next_cursor) is None:
                break
        assert seen == list(reversed(range(25)))
        of_one = await reader.page(100, None, "d1")
        assert [one.detail for one in of_one.items] == [str(number) for number in reversed(range(1, 25, 3))]
        assert (await reader.page(100, None, "nobody")).items == ()


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", "٣", "9" * 19])
async def test_a_cursor_that_no_page_gave_is_refused(tmp_path: Path, cursor: str) -> None:
    async with health_room(tmp_path, [], clock=ManualClock(), running=False) as room:
        with pytest.raises(BadRequest):
            await HealthHistory(room.database).page(10, cursor)


async def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    async with health_room(tmp_path, [], clock=ManualClock(), running=False) as room:
        for number in range(30):
            await room.database.write(
                lambda db, number=number: history.append(db, [_entry(number)], kept=8),  # type: ignore[misc]
                worth=Worth.OUTBOX,
            )
        page = await HealthHistory(room.database).page(100, None)
        assert [one.detail for one in page.items] == [str(number) for number in reversed(range(22, 30))]


async def test_the_same_change_written_twice_stands_once(tmp_path: Path) -> None:
    async with health_room(tmp_path, [], clock=ManualClock(), running=False) as room:
        for _ in range(2):
            await room.database.write(lambda db: history.append(db, [_entry(1), _entry(2)]), worth=Worth.OUTBOX)
        assert len((await HealthHistory(room.database).page(100, None)).items) == 2


async def test_what_the_store_does_not_take_is_in_the_history_once_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, printer = ManualClock(), Printer()
    async with health_room(tmp_path, [_subject(printer)], clock=clock, running=False) as room:
        await _look(room, clock)
        write, full = Database.write, True

        async def sometimes(self: Database, job: object, *, worth: Worth) -> object:
            if full:
                raise StoreFull("full", hint="")
            return await write(self, job, worth=worth)  # type: ignore[arg-type]

        monkeypatch.setattr(Database, "write", sometimes)
        printer.is_open = True
        await _look(room, clock)
        printer.is_open = False
        await _look(room, clock)
        full = False
        await room.monitor._commit()
        kinds = [one.kind.value for one in (await HealthHistory(room.database).page(10, None)).items]
        assert kinds == ["fault_cleared", "state", "fault_raised", "state", "state"]


async def test_a_restart_adds_nothing_by_itself(tmp_path: Path) -> None:
    clock, printer = ManualClock(), Printer()
    for _ in range(3):
        async with health_room(tmp_path, [_subject(printer)], clock=clock, running=False) as room:
            await _look(room, clock)
            assert len((await HealthHistory(room.database).page(10, None)).items) == 1


async def test_state_and_history_always_agree_because_they_share_a_commit(tmp_path: Path) -> None:
    printer = Printer()

    def both(db: Connection) -> tuple[str, str]:
        (row,), _faults = records.read(db)
        states = [one.state for _number, one in history._newest(db, 10, None, None) if one.kind is HistoryKind.STATE]
        return row.state, str(states[0])

    async with health_room(tmp_path, [_subject(printer)], interval_s=0.01) as room:
        await room.awaited("dev/printer-0/health")
        for _ in range(20):
            printer.is_open = not printer.is_open
            looked = room.monitor._watched["printer-0"].at_ms
            while room.monitor._watched["printer-0"].at_ms == looked:
                state, newest = await room.database.read(both)
                assert state == newest
