"""Runs on disk. Every change is one commit together with the state message that tells it.

One row an order (table ``commands``), written by compare-and-set on ``rev``: a repeat of the same job is harmless, and
no two states can carry the same number. Times are stored as milliseconds since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw

from agent.contract import topics
from agent.contract.command import CommandPage, CommandState, Reason, ReasonCode, encode_state
from agent.contract.publication import Publication
from agent.errors import BadRequest
from agent.runtime.clock import Clock, rfc3339
from agent.runtime.identifiers import uuid7
from agent.store import meta, outbox
from agent.store.database import Database, Worth
from agent.workflow.plan import Plan
from agent.workflow.transition import OPEN_PHASES, Event, Phase, Run, after

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


@dataclass(frozen=True, slots=True)
class Origin:
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


class RunJournal:
    """The one place that reads and writes runs."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.life = uuid7()
        """Names this process among those that opened runs: its own go to the engine, earlier ones are recovered."""
        self._tell_state: Callable[[CommandState, bool], None] = lambda _state, _exclusive: None

    def on_state(self, tell: Callable[[CommandState, bool], None]) -> None:
        """Have ``tell(state, exclusive)`` called on the loop after each change is durable, each once, in order."""
        self._tell_state = tell

    def changed(self, run: Run, *, exclusive: bool) -> None:
        """A run is durable as it is now; whoever opened it by `open_run` says so here."""
        self._tell_state(state_of(run), exclusive)

    async def record(self, run: Run, event: Event, plan: Plan | None) -> Run:
        """Apply ``event`` and store the outcome with its state message; the same run when nothing changes.

        Raises:
            StoreFull, StoreUnavailable: Nothing was stored.
            RunConflict: The row is not what ``run`` says.
        """
        now = self._clock.now()
        changed = replace(after(run, event, plan), updated_at=now)
        if changed.rev == run.rev:
            return run
        await self._database.write(lambda db: _update(db, changed, run.rev, now), worth=Worth.RUN)
        self.changed(changed, exclusive=plan is not None and plan.exclusive)
        return changed

    async def get(self, command_id: str) -> CommandState | None:
        """The recorded state of an order."""
        run = await self._database.read(lambda db: find(db, command_id))
        return None if run is None else state_of(run)

    async def list(self, limit: int, cursor: str | None) -> CommandPage:
        """The newest orders first, at most ``limit``.

        Raises:
            BadRequest: A cursor that no list gave.
        """
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
            raise BadRequest("not a cursor of a list of commands", field="cursor")
        before = int(cursor) if cursor is not None else None
        rows = await self._database.read(lambda db: _newest(db, limit + 1, before))
        following = str(rows[limit - 1][0]) if len(rows) > limit else None
        return CommandPage(tuple(state_of(run) for _number, run in rows[:limit]), following)

    async def open_runs(self) -> Sequence[Run]:
        """Every run that is not final, the oldest first."""
        return await self._database.read(lambda db: _open_runs(db, ""))

    async def left_open(self) -> Sequence[Run]:
        """Those of earlier lives: nobody in this process was handed them."""
        return await self._database.read(lambda db: _open_runs(db, self.life))

    async def open_states(self) -> Sequence[CommandState]:
        """The state of every run that is not final, the oldest first."""
        return [state_of(run) for run in await self.open_runs()]

    async def open_publications(self) -> Sequence[Publication]:
        """The state messages of all open operations: a part of the agent's own truth on every connection."""
        return [publication_of(run) for run in await self.open_runs()]

    async def tell(self, command_id: str) -> None:
        """Put the present state into the outbox, if it never was: what a spread-out answer kept back."""
        await self._database.write(lambda db: _tell(db, command_id, self._clock.now()), worth=Worth.RUN)

    async def tell_untold(self) -> None:
        """The same for all of earlier lives, after a start."""
        query = "SELECT command_id FROM commands WHERE published_rev < rev AND life <> ?"
        untold = await self._database.read(lambda db: [row[0] for row in db.execute(query, (self.life,))])
        for command_id in untold:
            await self.tell(command_id)

    async def retire(self) -> int:
        """Take back retained messages of what ended a day ago, and forget orders past their expiry.

        Returns how many rows were touched; call it again soon when there were any. What is forgotten raises
        ``replay_floor``, so that it can never be taken for new.
        """
        now = self._clock.now()
        return await self._database.write(lambda db: _retire(db, now), worth=Worth.RUN)


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


def _update(db: Connection, run: Run, from_rev: int, now: datetime) -> None:
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


def _tell(db: Connection, command_id: str, now: datetime) -> None:
    row = db.execute("SELECT 1 FROM commands WHERE command_id = ? AND published_rev < rev", (command_id,)).fetchone()
    run = find(db, command_id) if row is not None else None
    if run is not None:
        publish_again(db, run, now)


def _retire(db: Connection, now: datetime) -> int:
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


def _newest(db: Connection, limit: int, before: int | None) -> list[tuple[int, Run]]:
    rows = db.execute(
        f"SELECT {_COLUMNS}, number FROM commands WHERE ? IS NULL OR number < ? ORDER BY number DESC LIMIT ?",  # noqa: S608
        (before, before, limit),
    )
    return [(row[-1], _run(row)) for row in rows]


def _open_runs(db: Connection, but_not_of: str) -> list[Run]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM commands WHERE {_OPEN} AND life <> ? ORDER BY number", (but_not_of,))  # noqa: S608
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
