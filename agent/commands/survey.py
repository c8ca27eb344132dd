"""How the terminal is now, gathered for the interlocks: sales, battery, last start, and what the journals know.

What needs the database is fetched beforehand (`Past`); everything else is read at once, in the turn of the loop in
which the decision is made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, time, timedelta
from typing import Final

from msgspec import Struct

from agent.commands.interlocks import (
    BETWEEN_REBOOTS_S,
    INTERLOCKS,
    TRIES_WITHIN,
    Cell,
    Conditions,
    to_record,
)
from agent.commands.operation import Operation, Touch
from agent.contract.command import Reason, ReasonCode
from agent.contract.selling import NOBODY_SELLS, Selling
from agent.runtime.clock import Clock
from agent.workflow.journal import RunJournal
from agent.workflow.transition import Phase, Run


class Past(Struct, frozen=True):
    """What the journals say; see `Conditions`. ``since_reboot_s``: since the last reboot that an order began."""

    unsettled_batch: str | None = None
    tries: int = 0
    since_reboot_s: float | None = None


NO_PAST: Final = Past()


def system_local_time(now: datetime) -> time:
    """Time of day in the machine's own time zone."""
    return now.astimezone().time()


async def _nothing_unsettled() -> str | None:
    return None


class Survey:
    """Asked by the planner before an order begins, and by commands for what belongs in their results.

    Args:
        touch_of: What a stored run would do here, or did; None when this release cannot tell.
        selling: See `agent.contract.selling.Selling`.
        battery_pct: Charge while running on battery, else None.
        since_boot_s: Since the machine's last start; None where nobody knows.
        unsettled_batch: Looks through the transaction journal.
    """

    def __init__(
        self,
        clock: Clock,
        clock_trusted: Callable[[], bool],
        runs: RunJournal,
        touch_of: Callable[[Run], Touch | None],
        *,
        selling: Callable[[], Selling] = lambda: NOBODY_SELLS,
        battery_pct: Callable[[], float | None] = lambda: None,
        since_boot_s: Callable[[], float | None] = lambda: None,
        unsettled_batch: Callable[[], Awaitable[str | None]] = _nothing_unsettled,
        local_time: Callable[[datetime], time] = system_local_time,
    ) -> None:
        self._clock = clock
        self._clock_trusted = clock_trusted
        self._runs = runs
        self._touch_of = touch_of
        self._selling = selling
        self._battery_pct = battery_pct
        self._since_boot_s = since_boot_s
        self._unsettled_batch = unsettled_batch
        self._local_time = local_time

    def local_time(self) -> time:
        """The terminal's time of day."""
        return self._local_time(self._clock.now())

    def now(self, past: Past = NO_PAST) -> Conditions:
        """Everything but what depends on the order itself.

        Operations that need no past are not held by battery or last start either: those are not read for them.
        """
        is_for_units = past is not NO_PAST
        since_boot_s = (
            [one for one in (self._since_boot_s(), past.since_reboot_s) if one is not None] if is_for_units else []
        )
        return Conditions(
            now=self._clock.now(),
            clock_trusted=self._clock_trusted(),
            selling=self._selling(),
            battery_pct=self._battery_pct() if is_for_units else None,
            since_boot_s=min(since_boot_s, default=None),
            unsettled_batch=past.unsettled_batch,
            tries=past.tries,
        )

    async def past(self, run_id: str, name: str, touch: Touch, *cells: Cell) -> Past:
        """What the journals know that could matter to an order, as far as ``cells`` are asked about.

        Args:
            run_id: The order itself, which does not count among the tries.

        Raises:
            StoreUnavailable: They cannot be read now.
        """
        if touch.operation in (Operation.READING, Operation.TEST):
            return NO_PAST
        batch_matters = any(one.code is ReasonCode.BATCH_UNSETTLED and one.cell(touch) in cells for one in INTERLOCKS)
        tries, since_reboot_s = await self._lately(run_id, name, touch)
        return Past(await self._unsettled_batch() if batch_matters else None, tries, since_reboot_s)

    async def notes(self, run_id: str, name: str, touch: Touch) -> tuple[Reason, ...]:
        """What holds now and belongs in the result of an operation that has begun."""
        return to_record(touch, self.now(await self.past(run_id, name, touch, Cell.RECORD)))

    async def _lately(self, run_id: str, name: str, touch: Touch) -> tuple[int, float | None]:
        """Tries at the same target within the hour that failed; and how long ago a reboot was begun, if lately.

        What lies in the future was written under a wrong clock, and says nothing.
        """
        now = self._clock.now()
        tries, since_reboot_s = 0, None
        for run in await self._runs.begun_since(name, now - TRIES_WITHIN):
            before = self._touch_of(run)
            if before is None or run.command_id == run_id or run.updated_at > now:
                continue
            tries += bool(touch.target) and before.target == touch.target and run.phase is Phase.FAILED
            if before.operation is Operation.REBOOT and run.step > 0:
                ago_s = (now - run.updated_at) / timedelta(seconds=1)
                since_reboot_s = ago_s if ago_s < BETWEEN_REBOOTS_S else since_reboot_s
        return tries, since_reboot_s
