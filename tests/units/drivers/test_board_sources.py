"""Heat, links, routes, and what all sources share: as a kernel tells them, and never made up from what is broken."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.errors import HostSourceError
from drivers.host import link, power, route, storage, thermal
from drivers.host.link import LinkSource
from drivers.host.power import PowerSource
from drivers.host.route import RouteSource
from drivers.host.source_file import SourceFile
from drivers.host.storage import StorageSource
from drivers.host.thermal import ThermalSource, parse_temp_c
from drivers.host_contract import Board, DefaultRoute, Link
from tests.kit.host_tree import HostTree

SYSFS, PROCFS = Path("/sys"), Path("/proc")


@pytest.fixture
def tree(tmp_path: Path) -> HostTree:
    return HostTree(tmp_path)


# ── heat ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_sensor_is_read_in_degrees_with_the_trip_points_of_its_board(tree: HostTree) -> None:
    tree.zone(1, temp_c=-12.5, trips={"critical": 110.0, "active": 50.0, "hot": -274.0})
    first, second = ThermalSource(tree.sysfs).read().zones
    assert (first.name, first.kind, first.temp_c) == ("thermal_zone0", "cpu-thermal", 45.0)
    assert (first.passive_c, first.hot_c, first.critical_c) == (85.0, 95.0, 105.0)
    assert (second.temp_c, second.passive_c, second.hot_c, second.critical_c) == (-12.5, None, None, 110.0)


@pytest.mark.parametrize("text", ["-273000", "200000", "-41000", "151000", "", "warm", "45.0", "0x10", "9" * 30, "--5"])
def test_a_temperature_that_cannot_be_is_none(tree: HostTree, text: str) -> None:
    tree.write("sys/class/thermal/thermal_zone0/temp", f"{text}\n")
    (zone,) = ThermalSource(tree.sysfs).read().zones
    assert zone.temp_c is None


@given(st.integers(-40_000, 150_000))
def test_every_plausible_temperature_is_taken_as_it_is(milli: int) -> None:
    assert parse_temp_c(str(milli)) == milli / 1000


def test_only_what_slows_the_board_down_counts_as_throttling(tree: HostTree) -> None:
    source = ThermalSource(tree.sysfs)
    for number, (kind, state) in enumerate(
        [("Fan", 3), ("thermal-cpufreq-0", 0), ("intel_powerclamp", -1), ("cpufreq-cpu4", 2), ("Processor", 1)]
    ):
        tree.cooling(number, kind, state)
    assert source.read().throttling == 2


def test_a_sensor_that_comes_and_goes_is_seen_without_a_restart(tree: HostTree) -> None:
    source = ThermalSource(tree.sysfs)
    assert len(source.read().zones) == 1
    tree.remove("sys/class/thermal/thermal_zone0")
    assert source.read().zones[0].temp_c is None
    assert source.read().zones == ()
    tree.zone(7, temp_c=50)
    assert [zone.name for zone in source.read().zones] == ["thermal_zone7"]
    tree.zone(8, temp_c=50)
    for _ in range(20):
        source.read()
    assert len(source.read().zones) == 2


# ── links ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_by_default_the_physical_interfaces_are_watched(tree: HostTree) -> None:
    tree.interface("docker0", physical=False)
    tree.interface("lo", physical=False)
    reading = LinkSource(tree.sysfs).read()
    assert reading.links == (Link("eth0", True, True, "up", 0),)
    assert not reading.named


def test_named_interfaces_are_watched_whether_they_are_there_or_not(tree: HostTree) -> None:
    source = LinkSource(tree.sysfs, ["wlan0", "eth0"])
    assert source.read().links == (Link("wlan0", False, None, "", None), Link("eth0", True, True, "up", 0))
    tree.interface("wlan0", carrier=False)
    assert source.read().links[0] == Link("wlan0", True, False, "down", 0)


def test_an_interface_that_is_switched_off_has_no_carrier_to_read(
    tree: HostTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = LinkSource(tree.sysfs)
    source.read()
    read = SourceFile.read

    def refused(self: SourceFile) -> bytes:
        if self.path.endswith("carrier"):
            cause = OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            raise HostSourceError("link", self.path, "cannot be read") from cause
        return read(self)

    monkeypatch.setattr(SourceFile, "read", refused)
    assert source.read().links == (Link("eth0", True, None, "up", 0),)


def test_an_interface_that_goes_and_comes_back_is_followed_and_counted_anew(tree: HostTree) -> None:
    source = LinkSource(tree.sysfs)
    tree.interface("eth0", changes=400)
    assert source.read().links[0].recent_changes == 0
    tree.remove("sys/class/net/eth0")
    assert source.read().links == ()
    tree.interface("eth0", changes=2)
    (back,) = source.read().links
    assert (back.carrier, back.recent_changes) == (True, 0)


def test_changes_are_counted_over_five_minutes_and_forgotten_after_them(tree: HostTree) -> None:
    now_s = 0.0
    source = LinkSource(tree.sysfs, monotonic=lambda: now_s)
    counted = []
    for changes in (2, 4, 4, 6, 8, *[8] * 40):
        tree.interface("eth0", changes=changes)
        counted.append(source.read().links[0].recent_changes)
        now_s += 10.0
    assert counted[:5] == [0, 2, 2, 4, 6]
    assert counted[-1] == 0
    assert max(number or 0 for number in counted) == 6


def test_a_kernel_that_does_not_count_changes_says_none(tree: HostTree) -> None:
    tree.remove("sys/class/net/eth0/carrier_changes")
    assert LinkSource(tree.sysfs).read().links == (Link("eth0", True, True, "up", None),)


@pytest.mark.parametrize("file", ["carrier", "operstate", "carrier_changes"])
@pytest.mark.parametrize("content", [b"", b"\n", b"2\n\n2", b"-1\n", b"\xff\xfe", b"UP!\n", b"1 1\n"])
def test_rubbish_about_a_link_is_an_error_that_names_the_file(tree: HostTree, file: str, content: bytes) -> None:
    tree.write(f"sys/class/net/eth0/{file}", content)
    with pytest.raises(HostSourceError, match=file):
        LinkSource(tree.sysfs).read()


def test_links_agree_with_psutil_on_this_machine() -> None:
    theirs = psutil.net_if_stats()
    for one in LinkSource(SYSFS, sorted(theirs)).read().links:
        assert one.present
        if one.carrier is not None and one.operstate in {"up", "down"}:
            assert theirs[one.name].isup is (one.operstate == "up")


# ── routes ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_default_route_and_its_gateway_are_read(tree: HostTree) -> None:
    reading = RouteSource(tree.procfs).read()
    assert (reading.ipv4, reading.gateway_answers) == (DefaultRoute("eth0", "192.168.1.1"), True)


def test_a_gateway_that_does_not_answer_is_known_by_its_neighbour_entry(tree: HostTree) -> None:
    tree.routes(gateway="10.0.0.254", neighbour_flags=0)
    assert RouteSource(tree.procfs).read().gateway_answers is False
    tree.write("net/arp", "IP address       HW type     Flags       HW address            Mask     Device\n")
    assert RouteSource(tree.procfs).read().gateway_answers is None


def test_without_a_default_route_there_is_none_and_a_refusing_one_is_none(tree: HostTree) -> None:
    tree.routes(gateway=None)
    reading = RouteSource(tree.procfs).read()
    assert (reading.ipv4, reading.ipv6, reading.gateway_answers) == (None, None, None)
    zeros = "0" * 32
    tree.write(
        "net/ipv6_route",
        f"{zeros} 00 {zeros} 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003     eth0\n",
    )
    assert RouteSource(tree.procfs).read().ipv6 == DefaultRoute("eth0", "fd00::1")


def test_of_several_defaults_the_smallest_metric_counts_and_one_that_is_down_does_not(tree: HostTree) -> None:
    rest = "\t0\t0\t{0}\t00000000\t0\t0\t0\n"
    head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    down = "ppp0\t00000000\t00000000\t0000" + rest.format(1)
    mobile = "ppp0\t00000000\t00000000\t0001" + rest.format(700)
    wired = "eth0\t00000000\t0101A8C0\t0003" + rest.format(100)
    tree.write("net/route", head + mobile + down + wired)
    assert RouteSource(tree.procfs).read().ipv4 == DefaultRoute("eth0", "192.168.1.1")
    tree.write("net/route", head + mobile)
    assert RouteSource(tree.procfs).read().ipv4 == DefaultRoute("ppp0", None)


@pytest.mark.parametrize("name", ["net/route", "net/arp"])
@pytest.mark.parametrize("content", [b"rubbish\n", b"\xff" * 100, b"Iface\tDestination\n\x00\x00\n"])
def test_rubbish_is_no_proof_that_there_is_no_route(tree: HostTree, name: str, content: bytes) -> None:
    tree.write(name, content)
    with pytest.raises(HostSourceError, match=name):
        RouteSource(tree.procfs).read()


def test_a_kernel_without_these_tables_has_no_routes(tree: HostTree) -> None:
    tree.remove("net")
    assert RouteSource(tree.procfs).read().ipv4 is None


def test_a_table_beyond_all_measure_is_refused_and_a_long_one_is_read_whole(tree: HostTree) -> None:
    line = "eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
    head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    last = "eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    tree.write("net/route", head + line * 10_000 + last)
    assert RouteSource(tree.procfs).read().ipv4 == DefaultRoute("eth0", "192.168.1.1")
    tree.write("net/route", head + line * 30_000 + last)
    with pytest.raises(HostSourceError, match="1 MiB"):
        RouteSource(tree.procfs).read()


def test_a_table_of_this_kernel_is_read_as_far_as_it_goes() -> None:
    for name in ("route", "ipv6_route", "arp"):
        path = PROCFS / "net" / name
        lines = SourceFile(str(path), "route").read_whole().count(b"\n")
        assert abs(lines - path.read_bytes().count(b"\n")) <= 2


def test_the_route_of_this_machine_is_the_one_that_its_kernel_takes() -> None:
    found = RouteSource(PROCFS).read().ipv4
    if found is None:
        pytest.skip("this machine has no IPv4 default route")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.200", 9))  # sends nothing
        own = probe.getsockname()[0]
    addresses = {one.address for one in psutil.net_if_addrs()[found.interface]}
    assert own in addresses


# ── all of them ────────────────────────────────────────────────────────────────────────────────────────────────────
SOURCES: list[Callable[[Board], object]] = [
    lambda board: ThermalSource(board.sysfs).read(),
    lambda board: LinkSource(board.sysfs).read(),
    lambda board: RouteSource(board.procfs).read(),
    lambda board: PowerSource(board.sysfs).read(),
    lambda board: StorageSource(board.sysfs).read(),
]


@pytest.mark.parametrize("read", SOURCES)
def test_a_board_that_has_nothing_at_all_is_read_without_an_error(
    tmp_path: Path, read: Callable[[Board], object]
) -> None:
    assert read(Board(tmp_path / "proc", tmp_path / "sys"))


@pytest.mark.parametrize("read", SOURCES)
def test_huge_files_everywhere_give_a_reading_or_the_typed_error(
    tree: HostTree, read: Callable[[Board], object]
) -> None:
    tree.battery(capacity=50)
    tree.flash("0x01 0x01", "0x01")
    tree.cooling(0, "Processor", 0)
    for root in (tree.procfs, tree.sysfs):
        for path in [path for path in root.rglob("*") if path.is_file()]:
            path.write_bytes(b"7" * 2_000_000)
    with contextlib.suppress(HostSourceError):
        read(Board(tree.procfs, tree.sysfs))


@settings(deadline=None)
@given(st.binary(max_size=200), st.text(max_size=40))
def test_hostile_content_gives_a_value_or_the_typed_error_and_nothing_else(content: bytes, text: str) -> None:
    parsers: list[Callable[[], object]] = [
        lambda: link.parse_carrier(content, "f"),
        lambda: link.parse_operstate(content, "f"),
        lambda: link.parse_counter(content, "f"),
        lambda: route.parse_ipv4_default(content, "f"),
        lambda: route.parse_ipv4_default(b"Iface\t" + content, "f"),
        lambda: route.parse_ipv6_default(content, "f"),
        lambda: route.parse_neighbour(b"IP address " + content, "1.2.3.4", "eth0", "f"),
        lambda: thermal.parse_temp_c(text),
        lambda: power.parse_number(text, 0, 100, "f"),
        lambda: storage.parse_life_used_pct(text, "f"),
        lambda: storage.parse_reserve(text, "f"),
        lambda: storage.parse_count(text, "f"),
    ]
    for parse in parsers:
        with contextlib.suppress(HostSourceError):
            parse()


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**31 - 1))
def test_every_ipv4_gateway_is_read_as_the_kernel_means_it(address: int, metric: int) -> None:
    line = f"eth0\t00000000\t{address:08X}\t0003\t0\t0\t{metric}\t00000000\t0\t0\t0   \n"
    found = route.parse_ipv4_default(b"Iface\t...\n" + line.encode(), "f")
    gateway = ".".join(map(str, address.to_bytes(4, "little")))
    assert found == DefaultRoute("eth0", None if address == 0 else gateway)


def test_a_file_that_stays_open_is_never_read_from_its_grave(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    file = SourceFile(str(path), "cpu")
    assert file.read() == b"one"
    path.write_bytes(b"changed in place")
    assert file.read() == b"changed in place"
    (tmp_path / "other").write_bytes(b"replaced")
    (tmp_path / "other").replace(path)
    assert file.read() == b"replaced"
    path.unlink()
    with pytest.raises(HostSourceError):
        file.read()
    path.write_bytes(b"back")
    assert file.read() == b"back"
    path.write_bytes(b"")
    with pytest.raises(HostSourceError, match="empty"):
        file.read()
    path.write_bytes(b"filled")
    assert file.read() == b"filled"


def test_many_readings_keep_no_more_files_open_than_there_are(tree: HostTree) -> None:
    before = psutil.Process().num_fds()
    heat, links = ThermalSource(tree.sysfs), LinkSource(tree.sysfs)
    for number in range(100):
        tree.interface(f"usb{number % 3}")
        heat.read()
        links.read()
        tree.remove(f"sys/class/net/usb{number % 3}")
    assert psutil.Process().num_fds() - before < 30
    del heat, links
    assert psutil.Process().num_fds() <= before
