"""The reserve: on a full disk 10,000 more records are taken, what is worth less waits, and it is taken back later."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import StoreFull
from agent.runtime.clock import SystemClock
from agent.store import meta
from agent.store.database import Database, Worth
from agent.store.transactions import TransactionJournal
from tests.kit import damage
from tests.kit.store_records import BINDINGS, record

RESERVE_MIB = 48
DISK_MIB = 256
PROMISED = 10_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "pos-agent-test", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root, and a kernel that lets it mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


class _Store:
    """A journal on a small disk, with what it told of the reserve."""

    def __init__(self, folder: Path, reserve_mib: int = RESERVE_MIB) -> None:
        self.database = Database(folder / "agent.db", SystemClock(), reserve_bytes=reserve_mib * 1024 * 1024)
        self.database.open()
        self.scarce: list[bool] = []
        self.trouble: list[bool] = []
        self.database.on_scarce(self.scarce.append)
        self.database.on_trouble(lambda bad, _why: self.trouble.append(bad))
        self.journal = TransactionJournal(
            self.database, SystemClock(), bindings=BINDINGS, alarm=lambda _code, _detail: None
        )

    async def until(self, what: str, folder: Path, *, held: bool) -> None:
        async with asyncio.timeout(30):
            while (_reserve(folder) > 0) is not held:
                await asyncio.sleep(0.05)
        assert what

    async def note(self, worth: Worth) -> None:
        await self.database.write(lambda db: meta.put(db, "x", "y" * 200), worth=worth)


def _reserve(folder: Path) -> int:
    try:
        return (folder / "reserve").stat().st_size
    except FileNotFoundError:
        return -1


def _fill(folder: Path) -> Path:
    """Nothing is left for anyone."""
    ballast = folder / "ballast"
    room = os.statvfs(folder)
    descriptor = os.open(ballast, os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(descriptor, 0, room.f_bavail * room.f_frsize)
    os.close(descriptor)
    return ballast


async def _record_until_full(store: _Store, *, at_once: int, limit: int) -> list[int]:
    """Sequences acknowledged."""
    stored: list[int] = []
    size = at_once
    while len(stored) < limit:
        numbers = range(len(stored), len(stored) + size)
        futures = [store.journal.submit(record(stan=f"{n % 10**6:06d}", memo="x" * 120)) for n in numbers]
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        stored += [one.sequence for one in outcomes if not isinstance(one, BaseException)]
        refused = [one for one in outcomes if isinstance(one, BaseException)]
        if refused:
            assert all(isinstance(one, StoreFull) for one in refused)
            break
    return stored


@pytest.mark.timeout(200)
@pytest.mark.parametrize(("reserve_mib", "at_once", "is_to_the_end"), [(RESERVE_MIB, 4, False), (12, 64, True)])
async def test_ten_thousand_more_records_are_taken_on_a_full_disk(
    disk: Path, reserve_mib: int, at_once: int, is_to_the_end: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    store = _Store(disk, reserve_mib)
    await store.note(Worth.RUN)
    await store.until("the reserve is taken soon after the start", disk, held=True)
    assert _reserve(disk) == reserve_mib * 1024 * 1024
    ballast = _fill(disk)
    stored = await _record_until_full(store, at_once=at_once, limit=200_000 if is_to_the_end else PROMISED)
    assert store.scarce == [True]
    for worth in (Worth.AUDIT, Worth.OUTBOX):
        with pytest.raises(StoreFull):
            await store.note(worth)
    if is_to_the_end:
        assert store.trouble == [True]  # full for good, and told before anything was acknowledged
    else:
        assert store.trouble == []
        await store.note(Worth.RUN)
    assert len(stored) >= PROMISED
    await store.database.close()

    again = _Store(disk, reserve_mib)  # a restart does not forget it
    again.database.on_scarce(again.scarce.append)
    with pytest.raises(StoreFull):
        await again.note(Worth.OUTBOX)
    assert _reserve(disk) == 0
    ballast.unlink()
    await again.until("it is taken back by itself", disk, held=True)
    await again.note(Worth.OUTBOX)
    more = await _record_until_full(again, at_once=64, limit=64)
    assert again.scarce[-1] is False
    await again.database.close()
    survived = set(stored) & damage.stored(disk / "agent.db").keys()
    with capsys.disabled():
        how = f"{at_once} at once{', until the disk was full' if is_to_the_end else ''}"
        print(f"\nreserve of {reserve_mib} MiB, {how}: {len(stored)} acknowledged, {len(survived)} survived")
    assert survived == set(stored)
    assert min(more) == max(stored) + 1


async def test_on_a_small_disk_the_reserve_is_a_quarter_of_what_is_free(disk: Path) -> None:
    room = os.statvfs(disk)
    free = room.f_bavail * room.f_frsize
    descriptor = os.open(disk / "others", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(descriptor, 0, free - 40 * 1024 * 1024)
    os.close(descriptor)
    store = _Store(disk)
    await store.note(Worth.RUN)
    await store.until("taken", disk, held=True)
    assert 8 * 1024 * 1024 < _reserve(disk) <= 10 * 1024 * 1024
    await store.database.close()
