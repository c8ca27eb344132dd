"""Somebody moves the open database, or puts another file in its place: what was acknowledged is not lost by that."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.runtime.clock import SystemClock
from agent.store import rebuild
from agent.store.replacement import Replacement
from agent.store.soundness import Soundness
from agent.store.sqlite import Connection
from agent.store.tail_witness import WITNESS_FILE
from tests.kit.store_records import OpenJournal, open_journal, sale

FIRST, THEN, AT_LAST = 20, 60, 20
BOOT = "1" * 36


def _older_put_in_place(state: Path, older: Path) -> None:
    """As rsync and editors do it."""
    shutil.copy(older, state / "agent.db.tmp")
    (state / "agent.db.tmp").replace(state / "agent.db")


def _older_without_log(state: Path, older: Path) -> None:
    _older_put_in_place(state, older)
    (state / "agent.db-wal").unlink()


def _moved_away(state: Path, older: Path) -> None:
    for name in ("agent.db", "agent.db-wal", "agent.db-shm"):
        (state / name).rename(older.with_name(name))


def _log_moved_away(state: Path, older: Path) -> None:
    (state / "agent.db-wal").rename(older.with_name("agent.db-wal"))


async def _sell(opened: OpenJournal, first: int, count: int) -> int:
    last = 0
    for number in range(first, first + count):
        last = await opened.store(sale(stan=f"{number:06d}"))
    return last


async def _rebuilt(opened: OpenJournal) -> None:
    service = asyncio.create_task(Soundness(opened.database, SystemClock(), lambda *_said: None).run())
    async with asyncio.timeout(30):
        while await opened.database.read(rebuild.under_way) is not None or not opened.database.exchanges:
            await asyncio.sleep(0.02)
    service.cancel()
    await asyncio.wait([service])


def _found(db: Connection) -> tuple[int, int]:
    return (
        db.execute("SELECT count(*) FROM entries").fetchone()[0],
        db.execute("SELECT count(*) FROM missing").fetchone()[0],
    )


@pytest.mark.parametrize("stopped", [False, True], ids=["goes on", "is stopped"])
@pytest.mark.parametrize("displace", [_older_put_in_place, _older_without_log, _moved_away, _log_moved_away])
async def test_what_was_acknowledged_is_there_after_the_open_file_was_displaced(
    tmp_path: Path, displace: Callable[[Path, Path], None], stopped: bool
) -> None:
    state, older = tmp_path / "state", tmp_path / "older.db"
    state.mkdir()
    async with open_journal(state) as opened:
        await _sell(opened, 0, FIRST)
    shutil.copy(state / "agent.db", older)
    async with open_journal(state) as opened:
        await _sell(opened, FIRST, THEN)
    async with open_journal(state) as opened:  # so many are in the file, the last few in the log
        last = await _sell(opened, FIRST + THEN, AT_LAST)
        displace(state, older)
        if not stopped:
            assert await opened.store(sale(stan="999999")) == last + 1
            await _rebuilt(opened)
            assert await opened.database.read(_found) == (last + 1, 0)
    if stopped:
        async with open_journal(state) as opened:
            assert await opened.store(sale(stan="999999")) == last + 1
            await _rebuilt(opened)
            assert await opened.database.read(_found) == (last + 1, 0)
    is_kept = [path for path in state.iterdir() if path.name.endswith(".exchanged")]
    assert bool(is_kept) is displace.__name__.startswith("_older"), "what was put in its place is kept, too"


class _PowerCut(Exception):
    pass


@pytest.mark.parametrize("point", range(1, 9))
def test_wherever_it_is_cut_off_both_files_are_kept(tmp_path: Path, point: int) -> None:
    path, witness = tmp_path / "agent.db", tmp_path / WITNESS_FILE
    for name, content in (("open", b"the open one"), ("open-wal", b"its log"), ("agent.db", b"put there")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "agent.db-wal").write_bytes(b"log put there")
    points: list[str] = []

    def cut_off(what: str) -> None:
        points.append(what)
        if len(points) == point:
            raise _PowerCut

    first = Replacement(path, witness, BOOT)
    first.decide("exchanged", datetime(2026, 11, 21, tzinfo=UTC))
    first.keep({"": tmp_path / "open", "-wal": tmp_path / "open-wal"})
    for name in ("open", "open-wal"):
        os.unlink(tmp_path / name)
    try:
        first.carry_out(crash_point=cut_off)
    except _PowerCut:
        Replacement(path, witness, BOOT).carry_out()
    else:
        assert point > len(points)
    aside = tmp_path / "agent.db.damaged-20261121T000000Z"
    assert aside.read_bytes() == b"the open one"
    assert aside.with_name(f"{aside.name}-wal").read_bytes() == b"its log"
    assert aside.with_name(f"{aside.name}.exchanged").read_bytes() == b"put there"
    assert aside.with_name(f"{aside.name}.exchanged-wal").read_bytes() == b"log put there"
    assert path.read_bytes()[:6] == b"SQLite"
    assert not (tmp_path / "agent.db.replacing").exists()
    assert points[:2] == ["set aside", "exchanged"][: len(points)]
