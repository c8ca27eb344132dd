"""A whole database made beside the real one: in place when it is complete and on the disk, else gone without a trace.

For what a terminal gets from elsewhere at once, a restore above all. Blocking; the caller holds the state lock.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from agent.errors import Refused
from agent.runtime.durable_files import sync_folder
from agent.store import rebuild
from agent.store.schema import Migration, initialise
from agent.store.sqlite import (
    Connection,
    DatabaseError,
    cannot_open,
    connect_builder,
    connect_writer,
    in_memory,
    open_readonly,
    translate,
)

_BESIDE = ("-wal", "-shm", "-journal")
_BEING_REPLACED = ".replacing"  # the note of ``replacement.py``: the next start of the daemon goes on with it


def being_built(path: Path) -> Path:
    """Where the database that becomes ``path`` is made."""
    return path.with_name(f"{path.name}.restoring")


def remove_unfinished(path: Path) -> bool:
    """Remove what a killed maker left beside ``path``; True when there was something. It counts for nothing."""
    built = being_built(path)
    found = False
    for one in (built, *(built.with_name(built.name + end) for end in _BESIDE)):
        with contextlib.suppress(FileNotFoundError):
            one.unlink()
            found = True
    return found


@contextlib.contextmanager
def building(path: Path, now: datetime) -> Iterator[Connection]:
    """A new database of the present schema beside ``path``, in one transaction; `put_in_place` follows.

    Left without an error it is committed, closed and on the disk; left by one it is removed.

    Raises:
        StoreFull, StoreUnavailable: The disk has no room, or does not work.
    """
    built = being_built(path)
    remove_unfinished(path)
    try:
        os.close(os.open(built, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        db = connect_builder(built)
        try:
            initialise(db, now)
            db.execute("BEGIN")
            yield db
            db.execute("COMMIT")
        finally:
            db.close()
        _flush(built)
    except (DatabaseError, OSError) as err:
        remove_unfinished(path)
        raise translate(err) if isinstance(err, DatabaseError) else cannot_open(err) from err
    except BaseException:
        remove_unfinished(path)
        raise


@contextlib.contextmanager
def scratch(now: datetime, steps: list[Migration]) -> Iterator[Connection]:
    """A new database in memory, of the schema that ``steps`` make; it leaves nothing."""
    db = in_memory()
    try:
        initialise(db, now, steps)
        yield db
    finally:
        db.close()


def check_place(path: Path) -> None:
    """Make sure that nothing stands at ``path`` that a new database would take the place of.

    A database without an entry, as an agent makes at its first start, is no obstacle; its log is emptied into it.

    Raises:
        Refused: There are entries, or something that cannot be looked into, or the log of a file that was moved away.
    """
    moved = path.parent / "replaced"
    hint = f"to replace it, move all of it away first: mkdir {moved} && mv {path}* {moved}/"
    if path.with_name(path.name + _BEING_REPLACED).exists():
        why = "a damaged database is being replaced here: its entries come back when the daemon is started"
        raise Refused(why, reason="STATE_IN_USE", hint=f"start it, and see posctl journal verify; {hint}")
    if not path.exists():
        left = [one for end in _BESIDE if (one := path.with_name(path.name + end)).exists()]
        if left:
            raise Refused(
                f"{left[0]} is there without {path.name}: it may hold records, and would be taken for the new file's",
                reason="STATE_IN_USE",
                hint=f"move it to where {path.name} was moved",
            )
        return
    if path.stat().st_size and (why_not := _what_speaks_against(path)):
        raise Refused(f"{path} {why_not}: it is not overwritten", reason="STATE_IN_USE", hint=hint)


def put_in_place(path: Path, now: datetime) -> Path | None:
    """Make what was built the real one, in one step; returns where a database without entries was kept, if any.

    Raises:
        StoreUnavailable: The folder cannot be written; nothing is in place.
    """
    kept: Path | None = None
    try:
        if path.exists():
            kept = path.with_name(f"{path.name}.before-restore-{now:%Y%m%dT%H%M%SZ}")
            kept.unlink(missing_ok=True)
            os.link(path, kept)
        being_built(path).rename(path)
        sync_folder(path.parent)
    except OSError as err:
        raise cannot_open(err) from err
    return kept


def _what_speaks_against(path: Path) -> str | None:
    """Why the database there must stay, which is only looked at then; else its log is emptied into it."""
    try:
        with contextlib.closing(open_readonly(path)) as db:
            if db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'entries'").fetchone()[0]:
                count = int(db.execute("SELECT count(*) FROM entries").fetchone()[0])
                if count:
                    return f"holds {count} {'entry' if count == 1 else 'entries'}"
                if rebuild.under_way(db) is not None:
                    return "is just getting back the entries of a damaged one"
        with contextlib.closing(connect_writer(path)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except DatabaseError:
        return "cannot be looked into"
    return None


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
