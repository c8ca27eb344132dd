"""What can be watched: by category of device, and by part of the board. A new probe is a new file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from agent.contract.health import Thresholds
from agent.health.probes import cpu, filesystem, memory, pos_printer
from agent.health.rules import Rule
from agent.health.sample import Sample
from agent.health.subject import DeviceProbe, HostLook, Subject
from drivers.contract import PrinterDevice
from drivers.host_contract import HostReading, HostSource

HOST = "host"


class DeviceEntry(NamedTuple):
    """``probe`` takes the opened device, ``rules`` whether its model answers status queries."""

    probe: Callable[[PrinterDevice], DeviceProbe]
    rules: Callable[[bool], tuple[Rule, ...]]


class HostEntry(NamedTuple):
    """``sample_of`` makes a sample of the source's reading."""

    sample_of: Callable[[HostReading], Sample]
    rules: Callable[[Thresholds], tuple[Rule, ...]]


DEVICES: dict[str, DeviceEntry] = {
    "pos_printer": DeviceEntry(pos_printer.PosPrinterProbe, lambda answers: pos_printer.rules(answers=answers)),
}
HOST_PARTS: dict[str, HostEntry] = {
    "memory": HostEntry(memory.sample_of, memory.rules),
    "cpu": HostEntry(cpu.sample_of, cpu.rules),
    "filesystem": HostEntry(filesystem.sample_of, filesystem.rules),
}


def device_subject(device: PrinterDevice, *, answers: bool, required: bool) -> Subject:
    """A device with its driver.

    Args:
        answers: The model is known to answer status queries.
        required: The terminal does not sell without it.
    """
    entry = DEVICES[device.category]
    rules = entry.rules(answers)
    return Subject(device.name, device.category, device.name, rules, required, device=entry.probe(device))


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


def _look(source: HostSource) -> HostLook:
    sample_of = HOST_PARTS[source.name].sample_of
    return lambda: sample_of(source.read())
