"""The reader of a keypad, as a process and by hand: what it tells, what it never tells, and what it survives."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import drivers.pos_keyboard
from drivers.contract import DeviceSpec
from drivers.emulators.pos_keyboard import KeypadEmulator
from drivers.pos_keyboard import report_wire
from drivers.pos_keyboard.evdev import EvdevKeypad, boottime_s
from drivers.pos_keyboard.evdev_wire import EV_KEY, EV_SYN, PRESSED, SYN_REPORT, Event, pack
from drivers.pos_keyboard.key_report import KeyReport
from drivers.pos_keyboard.report_wire import NoReport, decode, encode, report_path
from drivers.sysfs_contract import KeypadReading
from tests.kit.emulated_board import KEYPAD_BY_NAME, emulated_board
from tests.kit.keypad_reader import ReaderByHand, reader_process

ROOM = Path(drivers.pos_keyboard.__file__).parent
GOOD = KeyReport(True, False, False, 412)


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[ReaderByHand]:
    one = ReaderByHand(tmp_path / "one")
    one.step()
    yield one
    one.close()


# ── the report's form ──────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("report", [GOOD, KeyReport(True, True, True, 0), KeyReport(False, None, None, 7)])
def test_a_report_reads_back_as_it_was_written(report: KeyReport) -> None:
    assert decode(encode(report, 1234.9)) == (report, 1234)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"[" * 300,
        encode(GOOD, 1)[:-3],
        encode(GOOD, 1) + b" " * 600,
        encode(GOOD, 1).replace(b'"schema":1', b'"schema":2'),
        encode(GOOD, 1).replace(b"412", b"-1"),
        encode(GOOD, 1).replace(b"412", b"4.5"),
        encode(GOOD, 1).replace(b"412", b"true"),
        encode(GOOD, 1).replace(b"412", b"1" * 40),
        encode(GOOD, 1).replace(b'"stuck":false', b'"stuck":null'),
        encode(GOOD, 1).replace(b'"stuck":false', b'"stuck":0'),
        encode(GOOD, 1).replace(b'"readable":true', b'"readable":1'),
        encode(GOOD, 1).replace(b'"readable":true', b'"readable":false'),
        encode(GOOD, 1).replace(b'"stuck":false', b'"stuck":false,"key":30'),
    ],
)
def test_what_is_no_report_is_none_and_is_not_repeated(content: bytes) -> None:
    with pytest.raises(NoReport) as refused:
        decode(content)
    assert "412" not in str(refused.value)


# ── what it tells ──────────────────────────────────────────────────────────────────────────────────────────────
def test_presses_are_counted_in_buckets_of_a_minute_and_not_before_one_is_over(by_hand: ReaderByHand) -> None:
    for code in (2, 3, 4):
        by_hand.key(code, held_s=0.125)
    by_hand.pass_time(59.0)
    assert by_hand.report()["key_pressed_count"] == 0
    by_hand.pass_time(2.0)
    by_hand.key(5, held_s=0.125)
    by_hand.pass_time(9.0)
    assert by_hand.report()["key_pressed_count"] == 3
    by_hand.pass_time(60.0)
    assert by_hand.report()["key_pressed_count"] == 4


def test_a_stuck_key_is_told_with_the_first_report_after_30_s(by_hand: ReaderByHand) -> None:
    by_hand.send(Event(by_hand.now_s, EV_KEY, 30, PRESSED), Event(by_hand.now_s, EV_SYN, SYN_REPORT, 0))
    by_hand.pass_time(29.0)
    assert by_hand.report()["stuck"] is False
    by_hand.pass_time(11.0)
    assert by_hand.report()["stuck"] is True


def test_the_file_is_written_on_its_grid_and_at_no_other_time_whatever_is_typed(by_hand: ReaderByHand) -> None:
    began_s = int(by_hand.now_s)
    written: list[int] = []
    for second in range(1, 200):
        by_hand.now_s = began_s + second
        by_hand.key(2 + second % 9, held_s=0.0)
        written.append(by_hand.report()["boottime_s"])
    assert sorted(set(written)) == [began_s + 10 * number for number in range(20)]


def test_no_key_order_or_rhythm_can_be_recovered_two_different_texts_leave_the_same_bytes(tmp_path: Path) -> None:
    """Everything that comes out, at every report: same number of presses in a minute, all else different."""
    outputs = []
    for name, codes, pause_s in (("one", [2, 3, 4, 5, 28], 0.5), ("two", [11, 11, 9, 30, 1], 7.0)):
        reader = ReaderByHand(tmp_path / name)
        files = []
        for _minute in range(3):
            ends_s = reader.now_s + 60.0
            for code in codes:
                reader.pass_time(pause_s)
                reader.key(code, held_s=pause_s / 4)
            reader.pass_time(ends_s - reader.now_s)
            files.append({path.name: path.read_bytes() for path in reader.folder.iterdir() if path.is_file()})
        outputs.append(files)
        reader.close()
    assert outputs[0] == outputs[1]
    assert outputs[0][2].keys() == {"report.json"}
    assert b'"key_pressed_count":15' in outputs[0][2]["report.json"]


# ── as a process, against the emulator ─────────────────────────────────────────────────────────────────────────
@pytest.fixture
async def keypad(tmp_path: Path) -> KeypadEmulator:
    return KeypadEmulator(tmp_path / "keypad")


async def test_each_fault_of_the_emulated_keypad_is_told_while_it_lasts(keypad: KeypadEmulator, tmp_path: Path) -> None:
    await keypad.start()
    with reader_process(keypad.node, tmp_path / "reader") as reader:
        await asyncio.to_thread(reader.until, lambda report: report["stuck"] is False)
        keypad.apply({"stuck": True})
        await asyncio.to_thread(reader.until, lambda report: report["stuck"] is True)
        keypad.apply({"stuck": False})
        await asyncio.to_thread(reader.until, lambda report: report["stuck"] is False)
        keypad.apply({"chatter": True})
        await asyncio.to_thread(reader.until, lambda report: report["chatter"] is True)
        keypad.apply({"chatter": False})
        await asyncio.to_thread(reader.until, lambda report: report["chatter"] is False)
        keypad.apply({"unplugged": True})
        await asyncio.to_thread(reader.until, lambda report: (report["readable"], report["stuck"]) == (False, None))
        keypad.apply({"unplugged": False, "stuck": True})
        await asyncio.to_thread(reader.until, lambda report: report["stuck"] is True)
        log = reader.log.read_text()
    await keypad.stop()
    assert set(log.splitlines()) <= {
        "keypad_reader.open",
        "keypad_reader.gone",
        "keypad_reader.not_open: No such file or directory",
    }


async def test_every_press_is_counted_and_lost_events_make_no_key_stuck(keypad: KeypadEmulator, tmp_path: Path) -> None:
    await keypad.start()
    with reader_process(keypad.node, tmp_path / "reader") as reader:
        await asyncio.to_thread(reader.until, lambda report: report["readable"])
        await keypad.type([2, 3, 4, 5] * 10, 0.001)
        await asyncio.to_thread(reader.until, lambda report: report["key_pressed_count"] == 40)
        keypad.press(30)
        keypad.drop()
        began = reader.report()["boottime_s"]
        await asyncio.to_thread(reader.until, lambda report: report["boottime_s"] >= began + 2)  # 400 s of its time
        assert reader.report()["stuck"] is False
    await keypad.stop()


async def test_it_says_the_same_after_sigkill_and_a_restart_and_the_agent_sees_that_it_was_dead(
    keypad: KeypadEmulator, tmp_path: Path
) -> None:
    ahead_s = 0.0
    async with emulated_board(tmp_path) as board:
        spec = DeviceSpec(
            *("keypad-0", "evdev_keypad", "", "pos_keyboard"),
            reader=True,
            sysfs=board.folder / "sys",
            dev=board.folder / "dev",
            reports=tmp_path / "reports",
            options=KEYPAD_BY_NAME,
        )
        device = EvdevKeypad(spec, lambda: boottime_s() + ahead_s)
        folder = report_path(spec.reports, "keypad-0").parent
        assert "has left no report" in str(device.read().report_problem)
        await keypad.start()
        keypad.apply({"stuck": True})
        for _life in range(2):
            with reader_process(keypad.node, folder) as reader:
                await asyncio.to_thread(reader.until, lambda report: report["stuck"] is True)
                assert device.read() == KeypadReading(None, 17, device.read().report)
                assert device.read().report is not None
                reader.process.send_signal(signal.SIGKILL)
                assert reader.process.wait(20) == -signal.SIGKILL
            ahead_s = report_wire.STALE_AFTER_S + 2
            reading = device.read()
            assert (reading.absence, reading.report) == (None, None)
            assert "has the reader ended" in str(reading.report_problem)
            ahead_s = 0.0
        await keypad.stop()


@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "rubbish", "future"])
async def test_whatever_stands_in_the_place_of_a_report_is_no_report_and_blocks_nobody(
    tmp_path: Path, kind: str
) -> None:
    async with emulated_board(tmp_path) as board:
        spec = DeviceSpec(
            *("keypad-0", "evdev_keypad", "", "pos_keyboard"),
            reader=True,
            sysfs=board.folder / "sys",
            dev=board.folder / "dev",
            reports=tmp_path / "reports",
            options=KEYPAD_BY_NAME,
        )
        path = report_path(spec.reports, "keypad-0")
        path.parent.mkdir(parents=True)
        match kind:
            case "fifo":
                os.mkfifo(path)
            case "folder":
                path.mkdir()
            case "link":
                (tmp_path / "elsewhere").write_bytes(encode(GOOD, boottime_s()))
                path.symlink_to(tmp_path / "elsewhere")
            case "rubbish":
                path.write_bytes(b"\x00" * 100_000)
            case _:
                path.write_bytes(encode(GOOD, boottime_s() + 1000))
        reading = EvdevKeypad(spec).read()
        assert reading.report is None
        assert reading.report_problem


def test_it_waits_for_a_keypad_that_is_not_there_yet(tmp_path: Path) -> None:
    node = tmp_path / "later"
    with reader_process(node, tmp_path / "reader") as reader:
        reader.until(lambda report: report["readable"] is False)
        os.mkfifo(node)
        descriptor = os.open(node, os.O_RDWR)
        reader.until(lambda report: report["readable"])
        os.close(descriptor)
        node.unlink()
        reader.until(lambda report: report["readable"] is False)


def test_rubbish_half_events_and_a_flood_do_not_end_it_nor_keep_it_from_reporting(tmp_path: Path) -> None:
    node = tmp_path / "node"
    os.mkfifo(node)
    descriptor = os.open(node, os.O_RDWR | os.O_NONBLOCK)
    with reader_process(node, tmp_path / "reader") as reader:
        reader.until(lambda report: report["readable"])
        os.write(descriptor, os.urandom(4093))
        flood = b"".join(pack(Event(float(number), EV_KEY, number % 700, number % 3)) for number in range(170))
        first = reader.report()["boottime_s"]
        while reader.report()["boottime_s"] < first + 2:
            try:
                os.write(descriptor, flood)
            except BlockingIOError:
                continue
        assert reader.process.poll() is None
    os.close(descriptor)


# ── what it must not be ────────────────────────────────────────────────────────────────────────────────────────
def test_it_loads_the_standard_library_and_its_own_room_alone_and_no_network() -> None:
    program = (
        "import sys; before = set(sys.modules); import drivers.pos_keyboard.reader\n"
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))\n"
        "print([name for name in ('socket', 'asyncio', 'logging', 'ctypes', 'subprocess') if name in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split("\n")[:2] == ["['drivers']", "[]"]


def test_it_leaves_no_core_and_its_output_is_readable_by_its_group_only(tmp_path: Path) -> None:
    node = tmp_path / "node"
    os.mkfifo(node)
    with reader_process(node, tmp_path / "reader") as reader:
        reader.until(lambda report: report)
        limits = Path(f"/proc/{reader.process.pid}/limits").read_text().splitlines()
        (core,) = [line.split()[4:6] for line in limits if line.startswith("Max core file size")]
        assert set(core) <= {"0", "1"}
        assert reader.report_file.stat().st_mode & 0o777 == 0o640
        open_files = {os.readlink(link) for link in Path(f"/proc/{reader.process.pid}/fd").iterdir()}
        assert not [name for name in open_files if name.startswith("socket:")]


@pytest.mark.parametrize("file", sorted(ROOM.glob("*.py")), ids=lambda file: file.name)
def test_no_file_of_the_room_grabs_a_keypad_prints_or_logs(file: Path) -> None:
    text = file.read_text()
    for forbidden in ("EVIOCGRAB", "0x90", "print(", "logging", "structlog", "syslog", "faulthandler"):
        assert forbidden not in text


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["--node", "/dev/null", "--report", "{folder}/report.json"], 1),  # a character device, but no keypad
        (["--node", "{folder}", "--report", "{folder}/report.json"], 1),
        (["--node", "/dev/null", "--report", "{folder}/report.json", "--scale", "10"], 1),
        (["--node", "{folder}/none", "--report", "{folder}/none/report.json"], 1),
        (["--node", "{folder}/none", "--report", "{folder}/report.json", "--scale", "0.5"], 2),
    ],
)
def test_what_cannot_be_is_said_and_ends_it(tmp_path: Path, arguments: list[str], code: int) -> None:
    words = [word.format(folder=tmp_path) for word in arguments]
    command = [sys.executable, "-m", "drivers.pos_keyboard.reader", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == code
    assert "pos-agent-keypad: " in done.stderr
    assert "Traceback" not in done.stderr


async def test_two_processes_that_read_different_texts_leave_the_same_on_every_channel(tmp_path: Path) -> None:
    left = []
    for name, codes in (("a", [2, 2, 3, 3, 28]), ("b", [11, 30, 44, 57, 1])):
        keypad = KeypadEmulator(tmp_path / name)
        await keypad.start()
        with reader_process(keypad.node, tmp_path / f"reader-{name}") as reader:
            await asyncio.to_thread(reader.until, lambda report: report["readable"])
            await keypad.type(codes, 0.001)
            report = await asyncio.to_thread(reader.until, lambda report: report["key_pressed_count"] == 5)
            del report["boottime_s"]
            names = {path.name for path in reader.report_file.parent.iterdir()} - {"report.new"}
            left.append((report, names, reader.log.read_text()))
        await keypad.stop()
    assert left[0] == left[1]
    assert left[0][1:] == ({"report.json", "log"}, "keypad_reader.open\n")


def test_the_reader_imports_the_standard_library_and_its_own_files_alone() -> None:
    code = "import sys, drivers.pos_keyboard.reader; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=Path(drivers.pos_keyboard.__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) - set(sys.stdlib_module_names) - {"__main__"} == {"drivers"}
