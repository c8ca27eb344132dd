"""What the child does with a job, on a real store and a real folder: what it makes restores, what it cannot it says."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.backup import age
from agent.backup.child import do
from agent.backup.file_format import Entry, Header, Part, Row, Table, Trailer, read_compressed
from agent.backup.job import LARGEST_SEGMENT, Failed, FolderPlace, Origin, Seal, Sealed, Tidied, Tidy, Verified, Verify
from agent.runtime.identifiers import uuid7
from agent.store import backups, meta
from agent.store.anchor import Anchor, move_anchor
from agent.store.backups import NewBackup
from agent.store.database import Connection, Worth
from tests.kit.store_records import OpenJournal, open_journal, sale

KEY = age.present().generate()
ORIGIN = Origin("shop-1", "T-0001", "SN1", "0.1.0")


@pytest.fixture(name="store")
async def _store(tmp_path: Path) -> AsyncIterator[OpenJournal]:
    (tmp_path / "media").mkdir()
    async with open_journal(tmp_path) as store:
        for _ in range(7):
            await store.store(sale(memo="größer"))
        yield store


def _job(store: OpenJournal, kind: str = "segment", **changes: Any) -> Seal:
    job = Seal(
        database=str(store.path),
        place=FolderPlace("card", str(store.path.parent / "media")),
        origin=ORIGIN,
        recipients=(KEY.public,),
        kind="snapshot" if kind == "snapshot" else "segment",
        after=0,
        made_at="2026-11-21T02:00:00.000Z",
        token=uuid7(),
    )
    return msgspec.structs.replace(job, **changes)


def _made(store: OpenJournal, kind: str = "segment", **changes: Any) -> Sealed:
    result = do(_job(store, kind, **changes))
    assert isinstance(result, Sealed), result
    return result


def _failed(job: Seal | Verify) -> Failed:
    result = do(job)
    assert isinstance(result, Failed), result
    return result


def _parts(store: OpenJournal, made: Sealed, secret: str = KEY.secret) -> list[Part]:
    with (
        (store.path.parent / "media" / made.file).open("rb") as file,
        age.present().decrypting(file, [secret]) as stream,
    ):
        return list(read_compressed(stream))


def _files(store: OpenJournal) -> list[str]:
    return sorted(path.name for path in (store.path.parent / "media").rglob("*") if path.is_file())


async def _change(store: OpenJournal, *statements: str) -> None:
    def job(db: Connection) -> None:
        for statement in statements:
            db.execute(statement)

    await store.database.write(job, worth=Worth.RUN)


async def _count(store: OpenJournal, made: Sealed, kind: str, made_at_ms: int = 0) -> str:
    identifier = uuid7()
    new = NewBackup(
        identifier,
        "snapshot" if kind == "snapshot" else "segment",
        "card",
        made.file,
        made.journal_id,
        made.from_seq,
        made.upto_seq,
        bytes.fromhex(made.chain),
        made.size_bytes,
        bytes.fromhex(made.sha256),
        made_at_ms,
        made_at_ms,
    )
    await store.database.write(lambda db: backups.add(db, new, ["card"]), worth=Worth.RUN)
    return identifier


async def test_a_segment_holds_the_entries_that_follow(store: OpenJournal) -> None:
    made = _made(store, after=4)
    header, *entries, trailer = _parts(store, made)
    assert isinstance(header, Header)
    assert isinstance(trailer, Trailer)
    stored = (await store.journal.list(_all(), 10)).items
    assert [one.item for one in entries if isinstance(one, Entry)] == stored[4:]
    assert (made.from_seq, made.upto_seq, made.chain) == (5, 7, stored[6].hash)
    assert header.anchor.hash == stored[3].hash
    assert (header.site, header.terminal, header.serial, header.kind) == ("shop-1", "T-0001", "SN1", "segment")
    assert _files(store) == [made.file.rpartition("/")[2]]
    assert do(_job(store, after=7)) == Failed("NOTHING_NEW", "there is no new entry", "nothing needs to be done")


def _all() -> Any:
    from agent.store.transactions import TransactionFilters

    return TransactionFilters()


async def test_a_snapshot_holds_every_table(store: OpenJournal) -> None:
    await _change(store, "INSERT INTO outbox (below, payload, qos, retain, queued_at) VALUES ('x', x'00ff', 1, 0, 5)")
    parts = _parts(store, _made(store, "snapshot"))
    tables = [part.table for part in parts if isinstance(part, Table)]
    (names,) = [await store.database.read(_table_names)]
    assert tables == [name for name in names if name != "entries"]
    assert sum(isinstance(part, Entry) for part in parts) == 7
    assert any(isinstance(part, Row) and b"\x00\xff" in part.row for part in parts)


def _table_names(db: Connection) -> list[str]:
    rows = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
    return [name for (name,) in rows]


async def test_it_begins_where_retention_left_the_journal(store: OpenJournal) -> None:
    third = (await store.journal.list(_all(), 10)).items[2]

    def retain(db: Connection) -> None:
        db.execute("DELETE FROM entries WHERE sequence <= 3")
        move_anchor(db, Anchor(3, bytes.fromhex(third.hash)))

    await store.database.write(retain, worth=Worth.RUN)
    for kind in ("segment", "snapshot"):
        header = _parts(store, _made(store, kind))[0]
        assert isinstance(header, Header)
        assert (header.anchor.sequence, header.from_seq, header.upto_seq) == (3, 4, 7)


async def test_holes_that_are_known_are_named(store: OpenJournal) -> None:
    await _change(
        store,
        "DELETE FROM entries WHERE sequence IN (3, 4)",
        "INSERT INTO missing (from_seq, upto_seq, cause) VALUES (3, 4, 'damage')",
    )
    for made in (_made(store), _made(store, "snapshot"), _made(store, after=3)):
        assert [part.seq for part in _parts(store, made) if isinstance(part, Entry)][-3:] == [5, 6, 7]


async def test_a_hole_larger_than_a_segment_is_passed_one_segment_after_the_other(store: OpenJournal) -> None:
    hole = 2 * LARGEST_SEGMENT
    await _change(
        store,
        "DELETE FROM entries WHERE sequence BETWEEN 4 AND 6",
        f"INSERT INTO missing (from_seq, upto_seq, cause) VALUES (4, {hole}, 'backup')",
        f"UPDATE entries SET sequence = {hole + 1} WHERE sequence = 7",
    )
    after = 0
    while after <= hole:
        made = _made(store, after=after)
        assert made.upto_seq > after
        after = made.upto_seq


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("DELETE FROM entries WHERE sequence = 3", "entry 3 should stand there"),
        ("UPDATE entries SET record = replace(record, '12800', '12900') WHERE sequence = 3", "entry 3 does not link"),
        ("UPDATE entries SET hash = zeroblob(32) WHERE sequence = 3", "entry 3 does not link"),
    ],
)
async def test_a_journal_that_is_not_as_it_was_stored_is_no_backup(
    store: OpenJournal, statement: str, says: str
) -> None:
    await _change(store, statement)
    for kind in ("segment", "snapshot"):
        assert says in _failed(_job(store, kind)).problem
    assert _files(store) == []


async def test_wrong_recipients_make_nothing(store: OpenJournal) -> None:
    for recipients in ((), ("age1" + "q" * 58,), (KEY.public, KEY.secret)):
        failed = _failed(_job(store, recipients=recipients))
        assert (failed.code, "public key" in failed.problem) == ("BAD_PARAMS", True)
        assert KEY.secret not in str(failed)
    assert _files(store) == []


async def test_every_recipient_can_read_it(store: OpenJournal) -> None:
    second = age.present().generate()
    made = _made(store, recipients=(KEY.public, second.public))
    assert _parts(store, made) == _parts(store, made, second.secret)


async def test_nothing_of_it_is_in_the_clear(store: OpenJournal) -> None:
    made = _made(store, "snapshot")
    content = (store.path.parent / "media" / made.file).read_bytes()
    for word in (b"approved", b"transaction_id", b"T-0001", b"acquirer-a", b"\x1f\x8b\x08"):
        assert word not in content


async def test_a_place_that_cannot_be_used_and_a_store_that_cannot_be_read_are_told_apart(store: OpenJournal) -> None:
    assert _failed(_job(store, place=FolderPlace("card", "/nowhere"))).code == "BACKUP_TARGET"
    assert _failed(_job(store, database=str(store.path) + "x")).code == "STORE_UNAVAILABLE"
    assert _files(store) == []


async def test_a_verification_names_what_is_wrong_with_each_file(store: OpenJournal) -> None:
    media = store.path.parent / "media"
    made = [_made(store, after=after) for after in (0, 1, 2, 3)]
    ids = [await _count(store, one, "segment") for one in made]
    (media / made[1].file).unlink()
    os.truncate(media / made[2].file, 100)
    altered = bytearray((media / made[3].file).read_bytes())
    altered[-1] ^= 1
    (media / made[3].file).write_bytes(altered)
    job = Verify(str(store.path), FolderPlace("card", str(media)), ORIGIN)
    result = do(job)
    assert isinstance(result, Verified)
    assert result.right == [ids[0]]
    assert result.wrong == {
        ids[1]: "the file is gone",
        ids[2]: f"100 bytes instead of {made[2].size_bytes}",
        ids[3]: "other bytes of the same number",
    }
    assert do(msgspec.structs.replace(job, backup_id=ids[0])) == Verified([ids[0]], {})
    assert _failed(msgspec.structs.replace(job, place=FolderPlace("card", "/nowhere"))).code == "BACKUP_TARGET"


async def test_a_file_that_cannot_be_read_is_named_and_the_others_are_looked_at(store: OpenJournal) -> None:
    media = store.path.parent / "media"
    made = [_made(store, after=after) for after in range(4)]
    ids = [await _count(store, one, "segment") for one in made]
    for one in made[1:]:
        (media / one.file).unlink()
    (media / made[1].file).mkdir()
    (media / made[2].file).symlink_to(media / made[0].file)
    os.mkfifo(media / made[3].file)
    job = Verify(str(store.path), FolderPlace("card", str(media)), ORIGIN)
    result = do(job)
    assert isinstance(result, Verified)
    assert result.right == [ids[0]]
    assert result.wrong == {
        ids[1]: "it cannot be read: Is a directory",
        ids[2]: "it cannot be read: Too many levels of symbolic links",
        ids[3]: "it cannot be read: Illegal seek",
    }


async def test_where_not_one_file_can_be_read_it_is_the_medium(store: OpenJournal) -> None:
    media = store.path.parent / "media"
    for after in range(2):
        made = _made(store, after=after)
        await _count(store, made, "segment")
        (media / made.file).unlink()
        (media / made.file).mkdir()
    assert _failed(Verify(str(store.path), FolderPlace("card", str(media)), ORIGIN)).code == "BACKUP_TARGET"


async def test_files_that_never_counted_go_where_others_hold_the_same(store: OpenJournal) -> None:
    """Their daemon died after the file was there and before it was written down."""
    lost, made, ahead = _made(store, after=2), _made(store), _made(store, after=5)
    await _count(store, made, "segment")
    foreign = store.path.parent / "media" / made.file.rpartition("/")[0] / "holiday.jpg"
    foreign.write_bytes(b"somebody's")
    await _change(store, f"UPDATE backups SET upto_seq = 6 WHERE upto_seq = {made.upto_seq}")
    tidy = Tidy(str(store.path), FolderPlace("card", str(store.path.parent / "media")), ORIGIN, 7, 4, 12)
    assert do(tidy) == Tidied([])
    names = sorted(one.file.rpartition("/")[2] for one in (lost, made, ahead))
    assert _files(store) == ["holiday.jpg", *names]  # the entry 7 is in the files alone that never counted
    await _change(store, "UPDATE backups SET upto_seq = 7")
    assert do(tidy) == Tidied([])
    assert _files(store) == sorted(["holiday.jpg", made.file.rpartition("/")[2]])


async def test_what_was_made_while_the_place_had_another_name_stays(store: OpenJournal) -> None:
    media = str(store.path.parent / "media")
    made = [_made(store), _made(store, "snapshot", made_at="2026-11-20T02:00:00.000Z")]
    for one in made:
        await _count(store, one, one.file.rpartition("/")[2].partition("-")[0])
    await _change(store, "UPDATE backups SET target = 'old name'")
    made.append(_made(store, "snapshot"))
    await _count(store, made[-1], "snapshot")
    tidy = Tidy(str(store.path), FolderPlace("card", media), ORIGIN, 7, 4, 12)
    assert do(tidy) == Tidied([])
    assert _files(store) == sorted(one.file.rpartition("/")[2] for one in made)


async def test_the_rotation_removes_files_of_this_journal_and_says_which(store: OpenJournal) -> None:
    day_ms = 86_400_000
    ids = []
    for day in range(4):
        made = _made(store, "snapshot", made_at=f"2026-11-2{day}T02:00:00.000Z")
        ids.append(await _count(store, made, "snapshot", 1_795_000_000_000 + day * day_ms))
    await _change(store, f"UPDATE backups SET journal_id = 'former' WHERE backup_id = '{ids[0]}'")
    tidy = Tidy(str(store.path), FolderPlace("card", str(store.path.parent / "media")), ORIGIN, 2, 0, 0)
    result = do(tidy)
    assert isinstance(result, Tidied)
    assert result.removed == [ids[1]]
    assert len(_files(store)) == 3
    journal_id = await store.database.read(meta.journal_id)
    assert all(
        (store.path.parent / "media" / "shop-1" / "T-0001" / journal_id / name).exists() for name in _files(store)
    )
