"""What is written into the Debian package."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import agent
from package import texts
from package.texts import CannotBuild

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("version", ["0.1", "0.1.0", "12.0.3.1", agent.__version__])
def test_a_release_is_numbers_with_dots(version: str) -> None:
    assert texts.checked_version(version) == version


@pytest.mark.parametrize(
    "version", ["", "1", "0.2.0rc1", "0.2.0-1", "../0.1", "0.1\n", "v0.1.0", "1:0.1.0", "1.2.3.4.5"]
)
def test_any_other_version_is_refused(version: str) -> None:
    with pytest.raises(CannotBuild, match="numbers with dots"):
        texts.checked_version(version)


def test_the_packed_agent_says_the_packages_version_and_nothing_else_of_the_file_changes() -> None:
    source = (ROOT / "agent/__init__.py").read_text()
    assert texts.with_version(source, agent.__version__) == source
    assert '\n__version__ = "9.9.9"\n' in texts.with_version(source, "9.9.9")
    with pytest.raises(CannotBuild, match="no line"):
        texts.with_version("version = 1\n", "9.9.9")


def test_every_dependency_comes_from_debian_or_with_the_package() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert texts.bundled(dependencies) == ["aiomqtt", "paho-mqtt", "msgspec", "pyserial", "structlog", "tomli-w"]
    assert len(dependencies) == len(texts.bundled(dependencies)) + len(texts.FROM_DEBIAN)


def test_wheels_are_asked_for_by_the_machine_and_no_newer_a_glibc_than_debians() -> None:
    assert texts.wheel_platforms("arm64")[0] == "manylinux_2_35_aarch64"
    assert texts.wheel_platforms("arm64")[-1] == "linux_aarch64"
    with pytest.raises(CannotBuild, match="known are amd64, arm64, armhf"):
        texts.wheel_platforms("s390x")


def test_the_control_file_is_one_paragraph_of_fields_and_indented_lines() -> None:
    lines = texts.control("0.2.0", "arm64", 3165, "A B <a@b.example>").splitlines()
    assert all(line.startswith(" ") or ": " in line for line in lines)
    assert {"Package: pos-agent", "Version: 0.2.0", "Architecture: arm64", "Installed-Size: 3165"} <= set(lines)
    assert "Maintainer: A B <a@b.example>" in lines


def test_the_changelog_is_in_debians_form_and_in_utc() -> None:
    last = texts.changelog("0.2.0", 1764101360, "A B <a@b.example>").splitlines()[-1]
    assert last == " -- A B <a@b.example>  Tue, 25 Nov 2025 20:09:20 +0000"


def test_the_installed_size_counts_begun_kibibytes_and_one_for_a_folder_or_a_link() -> None:
    assert texts.installed_size_kib([0, 1, 1024, 1025, None, None]) == 0 + 1 + 1 + 2 + 1 + 1
