"""What can be watched: by category of device, and by part of the board. A new probe is a new file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from agent.contract.health import Thresholds
from agent.health.probes import cpu, filesystem, memory, pos_keyboard, pos_printer, screen, touch
from agent.health.rules import Rule
from agent.health.sample import Sample
from agent.health.subject import DeviceProbe, HostLook, Subject
from drivers.contract import Device
from drivers.host_contract import HostReading, HostSource
from drivers.sysfs_contract import ListedDevice, ListedReading

HOST = "host"


@dataclass(frozen=True, slots=True)
class Traits:
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


class DeviceEntry(NamedTuple):
    """One category: ``probe`` for a device that is asked from the loop, ``sample_of`` for one that the kernel lists."""

    rules: Callable[[Traits], tuple[Rule, ...]]
    probe: Callable[[Device], DeviceProbe] | None = None
    sample_of: Callable[[ListedReading], Sample] | None = None
    ok_detail: str = ""


class HostEntry(NamedTuple):
    """``sample_of`` makes a sample of the source's reading."""

    sample_of: Callable[[HostReading], Sample]
    rules: Callable[[Thresholds], tuple[Rule, ...]]


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
    "memory": HostEntry(memory.sample_of, memory.rules),
    "cpu": HostEntry(cpu.sample_of, cpu.rules),
    "filesystem": HostEntry(filesystem.sample_of, filesystem.rules),
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


def host_subjects(sources: Sequence[HostSource], limits: Thresholds) -> list[Subject]:
    """The parts of the board, one for each source."""
    return [
        Subject(source.name, HOST, HOST, HOST_PARTS[source.name].rules(limits), host=_look(source))
        for source in sources
    ]


def _look_at(device: Device, sample_of: Callable[[ListedReading], Sample]) -> HostLook:
    if not isinstance(device, ListedDevice):
        raise TypeError(f"a {device.category} without a reading: {type(device).__name__}")
    return lambda: sample_of(device.read())


def _look(source: HostSource) -> HostLook:
    sample_of = HOST_PARTS[source.name].sample_of
    return lambda: sample_of(source.read())
