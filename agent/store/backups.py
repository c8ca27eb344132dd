"""Which copies of the journal exist on other media: one row for each verified file. Plain SQL on a connection.

What a row says was true when its file was last read back. How far the present journal is covered at a target follows
from the rows: up to the newest right snapshot, and from there on by segments that meet. The mark ``backed_up`` is the
best of the targets and is moved in the commit that changes the rows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from agent.contract.backup_views import BackupItem, BackupKind
from agent.errors import BadRequest
from agent.runtime.clock import rfc3339
from agent.store import meta
from agent.store.anchor import anchor
from agent.store.marks import set_backed_up

if TYPE_CHECKING:
    from agent.store.sqlite import Connection

_ITEM: Final = (
    "backup_id, kind, target, file, journal_id, from_seq, upto_seq, size_bytes, sha256, made_at, verified_at, problem"
)
_ID: Final = re.compile(r"[0-9a-f-]{36}")
_EXPECTED_SINCE: Final = "backups_expected_since"  # in table meta, milliseconds since 1970 UTC


class NewBackup(NamedTuple):
    """A file that was just made and read back. ``chain``, ``sha256``: 32 bytes; times in ms since 1970 UTC."""

    backup_id: str
    kind: BackupKind
    target: str
    file: str
    journal_id: str
    from_seq: int
    upto_seq: int
    chain: bytes
    size_bytes: int
    sha256: bytes
    made_at_ms: int
    verified_at_ms: int


class Standing(NamedTuple):
    """How a target stands. Times in milliseconds since 1970 UTC, of the newest right snapshot; None: there is none."""

    covered_upto: int
    last_entry: int
    snapshot_made_at_ms: int | None
    snapshot_verified_at_ms: int | None


def add(db: Connection, new: NewBackup, targets: Collection[str]) -> None:
    """Count a file; the same one again changes nothing. ``targets``: all that are configured, for the mark."""
    db.execute(
        "INSERT INTO backups (backup_id, kind, target, file, journal_id, from_seq, upto_seq, chain, size_bytes, sha256,"
        " made_at, verified_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        new,
    )
    _move_mark(db, targets)


def note_verified(
    db: Connection, right: Sequence[str], wrong: Sequence[tuple[str, str]], at_ms: int, targets: Collection[str]
) -> None:
    """What a look at the files found: ids that are right, and (id, problem) of the others."""
    db.executemany(
        "UPDATE backups SET verified_at = ?, problem = NULL WHERE backup_id = ?", [(at_ms, one) for one in right]
    )
    db.executemany(
        "UPDATE backups SET verified_at = NULL, problem = ? WHERE backup_id = ?", [(why, one) for one, why in wrong]
    )
    _move_mark(db, targets)


def forget(db: Connection, backup_ids: Sequence[str], targets: Collection[str]) -> None:
    """Their files are gone."""
    db.executemany("DELETE FROM backups WHERE backup_id = ?", [(one,) for one in backup_ids])
    _move_mark(db, targets)


def standing(db: Connection, target: str) -> Standing:
    """How one target stands with the present journal."""
    row = db.execute(
        "SELECT made_at, verified_at FROM backups WHERE target = ? AND kind = 'snapshot' AND journal_id = ?"
        " AND verified_at IS NOT NULL ORDER BY upto_seq DESC, made_at DESC LIMIT 1",
        (target, meta.journal_id(db)),
    ).fetchone()
    (last,) = db.execute("SELECT max(sequence) FROM entries").fetchone()
    made_at, verified_at = row or (None, None)
    return Standing(covered_upto(db, target), last or 0, made_at, verified_at)


def covered_upto(db: Connection, target: str) -> int:
    """Every entry in this file up to here is in a right backup at the target; 0: none."""
    journal_id = meta.journal_id(db)
    (snapshot,) = db.execute(
        "SELECT max(upto_seq) FROM backups WHERE target = ? AND kind = 'snapshot' AND journal_id = ?"
        " AND verified_at IS NOT NULL",
        (target, journal_id),
    ).fetchone()
    upto = anchor(db).sequence if snapshot is None else int(snapshot)
    for first, last in db.execute(
        "SELECT from_seq, upto_seq FROM backups WHERE target = ? AND kind = 'segment' AND upto_seq > ?"
        " AND journal_id = ? AND verified_at IS NOT NULL ORDER BY from_seq",
        (target, upto, journal_id),
    ):
        if first > upto + 1:
            break
        upto = max(upto, last)  # one that was made anew in place of a bad one may reach over those that follow
    return upto


def expected_since_ms(db: Connection, now_ms: int) -> int:
    """Since when there has been a place for backups, in milliseconds since 1970 UTC; now when it is the first time."""
    known = meta.get(db, _EXPECTED_SINCE)
    if known is None:
        meta.put(db, _EXPECTED_SINCE, str(now_ms))
    return now_ms if known is None else int(known)


def last_verified_ms(db: Connection) -> int | None:
    """When a snapshot of the present journal was last found right, wherever it is; None: never."""
    row = db.execute(
        "SELECT max(verified_at) FROM backups WHERE kind = 'snapshot' AND journal_id = ?", (meta.journal_id(db),)
    ).fetchone()
    return None if row[0] is None else int(row[0])


def item(db: Connection, backup_id: str) -> BackupItem | None:
    """One backup as it is shown; None when no row has that id."""
    row = db.execute(f"SELECT {_ITEM} FROM backups WHERE backup_id = ?", (backup_id,)).fetchone()  # noqa: S608
    return None if row is None else _item(row)


def page(
    db: Connection, limit: int, cursor: str | None, target: str | None = None
) -> tuple[list[BackupItem], str | None]:
    """Backups, of one target or of all, newest first, and the cursor of the next page.

    Raises:
        BadRequest: ``cursor``.
    """
    if cursor is not None and _ID.fullmatch(cursor) is None:
        raise BadRequest("this cursor is not one of ours", field="cursor", hint="send next_cursor as it was received")
    rows = db.execute(
        f"SELECT {_ITEM} FROM backups WHERE (?1 IS NULL OR backup_id < ?1) AND (?2 IS NULL OR target = ?2)"  # noqa: S608
        " ORDER BY backup_id DESC LIMIT ?3",
        (cursor, target, limit + 1),
    ).fetchall()
    items = [_item(row) for row in rows[:limit]]
    return items, items[-1].backup_id if len(rows) > limit else None


def at_target(db: Connection, target: str) -> list[BackupItem]:
    """All backups of one target, newest first."""
    rows = db.execute(
        f"SELECT {_ITEM} FROM backups WHERE target = ? ORDER BY backup_id DESC",  # noqa: S608  # names of our own
        (target,),
    )
    return [_item(row) for row in rows]


def all_files(db: Connection) -> set[str]:
    """Names of all files that count, whatever their target is called now."""
    return {str(file) for (file,) in db.execute("SELECT file FROM backups")}


def _move_mark(db: Connection, targets: Collection[str]) -> None:
    set_backed_up(db, max((covered_upto(db, target) for target in targets), default=0))


def _item(row: Sequence[object]) -> BackupItem:
    backup_id, kind, target, file, journal_id, from_seq, upto_seq, size, digest, made_at, verified_at, problem = row
    return BackupItem(
        backup_id=str(backup_id),
        kind="snapshot" if kind == "snapshot" else "segment",
        target=str(target),
        file=str(file),
        journal_id=str(journal_id),
        from_seq=_number(from_seq),
        upto_seq=_number(upto_seq),
        size_bytes=_number(size),
        sha256=digest.hex() if isinstance(digest, bytes) else "",
        made_at=shown_time(made_at) or "",
        verified_at=shown_time(verified_at),
        problem=None if problem is None else str(problem),
    )


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def shown_time(value: object) -> str | None:
    """Milliseconds since 1970 UTC as a time to show; None for anything else."""
    return rfc3339(datetime.fromtimestamp(value / 1000, UTC)) if isinstance(value, int) else None
