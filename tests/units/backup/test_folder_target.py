"""A folder as a place for backups: nothing half, nothing beside it, nothing into an empty mount point."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.backup.job import FolderPlace
from agent.backup.target import FolderTarget, Measure
from agent.errors import TargetUnusable

FOLDER = "shop-1/T-0001/journal"


def _target(path: Path, device: str | None = None, mountinfo: Path | None = None) -> FolderTarget:
    place = FolderPlace("card", str(path), device)
    return FolderTarget(place) if mountinfo is None else FolderTarget(place, mountinfo)


def _write(target: FolderTarget, name: str, content: bytes) -> str:
    with target.writing(FOLDER, "segment", "token") as work:
        work.write(content)
        target.keep(work, f"{FOLDER}/{name}", Measure(len(content), ""))
    return f"{FOLDER}/{name}"


def test_a_file_is_there_whole_for_its_owner_alone_and_can_be_measured(tmp_path: Path) -> None:
    target = _target(tmp_path)
    file = _write(target, "one.age", b"content")
    assert (tmp_path / file).read_bytes() == b"content"
    assert (tmp_path / file).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "shop-1").stat().st_mode & 0o777 == 0o700
    measure = target.measure(file)
    assert measure is not None
    assert measure.size_bytes == 7
    assert target.names(FOLDER) == ["one.age"]
    target.remove(file)
    target.remove(file)
    assert target.names(FOLDER) == []
    assert target.measure(file) is None
    assert target.measure("shop-1/T-0001/other/one.age") is None
    assert target.names("shop-1/T-0001/other") == []
    target.close()


def test_what_was_left_in_work_is_gone_and_other_files_stay(tmp_path: Path) -> None:
    target = _target(tmp_path)
    _write(target, "one.age", b"content")
    (tmp_path / FOLDER / ".segment-0000.part").write_bytes(b"half")
    (tmp_path / FOLDER / "holiday.jpg").write_bytes(b"somebody's")

    def fail() -> None:
        with target.writing(FOLDER, "segment", "token") as work:
            assert not (tmp_path / FOLDER / ".segment-0000.part").exists()
            work.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert sorted(os.listdir(tmp_path / FOLDER)) == ["holiday.jpg", "one.age"]
    target.close()


def test_a_folder_that_is_not_there_is_never_made(tmp_path: Path) -> None:
    with pytest.raises(TargetUnusable, match="No such file"):
        _target(tmp_path / "media")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TargetUnusable):
        _target(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("place", ["shop-1", "shop-1/T-0001"])
def test_no_link_leads_out_of_it(tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "media").mkdir()
    link = tmp_path / "media" / place
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    target = _target(tmp_path / "media")
    with pytest.raises(OSError, match=r"directory|symbolic"):
        _write(target, "one.age", b"content")
    assert os.listdir(outside) == []
    target.close()


def _mountinfo(tmp_path: Path, source: str, *, number: str | None = None) -> Path:
    device = os.stat(tmp_path).st_dev
    file = tmp_path / "mountinfo"
    file.write_text(
        "21 1 9:9 / / rw,relatime - ext4 /dev/root rw\n"
        f"36 21 {number or f'{os.major(device)}:{os.minor(device)}'} / {tmp_path} rw shared:1 - ext4 {source} rw\n"
    )
    return file


def test_the_medium_must_be_the_one_that_is_named(tmp_path: Path) -> None:
    device, other, link = tmp_path / "mmcblk1p1", tmp_path / "sda 1", tmp_path / "by-path"
    device.write_bytes(b"")
    other.write_bytes(b"")
    link.symlink_to(device)
    _target(tmp_path, str(link), _mountinfo(tmp_path, str(device))).close()
    _target(tmp_path, str(other), _mountinfo(tmp_path, str(other).replace(" ", "\\040"))).close()
    for source, number in ((str(other), None), (str(device), "8:1")):
        with pytest.raises(TargetUnusable, match="not on"):
            _target(tmp_path, str(link), _mountinfo(tmp_path, source, number=number))


def test_a_medium_that_was_pulled_out_leaves_its_mount_point_empty(tmp_path: Path) -> None:
    point = tmp_path / "point"
    point.mkdir()
    with pytest.raises(TargetUnusable, match="not there, or not mounted"):
        _target(point, str(tmp_path / "by-path"))
    (tmp_path / "by-path").write_bytes(b"")
    with pytest.raises(TargetUnusable, match="not there, or not mounted"):
        _target(point, str(tmp_path / "by-path"))
    assert os.listdir(point) == []
