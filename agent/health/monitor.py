"""The loop of health: who is due is looked at, what changed is committed with the messages that say so.

Devices are asked from the loop, each in its own task; the board is read in a thread, all that is due in one hop. No
look waits for another. Plain readings stay in memory. Left out: how samples are judged (rules.py) and repairs.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import structlog

from agent.contract.faults import CATALOGUE
from agent.contract.health import DeviceHealth, HealthSnapshot, State
from agent.contract.publication import Publication
from agent.errors import BadRequest, NotFound, StoreDamaged, Unavailable
from agent.health import records
from agent.health.blocking_reader import BlockingReader
from agent.health.probes.host import blocked, unread
from agent.health.reported import Delay, Moment, ReportedFaults
from agent.health.rules import BROKEN
from agent.health.sample import Sample, Value
from agent.health.subject import DeviceProbe, HostLook, Subject, TestableProbe, Watched
from agent.health.truth import OnChange, Truth, tell_nobody
from agent.runtime.clock import Clock
from agent.runtime.services import Pulse
from agent.store.database import Database, Worth
from drivers.errors import DriverError, HostSourceError

log = structlog.get_logger("health")

Gauge = Callable[[str, Mapping[str, Value]], None]
"""Keeps readings in memory: group, then name with unit → value."""

DEFAULT_DELAYS: Mapping[str, Delay] = {"NET-MQT-001": Delay(raise_after_s=60.0, clear_after_s=5.0)}
LEVELS = ("internal", "external")

_AGAIN_S = 1.0  # how soon to look again while the rules are undecided
_CHECK_AGAIN_S = 0.25
_CHECK_LOOKS = 4  # three misses are silence, and one more
_GRACE_S = 1.0  # beyond its deadline, for a device that does not keep it
_ROUND_LIMIT_S = 60.0  # beyond the deadlines: a commit on a slow disk
_SLACK_S = 0.02  # so that one wake-up serves all that is due together
_DAY_S = 86_400.0


class Monitor:
    """A `Service`. `restore` before anything is published; the rest may be called at any time from the loop."""

    name = "health"

    def __init__(
        self,
        subjects: Sequence[Subject],
        *,
        database: Database,
        clock: Clock,
        pulse: Pulse,
        gauge: Gauge,
        source: str,
        interval_s: float = 10.0,
        read_deadline_s: float = 2.0,
        delays: Mapping[str, Delay] = DEFAULT_DELAYS,
        on_change: OnChange = tell_nobody,
    ) -> None:
        """
        Args:
            subjects: See ``catalog.py``; names are unique.
            source: This terminal as a URI reference, ``pos/v1/<site>/<terminal>``: origin of events.
            interval_s: Between two rounds; a subject is looked at in each, or in each so many (`Subject.every`).
            read_deadline_s: For one look.
            delays: For faults reported by others: how long they must stand, by code.
            on_change: See `OnChange`.
        """
        self._database = database
        self._clock = clock
        self._pulse = pulse
        self._gauge = gauge
        self._interval_s = interval_s
        self._deadline_s = read_deadline_s
        board = asyncio.Lock()  # one read of the board at a time, so that no file is read twice at once
        self._watched = {one.name: Watched(one, lock=board) if one.host else Watched(one) for one in subjects}
        if len(self._watched) != len(subjects):
            raise ValueError("two subjects have the same name")
        self._reported = ReportedFaults(delays)
        self._truth = Truth(self._watched.values(), self._reported, clock, source, on_change)
        self._reader: BlockingReader[Sample] = BlockingReader("health-reader", blocked)
        self._looks = {one.name: partial(self._look_in_thread, one.name, one.host) for one in subjects if one.host}
        self._broken: dict[str, str] = {}  # subject → class of what its probe raised
        self._under_way: dict[str, float] = {}
        self._commits = asyncio.Lock()
        self._commit_failed = False
        self._restored = False
        self._begun_s = clock.monotonic()
        self._say_again_s = self._begun_s + _DAY_S
        self._sleeper: asyncio.Task[None] | None = None
        self._woken = False

    # ── what others call ───────────────────────────────────────────────────────────────────────────────────────
    async def restore(self) -> None:
        """Take over what the database holds. Raises `StoreUnavailable`; a second call does nothing."""
        if not self._restored:
            self._truth.restore(*await self._database.read(records.read))
            self._restored = True

    def devices(self) -> frozenset[str]:
        """Names that `check` takes: devices and parts of the board."""
        return frozenset(self._watched)

    def snapshot(self) -> HealthSnapshot:
        """Everything as of now."""
        return self._truth.snapshot()

    def publications(self) -> list[Publication]:
        """Own truth for a new connection: faults, every device, readiness. Empty before `restore`."""
        return self._truth.publications() if self._restored else []

    def report(self, code: str, device: str, active: bool, detail: str) -> None:
        """A fault that another room found, or its end; never raises. How each ends: `agent.contract.faults.Lasts`.

        Args:
            device: The part that is at fault, such as ``uplink`` or ``journal``.
            detail: For people; at most 200 characters are kept.
        """
        kind = CATALOGUE.get(code)
        if kind is None:
            log.error("fault.code_not_in_catalogue", code=code, device=device)
            return
        try:
            self._reported.report(kind, device, active, detail, Moment.of(self._clock))
        except OverflowError as err:
            log.error("fault.not_taken", code=code, detail=str(err))
            return
        self._truth.refresh()
        self._wake()

    async def check(self, device: str, level: str) -> DeviceHealth:
        """CheckHealth: look now, until the rules have decided; ``external`` lets the device act before (test slip).

        Raises:
            NotFound: No such device.
            BadRequest: No such level, or none such for this device.
        """
        one = self._watched.get(device)
        if one is None:
            raise NotFound("no such device", field="device", hint=f"there are: {', '.join(sorted(self._watched))}")
        if level not in LEVELS:
            raise BadRequest("no such level of checking", field="level", hint="internal or external")
        probe = one.subject.device if isinstance(one.subject.device, TestableProbe) else None
        if level == "external" and probe is None:
            raise BadRequest("this device has no external test", field="level", hint="use internal")
        problem = None
        async with one.lock:
            if level == "external" and probe is not None:
                problem = await self._test(one.subject.name, probe)
            for _ in range(_CHECK_LOOKS):
                await self._look(one)
                if not one.is_undecided:
                    break
                await self._clock.sleep(_CHECK_AGAIN_S)
        await self._commit()
        health = self._truth.health(device)
        if problem is None or health.state in {State.FAILED, State.UNKNOWN}:
            return health
        failed = (health.device, health.category, State.FAILED, health.power_state, problem)
        return DeviceHealth(*failed, since=health.since, at=health.at)

    # ── the loop ───────────────────────────────────────────────────────────────────────────────────────────────
    async def run(self) -> None:
        await self.restore()
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._look_at_due(tasks)
                    self._let_time_pass()
                    await self._commit()
                    await self._rest()
        finally:
            self._reader.close()
            self._under_way.clear()
            self._pulse.resting()

    def _look_at_due(self, tasks: asyncio.TaskGroup) -> None:
        now_s = self._clock.monotonic()
        board = []
        for one in self._watched.values():
            if one.due_s > now_s + _SLACK_S:
                continue
            one.due_s = self._next_round_s(now_s, one.subject.every)
            if one.lock.locked():
                continue
            if one.subject.host is not None:
                board.append(one)
            elif one.subject.device is not None:
                tasks.create_task(self._round(one.subject.name, partial(self._look_at_device, one)))
        if board:
            tasks.create_task(self._round("the board", partial(self._look_at_board, board)))

    def _next_round_s(self, now_s: float, every: int) -> float:
        """On one grid for all, so that they stay due together."""
        rounds = math.floor((now_s + _SLACK_S - self._begun_s) / self._interval_s)
        return self._begun_s + (rounds // every + 1) * every * self._interval_s

    def _let_time_pass(self) -> None:
        now_s = self._clock.monotonic()
        turn_s = self._reported.next_turn_s()
        if turn_s is not None and turn_s <= now_s:
            self._reported.advance(now_s)
            self._truth.refresh()
        if now_s >= self._say_again_s:
            self._say_again_s = now_s + _DAY_S
            self._truth.say_again()

    async def _rest(self) -> None:
        """Until the next look or turn is due, or somebody wakes us."""
        if self._woken:
            self._woken = False
            return
        due = [one.due_s for one in self._watched.values() if one.subject.host or one.subject.device]
        turn_s = self._reported.next_turn_s()
        next_s = min([*due, self._say_again_s, *([] if turn_s is None else [turn_s])])
        self._sleeper = asyncio.create_task(self._sleep(max(next_s - self._clock.monotonic(), 0.0)))
        try:
            await asyncio.wait([self._sleeper])
        finally:
            self._sleeper.cancel()
            self._sleeper = None
            self._woken = False

    async def _sleep(self, duration_s: float) -> None:
        await self._clock.sleep(duration_s)

    def _wake(self) -> None:
        self._woken = True
        if self._sleeper is not None:
            self._sleeper.cancel()

    async def _round(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Work with a promise to be over in time, for the watchdog."""
        self._under_way[name] = self._clock.monotonic() + self._deadline_s + _ROUND_LIMIT_S
        self._feel_pulse()
        try:
            await work()
            await self._commit()
        finally:
            self._under_way.pop(name, None)
            self._feel_pulse()

    def _feel_pulse(self) -> None:
        if self._under_way:
            self._pulse.working(min(self._under_way.values()) - self._clock.monotonic())
        else:
            self._pulse.resting()

    async def _look_at_device(self, one: Watched) -> None:
        async with one.lock:
            await self._look(one)

    async def _look_at_board(self, due: Sequence[Watched]) -> None:
        async with due[0].lock:
            await self._read_board(due)

    # ── one look ───────────────────────────────────────────────────────────────────────────────────────────────
    async def _look(self, one: Watched) -> None:
        """One sample of one subject; its lock is held."""
        if one.subject.host is not None:
            await self._read_board([one])
        elif one.subject.device is not None:
            self._take(one, await self._ask(one.subject, one.subject.device))

    async def _ask(self, subject: Subject, probe: DeviceProbe) -> Sample:
        deadline_s = subject.deadline_s or self._deadline_s
        try:
            async with asyncio.timeout(deadline_s + _GRACE_S):
                sample = await probe.look(deadline_s)
        except Exception as err:  # noqa: BLE001  # whatever a probe does wrong, it does to itself
            return self._contained(subject.name, err)
        self._broken.pop(subject.name, None)
        return sample

    async def _test(self, name: str, probe: TestableProbe) -> str | None:
        """Why the external test failed, or None."""
        try:
            await probe.test()
        except DriverError as err:
            log.warning("device.test_failed", device=name, code=err.code, detail=err.detail)
            return err.detail
        except Exception as err:  # as above
            log.error("device.test_broken", device=name, error=type(err).__name__, exc_info=err)
            return "the test itself failed; see the log"
        log.info("device.test_passed", device=name)
        return None

    async def _read_board(self, due: Sequence[Watched]) -> None:
        looks = {one.subject.name: self._looks[one.subject.name] for one in due}
        async for samples in self._reader.read(looks, self._deadline_s):
            for name, sample in samples.items():
                self._take(self._watched[name], sample)
            await self._commit()

    def _look_in_thread(self, name: str, look: HostLook) -> Sample:
        try:
            sample = look()
        except HostSourceError as err:
            sample = unread(err.detail)
        except Exception as err:  # noqa: BLE001  # as above
            return self._contained(name, err)
        self._broken.pop(name, None)
        return sample

    def _contained(self, name: str, err: Exception) -> Sample:
        kind = type(err).__name__
        if self._broken.get(name) != kind:
            self._broken[name] = kind
            log.error("probe.failed", device=name, error=kind, exc_info=err)
        return Sample(False, {BROKEN: True})

    def _take(self, one: Watched, sample: Sample) -> None:
        self._truth.take(one, sample)
        if one.is_undecided:
            soon_s = self._clock.monotonic() + min(_AGAIN_S, self._interval_s)
            if soon_s < one.due_s:
                one.due_s = soon_s
                self._wake()
        if sample.readings:
            self._gauge(one.subject.group, sample.readings)

    # ── to the store ───────────────────────────────────────────────────────────────────────────────────────────
    async def _commit(self) -> None:
        """Write what is unsaid, state and messages together. What the store does not take is tried again later."""
        if not self._truth.is_unsaid:
            return
        async with self._commits:
            if not self._truth.is_unsaid:
                return
            unsaid, change = self._truth.take_unsaid()
            try:
                await self._database.write(partial(records.write, change=change), worth=Worth.OUTBOX)
            except (Unavailable, StoreDamaged) as err:
                self._truth.put_back(unsaid)
                if not self._commit_failed:
                    log.error("health.not_stored", code=err.code, hint="kept in memory and tried again each round")
                self._commit_failed = True
                return
            self._commit_failed = False
