"""Wheels are unpacked without programs, and never outside of their folder."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from package.texts import CannotBuild
from package.wheels import unpack


def wheel(folder: Path, *names: str) -> Path:
    """With these files, each holding its own name."""
    path = folder / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


def test_modules_metadata_and_licences_are_unpacked_and_programs_are_not(tmp_path: Path) -> None:
    metadata = ("thing-1.0.dist-info/METADATA", "thing-1.0.dist-info/licenses/LICENSE")
    left_out = ("thing-1.0.data/scripts/thing", "thing-1.0.dist-info/RECORD")
    unpack(wheel(tmp_path, "thing/", "thing/__init__.py", *metadata, *left_out), tmp_path / "packages")
    files = {str(path.relative_to(tmp_path / "packages")) for path in (tmp_path / "packages").rglob("*.*")}
    assert "thing/__init__.py" in files
    assert all((tmp_path / "packages" / name).read_text() == name for name in metadata)
    assert not any((tmp_path / "packages" / name).exists() for name in left_out)


@pytest.mark.parametrize("name", ["../outside.py", "/outside.py", "thing/../../outside.py"])
def test_a_file_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CannotBuild, match="has a file"):
        unpack(wheel(tmp_path, name), tmp_path / "below" / "packages")
    assert not list(tmp_path.rglob("outside.py"))


def test_two_wheels_with_the_same_file_are_refused(tmp_path: Path) -> None:
    unpack(wheel(tmp_path, "thing/__init__.py"), tmp_path / "packages")
    with pytest.raises(CannotBuild, match="another wheel"):
        unpack(wheel(tmp_path, "thing/__init__.py"), tmp_path / "packages")
