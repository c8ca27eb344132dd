"""Clock, power and storage: as a kernel tells them, and never made up from what is broken."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import HostSourceError
from drivers.host.clock import ClockSource, read_kernel_clock
from drivers.host.power import PowerSource
from drivers.host.storage import StorageSource
from drivers.host_contract import Ext4Errors, FlashWear, KernelClock
from tests.kit.agent_process import ROOT
from tests.kit.host_tree import HostTree


@pytest.fixture
def tree(tmp_path: Path) -> HostTree:
    return HostTree(tmp_path)


# ── clock ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_running_kernel_tells_the_error_of_its_clock_and_nothing_jumped() -> None:
    source = ClockSource()
    source.read()
    reading = source.read()
    kernel = read_kernel_clock()
    assert kernel is not None
    assert reading.kernel is not None
    assert reading.kernel.status == kernel.status
    assert reading.jump_s == 0.0
    assert reading.wall_s == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize("libraries", ["", "import nacl.bindings;"], ids=["ctypes", "what PyNaCl has loaded"])
def test_the_kernel_is_asked_in_either_way(libraries: str) -> None:
    program = (
        f"import sys; {libraries} from drivers.host.clock import read_kernel_clock;"
        " told = read_kernel_clock(); print(told.status, told.max_error_us >= 0, 'ctypes' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    kernel = read_kernel_clock()
    assert kernel is not None
    assert done.stdout.split() == [str(kernel.status), "True", str(not libraries)]


class _Clocks:
    def __init__(self) -> None:
        self.wall_s, self.boot_s = 1_800_000_000.0, 100.0

    def pass_by(self, duration_s: float, *, step_s: float = 0.0) -> None:
        self.boot_s += duration_s
        self.wall_s += duration_s + step_s

    def source(self) -> ClockSource:
        return ClockSource(
            kernel=lambda: KernelClock(1000, 0), wall=lambda: self.wall_s, since_boot=lambda: self.boot_s
        )


@given(st.lists(st.floats(-0.9, 0.9), max_size=50), st.floats(2.1, 1e9), st.booleans())
def test_a_step_is_a_jump_and_slow_correction_is_none(drift: list[float], step_s: float, back: bool) -> None:
    clocks = _Clocks()
    source = clocks.source()
    source.read()
    for step in drift:
        clocks.pass_by(10.0, step_s=step)
        assert source.read().jump_s == 0.0
    step_s = -step_s if back else step_s
    clocks.pass_by(10.0, step_s=step_s)
    assert source.read().jump_s == pytest.approx(step_s, abs=1.0)
    clocks.pass_by(3601.0)
    assert source.read().jump_s == 0.0


def test_of_many_jumps_the_greatest_is_told_and_their_number_is_bounded() -> None:
    clocks = _Clocks()
    source = clocks.source()
    source.read()
    for step_s in (5.0, -300.0, *[3.0, -3.0] * 30):
        clocks.pass_by(10.0, step_s=step_s)
        source.read()
    assert source.read().jump_s == -300.0


# ── power ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_battery_and_its_charger_are_read_in_plain_units(tree: HostTree) -> None:
    tree.battery(capacity=42, status="Discharging")
    reading = PowerSource(tree.sysfs).read()
    (battery,) = reading.batteries
    assert (battery.name, battery.capacity_pct, battery.temp_c, battery.voltage_v) == ("BAT0", 42, 31.2, 3.85)
    assert (battery.status, battery.health, reading.mains_online) == ("Discharging", "Good", False)


def test_what_a_driver_does_not_tell_is_none(tree: HostTree) -> None:
    tree.write("sys/class/power_supply/BAT0/type", "Battery\n")
    reading = PowerSource(tree.sysfs).read()
    (battery,) = reading.batteries
    assert (battery.capacity_pct, battery.status, battery.temp_c, reading.mains_online) == (None, None, None, None)


def test_a_mouse_and_an_empty_slot_are_no_batteries_of_this_board(tree: HostTree) -> None:
    tree.battery(capacity=9)
    tree.write("sys/class/power_supply/BAT0/present", "0\n")
    tree.write("sys/class/power_supply/hid-mouse/type", "Battery\n")
    tree.write("sys/class/power_supply/hid-mouse/scope", "Device\n")
    assert PowerSource(tree.sysfs).read().batteries == ()


@pytest.mark.parametrize(
    ("file", "content"), [("capacity", "101"), ("capacity", "-1"), ("capacity", "full"), ("voltage_now", "9" * 20)]
)
def test_a_number_that_cannot_be_is_an_error(tree: HostTree, file: str, content: str) -> None:
    tree.battery(capacity=50)
    tree.write(f"sys/class/power_supply/BAT0/{file}", f"{content}\n")
    with pytest.raises(HostSourceError, match=file):
        PowerSource(tree.sysfs).read()


def test_a_battery_at_three_thousand_degrees_has_no_temperature(tree: HostTree) -> None:
    tree.battery(capacity=50)
    tree.write("sys/class/power_supply/BAT0/temp", "-2731\n")
    assert PowerSource(tree.sysfs).read().batteries[0].temp_c is None


# ── storage ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("life", "used_pct"), [("0x01 0x01", 0), ("0x08 0x02", 70), ("0x01 0x0B", 100), ("0x00 0x00", None)]
)
def test_wear_is_read_as_the_worse_of_both_kinds_of_cells(tree: HostTree, life: str, used_pct: int | None) -> None:
    tree.flash(life, "0x01")
    tree.write("sys/block/mmcblk0boot0/device/life_time", "0x0B 0x0B\n")
    tree.write("sys/block/mmcblk1/size", "1\n")  # an SD card tells nothing
    assert StorageSource(tree.sysfs).read().flash == (FlashWear("mmcblk0", used_pct, 1),)


@pytest.mark.parametrize(
    ("life", "reserve"), [("0x0C 0x01", "0x01"), ("1 1", "0x01"), ("0x01", "0x01"), ("0x01 0x01", "0x04")]
)
def test_a_wear_that_no_chip_has_is_an_error(tree: HostTree, life: str, reserve: str) -> None:
    tree.flash(life, reserve)
    with pytest.raises(HostSourceError):
        StorageSource(tree.sysfs).read()


def test_errors_of_a_file_system_are_told_apart_old_and_new(tree: HostTree) -> None:
    tree.ext4(errors=3, warnings=1)
    source = StorageSource(tree.sysfs)
    assert source.read().ext4 == (Ext4Errors("mmcblk0p2", 3, 1, 0),)
    tree.ext4(errors=5)
    assert source.read().ext4[0].new_errors == 2
    tree.ext4(errors=0)  # checked
    assert source.read().ext4[0].new_errors == 0
    tree.ext4(errors=1)
    assert source.read().ext4[0].new_errors == 1
