"""One target kept up to date: when what is made, how a failure is told and tried again, and what an order does."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from agent.backup import age
from agent.backup import copier as copier_module
from agent.backup.copier import Copier, Shared
from agent.backup.copies import Backups
from agent.backup.due import Schedule
from agent.backup.job import FolderPlace, Origin, ServerPlace
from agent.errors import NotFound, TargetUnusable
from agent.runtime.backoff import Backoff
from agent.runtime.clock import SystemClock
from agent.store import backups as backups_table
from agent.store import meta
from agent.store.backups import NewBackup
from agent.store.database import Connection, Worth
from tests.kit.https_place import HttpsPlace
from tests.kit.store_records import OpenJournal, open_journal, sale

KEY = age.present().generate()
SCHEDULE = Schedule(5, 3600.0, 86400.0, 7, 4, 12)


class Bench:
    """A store, a folder, and a copier between them."""

    def __init__(self, store: OpenJournal, media: Path, schedule: Schedule = SCHEDULE) -> None:
        self.store = store
        self.media = media
        self.reports: list[tuple[str, str, bool]] = []
        self.snapshots = 0
        self.shared = Shared(
            database=store.database,
            path=str(store.path),
            origin=Origin("shop-1", "T-0001", "SN1", "0.1.0"),
            recipients=(KEY.public,),
            schedule=schedule,
            targets=("card",),
            clock=SystemClock(),
            children=asyncio.Semaphore(2),
            report=lambda code, device, active, _detail: self.reports.append((code, device, active)),
            on_snapshot=self._on_snapshot,
        )
        self.copier = Copier(FolderPlace("card", str(media)), self.shared, Backoff(0.05, 0.1))
        store.database.after_transactions(self.copier.wake)
        self.running: asyncio.Task[None] | None = None

    def _on_snapshot(self) -> None:
        self.snapshots += 1

    def begin(self) -> None:
        self.running = asyncio.create_task(self.copier.run())

    async def sell(self, count: int) -> None:
        for _ in range(count):
            await self.store.store(sale())

    def files(self, kind: str = "") -> int:
        return len(list(self.media.rglob(f"{kind}*.age")))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        if self.running is not None:
            self.running.cancel()
            await asyncio.wait([self.running])


@pytest.fixture(name="bench")
async def _bench(tmp_path: Path) -> AsyncIterator[Bench]:
    (tmp_path / "media").mkdir()
    async with open_journal(tmp_path) as store:
        bench = Bench(store, tmp_path / "media")
        yield bench
        await bench.close()


async def test_enough_new_entries_make_a_segment_at_once(bench: Bench) -> None:
    bench.begin()
    await bench.sell(4)
    await asyncio.sleep(1.0)  # longer than it gathers
    assert bench.files() == 0
    await bench.sell(1)
    await bench.until(lambda: bench.files("segment") == 1)
    await bench.until(lambda: bench.reports == [("TXN-BKP-002", "card", False)])
    item = await bench.copier.item()
    assert (item.backed_up_upto, item.problem, item.last_verified_at) == (5, None, None)


async def test_an_order_makes_it_now_and_says_what_was_made(bench: Bench) -> None:
    assert await bench.copier.make("segment") == []
    await bench.sell(2)
    (segment,) = await bench.copier.make("segment")
    (snapshot,) = await bench.copier.make("snapshot")
    assert (segment.kind, segment.from_seq, segment.upto_seq) == ("segment", 1, 2)
    assert (snapshot.kind, snapshot.from_seq, snapshot.upto_seq) == ("snapshot", 1, 2)
    assert bench.snapshots == 1
    assert await bench.copier.make("segment") == []


async def test_a_failure_is_told_once_and_tried_again_until_it_works(bench: Bench) -> None:
    away = bench.media.with_name("away")
    bench.media.rename(away)
    bench.begin()
    await bench.sell(5)
    await bench.until(lambda: bench.reports == [("TXN-BKP-002", "card", True)])
    with pytest.raises(TargetUnusable, match="No such file"):
        await bench.copier.make("segment")
    assert (await bench.copier.item()).problem is not None
    assert len(bench.reports) == 1
    away.rename(bench.media)
    await bench.until(lambda: bench.reports[1:] == [("TXN-BKP-002", "card", False)])
    assert (await bench.copier.item()).backed_up_upto == 5


async def test_every_file_of_a_place_with_thousands_is_read_and_rotated(bench: Bench) -> None:
    count, folder = 2_010, bench.media / "f"
    folder.mkdir()
    digest = hashlib.sha256(b"x").digest()
    for number in range(count):
        (folder / str(number)).write_bytes(b"x")
    (folder / "0").write_bytes(b"y")

    def rows(db: Connection) -> None:
        journal = meta.journal_id(db)
        for number in range(count):
            identifier = f"{number:08d}-0000-7000-8000-000000000000"
            new = NewBackup(identifier, "segment", "card", f"f/{number}", journal, 1, 0, b"c", 1, digest, 0, 0)
            backups_table.add(db, new, ())

    await bench.store.database.write(rows, worth=Worth.RUN)
    bench.shared = msgspec.structs.replace(bench.shared, schedule=Schedule(5, 3600.0, 86400.0, 1, 0, 0))
    copier = Copier(FolderPlace("card", str(bench.media)), bench.shared, Backoff(0.05, 0.1))
    right, wrong = await copier.verify(None)
    assert (right, [one.file for one in wrong]) == (count - 1, ["f/0"])
    await copier.make("snapshot")
    assert list(folder.iterdir()) == []
    assert len(await bench.store.database.read(lambda db: backups_table.at_target(db, "card"))) == 1


async def test_a_target_is_found_or_refused_by_its_name(bench: Bench) -> None:
    backups = Backups([bench.copier], bench.store.database)
    await bench.sell(1)
    assert [one.target for one in (await backups.make("segment", None)).files] == ["card"]
    for act in (backups.make("segment", "vault"), backups.verify("0192f6d0-7c1e-7000-8000-000000000001")):
        with pytest.raises(NotFound):
            await act
    with pytest.raises(TargetUnusable, match="no place"):
        await Backups((), bench.store.database).make("segment", None)
    page = await backups.page(10, None)
    assert ([one.file.count("/") for one in page.items], page.next_cursor, len(page.targets)) == ([3], None, 1)


async def test_a_child_that_hangs_is_ended_and_told_and_the_next_one_works(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HttpsPlace(tmp_path / "server") as server:
        vault = ServerPlace("card", server.url, str(server.authority.file))
        copier = Copier(vault, bench.shared, Backoff(0.05, 0.1))
        await bench.sell(2)
        server.fault("silent")
        with monkeypatch.context() as impatient:
            impatient.setattr(copier_module, "_DEADLINE_S", 3.0)
            with pytest.raises(TargetUnusable, match="took longer"):
                await copier.make("segment")
        assert bench.reports == [("TXN-BKP-002", "card", True)]
        assert not [name for name in server.names() if name.endswith(".age")]
        server.fault(None)
        assert len(await copier.make("segment")) == 1
        assert bench.reports[1:] == [("TXN-BKP-002", "card", False)]
