"""Readings of the board: compared with psutil on this machine; never made up from a missing or broken file."""

from __future__ import annotations

import os
import statistics
import threading
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.errors import HostSourceError
from drivers.host.cpu import CpuSource, parse_loadavg, parse_pressure, parse_stat
from drivers.host.filesystem import FilesystemSource
from drivers.host.memory import MemorySource, parse_meminfo
from drivers.host_contract import CpuReading, HostSource, MemoryReading

PROCFS = Path("/proc")
MEMINFO = "MemTotal:  2000 kB\nMemFree:  1 kB\nMemAvailable:  500 kB\nSwapTotal:  100 kB\nSwapFree:  40 kB\n"
STAT = "cpu  100 5 50 800 20 3 2 10 7 0\ncpu0 1 1 1 1 1 1 1 1 1 1\nintr 1\n"
LOADAVG = "0.26 0.18 0.15 2/114 6250\n"
PRESSURE = "some avg10=1.18 avg60=0.44 avg300=0.16 total=3424966\nfull avg10=0.18 avg60=0.04 avg300=0.01 total=33\n"


@pytest.fixture
def procfs(tmp_path: Path) -> Path:
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "stat").write_text(STAT)
    (tmp_path / "loadavg").write_text(LOADAVG)
    (tmp_path / "pressure").mkdir()
    for name in ("cpu", "memory", "io"):
        (tmp_path / "pressure" / name).write_text(PRESSURE)
    return tmp_path


def test_memory_reads_the_four_numbers_in_bytes(procfs: Path) -> None:
    reading = MemorySource(procfs).read()
    assert reading == MemoryReading(2000 * 1024, 500 * 1024, 100 * 1024, 40 * 1024)
    assert reading.available_pct == 25.0


def test_memory_agrees_with_psutil_on_this_machine() -> None:
    ours = MemorySource(PROCFS).read()
    theirs = psutil.virtual_memory()
    assert ours.total_bytes == theirs.total
    assert ours.available_bytes == pytest.approx(theirs.available, rel=0.05)
    assert ours.swap_total_bytes == psutil.swap_memory().total


def test_processor_times_agree_with_psutil_on_this_machine() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    before = psutil.cpu_times()
    ours = parse_stat((PROCFS / "stat").read_bytes(), "stat")
    after = psutil.cpu_times()

    def busy_s(times: object) -> float:
        names = ("user", "nice", "system", "irq", "softirq", "steal")
        return float(sum(getattr(times, name) for name in names))

    assert busy_s(before) - 0.1 <= ours.busy / ticks <= busy_s(after) + 0.1
    assert before.idle - 0.1 <= ours.idle / ticks <= after.idle + 0.1


def test_load_agrees_with_psutil_on_this_machine() -> None:
    assert CpuSource(PROCFS).read().load_15m == pytest.approx(psutil.getloadavg()[2], abs=0.05)


def test_a_processor_kept_busy_reads_busy() -> None:
    source = CpuSource(PROCFS)
    source.read()
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    busy_pct = source.read().busy_pct
    assert busy_pct is not None
    assert busy_pct > 5.0


def test_the_first_processor_reading_has_no_percentage_and_the_second_has_the_time_between(procfs: Path) -> None:
    source = CpuSource(procfs)
    first = source.read()
    assert (first.busy_pct, first.iowait_pct) == (None, None)
    (procfs / "stat").write_text("cpu  130 5 60 850 30 3 2 10 7 0\n")  # busy +40, idle +50, iowait +10
    second = source.read()
    assert (second.busy_pct, second.iowait_pct) == (40.0, 10.0)


@pytest.mark.parametrize("later", ["cpu  100 5 50 700 20 3 2 10\n", STAT])
def test_counters_that_stand_still_or_go_back_give_no_percentage(procfs: Path, later: str) -> None:
    source = CpuSource(procfs)
    source.read()
    (procfs / "stat").write_text(later)
    assert source.read().busy_pct is None


def test_after_a_failed_reading_the_next_percentage_waits_for_a_whole_interval(procfs: Path) -> None:
    source = CpuSource(procfs)
    source.read()
    (procfs / "stat").unlink()
    with pytest.raises(HostSourceError):
        source.read()
    (procfs / "stat").write_text("cpu  130 5 60 850 30 3 2 10 7 0\n")
    assert source.read().busy_pct is None


def test_load_and_pressure_are_read_with_their_units(procfs: Path) -> None:
    reading = CpuSource(procfs).read()
    assert (reading.load_1m, reading.load_5m, reading.load_15m) == (0.26, 0.18, 0.15)
    assert reading.memory_pressure is not None
    assert reading.memory_pressure.some.avg60_pct == 0.44
    assert reading.memory_pressure.some.total_us == 3424966
    assert reading.memory_pressure.full is not None
    assert reading.memory_pressure.full.avg10_pct == 0.18


def test_a_kernel_without_pressure_files_gives_none_and_no_error(procfs: Path) -> None:
    for name in ("cpu", "memory", "io"):
        (procfs / "pressure" / name).unlink()
    (procfs / "pressure").rmdir()
    reading = CpuSource(procfs).read()
    assert (reading.cpu_pressure, reading.memory_pressure, reading.io_pressure) == (None, None, None)


def test_an_older_kernel_has_no_full_line_for_the_processor(procfs: Path) -> None:
    (procfs / "pressure" / "cpu").write_text(PRESSURE.splitlines(keepends=True)[0])
    pressure = CpuSource(procfs).read().cpu_pressure
    assert pressure is not None
    assert pressure.full is None


SOURCES = [
    (MemorySource, "meminfo"),
    (CpuSource, "stat"),
    (CpuSource, "loadavg"),
    (CpuSource, "pressure/cpu"),
    (CpuSource, "pressure/memory"),
    (CpuSource, "pressure/io"),
]


@pytest.mark.parametrize(("source", "name"), SOURCES)
@pytest.mark.parametrize("content", [b"", b"\n", b"xyzzy", b"\x00\xff\xfe", b"cpu", b"MemTotal: 1 kB", b"some"])
def test_an_empty_or_rubbish_file_is_an_error_that_names_it_and_shows_nothing_of_it(
    procfs: Path, source: type[MemorySource | CpuSource], name: str, content: bytes
) -> None:
    (procfs / name).write_bytes(content)
    with pytest.raises(HostSourceError) as refused:
        source(procfs).read()
    assert refused.value.path == str(procfs / name)
    assert name in str(refused.value)
    assert "xyzzy" not in str(refused.value)


@pytest.mark.parametrize(("source", "name"), SOURCES[:3])
def test_a_file_that_vanishes_is_an_error_and_is_read_again_when_it_is_back(
    procfs: Path, source: type[MemorySource | CpuSource], name: str
) -> None:
    reader = source(procfs)
    reader.read()
    content = (procfs / name).read_bytes()
    (procfs / name).unlink()
    with pytest.raises(HostSourceError, match=name):
        reader.read()
    (procfs / name).write_bytes(content)
    reader.read()


@pytest.mark.parametrize(("source", "name"), SOURCES)
def test_a_folder_in_place_of_the_file_is_an_error(
    procfs: Path, source: type[MemorySource | CpuSource], name: str
) -> None:
    (procfs / name).unlink()
    (procfs / name).mkdir()
    with pytest.raises(HostSourceError, match=name):
        source(procfs).read()


@pytest.mark.parametrize(
    "content",
    [
        MEMINFO.replace("500 kB", "5000 kB"),  # more available than there is
        MEMINFO.replace("2000 kB", "0 kB"),
        MEMINFO.replace("40 kB", "400 kB"),
        MEMINFO.replace("500 kB", "-500 kB"),
        MEMINFO.replace("500 kB", "500"),
        MEMINFO.replace("500 kB", "5e2 kB"),
        MEMINFO.replace("MemAvailable", "XMemAvailable"),
    ],
)
def test_memory_numbers_that_cannot_be_are_refused(content: str) -> None:
    with pytest.raises(HostSourceError):
        parse_meminfo(content.encode(), "meminfo")


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_hostile_bytes_give_a_reading_or_the_typed_error_and_nothing_else(content: bytes) -> None:
    for parse in (parse_meminfo, parse_stat, parse_loadavg, parse_pressure):
        try:
            parse(content, "file")
        except HostSourceError:
            continue


@pytest.mark.parametrize("word", ["nan", "inf", "1e3", "-1.00", "1"])
def test_averages_that_no_kernel_prints_are_refused(word: str) -> None:
    with pytest.raises(HostSourceError):
        parse_loadavg(f"{word} 0.10 0.10 1/1 1\n".encode(), "loadavg")
    with pytest.raises(HostSourceError):
        parse_pressure(f"some avg10={word} avg60=0.00 avg300=0.00 total=1\n".encode(), "cpu")


def test_filesystem_agrees_with_psutil_and_counts_inodes(tmp_path: Path) -> None:
    ours = FilesystemSource(tmp_path).read()
    theirs = psutil.disk_usage(str(tmp_path))
    assert ours.total_bytes == theirs.total
    assert ours.used_pct == pytest.approx(theirs.percent, abs=0.5)
    assert ours.available_bytes == pytest.approx(theirs.free, rel=0.02)
    found = os.statvfs(tmp_path)
    assert ours.total_inodes == found.f_files
    assert (ours.used_inodes_pct is None) is (found.f_files == 0)
    assert ours.read_only is bool(found.f_flag & os.ST_RDONLY)


def test_a_watched_folder_that_is_missing_or_has_no_blocks_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(HostSourceError, match="missing"):
        FilesystemSource(tmp_path / "missing").read()
    with pytest.raises(HostSourceError, match="/proc"):
        FilesystemSource(Path("/proc")).read()


def test_a_source_on_a_fifo_blocks_only_its_own_thread_and_reads_once_something_comes(procfs: Path) -> None:
    (procfs / "meminfo").unlink()
    os.mkfifo(procfs / "meminfo")
    readings: list[MemoryReading] = []
    thread = threading.Thread(target=lambda: readings.append(MemorySource(procfs).read()), daemon=True)
    thread.start()
    assert isinstance(CpuSource(procfs).read(), CpuReading)
    assert not readings
    (procfs / "meminfo").write_text(MEMINFO)
    thread.join(20)
    assert len(readings) == 1


def test_a_round_of_all_sources_costs_no_more_than_psutil_for_less() -> None:
    """psutil reads the same without pressure; both are measured in turn, so that a loaded machine slows both."""
    sources: list[HostSource] = [CpuSource(PROCFS), MemorySource(PROCFS), FilesystemSource(Path("/"))]
    ours: list[float] = []
    theirs: list[float] = []
    for _round in range(200):
        began = time.thread_time()
        for source in sources:
            source.read()
        between = time.thread_time()
        psutil.cpu_percent()
        psutil.virtual_memory()
        psutil.swap_memory()
        psutil.disk_usage("/")
        psutil.getloadavg()
        ours.append(between - began)
        theirs.append(time.thread_time() - between)
    assert statistics.median(ours) < statistics.median(theirs)
