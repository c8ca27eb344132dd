"""Where orders come in, from the broker and from the control socket: believed, admitted, journalled, answered.

Source: the product's contract, "Commands" and "Exact readings". What is not authentic, or for another terminal, leaves
no row and no topic: it is counted. Everything else gets its state in the same commit as its row. What happens to an
accepted order is the engine's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog
from msgspec.structs import replace

from agent.commands.intake import Admission, Intake, LocalCaller, NotAuthentic
from agent.commands.rules import MAX_KEPT, Accepted, Contradiction, Decision, Facts, Known, Overflow, Turned, admit
from agent.commands.security_log import BAD_SIGNATURE, REFUSED_CALLER, REPLAY, SecurityLog
from agent.contract.command import CommandState, LocalOrder, ReasonCode
from agent.errors import Refused, StoreFull, StoreUnavailable
from agent.runtime.backoff import drawn_evenly
from agent.runtime.clock import Clock
from agent.store import meta
from agent.store.database import Database, Worth
from agent.workflow import run_rows as runs
from agent.workflow.journal import RunJournal
from agent.workflow.transition import Run
from agent.workflow.wake_up import wait_for

if TYPE_CHECKING:
    from agent.store.database import Connection

log = structlog.get_logger("commands")

SPREAD_S: Final = 60.0
HOUSEKEEPING_S: Final = 3600.0


class Inbox:
    """A service, too: ``run`` tells security events when they are due and forgets what is over."""

    name = "inbox"

    def __init__(
        self,
        *,
        database: Database,
        journal: RunJournal,
        intake: Intake,
        security: SecurityLog,
        start: Callable[[Run, float], None],
        clock: Clock,
        clock_trusted: Callable[[], bool],
        spread_s: Callable[[], float] = lambda: drawn_evenly(0.0, SPREAD_S),
    ) -> None:
        """``start(run, delay_s)`` hands a fresh run to the engine; ``spread_s()``: delay of a site-wide answer."""
        self._database = database
        self._journal = journal
        self._intake = intake
        self._security = security
        self._start = start
        self._clock = clock
        self._clock_trusted = clock_trusted
        self._spread_s = spread_s

    async def receive(self, command: str, payload: bytes, retained: bool, site_wide: bool) -> None:
        """Take an MQTT message from ``in/req/<command>``; it is journalled or refused when this returns.

        Raises:
            StoreFull, StoreUnavailable: Neither; it must not be acknowledged, so that it comes again.
        """
        try:
            admission = self._intake.from_broker(command, payload, retained=retained, site_wide=site_wide)
        except NotAuthentic as err:
            self._security.note(BAD_SIGNATURE, err.cause)
            return
        await self._admit(admission)

    async def order(self, order: LocalOrder, caller: LocalCaller) -> CommandState:
        """Take ``command.run`` from the control socket; answers the recorded state at once.

        Raises:
            BadRequest: No usable id, name or form.
            Refused: The caller may not, nobody entitled signed it, or the id stands for another order.
            StoreFull, StoreUnavailable: Nothing happened.
        """
        decision, run = await self._admit(self._from_socket(order, caller))
        if isinstance(decision, Contradiction):
            raise Refused(
                "this command_id stands for another order",
                reason=ReasonCode.REPLAYED,
                field="command_id",
                hint="use a new command_id",
            )
        if isinstance(decision, Overflow):
            raise Refused(
                f"{MAX_KEPT} orders are on record here, and no more are kept",
                reason=ReasonCode.QUEUE_FULL,
                hint="orders are forgotten a week after their expiry; find out who gives so many",
            )
        return runs.state_of(run)

    async def run(self) -> None:
        """Tell and tidy until cancelled; idle, once an hour."""
        tidy_at_s = self._clock.monotonic()
        while True:
            self._security.noted.clear()
            wait_s = await self._security.tell_due() or HOUSEKEEPING_S
            if self._clock.monotonic() >= tidy_at_s:
                tidy_at_s = self._clock.monotonic() + await self._tidy()
            wait_s = min(wait_s, max(0.0, tidy_at_s - self._clock.monotonic()))
            await wait_for(self._security.noted, self._clock, wait_s)

    async def _tidy(self) -> float:
        """Forget what is over; returns after how many seconds to do it again."""
        if not self._clock_trusted():
            return HOUSEKEEPING_S  # by a wrong clock everything might seem over
        try:
            return 1.0 if await self._journal.retire() else HOUSEKEEPING_S
        except (StoreFull, StoreUnavailable) as err:
            log.warning("commands.tidying_failed", code=err.code)
            return HOUSEKEEPING_S

    def _from_socket(self, order: LocalOrder, caller: LocalCaller) -> Admission:
        try:
            if order.envelope is None:
                return self._intake.from_caller(order, caller)
            return self._intake.carried_in(order, caller)
        except Refused:
            self._security.note(REFUSED_CALLER, "local")
            raise
        except NotAuthentic as err:
            self._security.note(BAD_SIGNATURE, err.cause)
            raise Refused(
                "nobody entitled signed this order for this terminal",
                reason=ReasonCode.NOT_AUTHORISED,
                field="envelope",
                hint="have it signed for this terminal, with a key of its policy",
                cause=err.cause,
            ) from err

    async def _admit(self, admission: Admission) -> tuple[Decision, Run]:
        """Decide and store in one job; then hand over or count, even if nobody waits for it any more."""
        now, trusted = self._clock.now(), self._clock_trusted()
        stored: Run | None = None
        first: Decision = Accepted()

        def job(db: Connection) -> tuple[Decision, Run]:
            nonlocal stored, first
            decision, run = _decide(
                db,
                admission,
                Facts(
                    now=now,
                    clock_trusted=trusted,
                    journal_began_at=meta.journal_began_at(db),
                    replay_floor=runs.replay_floor(db),
                    known_digest=runs.find_digest(db, admission.run.command_id),
                    waiting=runs.waiting_count(db),
                    kept=runs.kept_count(db, MAX_KEPT),
                ),
            )
            if isinstance(decision, Accepted | Turned):
                runs.open_run(db, run, admission.origin, life=self._journal.life, tell=not admission.site_wide)
                stored, first = run, decision
            elif isinstance(decision, Known) and stored is not None and run.rev == stored.rev:
                decision = first  # repeated after a commit whose outcome was not known: it had happened
            elif isinstance(decision, Known) and not admission.site_wide:
                runs.publish_again(db, run, now)
            elif isinstance(decision, Known) and run.phase.is_final:
                runs.keep_back(db, run)
            return decision, run

        stored_order = self._database.submit(job, worth=Worth.RUN)
        stored_order.add_done_callback(lambda done: self._follow_up(done, admission))
        return await asyncio.shield(stored_order)  # a link that breaks now cancels the caller, not what is stored

    def _follow_up(self, done: asyncio.Future[tuple[Decision, Run]], admission: Admission) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        decision, run = done.result()
        delay_s = self._spread_s() if admission.site_wide else 0.0
        facts = {"command_id": run.command_id, "name": run.name, "source": admission.origin.source}
        match decision:
            case Contradiction():
                self._security.note(REPLAY, admission.origin.source)
            case Overflow():
                self._security.note(REFUSED_CALLER, "too_many_orders")
            case Turned(phase, reason):
                log.warning("order.refused", state=phase.value, reason=reason.code.value, **facts)
            case Accepted():
                log.info("order.accepted", uid=admission.origin.uid, **facts)
            case Known():
                log.info("order.repeated", **facts)
        if isinstance(decision, Accepted | Turned) and not admission.site_wide:
            self._journal.changed(run, exclusive=admission.exclusive)
        if isinstance(decision, Accepted) or (
            admission.site_wide and run.phase.is_final and not isinstance(decision, Contradiction | Overflow)
        ):
            self._start(run, delay_s)


def _decide(db: Connection, admission: Admission, facts: Facts) -> tuple[Decision, Run]:
    decision = admit(admission.asked, facts)
    match decision:
        case Accepted():
            return decision, admission.run
        case Turned(phase, reason):
            return decision, replace(admission.run, phase=phase, reason=reason, steps=None)
    return decision, runs.find(db, admission.run.command_id) or admission.run
