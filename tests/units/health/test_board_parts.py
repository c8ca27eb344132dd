"""What is concluded about heat, links, routes, clock, power and storage, and about parts that a board does not have."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.contract.health import DeviceHealth, Impact, TemperatureLimit, Thresholds
from agent.health.catalog import HOST_PARTS, Judging, host_subjects
from agent.health.probes import clock, link, power, thermal
from agent.health.rules import begin, conclude, observe
from agent.health.subject import Subject
from drivers.catalog import HOST_SOURCES
from drivers.host_contract import (
    Battery,
    Board,
    ClockReading,
    DefaultRoute,
    HostReading,
    KernelClock,
    Link,
    LinkReading,
    PowerReading,
    RouteReading,
    ThermalReading,
    ThermalZone,
)
from tests.kit.health_room import HealthRoom, health_room, until
from tests.kit.host_tree import HostTree
from tests.kit.manual_clock import ManualClock

UNKNOWN_PARTS = {"thermal", "link", "power", "storage"}


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[HostTree]:
    emulated = HostTree(tmp_path / "board")
    yield emulated
    emulated.close()


def _board(
    tree: HostTree, *names: str, judging: Judging | None = None, interfaces: tuple[str, ...] = ()
) -> list[Subject]:
    place = Board(tree.procfs, tree.sysfs, Path("/"), interfaces)
    sources = [HOST_SOURCES[name](place) for name in names or HOST_SOURCES]
    return host_subjects(sources, judging or Judging())


async def _check(room: HealthRoom, clock: ManualClock, part: str, times: int = 1) -> DeviceHealth:
    """Look ``times`` times, half a minute apart."""
    for _ in range(times):
        clock.advance(30)
        await _looked(room, clock, part)
    (health,) = [one for one in room.monitor.snapshot().devices if one.device == part]
    return health


async def _looked(room: HealthRoom, clock: ManualClock, part: str) -> None:
    one = room.monitor._watched[part]
    async with one.lock:
        await room.monitor._look(one)


def _conclude(part: str, *readings: HostReading, judging: Judging | None = None) -> tuple[str, str, set[str | None]]:
    """State, detail and codes after these readings, half a minute apart."""
    entry = HOST_PARTS[part]
    rules = entry.rules(judging or Judging())
    tracks, answered = begin(rules), False
    for index, reading in enumerate(readings):
        sample = entry.sample_of(reading)
        tracks = observe(rules, tracks, sample, index * 30.0)
        answered = answered or sample.answered
    verdict = conclude(rules, tracks, answered=answered)
    return verdict.state.value, verdict.detail, {rule.code for rule in verdict.active}


# ── parts that are not there ───────────────────────────────────────────────────────────────────────────────────────
async def test_a_board_without_a_part_says_so_once_and_that_is_no_fault(tmp_path: Path) -> None:
    bare = HostTree(tmp_path / "bare")
    for folder in ("sys/class", "sys/fs"):
        bare.remove(folder)
    clock = ManualClock()
    async with health_room(tmp_path, _board(bare, *sorted(UNKNOWN_PARTS)), clock=clock, running=False) as room:
        for part in sorted(UNKNOWN_PARTS):
            await _check(room, clock, part)
            await room.monitor._commit()
            health = await _check(room, clock, part, 3)
            await room.monitor._commit()
            assert (health.state, health.detail) == ("unknown", "this board has none")
        assert room.faults() == {}
        assert room.ready()
        assert len(await room.messages("dev/power/health")) == 1
    async with health_room(tmp_path, _board(bare, *sorted(UNKNOWN_PARTS)), clock=clock, running=False) as room:
        await _check(room, clock, "power", 3)
        assert not room.monitor._truth.is_unsaid  # a restart has nothing new to say


@pytest.mark.parametrize("part", sorted(UNKNOWN_PARTS))
async def test_a_part_that_the_model_must_have_and_has_not_is_a_fault_that_stops_the_sale(
    tmp_path: Path, part: str
) -> None:
    bare = HostTree(tmp_path / "bare")
    for folder in ("sys/class", "sys/fs"):
        bare.remove(folder)
    judging, clock = Judging(required=frozenset({part})), ManualClock()
    async with health_room(tmp_path, _board(bare, part, judging=judging), clock=clock, running=False) as room:
        assert not room.ready()
        health = await _check(room, clock, part, 2)
        assert (health.state, health.detail) == ("failed", "this board has none, and its model says that it must")
        assert room.faults() == {HOST_PARTS[part].absent_code: Impact.SALE.value}
        assert not room.ready()
        HostTree(tmp_path / "bare").battery(capacity=80)
        health = await _check(room, clock, part, 4)
        assert (health.state, room.ready()) == ("ok", True)


def test_the_model_file_may_require_exactly_the_parts_that_there_are() -> None:
    from agent import model_file

    schema = model_file.model_schema()["$defs"]["HostParts"]
    assert set(schema["properties"]["required"]["items"]["enum"]) == set(HOST_SOURCES) == set(HOST_PARTS)
    assert set(model_file.HOST_PARTS) == set(HOST_SOURCES)


# ── whatever the files are ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("part", "file"),
    [
        ("thermal", "sys/class/thermal/thermal_zone0/temp"),
        ("link", "sys/class/net/eth0/carrier"),
        ("route", "net/route"),
        ("power", "sys/class/power_supply/BAT0/capacity"),
        ("storage", "sys/fs/ext4/mmcblk0p2/errors_count"),
    ],
)
@pytest.mark.parametrize("silent_writer", [False, True])
async def test_a_file_that_blocks_harms_only_its_own_part(
    tmp_path: Path, tree: HostTree, part: str, file: str, silent_writer: bool
) -> None:
    tree.battery(capacity=80)
    threads = threading.active_count()
    async with health_room(tmp_path, _board(tree), interval_s=0.01, deadline_s=0.1) as room:
        await until(lambda: room.state(part)[0] == "ok")
        kept = tree.path(file).read_bytes()
        tree.fifo(file, silent_writer=silent_writer)
        await until(lambda: room.state(part)[0] == "unknown")
        looked = room.monitor._watched["memory"].at_ms
        await until(lambda: room.monitor._watched["memory"].at_ms > looked + 100)
        assert room.state("memory")[0] == "ok"
        assert threading.active_count() - threads <= 4  # reader, writer, the store's reader, and the lost one
        tree.let_go(file)
        tree.write(file, kept)
        await until(lambda: room.state(part)[0] == "ok")


@pytest.mark.parametrize("content", [b"", b"\x00\xff rubbish", b"7" * 500_000])
async def test_rubbish_is_unknown_and_never_a_verdict(tmp_path: Path, tree: HostTree, content: bytes) -> None:
    tree.battery(capacity=80)
    files = {
        "thermal": "sys/class/thermal/thermal_zone0/temp",
        "link": "sys/class/net/eth0/carrier",
        "route": "net/route",
        "power": "sys/class/power_supply/BAT0/capacity",
        "storage": "sys/fs/ext4/mmcblk0p2/errors_count",
    }
    if not content:
        del files["route"], files["power"], files["storage"]  # there empty means: it has nothing to say
    clock = ManualClock()
    async with health_room(tmp_path, _board(tree), clock=clock, running=False) as room:
        for part, file in files.items():
            await _check(room, clock, part)
            tree.write(file, content)
            assert (await _check(room, clock, part, 3)).state == "unknown", part
        assert room.faults() == {}
        assert room.ready()


async def test_readings_of_the_whole_board_have_few_fixed_names(tmp_path: Path, tree: HostTree) -> None:
    tree.battery(capacity=80)
    tree.flash("0x02 0x01", "0x01")
    clock = ManualClock()
    async with health_room(tmp_path, _board(tree), clock=clock, running=False) as room:
        for part in HOST_SOURCES:
            await _check(room, clock, part)
        host = room.gauges["host"]
        assert set(room.gauges) == {"host"}
        assert (host["temperature_c"], host["links_up"], host["default_route"], host["battery_pct"]) == (45.0, 1, 1, 80)
        assert (host["flash_life_used_pct"], host["ext4_errors"], host["clock_jump_s"]) == (10, 0, 0.0)
        assert len(host) < 40


# ── heat ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _zone(temp_c: float | None, **trips: float) -> ThermalZone:
    return ThermalZone("thermal_zone0", "cpu", temp_c, *(trips.get(one) for one in ("passive", "hot", "critical")))


def _heat(
    *temps: float | None, throttling: int = 0, limits: Thresholds | None = None, **trips: float
) -> tuple[str, str]:
    readings = [ThermalReading((_zone(temp_c, **trips),), throttling) for temp_c in temps]
    state, detail, codes = _conclude("thermal", *readings, judging=Judging(limits or Thresholds()))
    assert codes <= {thermal.CODE, None}
    return state, detail


def test_heat_is_judged_by_the_distance_to_the_boards_own_limit() -> None:
    assert _heat(60, 60, critical=105.0) == ("ok", "")
    assert _heat(96, 96, critical=105.0) == ("degraded", "96 °C at cpu, 9 °C below its limit")
    assert _heat(96, 96, hot=98.0, critical=105.0)[0] == "failed"
    assert _heat(107, 107, critical=105.0) == ("failed", "107 °C at cpu, 2 °C above its limit")
    assert _heat(96, 96, 93, 93, critical=105.0)[0] == "degraded"  # not far enough back
    assert _heat(96, 96, 80, 80, critical=105.0)[0] == "ok"


def test_a_passive_trip_counts_only_where_there_is_no_other_and_none_at_all_is_not_judged() -> None:
    assert _heat(90, 90, passive=85.0, critical=120.0)[0] == "ok"
    assert _heat(90, 90, passive=85.0)[0] == "failed"
    assert _heat(140, 140)[0] == "ok"
    limits = Thresholds(temperature=TemperatureLimit(limit_c=80.0))
    assert _heat(75, 75, limits=limits) == ("degraded", "75 °C at cpu")
    assert _heat(60, 60, limits=limits)[0] == "ok"


def test_a_board_that_slows_itself_down_is_degraded_however_cool_it_reads() -> None:
    assert _heat(50, 50, throttling=1, critical=105.0) == ("degraded", "slows itself down because of heat")


def test_sensors_that_give_nothing_are_unknown_and_one_peak_is_no_verdict() -> None:
    assert _heat(None, None, critical=105.0) == ("unknown", "no sensor gives a temperature")
    assert _heat(50, 104, 50, critical=105.0) == ("ok", "")


# ── links and routes ───────────────────────────────────────────────────────────────────────────────────────────────
UP, DOWN = Link("eth0", True, True, "up", 0), Link("wlan0", True, False, "down", 0)
OFF, GONE = Link("wlan0", True, None, "down", 0), Link("wlan0", False, None, "", None)


@pytest.mark.parametrize(
    ("links", "named", "expected"),
    [
        ((UP, DOWN), False, ("ok", "", set())),
        ((UP, DOWN), True, ("degraded", "wlan0 has no link", {link.CODE})),
        ((UP, OFF), True, ("degraded", "wlan0 is switched off", {link.CODE})),
        ((UP, GONE), True, ("degraded", "wlan0 is not there", {link.CODE})),
        ((DOWN,), False, ("failed", "wlan0 has no link", {link.CODE})),
        ((GONE,), True, ("failed", "wlan0 is not there", {link.CODE})),
        (
            (UP._replace(recent_changes=6),),
            False,
            ("degraded", "the link of eth0 changed 6 times in five minutes", {"NET-LNK-002"}),
        ),
        ((UP._replace(recent_changes=5),), False, ("ok", "", set())),
    ],
)
def test_links_are_judged_by_what_the_terminal_needs(
    links: tuple[Link, ...], named: bool, expected: tuple[str, str, set[str]]
) -> None:
    assert _conclude("link", *[LinkReading(links, named)] * 3) == expected


def test_a_link_that_is_down_from_the_start_is_unknown_first_and_never_ok() -> None:
    cut = LinkReading((DOWN,), named=False)
    assert _conclude("link", cut)[0] == "unknown"
    assert _conclude("link", cut, cut)[0] == "failed"


def test_a_link_that_flapped_is_calm_again_only_after_the_window() -> None:
    readings = [LinkReading((UP._replace(recent_changes=count),), named=False) for count in (8, 4, 2, 1)]
    assert [_conclude("link", *readings[: end + 1])[0] for end in range(4)] == ["degraded"] * 3 + ["ok"]


async def test_a_lost_route_and_a_silent_gateway_are_different_faults(tmp_path: Path, tree: HostTree) -> None:
    clock = ManualClock()
    async with health_room(tmp_path, _board(tree, "route"), clock=clock, running=False) as room:
        assert (await _check(room, clock, "route")).state == "ok"
        tree.routes(gateway="192.168.1.1", neighbour_flags=0)
        assert (await _check(room, clock, "route", 3)).detail == "the gateway 192.168.1.1 does not answer at eth0"
        assert set(room.faults()) == {"NET-GWY-001"}
        tree.routes(gateway=None)
        assert (await _check(room, clock, "route", 3)).state == "failed"
        assert "NET-RTE-001" in room.faults()
        tree.routes(gateway="192.168.1.1")
        assert (await _check(room, clock, "route", 3)).state == "ok"
        assert room.faults() == {}


def test_a_way_without_a_gateway_ends_what_was_said_of_the_gateway_before() -> None:
    silent = RouteReading(DefaultRoute("eth0", "192.168.1.1"), None, False)
    nobody_asked = RouteReading(DefaultRoute("eth0", "192.168.1.1"), None, None)
    mobile = RouteReading(DefaultRoute("ppp0", None), None, None)
    assert _conclude("route", *[silent] * 4)[2] == {"NET-GWY-001"}
    assert _conclude("route", *[silent] * 4, *[nobody_asked] * 4)[2] == {"NET-GWY-001"}
    assert _conclude("route", *[silent] * 4, mobile) == ("ok", "", set())


# ── clock ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def _clock(error_us: int | None, *, jump_s: float = 0.0, wall_s: float = 1_800_000_000.0) -> ClockReading:
    return ClockReading(None if error_us is None else KernelClock(error_us, 0x40), wall_s, jump_s)


def test_a_clock_is_believed_below_sixteen_seconds_and_a_new_boot_is_given_five_minutes() -> None:
    assert _conclude("clock", *[_clock(15_999_999)] * 20)[0] == "ok"
    assert _conclude("clock", *[_clock(16_000_000)] * 10)[0] == "ok"
    assert _conclude("clock", *[_clock(16_000_000)] * 12)[2] == {clock.CODE}
    assert _conclude("clock", *[_clock(16_000_000)] * 12, _clock(1_000))[0] == "ok"
    assert _conclude("clock", *[_clock(None)] * 20)[0] == "ok"


def test_a_clock_that_is_assumed_is_not_called_unsynchronised_but_still_wrong_when_it_is_wrong() -> None:
    assumed = Judging(clock_assumed=True)
    assert _conclude("clock", *[_clock(16_000_000)] * 12, judging=assumed)[0] == "ok"
    assert _conclude("clock", _clock(16_000_000, wall_s=0.0), judging=assumed)[0] == "failed"


def test_a_jump_is_told_as_long_as_it_is_remembered() -> None:
    state, detail, codes = _conclude("clock", _clock(0), _clock(0, jump_s=-400.0))
    assert (state, codes) == ("degraded", {"HST-CLK-002"})
    assert detail == "the clock jumped back by 400 s within the last hour"
    assert _conclude("clock", _clock(0, jump_s=3.0), _clock(0))[0] == "ok"


# ── power ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def _battery(capacity_pct: int | None, status: str | None = "Discharging", health: str | None = "Good") -> Battery:
    return Battery("BAT0", status, capacity_pct, health, 30.0, 3.8)


@pytest.mark.parametrize(
    ("battery", "mains", "expected"),
    [
        (_battery(80), False, ("ok", set())),
        (_battery(20), False, ("degraded", {"HW-PWR-001"})),
        (_battery(8), False, ("failed", {"HW-PWR-001"})),
        (_battery(3, "Charging"), True, ("ok", set())),
        (_battery(3, "Unknown"), True, ("ok", set())),
        (_battery(3, "Unknown"), None, ("failed", {"HW-PWR-001"})),
        (_battery(3), True, ("failed", {"HW-PWR-001"})),  # the charger is too weak
        (_battery(None, None, None), None, ("ok", set())),
        (_battery(90, health="Overheat"), False, ("degraded", {power.CODE})),
        (_battery(90, health="Dead"), True, ("failed", {power.CODE})),
    ],
)
def test_a_battery_is_judged_while_it_is_used_up(
    battery: Battery, mains: bool | None, expected: tuple[str, set[str]]
) -> None:
    state, _detail, codes = _conclude("power", *[PowerReading((battery,), mains)] * 2)
    assert (state, codes) == expected


def test_plugging_the_charger_in_ends_a_low_battery() -> None:
    low, charging = PowerReading((_battery(5),), False), PowerReading((_battery(5, "Charging"),), True)
    assert _conclude("power", low, charging)[0] == "ok"


# ── storage ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("flash", "errors", "expected"),
    [
        (("0x01 0x02", "0x01"), 0, ("ok", set())),
        (("0x08 0x02", "0x01"), 0, ("degraded", {"HST-STO-003"})),
        (("0x01 0x0B", "0x01"), 0, ("failed", {"HST-STO-003"})),
        (("0x01 0x01", "0x02"), 0, ("degraded", {"HST-STO-003"})),
        (("0x00 0x00", "0x03"), 0, ("failed", {"HST-STO-003"})),
        (("0x00 0x00", "0x00"), 4, ("degraded", {"HST-STO-004"})),
    ],
)
async def test_wear_and_old_errors_are_judged_as_the_trade_does(
    tmp_path: Path, tree: HostTree, flash: tuple[str, str], errors: int, expected: tuple[str, set[str]]
) -> None:
    tree.flash(*flash)
    tree.ext4(errors=errors)
    clock = ManualClock()
    async with health_room(tmp_path, _board(tree, "storage"), clock=clock, running=False) as room:
        health = await _check(room, clock, "storage", 2)
        assert (health.state, set(room.faults())) == expected


async def test_errors_that_grow_are_a_failure(tmp_path: Path, tree: HostTree) -> None:
    tree.ext4(errors=1)
    clock = ManualClock()
    async with health_room(tmp_path, _board(tree, "storage"), clock=clock, running=False) as room:
        assert (await _check(room, clock, "storage")).state == "degraded"
        tree.ext4(errors=2)
        health = await _check(room, clock, "storage")
        assert (health.state, health.detail) == ("failed", "2 errors on mmcblk0p2, 1 of them new")
