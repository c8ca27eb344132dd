"""The room's desk: leases and statuses come in, what operations must know goes out. All of it in memory.

A service, too: ``run`` sleeps until something ends or turns by itself (a lease, a status, a delay of a fault), and
costs nothing between. What others ask is computed when they ask, so that no answer depends on the loop's being on time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from msgspec import Struct
from msgspec.structs import replace

from agent.contract.calls import Purpose
from agent.contract.selling import AppStatus, Selling
from agent.errors import Refused
from agent.runtime.clock import Clock
from agent.runtime.identifiers import uuid7
from agent.runtime.process_identity import Process, is_alive, unit_of
from agent.selling import rules
from agent.selling.applications import Applications
from agent.selling.leases import Lease, Leases
from agent.workflow.roster import RunningOperation
from agent.workflow.wake_up import wait_for

log = structlog.get_logger("selling")

_SLACK_S: Final = 0.05  # beyond the moment itself, so that one look finds it past
_DETAIL_KEPT: Final = 200


class Lock(Struct, frozen=True):
    """The terminal is locked, and why."""

    reason: str


Report = Callable[[str, str, bool, str], None]
"""Code, device, active, detail; as `Monitor.report`."""


class Sales:
    """Grants leases, keeps statuses, tells `facts`. Everything but ``run`` answers at once, without awaiting.

    So the check for a running operation and the grant are one turn of the loop, as is the engine's own decision.
    """

    name = "selling"

    def __init__(
        self,
        configured: Mapping[str, str],
        clock: Clock,
        *,
        report: Report,
        operation: Callable[[], RunningOperation | None] = lambda: None,
        lock: Callable[[], Lock | None] = lambda: None,
        unit_of: Callable[[Process], str | None] = unit_of,
        is_alive: Callable[[Process], bool] = is_alive,
    ) -> None:
        """
        Args:
            configured: Unit → name of every ``[[application]]``.
            report: Takes the faults of applications.
            operation: The exclusive operation that has begun, if any.
            lock: Whether the terminal is locked.
            unit_of: The service that a process runs in.
        """
        self._clock = clock
        self._report = report
        self._operation = operation
        self._lock = lock
        self._unit_of = unit_of
        self._leases = Leases()
        self._applications = Applications(configured, is_alive, began_s=clock.monotonic())
        self._listeners: list[Callable[[], None]] = []
        self._changed = asyncio.Event()
        self._looks_at_s = math.inf  # when the loop wakes by itself
        self._told: dict[tuple[str, str], tuple[bool, str]] = {}

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called when what holds operations back may be less than before."""
        self._listeners.append(listener)

    # ── leases ─────────────────────────────────────────────────────────────────────────────────────────────────
    def begin(self, owner: Process, purpose: Purpose, lease_s: int) -> Lease:
        """Grant a lease, unless the terminal is locked or has an operation under way.

        Raises:
            Refused: ``TERMINAL_LOCKED``, ``OPERATION_RUNNING`` with ``retry_after_s``, ``TOO_MANY_LEASES``.
        """
        if purpose is Purpose.SALE and self._lock() is not None:
            raise Refused(
                "the terminal is locked: no new sale",
                reason="TERMINAL_LOCKED",
                hint="reversals and settlement go on; terminal.state says why it is locked",
            )
        operation = self._operation()
        if operation is not None:
            raise Refused(
                f"the operation {operation.name} is under way",
                reason="OPERATION_RUNNING",
                hint="ask again after retry_after_s",
                retry_after_s=operation.retry_after_s,
            )
        lease = self._leases.begin(uuid7(), owner, purpose, lease_s, self._clock.monotonic())
        self._look_by(lease.ends_s)
        return lease

    def renew(self, owner: Process, lease_id: str, lease_s: int) -> Lease:
        """Have a lease end ``lease_s`` from now; a sale under way may always go on.

        Raises:
            Refused: ``LEASE_UNKNOWN``.
        """
        lease = self._leases.renew(lease_id, owner, lease_s, self._clock.monotonic())
        self._look_by(lease.ends_s)
        return lease

    def end(self, owner: Process, lease_id: str) -> None:
        """The sale is over; raises as `renew`."""
        self._leases.end(lease_id, owner, self._clock.monotonic())
        if not len(self._leases):
            self._tell_listeners()

    # ── statuses ───────────────────────────────────────────────────────────────────────────────────────────────
    def status(self, process: Process, status: AppStatus) -> None:
        """Take what an application says of itself.

        Raises:
            Refused: ``TOO_MANY_APPLICATIONS``.
        """
        now_s = self._clock.monotonic()
        before = _settled(self._applications.facts(now_s))
        self._applications.report(process, self._unit_of(process), status, now_s)
        self._changed.set()
        if _settled(self._applications.facts(now_s)) != before:
            self._tell_listeners()

    def last_report(self, unit: str) -> float | None:
        """When, in monotonic seconds, the application of ``unit`` last gave a status; None: never in this process."""
        return self._applications.last_report_s(unit)

    # ── for operations ─────────────────────────────────────────────────────────────────────────────────────────
    def facts(self) -> Selling:
        """Who sells, as of now."""
        now_s = self._clock.monotonic()
        return replace(self._applications.facts(now_s), lease_left_s=self._leases.left_s(now_s))

    def operation(self) -> RunningOperation | None:
        """The exclusive operation that sales wait for."""
        return self._operation()

    def lock(self) -> Lock | None:
        """The lock, for ``terminal.state``."""
        return self._lock()

    # ── the loop ───────────────────────────────────────────────────────────────────────────────────────────────
    async def run(self) -> None:
        """Until cancelled: look when something ends or turns by itself, and after every change."""
        before = self._settled_facts()
        while True:
            self._changed.clear()
            self._looks_at_s = math.inf
            turn_s = self._tell_faults()
            now_s = self._clock.monotonic()
            turns_s = [turn_s, self._applications.next_turn_s(now_s), self._leases.next_end_s(now_s)]
            next_s = min((one for one in turns_s if one is not None), default=None)
            if next_s is not None:
                next_s += _SLACK_S
                self._looks_at_s = now_s + next_s
            await wait_for(self._changed, self._clock, next_s)
            before, after = self._settled_facts(), before
            if before != after:
                self._tell_listeners()

    def _look_by(self, at_s: float) -> None:
        """Have the loop awake when this moment comes: it may sleep for longer."""
        if at_s + _SLACK_S < self._looks_at_s:
            self._changed.set()

    def _settled_facts(self) -> tuple[Selling, bool]:
        now_s = self._clock.monotonic()
        return _settled(self._applications.facts(now_s)), self._leases.next_end_s(now_s) is not None

    def _tell_faults(self) -> float | None:
        """Report what is new; returns in how many seconds the next fault comes by itself."""
        now_s = self._clock.monotonic()
        grace_left_s = self._applications.facts(now_s).start_left_s
        merged: dict[tuple[str, str], rules.Finding] = {}
        soonest_s = math.inf
        for finding in rules.judge(self._applications, now_s, grace_left_s):
            soonest_s = min(soonest_s, math.inf if finding.turn_s is None else finding.turn_s)
            key = (finding.code, finding.device)
            if key not in merged or finding.active > merged[key].active:
                merged[key] = finding
        for key in self._told.keys() - merged.keys():  # forgotten: a program that came by and has gone
            merged[key] = rules.Finding(*key, False, "it is gone", None)
        for key, finding in merged.items():
            word = (finding.active, finding.detail[:_DETAIL_KEPT] if finding.active else "")
            if self._told.get(key) != word:
                self._told[key] = word
                self._report(finding.code, finding.device, finding.active, finding.detail)
        return None if math.isinf(soonest_s) else soonest_s

    def _tell_listeners(self) -> None:
        for listener in self._listeners:
            listener()


def _settled(facts: Selling) -> Selling:
    """The same without what only counts on."""
    return replace(
        facts,
        start_left_s=None if facts.start_left_s is None else 0.0,
        silent_s=None if facts.silent_s is None else 0.0,
    )
