"""The life of the process: state taken, parts built, doors opened, READY said, and everything ended in order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

import agent
from agent.boot.copies import build_copies, end_faults_of_former_targets
from agent.boot.doors import build_doors
from agent.boot.health import build_health
from agent.boot.journal import build_keeping, recall_conflict
from agent.boot.link import birth_identity, build_link
from agent.boot.machine import build_machine
from agent.boot.orders import Around, build_orders
from agent.boot.power import PowerView
from agent.boot.selling import build_sales
from agent.boot.store import make_store, watch_store
from agent.boot.trust import read_trust
from agent.boot.upload import origin_of
from agent.config import Loaded, keep_good_copy
from agent.contract import card_data
from agent.contract.about import TerminalInfo
from agent.contract.health import DeviceHealth, State
from agent.contract.journal_upload import JournalOrigin
from agent.contract.policy import Policy
from agent.contract.publication import Publication
from agent.contract.rpc import ConfigResult
from agent.contract.topics import Address
from agent.errors import NeedsPerson
from agent.health.history import HealthHistory
from agent.local_api.about import About, Identity, LinkView
from agent.local_api.events import Announcements
from agent.local_api.own_figures import own_figures
from agent.local_api.server import LocalServer
from agent.runtime import event_log
from agent.runtime.backoff import Backoff
from agent.runtime.boot_identity import read_boot_id
from agent.runtime.clock import Clock, SystemClock
from agent.runtime.durable_files import make_folder
from agent.runtime.services import Pulses, Service, end_together, run_restarting
from agent.runtime.state_lock import StateLock
from agent.runtime.stop_signals import StopSignals
from agent.runtime.systemd import Notifier, more_time, watchdog_interval_s
from agent.runtime.watchdog import Watchdog
from agent.selling.batches import BatchWatch
from agent.store import journals, meta
from agent.store.database import Connection, Database, Worth
from agent.store.outbox import Outbox
from agent.store.transactions import TransactionJournal
from agent.trust.clock_trust import clock_trust
from agent.uplink.gauges import Gauges
from agent.uplink.session import Session
from agent.workflow.engine import Engine
from agent.workflow.journal import RunJournal
from drivers.host.clock import read_kernel_clock

log = structlog.get_logger("boot")

EXIT_DONE, EXIT_FAILED = 0, 1
STOP_GRACE_S = 4.0
_OPENING_LIMIT_S = 1800.0
_STATUS_EVERY_S = 30.0
_RUNNING = "running"  # in table meta: "1" from a start to its orderly stop


def start(loaded: Loaded, *, demo_folder: Path | None = None) -> int:
    """Be the daemon until SIGTERM or SIGINT; returns the exit code.

    Args:
        demo_folder: Given by the demo alone: development keys are accepted, if everything is below it and on loopback.

    Raises:
        NeedsPerson: It cannot start as things are; the message says why and what to do.
    """
    event_log.configure(loaded.settings.log.level, card_data.redact)
    state, run = Path(loaded.settings.paths.state), Path(loaded.settings.paths.run)
    for folder, mode in ((state, 0o700), (run, 0o755)):
        try:
            make_folder(folder, mode)
        except OSError as err:
            hint = "Check [paths] in the configuration, and who owns the folder above it."
            raise NeedsPerson(f"{folder} cannot be made: {err.strerror}", hint=hint) from err
    lock = StateLock(state)
    lock.take()
    stop = StopSignals()
    try:
        return asyncio.run(_run(loaded, read_trust(loaded.settings, demo_folder), stop))
    finally:
        lock.release()


async def _run(loaded: Loaded, policy: tuple[Policy | None, str], stop: StopSignals) -> int:
    database = make_store(loaded.settings, SystemClock())
    with more_time(Notifier.from_environment(), longest_s=_OPENING_LIMIT_S):  # a migration, or a damaged file
        database.open()
    try:
        return await _Agent(loaded, database, stop, *policy).serve()
    finally:
        await database.close()


class _Beginning(Struct, frozen=True):
    """What the database says at a start."""

    journal_id: str
    origin: JournalOrigin
    starts: int
    was_cut_off: bool


def _begin(db: Connection) -> _Beginning:
    cut_off = meta.get(db, _RUNNING) == "1"
    meta.put(db, _RUNNING, "1")
    journal = journals.present(db)
    return _Beginning(journal.journal_id, origin_of(journal), meta.next_start_counter(db), cut_off)


class _Agent:
    """All parts of one process."""

    def __init__(
        self, loaded: Loaded, database: Database, stop: StopSignals, policy: Policy | None, policy_problem: str
    ) -> None:
        self._loaded = loaded
        self._stop = stop
        self._settings = loaded.settings
        self._database = database
        self._policy = policy
        self._policy_problem = policy_problem
        self._clock: Clock = SystemClock()
        self._notifier = Notifier.from_environment()
        self._pulses = Pulses(self._clock)
        self._pulses.watch("store writer", database.writer_stalled)
        terminal = self._settings.terminal
        self._address = Address(terminal.site, terminal.terminal)
        self._link = LinkView(self._clock, configured=self._settings.uplink is not None)
        self._announcements = Announcements(self._clock)
        self._doors: list[LocalServer] = []
        self._parts: list[Service] = []
        self._session: Session | None = None

    async def serve(self) -> int:
        """Build, open the doors, say READY, wait for the end, stop in order; returns the exit code."""
        beginning = await self._database.write(_begin, worth=Worth.RUN)
        engine = self._build(beginning)
        await self._monitor.restore()
        await recall_conflict(self._journal, self._monitor.snapshot().faults)
        await engine.restore()
        self._report_start(beginning)
        keep_good_copy(self._loaded)
        for door in self._doors:
            door.open()
        doors = [asyncio.create_task(door.run(), name=door.name) for door in self._doors]
        parts = [asyncio.create_task(self._restarting(part), name=part.name) for part in self._parts]
        interval_s = watchdog_interval_s() or _STATUS_EVERY_S
        watchdog = asyncio.create_task(
            Watchdog(self._notifier, self._pulses, self._clock, interval_s=interval_s, status=self._status).run()
        )
        self._notifier.send("READY=1", f"STATUS={self._status()}")
        log.info("agent.ready", version=agent.__version__, starts=beginning.starts, digest=self._loaded.digest)
        waiting = asyncio.create_task(self._stop.wait())
        await asyncio.wait([waiting, *doors], return_when=asyncio.FIRST_COMPLETED)
        broken = [task for task in doors if task.done()]
        self._notifier.send("STOPPING=1", "STATUS=stopping")
        log.info("agent.stopping", broken=[task.get_name() for task in broken])
        waiting.cancel()
        for group in (doors, parts, [watchdog]):  # sockets first, then the loops behind them
            await end_together(group, STOP_GRACE_S)
        await self._database.write(lambda db: meta.put(db, _RUNNING, "0"), worth=Worth.RUN)
        for task in broken:
            if not task.cancelled() and (err := task.exception()) is not None:
                log.error("socket.failed", socket=task.get_name(), error=type(err).__name__, exc_info=err)
        return EXIT_FAILED if broken else EXIT_DONE

    def _build(self, beginning: _Beginning) -> Engine:
        """Every part, each given what it needs."""
        settings, database, clock = self._settings, self._database, self._clock
        uplink = settings.uplink
        keeping = build_keeping(
            settings,
            database=database,
            clock=clock,
            report=self._report,
            faults=lambda: self._monitor.snapshot().faults,
        )
        figures = own_figures(
            database.metrics,
            clock,
            starts=beginning.starts,
            refused=lambda: orders.security.counts,
            copies=keeping.figures,
        )
        gauges = Gauges(clock, interval_s=uplink.metrics_interval_s if uplink else 60.0, sources=figures)
        soundness = watch_store(database, clock, self._report)
        self._journal = journal = TransactionJournal(
            database,
            clock,
            bindings=frozenset((one.provider, one.mid, one.tid) for one in settings.binding),
            alarm=lambda code, detail: self._monitor.report(code, "journal", True, detail),
            verify=soundness.verify,
        )
        power = PowerView(gauges.set)
        health = build_health(
            self._loaded,
            database=database,
            clock=clock,
            pulse=self._pulses.add("health"),
            gauge=power.take,
            address=self._address,
            on_change=self._health_changed,
        )
        self._monitor = health.monitor
        self._copies = build_copies(
            settings,
            database=database,
            clock=clock,
            clock_trusted=clock_trust(settings.clock.trust, read_kernel_clock),
            report=self._monitor.report,
        )
        sales = build_sales(
            settings,
            clock=clock,
            report=self._monitor.report,
            operation=lambda: orders.engine.exclusive,
        )
        orders = build_orders(
            settings,
            policy=lambda: self._policy,
            policy_is_unusable=bool(self._policy_problem),
            database=database,
            clock=clock,
            pulses=self._pulses,
            address=self._address,
            monitor=self._monitor,
            journal=journal,
            around=Around(
                ports=health.drivers,
                announce=self._announce_again,
                machine=build_machine(settings, clock),
                selling=sales.facts,
                last_report_s=sales.last_report,
                battery_pct=power.on_battery_pct,
                backups=self._copies.backups,
            ),
        )
        sales.on_change(orders.engine.wake)
        orders.runs.on_state(self._announcements.operation)
        identity = self._identity(beginning)
        about = About(identity, journal, self._link, gauges.latest, clock, unsent=Outbox(database).count)
        soundness.on_journal(about.renamed)
        self._doors += build_doors(
            self._loaded,
            journal=journal,
            monitor=self._monitor,
            history=HealthHistory(database),
            backups=self._copies.backups,
            inbox=orders.inbox,
            sales=sales,
            announcements=self._announcements,
            runs=orders.runs,
            about=about,
            on_card_data=self._card_data_offered,
        )
        self._parts += [
            orders.engine,
            orders.inbox,
            self._monitor,
            sales,
            BatchWatch(journal, clock, self._monitor.report),
            *self._copies.parts,
            *keeping.services,
            soundness,
        ]
        if uplink is not None:
            capabilities = frozenset(driver.category for driver in health.drivers)
            self._session = build_link(
                uplink,
                settings.upload,
                address=self._address,
                identity=birth_identity(
                    settings, identity, origin=beginning.origin, capabilities=capabilities, commands=orders.names
                ),
                starts=beginning.starts,
                database=database,
                clock=clock,
                pulses=self._pulses,
                gauges=gauges,
                receive=orders.inbox.receive,
                policy=lambda: self._policy,
                report=self._monitor.report,
                note=orders.security.note,
                truth=lambda: self._truth(orders.runs),
                on_link=self._link_changed,
            )
            self._parts.append(self._session)
        return orders.engine

    def _identity(self, beginning: _Beginning) -> Identity:
        terminal = self._settings.terminal
        return Identity(
            version=agent.__version__,
            terminal=TerminalInfo(terminal.site, terminal.terminal, terminal.serial, terminal.model),
            mode=self._settings.mode,
            boot_id=read_boot_id(Path(self._settings.paths.procfs)),
            journal_id=beginning.journal_id,
            config_digest=self._loaded.digest,
        )

    async def _truth(self, runs: RunJournal) -> Sequence[Publication]:
        """What a new connection is told before anything that waits."""
        config = Publication("agent/cfg", msgspec.json.encode(ConfigResult(self._loaded.digest)), retain=True)
        return [*self._monitor.publications(), *await runs.open_publications(), config]

    async def _announce_again(self) -> bool:
        return await self._session.announce_again() if self._session is not None else False

    # ── what the parts say of themselves ───────────────────────────────────────────────────────────────────────
    def _health_changed(self, kind: str, data: object) -> None:
        self._announcements.health(kind, data)
        is_back = isinstance(data, DeviceHealth) and data.device == "link" and data.state is State.OK
        if is_back and self._session is not None:
            self._session.wake()  # whoever has the cable back need not wait for the end of a back-off

    def _link_changed(self, connected: bool, detail: str) -> None:
        self._link.changed(connected, detail)
        self._monitor.report("NET-MQT-001", "uplink", not connected, detail)

    def _card_data_offered(self, rule: str) -> None:
        self._monitor.report("SEC-PAN-001", "payment_socket", True, f"card data was refused by rule {rule}")

    def _report(self, code: str, device: str, active: bool, detail: str) -> None:
        self._monitor.report(code, device, active, detail)

    def _part_failed(self, name: str, error: str) -> None:
        self._monitor.report("SW-AGT-001", name, True, f"{name} failed with {error} and was started again")

    def _report_start(self, beginning: _Beginning) -> None:
        if beginning.was_cut_off:
            self._monitor.report(
                "SW-AGT-001", "agent", True, "the process before this one ended without an orderly stop"
            )
        problems = [*self._loaded.problems, *([self._policy_problem] if self._policy_problem else [])]
        for problem in problems:
            log.error("config.problem", problem=problem)
        # Both ways: what the process before this one reported is over as soon as this configuration says so.
        self._monitor.report("SW-AGT-002", "agent", bool(problems), problems[0] if problems else "in order")
        self._monitor.report("NET-MQT-001", "uplink", self._settings.uplink is not None, "not connected yet")
        end_faults_of_former_targets(self._copies.backups, self._monitor.snapshot().faults, self._monitor.report)

    def _status(self) -> str:
        ready = "ready to sell" if self._monitor.snapshot().readiness.ready else "NOT ready to sell"
        return f"{ready}; uplink {'connected' if self._link.connected else 'not connected'}"

    async def _restarting(self, part: Service) -> None:
        await run_restarting(part, Backoff(0.5, 30.0), self._clock, on_failure=self._part_failed)
