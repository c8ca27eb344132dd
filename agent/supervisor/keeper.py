"""All units of one emulated machine: started in order, ended in the opposite one, and acts on them done once each."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Final

import structlog

from agent.contract.command import ReasonCode
from agent.errors import NotFound, Refused
from agent.machine.acts import Act, Outcome, failed, refused
from agent.machine.ledger import Ledger
from agent.machine.machine import UnitState
from agent.machine.supervisor_wire import Counters
from agent.runtime.clock import Clock
from agent.supervisor.folders import write
from agent.supervisor.settings import SupervisorSettings, start_order
from agent.supervisor.unit import Unit

log = structlog.get_logger("supervisor")

LEDGER_UNWRITABLE: Final = "the record of acts cannot be written, so nothing was done"


class _Running:
    """An act under way, and those who wait for it."""

    def __init__(self, act: Act) -> None:
        self.act = act
        self.begun = asyncio.Event()
        self.task: asyncio.Task[Outcome] | None = None

    async def answer(self) -> Outcome:
        """What became of it; for a reboot, that it has begun."""
        assert self.task is not None
        if self.act.verb == "reboot":
            begun = asyncio.ensure_future(self.begun.wait())
            await asyncio.wait([begun, self.task], return_when=asyncio.FIRST_COMPLETED)
            begun.cancel()
            if not self.task.done():
                return Outcome(self.act, "done", text="under way")
        return await asyncio.shield(self.task)


class Keeper:
    """Between `power_on` and `power_off` the units run. One act at a time."""

    def __init__(self, settings: SupervisorSettings, clock: Clock) -> None:
        self._settings = settings
        self._folder = Path(settings.folder)
        self._clock = clock
        log_folder = self._folder / settings.log
        self._units = {one.name: Unit(one, self._folder, log_folder, clock) for one in start_order(settings.unit)}
        self._boot_id = str(uuid.uuid4())
        self._booted_at = clock.monotonic()
        self._ledger = Ledger(self._folder / settings.ledger, boot_id=self._boot_id, now=clock.now)
        self._one_at_a_time = asyncio.Lock()
        self._under_way: dict[str, _Running] = {}
        self._reboots = 0

    async def power_on(self) -> None:
        """A boot of the machine: a boot id, and every unit started, also after one that does not come up.

        Raises:
            NeedsPerson: The record of acts cannot be read.
            Refused: The file of the boot id is not inside the folder.
        """
        self._ledger.open()
        async with self._one_at_a_time:
            await self._boot()

    async def power_off(self) -> None:
        """Every unit ended, the last one first; what is under way is left as it is."""
        tasks = [running.task for running in self._under_way.values() if running.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for unit in reversed(self._units.values()):
            await unit.stop()

    def state(self, name: str) -> UnitState:
        """How a unit is.

        Raises:
            NotFound: No unit of that name.
        """
        if name not in self._units:
            raise NotFound("no unit of that name is kept here")
        return self._units[name].state()

    def counters(self) -> Counters:
        """What tests and evidence ask for."""
        return Counters(
            tuple(unit.counts() for unit in self._units.values()), self._ledger.times_begun(), self._reboots
        )

    async def perform(self, act: Act) -> Outcome:
        """Do it unless it was done, and say what became of it. It goes on when the caller goes away.

        A reboot is answered once it is under way.
        """
        running = self._under_way.get(act.order_id)
        if running is None:
            known = self._ledger.outcome(act)
            if known is not None:
                return known
            running = _Running(act)
            running.task = asyncio.create_task(self._carry_out(running), name=f"act {act.order_id}")
            self._under_way[act.order_id] = running
            running.task.add_done_callback(lambda _task: self._under_way.pop(act.order_id))
        if running.act != act:
            return refused(act, ReasonCode.INVALID_ARGUMENTS, "this order id is under way for another act")
        return await running.answer()

    def _not_allowed(self, act: Act) -> Outcome | None:
        if act.unit is None:
            uptime_s = self._clock.monotonic() - self._booted_at
            wait_s = self._ledger.reboot_wait_s(self._settings.reboot_interval_s, uptime_s)
            text = f"the last reboot was too short ago; allowed again in {wait_s:.0f} s"
            return refused(act, ReasonCode.TOO_MANY_TRIES, text) if wait_s > 0 else None
        known = act.unit in self._units
        return None if known else refused(act, ReasonCode.INVALID_ARGUMENTS, "no unit of that name is kept here")

    async def _carry_out(self, running: _Running) -> Outcome:
        act = running.act
        async with self._one_at_a_time:
            not_allowed = self._not_allowed(act)
            if not_allowed is not None:
                return not_allowed
            try:
                self._ledger.begin(act)
            except OSError:
                return refused(act, ReasonCode.STEP_FAILED, LEDGER_UNWRITABLE)
            log.info("act.begun", order_id=act.order_id, verb=act.verb, unit=act.unit)
            running.begun.set()
            outcome = await (self._reboot(act) if act.unit is None else self._on_unit(act, self._units[act.unit]))
            try:
                self._ledger.finish(outcome)
            except OSError as err:  # done, but not on record: asked again it is called interrupted, never repeated
                log.error("act.not_recorded", order_id=act.order_id, reason=err.strerror)
            log.info("act.ended", order_id=act.order_id, end=outcome.end)
            return outcome

    async def _on_unit(self, act: Act, unit: Unit) -> Outcome:
        await unit.stop()
        problem = None
        if act.verb == "reinitialise":
            try:
                unit.empty_caches()
            except (Refused, OSError) as err:
                problem = f"a cache folder could not be emptied: {err}"
        if not await unit.start():  # also when emptying failed: a terminal without its application is worse
            problem = problem or f"it is not up after {unit.settings.start_s:g} s"
        return failed(act, problem, unit.state()) if problem else Outcome(act, "done", state=unit.state())

    async def _reboot(self, act: Act) -> Outcome:
        for unit in reversed(self._units.values()):
            await unit.stop()
        self._reboots += 1
        self._boot_id = str(uuid.uuid4())
        self._ledger.new_boot(self._boot_id)
        await self._boot()
        return Outcome(act, "done", text="all units were ended and started again")

    async def _boot(self) -> None:
        write(self._folder, self._settings.boot_id, f"{self._boot_id}\n".encode())
        self._booted_at = self._clock.monotonic()
        for unit in self._units.values():
            await unit.start()
