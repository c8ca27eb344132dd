"""A touch panel by its presence: found in sysfs by port or identity, and really a panel by what it can do.

Source: domain rules for touch (BTN_TOUCH, two axes, INPUT_PROP_DIRECT). Left out: stuck touch, which needs reading the
node; whether it points where one touches, which needs a person.
"""

from __future__ import annotations

from drivers.contract import DeviceSpec
from drivers.inputs.capability_wire import is_touch_panel
from drivers.inputs.sysfs import InputFinder, NotThere
from drivers.sysfs_contract import TouchReading


def build_touch(spec: DeviceSpec) -> EvdevTouch:
    """A touch panel; options as in `drivers.inputs.sysfs.Identity`. Raises `SpecInvalid`."""
    return EvdevTouch(spec)


class EvdevTouch:
    """See `drivers.sysfs_contract.ListedDevice`."""

    category = "touch"

    def __init__(self, spec: DeviceSpec) -> None:
        self.name = spec.name
        self._finder = InputFinder(spec)

    def read(self) -> TouchReading:
        try:
            nodes = self._finder.candidates()
        except NotThere as err:
            return TouchReading(str(err))
        if not any(is_touch_panel(node.keys, node.axes, node.properties) for node in nodes):
            return TouchReading("what is there is no touch panel: its driver runs without it, or it is another device")
        return TouchReading(None)

    async def close(self) -> None:
        return
