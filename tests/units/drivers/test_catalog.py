"""What runs over the catalog: every driver, source and emulator in it, and what importing it costs the daemon."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import drivers
from drivers.catalog import DRIVERS, EMULATORS, HOST_SOURCES
from drivers.contract import Device, DeviceSpec, Initialisable, OptionValue, PrinterDevice, Recoverable
from drivers.errors import DeviceGone, DriverError, SpecInvalid
from drivers.host_contract import Board
from drivers.sysfs_contract import ListedDevice, ScreenReading

DRIVERS_FOLDER = Path(drivers.__file__).parent


PRINTERS = sorted(name for name, entry in DRIVERS.items() if entry.category == "pos_printer")
LISTED_BY_THE_KERNEL = sorted(DRIVERS.keys() - set(PRINTERS))
FIND: dict[str, OptionValue] = {"name": "no such", "connector": "HDMI-A-9", "backlight": "none"}


def spec_of(name: str, folder: Path) -> DeviceSpec:
    """Of a device that cannot be anywhere."""
    port = "" if DRIVERS[name].category == "screen" else str(folder / "missing")
    options = {key: value for key, value in FIND.items() if key in DRIVERS[name].found_by}
    return DeviceSpec("device-0", name, port, DRIVERS[name].category, sysfs=folder, dev=folder, options=options)


@pytest.mark.parametrize("name", sorted(DRIVERS))
async def test_every_driver_makes_a_device_of_its_category_that_can_be_closed_again_and_again(
    name: str, tmp_path: Path
) -> None:
    device = DRIVERS[name](spec_of(name, tmp_path))
    assert isinstance(device, Device)
    assert (device.name, device.category) == ("device-0", DRIVERS[name].category)
    await device.close()
    await device.close()


@pytest.mark.parametrize("name", PRINTERS)
async def test_every_printer_driver_keeps_the_contract_on_a_port_that_is_not_there(name: str, tmp_path: Path) -> None:
    device = DRIVERS[name](spec_of(name, tmp_path))
    assert isinstance(device, PrinterDevice)
    for call in (device.read_status, device.print_test_slip, device.recover, device.initialise):
        with pytest.raises(DeviceGone) as gone:
            await call(20.0)
        assert gone.value.device == "device-0"
        assert gone.value.__cause__ is not None
    assert device.communication_error_count == 4
    await device.close()


@pytest.mark.parametrize("name", LISTED_BY_THE_KERNEL)
def test_every_device_that_the_kernel_lists_is_missing_where_it_lists_nothing(name: str, tmp_path: Path) -> None:
    device = DRIVERS[name](spec_of(name, tmp_path))
    assert isinstance(device, ListedDevice)
    reading = device.read()
    if isinstance(reading, ScreenReading):
        assert (reading.connector, reading.backlight) == (None, None)
    else:
        assert reading.absence
    assert not isinstance(device, Recoverable)
    assert not isinstance(device, Initialisable)


@pytest.mark.parametrize("name", sorted(HOST_SOURCES))
def test_every_host_source_reads_this_machine_and_names_itself_as_in_the_catalog(name: str, tmp_path: Path) -> None:
    source = HOST_SOURCES[name](Board(Path("/proc"), Path("/sys"), tmp_path))
    assert source.name == name
    source.read()


def test_every_emulator_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for emulate in EMULATORS.values():
        with pytest.raises(SystemExit) as stopped:
            emulate(["--help"])
        assert stopped.value.code == 0
    assert "--port" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (DeviceSpec("p", "escpos", ""), "port"),
        (DeviceSpec("p", "escpos", "/dev/ttyS0", baud_rate=0), "baud_rate"),
        (DeviceSpec("p", "escpos", "/dev/ttyS0", sensors=frozenset({"nearend"})), "unknown sensor nearend"),
        (DeviceSpec("p", "escpos", "/dev/ttyS0", options={"parity": "even"}), "unknown option parity"),
        (DeviceSpec("p", "escpos", "/dev/ttyS0", options={"flow_control": "dtr"}), "flow_control"),
        (DeviceSpec("p", "escpos", "/dev/ttyS0", options={"cutter": "yes"}), "cutter"),
    ],
)
def test_a_spec_that_asks_for_what_does_not_exist_is_refused_with_its_reason(spec: DeviceSpec, problem: str) -> None:
    with pytest.raises(SpecInvalid, match=problem):
        DRIVERS["escpos"](spec)


def test_every_problem_of_a_spec_is_told_at_once() -> None:
    options: dict[str, OptionValue] = {"chinese": 1, "zebra": True}
    with pytest.raises(SpecInvalid) as refused:
        DRIVERS["escpos"](DeviceSpec("p", "escpos", "", baud_rate=-1, options=options))
    assert all(word in refused.value.detail for word in ("port", "baud_rate", "chinese", "zebra"))


def test_error_codes_are_stable_and_each_its_own() -> None:
    def all_below(error: type[DriverError]) -> list[type[DriverError]]:
        return [error, *(below for child in error.__subclasses__() for below in all_below(child))]

    codes = [error.code for error in all_below(DriverError)]
    assert len(set(codes)) == len(codes)
    assert {"device.offline", "device.gone", "device.fault", "device.protocol_violation"} <= set(codes)


def test_importing_the_catalog_loads_neither_pyserial_nor_an_emulator_nor_the_agent() -> None:
    program = (
        "import sys, drivers.catalog\n"
        "print([name for name in sys.modules if name.split('.')[0] in {'serial', 'agent', 'psutil'}"
        " or name.startswith('drivers.emulators')])\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("file", sorted(DRIVERS_FOLDER.rglob("*.py")), ids=lambda file: file.name)
def test_no_driver_file_knows_the_agent_and_none_is_too_long(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            assert not [name.name for name in node.names if name.name.split(".")[0] == "agent"]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert (node.module or "").split(".")[0] != "agent"
