"""The disk that fails on demand tells the truth: what other tests conclude from it rests on this."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.runtime.durable_files import sync_folder, write_durably
from tests.kit.agent_process import ROOT
from tests.kit.fault_filesystem import FaultFilesystem, Rule, fault_filesystem


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FaultFilesystem]:
    with fault_filesystem(tmp_path) as mounted:
        yield mounted


def _append(path: Path, content: bytes, *, sync: bool) -> None:
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def test_what_was_not_synced_is_gone_after_a_power_cut(disk: FaultFilesystem) -> None:
    named = disk.path / "named"
    _append(named, b"first", sync=True)
    sync_folder(disk.path)
    _append(named, b" second", sync=False)
    _append(disk.path / "nameless", b"content that is safe under a name that is not", sync=True)
    assert named.read_bytes() == b"first second"
    disk.cut_power()
    assert named.read_bytes() == b"first"
    assert os.listdir(disk.path) == ["named"]


def test_names_in_a_folder_that_was_not_synced_are_as_they_were(disk: FaultFilesystem) -> None:
    for name in ("old", "removed", "replaced"):
        _append(disk.path / name, name.encode(), sync=True)
    sync_folder(disk.path)
    (disk.path / "old").rename(disk.path / "new")
    (disk.path / "removed").unlink()
    _append(disk.path / "fresh", b"fresh", sync=True)
    (disk.path / "fresh").replace(disk.path / "replaced")
    disk.cut_power()
    assert {one: (disk.path / one).read_bytes().decode() for one in os.listdir(disk.path)} == {
        one: one for one in ("old", "removed", "replaced")
    }


def test_a_file_renamed_without_a_sync_of_its_content_is_empty(disk: FaultFilesystem) -> None:
    _append(disk.path / "temporary", b"not synced", sync=False)
    (disk.path / "temporary").rename(disk.path / "final")
    sync_folder(disk.path)
    disk.cut_power()
    assert (disk.path / "final").read_bytes() == b""


def test_a_name_moved_to_another_folder_is_in_one_of_them(disk: FaultFilesystem) -> None:
    (disk.path / "there").mkdir()
    sync_folder(disk.path)
    _append(disk.path / "file", b"x", sync=True)
    (disk.path / "file").rename(disk.path / "there" / "file")
    sync_folder(disk.path / "there")
    disk.cut_power()
    assert os.listdir(disk.path) == ["there"]
    assert (disk.path / "there" / "file").read_bytes() == b"x"


def test_a_durable_replacement_is_old_or_new_wherever_the_power_went(disk: FaultFilesystem) -> None:
    """The halts are found by running: a replacement has so many changes, and the power goes in each of them."""
    target = disk.path / "target"
    write_durably(target, b"old" * 5000)
    disk.halt_at(0)
    write_durably(target, b"new" * 5000)
    changes = disk.halt_at(0)
    assert changes >= 5
    seen = set()
    for change in range(1, changes + 1):
        for seed in range(6):
            write_durably(target, b"new" * 5000)
            disk.halt_at(change)
            writer = subprocess.Popen([sys.executable, "-c", _REPLACE, str(target)], cwd=ROOT)
            assert disk.await_halt(20)
            disk.cut_power(writer, seed=seed)
            seen.add(target.read_bytes())
    assert seen == {b"new" * 5000, b"last" * 5000}


_REPLACE = (
    "import sys; from pathlib import Path; from agent.runtime.durable_files import write_durably;"
    "write_durably(Path(sys.argv[1]), b'last' * 5000)"
)


def test_an_fsync_that_failed_is_not_made_good_by_the_next(disk: FaultFilesystem) -> None:
    path = disk.path / "file"
    _append(path, b"", sync=True)
    sync_folder(disk.path)
    disk.break_with(Rule("fsync", "EIO", times=1))
    with pytest.raises(OSError, match="Input/output"):
        _append(path, b"lost", sync=True)
    assert disk.hits() == 1
    with path.open("rb") as file:
        os.fsync(file.fileno())
    assert path.read_bytes() == b"lost"
    disk.cut_power()
    assert path.read_bytes() == bytes(4)  # the length is the folder's matter, the content never came


def test_rules_strike_where_and_as_often_as_they_say(disk: FaultFilesystem) -> None:
    disk.break_with(Rule("write", "ENOSPC", path="one$", after=1, times=1), Rule("create|unlink", "EROFS", path="ro"))
    _append(disk.path / "one", b"1", sync=False)
    with pytest.raises(OSError, match="No space") as full:
        _append(disk.path / "one", b"2", sync=False)
    assert full.value.errno == errno.ENOSPC
    _append(disk.path / "one", b"3", sync=False)
    _append(disk.path / "two", b"2", sync=False)
    with pytest.raises(OSError, match="Read-only"):
        (disk.path / "ro").touch()
    assert disk.hits() == 2
    disk.heal()
    (disk.path / "ro").touch()


def test_a_short_write_is_short_and_a_delay_is_one(disk: FaultFilesystem) -> None:
    disk.break_with(Rule("write", path="short", short=True), Rule("write", path="slow", delay_s=0.2))
    descriptor = os.open(disk.path / "short", os.O_WRONLY | os.O_CREAT)
    assert os.write(descriptor, b"12345678") == 4
    os.close(descriptor)
    began = time.monotonic()
    (disk.path / "slow").write_bytes(b"x")
    assert time.monotonic() - began >= 0.2


def test_a_disk_of_a_given_size_is_full_at_that_size_and_says_how_much_is_free(disk: FaultFilesystem) -> None:
    disk.resize(100 * 4096)
    (disk.path / "ballast").write_bytes(bytes(60 * 4096))
    assert os.statvfs(disk.path).f_bavail == 40
    with pytest.raises(OSError, match="No space"):
        (disk.path / "more").write_bytes(bytes(50 * 4096))
    (disk.path / "more").unlink()
    (disk.path / "ballast").unlink()
    assert os.statvfs(disk.path).f_bavail == 100


def test_memory_shared_through_a_file_is_shared(disk: FaultFilesystem) -> None:
    path = disk.path / "shared"
    path.write_bytes(bytes(4096))
    with (
        path.open("r+b") as one,
        path.open("r+b") as other,
        mmap.mmap(one.fileno(), 4096) as here,
        mmap.mmap(other.fileno(), 4096) as there,
    ):
        here[:5] = b"hello"
        assert there[:5] == b"hello"


def test_it_is_unmounted_when_its_owner_is_gone(tmp_path: Path) -> None:
    owner = (
        "import sys, os; from pathlib import Path; from tests.kit.fault_filesystem import FaultFilesystem;"
        "FaultFilesystem(Path(sys.argv[1])); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", owner, str(tmp_path)], cwd=ROOT, check=True)
    deadline = time.monotonic() + 20
    while os.path.ismount(tmp_path / "disk"):
        assert time.monotonic() < deadline, "still mounted"
        time.sleep(0.01)
