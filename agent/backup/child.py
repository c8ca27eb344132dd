"""The sealing child: ``python -m agent.backup.child``, a process for one job of `agent.backup.job`.

It reads the store, writes to one target, and tells the daemon what it did; only the daemon writes down that it counts.
Everything heavy is here: what it costs in memory ends with it, and it steps back behind everybody else on the machine.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Final

import msgspec

from agent.backup import rotation
from agent.backup.contents import Pace, Wanted
from agent.backup.file_names import file_name, folder_of, parse_name
from agent.backup.job import (
    Failed,
    FolderPlace,
    Job,
    Place,
    Result,
    Seal,
    Sealed,
    Tidied,
    Tidy,
    Verified,
    Verify,
)
from agent.backup.sealing import Measured, seal
from agent.backup.target import FolderTarget, Measure, Target
from agent.contract.backup_views import BackupItem
from agent.errors import AgentError, StoreUnavailable, TargetUnusable
from agent.runtime.parent import end_with_parent, read_job
from agent.store import backups, meta
from agent.store.sqlite import Connection, DatabaseError, open_readonly, reason

LEFT_FREE_BYTES: Final = 96 * 1024 * 1024
"""A file on the store's own disk (one for a server waits there) never takes the room that records will need."""
_AT_ONCE: Final = 2_000  # files of which one result tells; the daemon asks for the rest


def main() -> int:
    """Do the job on standard input, and print its result as the last line."""
    os.nice(19)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")  # before the daemon in any case
    job: Job = msgspec.json.decode(read_job(), type=Job)
    end_with_parent()
    _say(msgspec.json.encode(do(job)))
    return 0


def do(job: Job) -> Result:
    """The job's result; everything that can be expected to go wrong is a `Failed`."""
    try:
        with contextlib.ExitStack() as stack:
            target = open_target(job.place, Path(job.database).parent)
            stack.callback(target.close)
            db = open_readonly(Path(job.database))
            stack.callback(db.close)
            match job:
                case Seal():
                    return _seal(job, target, db)
                case Verify():
                    return _verify(job, target, db)
                case Tidy():
                    return _tidy(job, target, db)
    except AgentError as err:
        return Failed(err.code, err.message, err.hint or "see the log")
    except DatabaseError as err:
        return Failed(StoreUnavailable.code, f"the store cannot be read: {reason(err)}", "look at the disk")
    except OSError as err:
        return Failed(TargetUnusable.code, f"{job.place.name}: {err.strerror or type(err).__name__}", _hint(err))


def open_target(place: Place, spool: Path) -> Target:
    """The place as something to write to. Raises TargetUnusable, OSError."""
    if isinstance(place, FolderPlace):
        return FolderTarget(place)
    from agent.backup.server_target import ServerTarget  # noqa: PLC0415  # TLS and HTTP only where they are needed

    return ServerTarget(place, spool)


def _seal(job: Seal, target: Target, db: Connection) -> Sealed:
    wanted = Wanted(job.kind, job.after, job.origin, job.made_at)
    folder = folder_of(job.origin.site, job.origin.terminal, meta.journal_id(db))
    watch = _watch(job)
    with target.writing(folder, job.kind, job.token) as work:
        out = Measured(work, watch)
        made = seal(db, wanted, job.recipients, out, pace=Pace(), tell=_Progress().tell)
        measure = Measure(made.size_bytes, made.sha256)
        header = made.header
        made_at = datetime.fromisoformat(job.made_at)
        name = file_name(job.kind, header.from_seq, header.upto_seq, made_at, made.sha256)
        file = f"{folder}/{name}"
        target.keep(work, file, measure)
    found = target.measure(file)
    if found != measure:
        with contextlib.suppress(OSError, TargetUnusable):
            target.remove(file)
        raise TargetUnusable(
            f"{job.place.name} gave other bytes back than were written: {_difference(measure, found)}",
            hint="replace the medium, or look at the server; the file was removed and does not count",
        )
    target.confirm(file, measure)
    return Sealed(
        file, header.journal_id, header.from_seq, header.upto_seq, made.trailer.chain, measure.size_bytes, made.sha256
    )


def _verify(job: Verify, target: Target, db: Connection) -> Verified:
    items = backups.at_target(db, job.place.name)
    if job.backup_id is not None:
        items = [one for one in items if one.backup_id == job.backup_id]
    if job.before is not None:
        items = [one for one in items if one.backup_id < job.before]
    left = len(items) > _AT_ONCE
    items = items[:_AT_ONCE]
    right: list[str] = []
    wrong: dict[str, str] = {}
    unreadable: list[OSError] = []
    progress = _Progress()
    for done, one in enumerate(items):
        progress.tell(done, len(items))
        measure = Measure(one.size_bytes, one.sha256)
        try:
            found = target.measure(one.file)
        except OSError as err:  # a bad spot is that file's trouble, and hides nothing about the others
            target.names(one.file.rpartition("/")[0])
            unreadable.append(err)
            wrong[one.backup_id] = f"it cannot be read: {err.strerror or type(err).__name__}"
            continue
        if found == measure:
            right.append(one.backup_id)
        else:
            wrong[one.backup_id] = _difference(measure, found)
    if 1 < len(items) == len(unreadable):
        raise unreadable[0]  # not one of them: it is the medium's trouble, and they may all be right
    return Verified(right, wrong, items[-1].backup_id if left else None)


def _tidy(job: Tidy, target: Target, db: Connection) -> Tidied:
    journal_id = meta.journal_id(db)  # what a journal before a restore left there is for people to remove
    items = [one for one in backups.at_target(db, job.place.name) if one.journal_id == journal_id]
    kept = rotation.Kept(job.keep_daily, job.keep_weekly, job.keep_monthly)
    gone = rotation.removable(
        (
            rotation.Snapshot(one.backup_id, one.journal_id, one.upto_seq, _day(one), one.verified_at is not None)
            for one in items
            if one.kind == "snapshot"
        ),
        (rotation.Segment(one.backup_id, one.journal_id, one.upto_seq) for one in items if one.kind == "segment"),
        kept,
    )
    removed: list[str] = []
    for one in items:
        if one.backup_id in gone and len(removed) < _AT_ONCE:
            target.remove(one.file)
            removed.append(one.backup_id)
    _remove_uncounted(job, target, db)
    return Tidied(removed, len(removed) == len(gone))


def _remove_uncounted(job: Tidy, target: Target, db: Connection) -> None:
    """Files of the present journal that no row names, where rows cover what they hold: their daemon died with them."""
    folder = folder_of(job.origin.site, job.origin.terminal, meta.journal_id(db))
    counted = {file.rpartition("/")[2] for file in backups.all_files(db)}
    covered = backups.covered_upto(db, job.place.name)
    for name in target.names(folder):
        known = parse_name(name)
        if known is not None and name not in counted and known.upto_seq <= covered:
            target.remove(f"{folder}/{name}")


class _Progress:
    """Tells the daemon how far it is, in whole per cent, each once."""

    def __init__(self) -> None:
        self._told = 0

    def tell(self, done: int, whole: int) -> None:
        per_cent = 100 * done // whole if whole else 100
        if per_cent > self._told:
            self._told = per_cent
            _say(b"%d" % per_cent)


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def _watch(job: Seal) -> Callable[[], None]:
    """What looks after the store's own disk while a file is written there."""
    folder = os.path.dirname(job.database)
    if isinstance(job.place, FolderPlace) and os.stat(job.place.path).st_dev != os.stat(folder).st_dev:
        return lambda: None

    def look() -> None:
        free = os.statvfs(folder)
        if free.f_bavail * free.f_frsize < LEFT_FREE_BYTES:
            raise OSError(errno.ENOSPC, "there is no room for a file of this size beside the store")

    return look


def _day(one: BackupItem) -> date:
    return datetime.fromisoformat(one.made_at).date()


def _difference(wanted: Measure, found: Measure | None) -> str:
    if found is None:
        return "the file is gone"
    if found.size_bytes != wanted.size_bytes:
        return f"{found.size_bytes} bytes instead of {wanted.size_bytes}"
    return "other bytes of the same number"


def _hint(err: OSError) -> str:
    match err.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "make room on the medium, or keep fewer backups"
        case errno.EROFS:
            return "the medium is write-protected, or its file system has an error: look at it"
        case errno.EACCES | errno.EPERM:
            return "let the agent's user write there; under systemd also by ReadWritePaths="
        case _:
            return "look at the medium; it is tried again"


if __name__ == "__main__":
    sys.exit(main())
