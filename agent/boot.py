"""The composition root: builds every part once, hands rooms to each other, starts them, and stops them in order.

A bill of materials, read from top to bottom. It decides nothing about payments, devices or orders; it is the only file
that knows all rooms, and with ``__main__.py`` the only one that reads the settings.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

import agent
from agent.commands.catalog import build_commands
from agent.commands.inbox import Inbox
from agent.commands.intake import Identity as OrderIdentity
from agent.commands.intake import Intake, LocalCaller
from agent.commands.planning import Planner
from agent.commands.security_log import BAD_SIGNATURE, SecurityLog
from agent.config import Loaded, Settings, Uplink, keep_good_copy
from agent.contract import card_data
from agent.contract.health import Thresholds
from agent.contract.policy import Policy
from agent.contract.publication import Publication
from agent.contract.rpc import ConfigResult
from agent.contract.topics import Address
from agent.devices import fit
from agent.errors import NeedsPerson, PolicyInvalid
from agent.health import catalog as health_catalog
from agent.health.monitor import DEFAULT_DELAYS, Monitor
from agent.health.reported import Delay
from agent.health.subject import Subject
from agent.local_api import listening, peer
from agent.local_api.about import About, Identity, LinkView, TerminalInfo
from agent.local_api.control import ControlMethods, ControlSubjects
from agent.local_api.limits import CONTROL_LIMITS, PAYMENT_LIMITS
from agent.local_api.own_figures import own_figures
from agent.local_api.payment import PaymentMethods
from agent.local_api.server import CONTROL_RIGHTS, PAYMENT_RIGHTS, Door, LocalServer, Method
from agent.runtime import event_log
from agent.runtime.backoff import Backoff
from agent.runtime.boot_identity import read_boot_id
from agent.runtime.clock import Clock, SystemClock
from agent.runtime.services import Pulses, Service, end_together, run_restarting
from agent.runtime.state_lock import StateLock
from agent.runtime.systemd import Notifier, credential_or, watchdog_interval_s
from agent.runtime.watchdog import Watchdog
from agent.store import meta
from agent.store.database import Connection, Database, Worth
from agent.store.outbox import Outbox
from agent.store.transactions import TransactionJournal
from agent.trust.clock_trust import clock_trust
from agent.trust.policy import is_development_policy, read_policy
from agent.uplink import messages
from agent.uplink.broker import Broker
from agent.uplink.gauges import Gauges
from agent.uplink.inbound import Inbound
from agent.uplink.publisher import Publisher
from agent.uplink.session import Session
from agent.workflow.engine import Engine
from agent.workflow.journal import RunJournal
from drivers.catalog import HOST_SOURCES
from drivers.contract import PrinterDevice

log = structlog.get_logger("boot")

EXIT_DONE, EXIT_FAILED = 0, 1
STOP_GRACE_S = 4.0
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
            folder.mkdir(parents=True, exist_ok=True, mode=mode)
        except OSError as err:
            hint = "Check [paths] in the configuration, and who owns the folder above it."
            raise NeedsPerson(f"{folder} cannot be made: {err.strerror}", hint=hint) from err
    lock = StateLock(state)
    lock.take()
    try:
        return asyncio.run(_run(loaded, _policy(loaded.settings, demo_folder)))
    finally:
        lock.release()


def _policy(settings: Settings, demo_folder: Path | None) -> tuple[Policy | None, str]:
    """The trust policy, or None and why it is not used. Without one nothing is taken from the broker."""
    try:
        policy = read_policy(Path(settings.trust.policy))
    except PolicyInvalid as err:
        return None, err.message
    if policy is not None and is_development_policy(policy) and not _is_demo(settings, demo_folder):
        return None, "the trust policy holds a development key: only `pos-agent demo` accepts its own"
    return policy, ""


def _is_demo(settings: Settings, demo_folder: Path | None) -> bool:
    """Everything below the demo's own folder, and the broker on loopback."""
    if demo_folder is None or settings.mode != "development":
        return False
    folder = demo_folder.resolve()
    used = [settings.paths.state, settings.paths.run, settings.trust.policy, settings.trust.tuf_root]
    is_local = settings.uplink is None or settings.uplink.host in {"127.0.0.1", "::1", "localhost"}
    return is_local and all(Path(path).resolve().is_relative_to(folder) for path in used)


async def _run(loaded: Loaded, policy: tuple[Policy | None, str]) -> int:
    database = Database(Path(loaded.settings.paths.state) / "agent.db", SystemClock())
    database.open()
    try:
        return await _Agent(loaded, database, *policy).serve()
    finally:
        await database.close()


@dataclass(frozen=True)
class _Beginning:
    """What the database says at a start."""

    journal_id: str
    starts: int
    was_cut_off: bool


def _begin(db: Connection) -> _Beginning:
    cut_off = meta.get(db, _RUNNING) == "1"
    meta.put(db, _RUNNING, "1")
    return _Beginning(meta.journal_id(db), meta.next_start_counter(db), cut_off)


class _Agent:
    """All parts of one process."""

    def __init__(self, loaded: Loaded, database: Database, policy: Policy | None, policy_problem: str) -> None:
        self._loaded = loaded
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
        self._drivers: list[PrinterDevice] = []
        self._doors: list[LocalServer] = []
        self._parts: list[Service] = []

    async def serve(self) -> int:
        """Build, open the doors, say READY, wait for the end, stop in order; returns the exit code."""
        stop = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, stop.set)
        beginning = await self._database.write(_begin, worth=Worth.RUN)
        self._build(beginning)
        await self._monitor.restore()
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
        waiting = asyncio.create_task(stop.wait())
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

    def _build(self, beginning: _Beginning) -> None:
        """Every part, each given what it needs."""
        settings, database, clock = self._settings, self._database, self._clock
        bindings = frozenset((one.provider, one.mid, one.tid) for one in settings.binding)
        figures = own_figures(database.metrics, clock, starts=beginning.starts, refused=lambda: security.counts)
        gauges = Gauges(
            clock, interval_s=settings.uplink.metrics_interval_s if settings.uplink else 60.0, sources=figures
        )
        journal = TransactionJournal(
            database,
            clock,
            bindings=bindings,
            alarm=lambda code, detail: self._monitor.report(code, "journal", True, detail),
        )
        self._monitor = Monitor(
            self._subjects(),
            database=database,
            clock=clock,
            pulse=self._pulses.add("health"),
            gauge=gauges.set,
            source=self._address.topic("").rstrip("/"),
            interval_s=settings.health.interval_s,
            read_deadline_s=settings.health.read_deadline_s,
            delays=self._delays(),
        )
        database.on_trouble(lambda bad, why: self._monitor.report("TXN-JRN-001", "journal", bad, why))
        runs = RunJournal(database, clock)
        trusted = clock_trust(settings.clock.trust)
        commands = build_commands(check=self._monitor.check, devices=self._monitor.devices)
        planner = Planner(commands, clock, trusted)
        engine = Engine(runs, planner.plan_for, planner.gate, clock, self._pulses.add("engine"))
        security = SecurityLog(database, clock, self._address, self._monitor.report)
        inbox = Inbox(
            database=database,
            journal=runs,
            intake=Intake(
                planner,
                lambda: self._policy,
                OrderIdentity(settings.terminal.terminal, settings.terminal.serial),
                clock,
            ),
            security=security,
            start=engine.take,
            clock=clock,
            clock_trusted=trusted,
        )
        identity = Identity(
            version=agent.__version__,
            terminal=TerminalInfo(
                settings.terminal.site, settings.terminal.terminal, settings.terminal.serial, settings.terminal.model
            ),
            mode=settings.mode,
            boot_id=read_boot_id(Path(settings.paths.procfs)),
            journal_id=beginning.journal_id,
            config_digest=self._loaded.digest,
        )
        about = About(identity, journal, self._link, gauges.latest, clock)
        self._doors += self._make_doors(
            PaymentMethods(journal, bindings=bindings, on_card_data=self._card_data_offered).table(),
            ControlMethods(
                ControlSubjects(
                    journal=journal,
                    info=about.info,
                    health=self._monitor.snapshot,
                    order=lambda order, caller: inbox.order(order, LocalCaller(caller.uid, caller.rights)),
                    command=runs.get,
                    commands=runs.list,
                    config=lambda: ConfigResult(self._loaded.digest),
                    metrics=about.metrics,
                )
            ).table(),
        )
        self._parts += [engine, inbox, self._monitor]
        if settings.uplink is not None:
            publisher = Publisher(
                Outbox(database), self._address, clock, self._pulses.add("publisher"), journal_id=beginning.journal_id
            )
            database.after_commit(publisher.wake)
            inbound = Inbound(
                self._address,
                inbox.receive,
                lambda kind: security.note(BAD_SIGNATURE, kind),
                clock,
                self._pulses.add("inbound"),
            )
            self._parts.append(
                Session(
                    _broker(settings.uplink),
                    self._address,
                    self._birth_identity(identity, planner.names),
                    start_counter=beginning.starts,
                    inbound=inbound,
                    truth=lambda: self._truth(runs),
                    publisher=publisher,
                    gauges=gauges,
                    on_link=self._link_changed,
                    clock=clock,
                    backoff=Backoff(settings.uplink.backoff_first_s, settings.uplink.backoff_limit_s),
                    pulse=self._pulses.add("uplink"),
                )
            )

    def _make_doors(self, payment: Mapping[str, Method], control: Mapping[str, Method]) -> list[LocalServer]:
        inherited = listening.inherited_sockets(os.environ, os.getpid())
        groups = peer.group_ids()
        run = Path(self._settings.paths.run)
        wanted = (
            (Door("payment", run / "payment.sock", peer.PAYMENT, PAYMENT_RIGHTS, inherited.get("payment")), payment),
            (Door("control", run / "control.sock", peer.SUPPORT, CONTROL_RIGHTS, inherited.get("control")), control),
        )
        limits = {"payment": PAYMENT_LIMITS, "control": CONTROL_LIMITS}
        return [
            LocalServer(door, methods, limits[door.name], groups=groups, on_card_data=self._card_data_offered)
            for door, methods in wanted
        ]

    def _subjects(self) -> list[Subject]:
        """The parts of the board, and every device that the model or the configuration names."""
        settings, model = self._settings, self._loaded.model
        roots = Path(settings.paths.procfs), Path(settings.paths.sysfs), Path(settings.paths.state)
        sources = [build(*roots) for build in HOST_SOURCES.values()]
        subjects = health_catalog.host_subjects(sources, model.thresholds if model else Thresholds())
        for one in fit(model, settings.devices)[0]:
            if one.driver is None:
                subjects.append(health_catalog.unplaced_subject(one.name, one.category, required=one.required))
            else:
                self._drivers.append(one.driver)
                subjects.append(health_catalog.device_subject(one.driver, answers=one.answers, required=one.required))
        return subjects

    def _birth_identity(self, identity: Identity, commands: tuple[str, ...]) -> messages.Identity:
        return messages.Identity(
            serial=identity.terminal.serial,
            boot_id=identity.boot_id,
            journal_id=identity.journal_id,
            version=identity.version,
            model=identity.terminal.model,
            capabilities=tuple(sorted({driver.category for driver in self._drivers})),
            commands=commands,
            schemas={"command": 1, "transaction": 1},
            bindings=tuple((one.provider, one.mid, one.tid) for one in self._settings.binding),
        )

    async def _truth(self, runs: RunJournal) -> Sequence[Publication]:
        """What a new connection is told before anything that waits."""
        config = Publication("agent/cfg", msgspec.json.encode(ConfigResult(self._loaded.digest)), retain=True)
        return [*self._monitor.publications(), *await runs.open_publications(), config]

    # ── what the parts say of themselves ───────────────────────────────────────────────────────────────────────
    def _link_changed(self, connected: bool, detail: str) -> None:
        self._link.changed(connected, detail)
        self._monitor.report("NET-MQT-001", "uplink", not connected, detail)

    def _card_data_offered(self, rule: str) -> None:
        self._monitor.report("SEC-PAN-001", "payment_socket", True, f"card data was refused by rule {rule}")

    def _part_failed(self, name: str, error: str) -> None:
        self._monitor.report("SW-AGT-001", name, True, f"{name} failed with {error} and was started again")

    def _delays(self) -> Mapping[str, Delay]:
        if self._settings.uplink is None:
            return {**DEFAULT_DELAYS, "NET-MQT-001": Delay()}  # no link to wait for: one of before is over at once
        delay = Delay(raise_after_s=self._settings.uplink.down_fault_after_s, clear_after_s=5.0)
        return {**DEFAULT_DELAYS, "NET-MQT-001": delay}

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

    def _status(self) -> str:
        ready = "ready to sell" if self._monitor.snapshot().readiness.ready else "NOT ready to sell"
        return f"{ready}; uplink {'connected' if self._link.connected else 'not connected'}"

    async def _restarting(self, part: Service) -> None:
        await run_restarting(part, Backoff(0.5, 30.0), self._clock, on_failure=self._part_failed)


def _broker(uplink: Uplink) -> Broker:
    """Files that the configuration does not name are taken from systemd's credentials."""
    return Broker(
        uplink.host,
        uplink.port,
        protocol=uplink.protocol,
        tls=uplink.tls,
        ca_file=credential_or(uplink.ca_file, "broker-ca.pem"),
        certificate_file=credential_or(uplink.certificate_file, "broker-cert.pem"),
        key_file=credential_or(uplink.key_file, "broker-key.pem"),
        keepalive_s=uplink.keepalive_s,
    )
