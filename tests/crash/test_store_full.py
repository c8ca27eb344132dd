"""A disk that is really full: a small tmpfs where mounting is allowed, a file-size limit in a child everywhere.

Nothing acknowledged is lost, the caller is told the truth, and writing goes on by itself once there is room.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.contract.publication import Publication
from agent.errors import StoreFull, StoreUnavailable
from agent.runtime.clock import SystemClock
from agent.store.database import Database, Worth
from agent.store.outbox import Outbox, put
from tests.kit.store_records import OpenJournal, open_journal, record, sale

ROOT = Path(__file__).parents[2]
ROUNDS = 5


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting needs root; the file-size limit below covers the same ground")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def fill(opened: OpenJournal, at_once: int) -> tuple[list[int], int]:
    """Record until the store says that it is full; the sequences acknowledged, and how many were refused."""
    stored: list[int] = []
    refused = 0
    while not refused:
        outcomes = await asyncio.gather(
            *(opened.journal.submit(record(memo="x" * 200)) for _ in range(at_once)), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, StoreFull)
                refused += 1
            else:
                stored.append(outcome.sequence)
    return stored, refused


@pytest.mark.parametrize("at_once", [1, 64])
async def test_a_full_disk_refuses_honestly_and_recovers_by_itself(small_disk: Path, at_once: int) -> None:
    ballast = small_disk / "ballast"
    acknowledged: list[int] = []
    async with open_journal(small_disk) as opened:
        await opened.store(sale())
        acknowledged.append(1)
        for _round in range(ROUNDS):
            room = os.statvfs(small_disk)
            ballast.write_bytes(bytes(max(0, room.f_bavail * room.f_bsize - 300_000)))
            stored, refused = await fill(opened, at_once)
            acknowledged += stored
            assert refused
            assert (await opened.journal.verify()).intact  # reading goes on
            ballast.unlink()
            acknowledged.append(await opened.store(sale()))
            await opened.database.write(lambda db: db.execute("PRAGMA user_version").fetchone(), worth=Worth.AUDIT)
        assert acknowledged == list(range(1, len(acknowledged) + 1))
    async with open_journal(small_disk) as again:
        found = await again.journal.verify()
        assert (found.intact, found.upto_sequence) == (True, len(acknowledged))


async def test_what_is_too_large_for_the_room_left_is_refused_alone(small_disk: Path) -> None:
    """A group with one job that cannot fit: the others of the same group are stored."""

    def too_large(db: object) -> int:
        return put(db, Publication("agent/e/big", bytes(4_000_000)), SystemClock().now())  # type: ignore[arg-type]

    async with open_journal(small_disk) as opened:
        futures = [opened.journal.submit(record(stan=f"{n:06d}")) for n in range(10)]
        big = opened.database.submit(too_large, worth=Worth.OUTBOX)
        futures += [opened.journal.submit(record(stan=f"{n:06d}")) for n in range(10, 20)]
        assert [(await future).sequence for future in futures] == list(range(1, 21))
        with pytest.raises(StoreFull):
            await big
        assert await Outbox(opened.database).count() == 0


def test_a_disk_too_full_to_begin_with_is_told_at_the_start(small_disk: Path) -> None:
    room = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(bytes(room.f_bavail * room.f_bsize))
    with pytest.raises(StoreFull):
        Database(small_disk / "agent.db", SystemClock()).open()
    (small_disk / "ballast").unlink()
    database = Database(small_disk / "agent.db", SystemClock())
    database.open()
    asyncio.run(database.close())


def test_a_limit_on_file_size_is_survived_too(tmp_path: Path) -> None:
    """In a child, because the limit holds for a whole process."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.test_store_full", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr.decode()


def largest_file(folder: Path) -> int:
    """Bytes of the largest file of the store."""
    return max(path.stat().st_size for path in folder.iterdir())


async def _under_a_file_size_limit(folder: Path) -> None:
    async with open_journal(folder) as opened:
        stored = [await opened.store(sale())]
        for _round in range(ROUNDS):
            _soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file(folder) + 100_000, hard))
            failed = False
            while not failed:
                try:
                    stored.append(await opened.store(sale(memo="x" * 200)))
                except (StoreFull, StoreUnavailable):
                    failed = True
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            stored.append(await opened.store(sale()))
        found = await opened.journal.verify()
        if (found.intact, found.upto_sequence) != (True, len(stored)) or stored != list(range(1, len(stored) + 1)):
            raise SystemExit(f"{found} {len(stored)}")


if __name__ == "__main__":
    asyncio.run(_under_a_file_size_limit(Path(sys.argv[1])))
