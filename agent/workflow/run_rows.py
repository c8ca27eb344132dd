"""The table of runs in SQL: plain functions on a connection, for jobs of the writer and queries of the reader.

One row an order (table ``commands``), written by compare-and-set on ``rev``: a repeat of the same job is harmless, and
no two states can carry the same number. Times are stored as milliseconds since 1970 UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw, Struct
from msgspec.structs import replace

from agent.contract import topics
from agent.contract.command import CommandState, Reason, ReasonCode, encode_state
from agent.contract.publication import Publication
from agent.runtime.clock import rfc3339
from agent.store import meta, outbox
from agent.workflow.transition import OPEN_PHASES, Phase, Restored, Run, after

if TYPE_CHECKING:
    from agent.store.database import Connection

REPLAY_FLOOR: Final = "replay_floor"
TOPIC_LIFE: Final = timedelta(days=1)
HISTORY: Final = timedelta(days=7)
_BATCH: Final = 200
_COLUMNS: Final = (
    "command_id, name, request, phase, rev, step, steps, attempt, progress, reason_code, reason_text, result,"
    " accepted_at, updated_at"
)
_OPEN: Final = f"phase IN ({', '.join(repr(phase.value) for phase in OPEN_PHASES)})"


class Origin(Struct, frozen=True):
    """Facts about an order that its run keeps for the audit. ``digest``: SHA-256 of its decoded content."""

    digest: bytes
    source: str
    uid: int | None
    signers: tuple[str, ...]
    expires_at: datetime

    @property
    def keep_until(self) -> datetime:
        """Past the expiry, and long enough for people to look back."""
        return self.expires_at + HISTORY


class RunConflict(RuntimeError):
    """Another writer changed the run: two engines work on one file, or a mistake of the program."""


def open_run(db: Connection, run: Run, origin: Origin, *, life: str, tell: bool) -> None:
    """Store a new run, or the final state of a refused order, inside a job; ``tell``: with its state message.

    ``life`` is that of the `RunJournal`; whoever opens a run hands it to the engine.
    """
    db.execute(
        f"INSERT INTO commands ({_COLUMNS}, digest, source, uid, signers, expires_at, keep_until, life, published_rev)"  # noqa: S608
        f" VALUES ({', '.join('?' * 22)})",
        (
            *_values(run),
            origin.digest,
            origin.source,
            origin.uid,
            ",".join(origin.signers),
            _ms(origin.expires_at) + 1,  # rounded up: a floor just below an expiry would let that order in again
            _ms(origin.keep_until),
            life,
            run.rev if tell else 0,
        ),
    )
    if tell:
        outbox.put(db, publication_of(run), run.accepted_at)


def find(db: Connection, command_id: str) -> Run | None:
    """The run of an order, inside a job or query."""
    row = db.execute(f"SELECT {_COLUMNS} FROM commands WHERE command_id = ?", (command_id,)).fetchone()  # noqa: S608
    return None if row is None else _run(row)


def find_digest(db: Connection, command_id: str) -> bytes | None:
    """The digest of the content under which an order is known; None for an unknown one."""
    row = db.execute("SELECT digest FROM commands WHERE command_id = ?", (command_id,)).fetchone()
    return None if row is None else bytes(row[0])


def waiting_count(db: Connection) -> int:
    """How many runs have not begun."""
    return int(db.execute("SELECT count(*) FROM commands WHERE phase IN ('accepted', 'waiting')").fetchone()[0])


def kept_count(db: Connection, enough: int) -> int:
    """How many orders are on record; counted only where the numbers they span allow for ``enough`` of them."""
    first, last = db.execute("SELECT min(number), max(number) FROM commands").fetchone()
    spanned = 0 if first is None else int(last) - int(first) + 1
    return spanned if spanned < enough else int(db.execute("SELECT count(*) FROM commands").fetchone()[0])


def replay_floor(db: Connection) -> datetime | None:
    """The highest expiry ever forgotten; None before the first."""
    value = meta.get(db, REPLAY_FLOOR)
    return None if value is None else _time(int(value))


def state_of(run: Run) -> CommandState:
    """The state message: always the whole of it."""
    step = min(run.step + 1, run.steps or 1) if run.phase.is_begun or run.attempt or run.step else None
    return CommandState(
        command_id=run.command_id,
        name=run.name,
        state=run.phase.state,
        rev=run.rev,
        step=step,
        steps=run.steps,
        progress=run.progress,
        reason=run.reason,
        accepted_at=rfc3339(run.accepted_at),
        updated_at=rfc3339(run.updated_at),
        result=Raw(run.result or b"null"),
    )


def publication_of(run: Run) -> Publication:
    """The state message as it is published: retained."""
    return Publication(topics.operation(run.name, run.command_id), encode_state(state_of(run)), retain=True)


def publish_again(db: Connection, run: Run, now: datetime) -> None:
    """Queue the state message of a known order once more, with the same ``rev``."""
    outbox.put(db, publication_of(run), now)
    db.execute(
        "UPDATE commands SET published_rev = ?, topic_cleared = 0 WHERE command_id = ?", (run.rev, run.command_id)
    )


def keep_back(db: Connection, run: Run) -> None:
    """Count the state message of a known order as not told yet, for `RunJournal.tell` to tell it later."""
    db.execute("UPDATE commands SET published_rev = ? WHERE command_id = ?", (run.rev - 1, run.command_id))


def update(db: Connection, run: Run, from_rev: int, now: datetime) -> None:
    """Store a changed run with its state message, if it is still at ``from_rev``. Raises `RunConflict` if not."""
    changed = db.execute(
        "UPDATE commands SET phase = ?, rev = ?, step = ?, steps = ?, attempt = ?, progress = ?, reason_code = ?,"
        " reason_text = ?, result = ?, updated_at = ?, published_rev = ? WHERE command_id = ? AND rev = ?",
        (*_values(run)[3:12], _ms(run.updated_at), run.rev, run.command_id, from_rev),
    ).rowcount
    if not changed:
        there = find(db, run.command_id)
        if there is not None and (there.rev, there.phase, there.step) == (run.rev, run.phase, run.step):
            return  # the very same job again, after a commit whose outcome was not known
        raise RunConflict(f"{run.command_id} is not at rev {from_rev}")
    outbox.put(db, publication_of(run), now)


def tell(db: Connection, command_id: str, now: datetime) -> None:
    """Queue the state message of a run that was never told as it is now."""
    row = db.execute("SELECT 1 FROM commands WHERE command_id = ? AND published_rev < rev", (command_id,)).fetchone()
    run = find(db, command_id) if row is not None else None
    if run is not None:
        publish_again(db, run, now)


def retire(db: Connection, now: datetime) -> int:
    """Take back what was told a day ago, forget what is past its time; how many rows were touched."""
    told_before = _ms(now - TOPIC_LIFE)
    old = db.execute(
        f"SELECT command_id, name FROM commands WHERE topic_cleared = 0 AND updated_at < ? AND NOT {_OPEN} LIMIT ?",  # noqa: S608
        (told_before, _BATCH),
    ).fetchall()
    for command_id, name in old:
        outbox.put(db, Publication(topics.operation(name, command_id), b"", retain=True), now)
        db.execute("UPDATE commands SET topic_cleared = 1 WHERE command_id = ?", (command_id,))
    gone = db.execute(
        f"SELECT number, expires_at FROM commands WHERE topic_cleared = 1 AND keep_until < ? AND NOT {_OPEN}"  # noqa: S608
        " ORDER BY keep_until LIMIT ?",
        (_ms(now), _BATCH),
    ).fetchall()
    if gone:
        floor = max(int(meta.get(db, REPLAY_FLOOR) or 0), *(expires_at for _number, expires_at in gone))
        meta.put(db, REPLAY_FLOOR, str(floor))
        db.executemany("DELETE FROM commands WHERE number = ?", [(number,) for number, _expires_at in gone])
    return len(old) + len(gone)


def newest(db: Connection, limit: int, before: int | None) -> list[tuple[int, Run]]:
    """Number and run of the newest orders, the newest first, below the number ``before``."""
    rows = db.execute(
        f"SELECT {_COLUMNS}, number FROM commands WHERE ? IS NULL OR number < ? ORDER BY number DESC LIMIT ?",  # noqa: S608
        (before, before, limit),
    )
    return [(row[-1], _run(row)) for row in rows]


def open_runs(db: Connection, but_not_of: str) -> list[Run]:
    """Every run that is not final, the oldest first."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM commands WHERE {_OPEN} AND life <> ? ORDER BY number", (but_not_of,))  # noqa: S608
    return [_run(row) for row in rows]


def close_restored(db: Connection, now: datetime) -> int:
    """End every run that a backup held open, with its final state message; how many there were. For a new file."""
    found = open_runs(db, "")
    for run in found:
        update(db, replace(after(run, Restored(), None), updated_at=now), run.rev, now)
    return len(found)


def begun_since(db: Connection, name: str, since: datetime) -> list[Run]:
    """Runs of one command that have begun and were changed after ``since``, the oldest first.

    Along the index of told messages, from which a row goes a day after its end: ``since`` is at most a day ago.
    """
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM commands WHERE topic_cleared = 0 AND updated_at > ? AND name = ?"  # noqa: S608
        " AND (step > 0 OR attempt > 0) ORDER BY updated_at",
        (_ms(since), name),
    )
    return [_run(row) for row in rows]


def _values(run: Run) -> tuple[Any, ...]:
    reason = run.reason
    return (
        run.command_id,
        run.name,
        run.request,
        run.phase.value,
        run.rev,
        run.step,
        run.steps,
        run.attempt,
        run.progress,
        reason and reason.code.value,
        reason and reason.text,
        run.result,
        _ms(run.accepted_at),
        _ms(run.updated_at),
    )


def _run(row: Any) -> Run:
    code, text, result = row[9:12]
    return Run(
        command_id=row[0],
        name=row[1],
        request=bytes(row[2]),
        phase=Phase(row[3]),
        rev=row[4],
        step=row[5],
        steps=row[6],
        attempt=row[7],
        progress=row[8],
        reason=None if code is None else Reason(ReasonCode(code), text),
        result=None if result is None else bytes(result),
        accepted_at=_time(row[12]),
        updated_at=_time(row[13]),
    )


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
