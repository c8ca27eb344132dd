"""A keypad by its presence in sysfs, and by the report of its reader process. Its node is never opened here.

Source: ``/sys/class/input``; the report's form is in ``report_wire.py``. Whoever can read an input node can read what
is typed, so the agent cannot: a process of its own, with its own user and no network, gives counts only. Left out:
whether each key works, which only a person who presses them all can tell.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from drivers.contract import DeviceSpec
from drivers.inputs.capability_wire import keys_of
from drivers.inputs.sysfs import InputFinder, NotThere
from drivers.pos_keyboard import report_wire
from drivers.pos_keyboard.key_report import KeyReport
from drivers.sysfs_contract import KeypadReading


def build_keypad(spec: DeviceSpec) -> EvdevKeypad:
    """A keypad; options as in `drivers.inputs.sysfs.Identity`. Raises `SpecInvalid`."""
    return EvdevKeypad(spec)


def boottime_s() -> float:
    """Seconds since this machine started, sleep included: the clock that two processes share and nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class EvdevKeypad:
    """See `drivers.sysfs_contract.ListedDevice`."""

    category = "pos_keyboard"

    def __init__(self, spec: DeviceSpec, clock_s: Callable[[], float] = boottime_s) -> None:
        self.name = spec.name
        self._finder = InputFinder(spec)
        self._report = str(report_wire.report_path(spec.reports, spec.name)) if spec.reader else None
        self._clock_s = clock_s

    def read(self) -> KeypadReading:
        try:
            nodes = self._finder.candidates()
        except NotThere as err:
            return KeypadReading(str(err), None)
        declared = len(frozenset().union(*(keys_of(node.keys) for node in nodes)))
        if not declared:
            return KeypadReading("what is there has no keys: it is another device", None)
        if self._report is None:
            return KeypadReading(None, declared)
        try:
            return KeypadReading(None, declared, self._fresh_report(self._report))
        except report_wire.NoReport as err:
            return KeypadReading(None, declared, report_problem=str(err))

    async def close(self) -> None:
        return

    def _fresh_report(self, path: str) -> KeyReport:
        try:
            # Whoever writes there is not trusted: a FIFO or a link in its place must neither block nor lead elsewhere.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                content = os.read(descriptor, report_wire.LIMIT_BYTES + 1)
            finally:
                os.close(descriptor)
        except OSError as err:
            raise report_wire.NoReport(f"its reader has left no report: {err.strerror}") from err
        report, written_s = report_wire.decode(content)
        age_s = self._clock_s() - written_s
        if not 0 <= age_s <= report_wire.STALE_AFTER_S:
            raise report_wire.NoReport("the last report of its reader is old: has the reader ended?")
        return report
