"""What can be watched: by category of device, and by part of the board. A new probe is a new file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec import Struct

from agent.contract.health import Thresholds
from agent.health.probes import (
    clock,
    cpu,
    filesystem,
    link,
    memory,
    pos_keyboard,
    pos_printer,
    power,
    reach,
    route,
    screen,
    storage,
    thermal,
    touch,
)
from agent.health.probes.host import absent_rule
from agent.health.rules import Rule
from agent.health.sample import Sample
from agent.health.subject import DeviceProbe, HostLook, Subject
from drivers.contract import Device
from drivers.host_contract import HostReading, HostSource
from drivers.sysfs_contract import ListedDevice, ListedReading

HOST, NETWORK = "host", "network"


class Judging(NamedTuple):
    """How the board is judged. ``clock_assumed``: nobody claims that the clock is synchronised.

    ``required``: parts that the model must have, and that the terminal does not sell without.
    """

    limits: Thresholds = Thresholds()
    required: frozenset[str] = frozenset()
    clock_assumed: bool = False


class Traits(Struct, frozen=True):
    """What the model says of a device and its rules want to know; each matters for its own category only.

    Attributes:
        answers: A printer is known to answer status queries.
        has_reader: A keypad has a reader process.
        must_be_on, needs_edid: Of a screen; see ``probes/screen.py``.
    """

    answers: bool = True
    has_reader: bool = False
    must_be_on: bool = False
    needs_edid: bool = False


BY_DEFAULT = Judging()


class DeviceEntry(NamedTuple):
    """One category: ``probe`` for a device that is asked from the loop, ``sample_of`` for one that the kernel lists."""

    rules: Callable[[Traits], tuple[Rule, ...]]
    probe: Callable[[Device], DeviceProbe] | None = None
    sample_of: Callable[[ListedReading], Sample] | None = None
    ok_detail: str = ""


class HostEntry(NamedTuple):
    """One part of the board.

    Attributes:
        sample_of: Makes a sample of the source's reading.
        absent_code: The fault where a board does not have it and must; None for what every board has.
        every: See `Subject.every`: what changes slowly is looked at less often.
    """

    sample_of: Callable[[HostReading], Sample]
    rules: Callable[[Judging], tuple[Rule, ...]]
    absent_code: str | None = None
    every: int = 1
    category: str = HOST


DEVICES: dict[str, DeviceEntry] = {
    "pos_printer": DeviceEntry(
        lambda traits: pos_printer.rules(answers=traits.answers),
        probe=pos_printer.probe_of_device,
    ),
    "pos_keyboard": DeviceEntry(
        lambda traits: pos_keyboard.rules(has_reader=traits.has_reader),
        sample_of=pos_keyboard.sample_of,
        ok_detail=pos_keyboard.OK_DETAIL,
    ),
    "touch": DeviceEntry(
        lambda _traits: touch.RULES,
        sample_of=touch.sample_of,
        ok_detail=touch.OK_DETAIL,
    ),
    "screen": DeviceEntry(
        lambda traits: screen.rules(must_be_on=traits.must_be_on, needs_edid=traits.needs_edid),
        sample_of=screen.sample_of,
        ok_detail=screen.OK_DETAIL,
    ),
}
HOST_PARTS: dict[str, HostEntry] = {
    "memory": HostEntry(memory.sample_of, lambda by: memory.rules(by.limits)),
    "cpu": HostEntry(cpu.sample_of, lambda by: cpu.rules(by.limits)),
    "filesystem": HostEntry(filesystem.sample_of, lambda by: filesystem.rules(by.limits)),
    "thermal": HostEntry(thermal.sample_of, lambda by: thermal.rules(by.limits), thermal.CODE, every=3),
    "link": HostEntry(link.sample_of, lambda _by: link.rules(), link.CODE, category=NETWORK),
    "route": HostEntry(route.sample_of, lambda _by: route.rules(), every=3, category=NETWORK),
    "clock": HostEntry(clock.sample_of, lambda by: clock.rules(assumed=by.clock_assumed), every=6),
    "power": HostEntry(power.sample_of, lambda by: power.rules(by.limits), power.CODE, every=6),
    "storage": HostEntry(storage.sample_of, lambda by: storage.rules(by.limits), storage.CODE, every=30),
}


def device_subject(
    device: Device,
    *,
    required: bool,
    answers: bool = True,
    has_reader: bool = False,
    must_be_on: bool = False,
    needs_edid: bool = False,
) -> Subject:
    """A device with its driver.

    Args:
        required: The terminal does not sell without it.
        answers, has_reader, must_be_on, needs_edid: See `Traits`.
    """
    entry = DEVICES[device.category]
    traits = Traits(answers, has_reader, must_be_on, needs_edid)
    return Subject(
        *(device.name, device.category, device.name, entry.rules(traits), required),
        device=entry.probe(device) if entry.probe else None,
        host=_look_at(device, entry.sample_of) if entry.sample_of else None,
        ok_detail=entry.ok_detail,
    )


def unplaced_subject(name: str, category: str, *, required: bool) -> Subject:
    """A device of the model that the configuration says nothing about: it stays unknown."""
    why_not = f"the configuration names no port for it: [devices.{name}]"
    return Subject(name, category, name, required=required, why_not=why_not)


def host_subjects(sources: Sequence[HostSource], judging: Judging = BY_DEFAULT) -> list[Subject]:
    """The parts of the board, one for each source. One that is not there is unknown, and said so once."""
    subjects = []
    for source in sources:
        entry, required = HOST_PARTS[source.name], source.name in judging.required
        rules = entry.rules(judging)
        if entry.absent_code is not None:
            rules = (absent_rule(entry.absent_code, required=required), *rules)
        subjects.append(
            Subject(*(source.name, entry.category, HOST, rules, required), host=_look(source, entry), every=entry.every)
        )
    return subjects


def reach_subject(probe: reach.ReachProbe, name: str, *, required: bool, warn_days: int, every: int) -> Subject:
    """A host that the terminal must reach."""
    return Subject(
        *(name, NETWORK, name, reach.rules(warn_days=warn_days), required),
        device=probe,
        every=every,
        deadline_s=reach.DEADLINE_S,
    )


def _look_at(device: Device, sample_of: Callable[[ListedReading], Sample]) -> HostLook:
    if not isinstance(device, ListedDevice):
        raise TypeError(f"a {device.category} without a reading: {type(device).__name__}")
    return lambda: sample_of(device.read())


def _look(source: HostSource, entry: HostEntry) -> HostLook:
    return lambda: entry.sample_of(source.read())
