"""Health: the subjects that this terminal has, and the monitor over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from agent.config import Loaded, Settings, device_roots
from agent.contract.health import Thresholds
from agent.contract.topics import Address
from agent.devices import fit
from agent.health import catalog
from agent.health.monitor import DEFAULT_DELAYS, Gauge, Monitor
from agent.health.probes.reach import IsExpected, ReachProbe
from agent.health.reported import Delay
from agent.health.resolver import Resolver
from agent.health.subject import Subject
from agent.health.truth import OnChange, tell_nobody
from agent.runtime.clock import Clock
from agent.runtime.services import Pulse
from agent.store.database import Database
from drivers.catalog import HOST_SOURCES
from drivers.contract import Device
from drivers.host_contract import Board
from drivers.network.reach import TcpReach, look_up
from drivers.reach_contract import ReachTarget


class Health(Struct, frozen=True):
    """``drivers``: of every device that is known where to look for, in name order."""

    monitor: Monitor
    drivers: tuple[Device, ...]


def build_health(
    loaded: Loaded,
    *,
    database: Database,
    clock: Clock,
    pulse: Pulse,
    gauge: Gauge,
    address: Address,
    on_change: OnChange = tell_nobody,
) -> Health:
    """The monitor over the parts of the board and every device that the model or the configuration names."""
    settings = loaded.settings
    subjects, drivers = _subjects(loaded, clock)
    monitor = Monitor(
        subjects,
        database=database,
        clock=clock,
        pulse=pulse,
        gauge=gauge,
        source=address.topic("").rstrip("/"),
        interval_s=settings.health.interval_s,
        read_deadline_s=settings.health.read_deadline_s,
        delays=_delays(settings),
        on_change=on_change,
    )
    return Health(monitor, tuple(drivers))


def _subjects(loaded: Loaded, clock: Clock) -> tuple[list[Subject], list[Device]]:
    settings, model = loaded.settings, loaded.model
    paths = settings.paths
    board = Board(Path(paths.procfs), Path(paths.sysfs), Path(paths.state), settings.network.interfaces)
    judging = catalog.Judging(
        model.thresholds if model else Thresholds(),
        frozenset(model.host.required if model else ()),
        clock_assumed=settings.clock.trust == "assume",
    )
    subjects = catalog.host_subjects([build(board) for build in HOST_SOURCES.values()], judging)
    drivers = []
    for one in fit(model, settings.devices, device_roots(settings))[0]:
        if one.driver is None:
            subjects.append(catalog.unplaced_subject(one.name, one.category, required=one.required))
        else:
            drivers.append(one.driver)
            subjects.append(
                catalog.device_subject(
                    one.driver,
                    required=one.required,
                    answers=one.answers,
                    has_reader=one.has_reader,
                    must_be_on=one.must_be_on,
                    needs_edid=one.needs_edid,
                )
            )
    return [*subjects, *_hosts_to_reach(settings, clock)], drivers


def _hosts_to_reach(settings: Settings, clock: Clock) -> list[Subject]:
    network = settings.network
    every = max(1, round(network.reach_interval_s / settings.health.interval_s))
    resolver = Resolver(look_up)
    subjects = []
    for one in settings.reach:
        target = ReachTarget(one.name, one.host, one.port, one.tls, one.ca_file, one.server_name)
        probe = ReachProbe(
            TcpReach(target, resolver.resolve), _expecting(one.expected), lambda: clock.now().timestamp()
        )
        subjects.append(
            catalog.reach_subject(
                probe, one.name, required=one.required, warn_days=network.certificate_warn_days, every=every
            )
        )
    return subjects


def _expecting(ranges: Sequence[str]) -> IsExpected:
    if not ranges:
        return lambda _address: True
    import ipaddress  # noqa: PLC0415  # only where ranges are given

    networks = [ipaddress.ip_network(one) for one in ranges]
    return lambda address: any(ipaddress.ip_address(address.partition("%")[0]) in one for one in networks)


def _delays(settings: Settings) -> Mapping[str, Delay]:
    if settings.uplink is None:
        return {**DEFAULT_DELAYS, "NET-MQT-001": Delay()}  # no link to wait for: one of before is over at once
    delay = Delay(raise_after_s=settings.uplink.down_fault_after_s, clear_after_s=5.0)
    return {**DEFAULT_DELAYS, "NET-MQT-001": delay}
