"""The shipped board emulator on the test's own loop, and the devices that it shows."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType

from drivers.catalog import DRIVERS
from drivers.contract import DeviceSpec, OptionValue
from drivers.emulators import board_files
from drivers.emulators.board import BoardEmulator
from drivers.sysfs_contract import ListedDevice

KEYPAD_BY_NAME: dict[str, OptionValue] = {"name": board_files.KEYPAD_NAME}
TOUCH_BY_NAME: dict[str, OptionValue] = {"name": board_files.TOUCH_NAME}
WHOLE_SCREEN: dict[str, OptionValue] = {"connector": board_files.CONNECTOR, "backlight": board_files.BACKLIGHT}
KEYPAD_FILES = f"sys/class/input/{board_files.KEYPAD_EVENT}"
SCREEN_FILES = f"sys/class/drm/card0-{board_files.CONNECTOR}"
BACKLIGHT_FILES = f"sys/class/backlight/{board_files.BACKLIGHT}"


@contextlib.asynccontextmanager
async def emulated_board(folder: Path, *, step_s: float = 0.05) -> AsyncIterator[BoardEmulator]:
    """A healthy board below ``folder``; change it with `BoardEmulator.apply`."""
    board = BoardEmulator(folder / "board", step_s=step_s)
    await board.start()
    try:
        yield board
    finally:
        await board.stop()


def keypad_port(board: BoardEmulator) -> str:
    """The stable path of the keypad's node."""
    return str(board.folder / "dev/input/by-path/platform-keypad-event-kbd")


def on_board(
    board: BoardEmulator,
    driver: str,
    options: Mapping[str, OptionValue] = MappingProxyType({}),
    *,
    port: str = "",
    reader: bool = False,
) -> ListedDevice:
    """A real driver whose roots are the board's folders; named as in the shipped model."""
    category = DRIVERS[driver].category
    names = {"pos_keyboard": "keypad-0", "touch": "touch-0", "screen": "screen-0"}
    device = DRIVERS[driver](
        DeviceSpec(
            *(names[category], driver, port, category),
            reader=reader,
            sysfs=board.folder / "sys",
            dev=board.folder / "dev",
            reports=board.folder.parent / "reports",
            options=options,
        )
    )
    assert isinstance(device, ListedDevice)
    return device
