"""The staged tree and the packed file; what installing it does is tested in the lab."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import package.build_deb
from package.build_deb import EXAMPLES, SCRIPTS, Wanted, pack, source_epoch_s, stage
from package.texts import CannotBuild

ROOT = Path(__file__).parents[3]
WANTED = Wanted("0.2.0", "amd64", 1764101360)
RELEASE = "opt/pos-agent/releases/0.2.0"
on_debian = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is Debian's")


def listed(deb: Path) -> list[list[str]]:
    """Mode, owner, size, day, time, name of each file."""
    said = subprocess.run(["dpkg-deb", "--contents", deb], check=True, capture_output=True, text=True).stdout
    return [line.split(maxsplit=5) for line in said.splitlines()]


def test_programs_units_models_and_examples_are_where_a_terminal_has_them(tmp_path: Path) -> None:
    stage(tmp_path, WANTED, [])
    assert os.readlink(tmp_path / "usr/bin/posctl") == "/opt/pos-agent/current/bin/posctl"
    assert "-m agent.ctl" in (tmp_path / RELEASE / "bin/posctl").read_text()
    packages = tmp_path / RELEASE / "lib/python3.11/site-packages"
    assert '"0.2.0"' in (packages / "agent/__init__.py").read_text()
    assert (packages / "agent/store/migrations/0001_journal.sql").is_file()
    assert os.readlink(packages / "nacl") == "/usr/lib/python3/dist-packages/nacl"
    for unit in (ROOT / "systemd").glob("*.service"):
        assert (tmp_path / "usr/lib/systemd/system" / unit.name).read_bytes() == unit.read_bytes()
    assert (tmp_path / "usr/lib/sysusers.d/pos-agent-keypad.conf").is_file()
    assert not list(tmp_path.rglob("__pycache__"))


def test_nothing_of_it_is_a_live_configuration(tmp_path: Path) -> None:
    stage(tmp_path, WANTED, [])
    below_etc = [str(path.relative_to(tmp_path / "etc")) for path in (tmp_path / "etc").rglob("*") if path.is_file()]
    assert below_etc
    assert all(name.startswith("pos-agent/models/") for name in below_etc)
    for name in EXAMPLES:
        found = [path for path in tmp_path.rglob(Path(name).name) if path.is_file()]
        assert [path.parent.name for path in found] == ["examples"]


def test_every_program_and_unit_of_ours_runs_isolated_optimized_and_with_the_same_bytecode(tmp_path: Path) -> None:
    stage(tmp_path, WANTED, [])
    started = "/opt/pos-agent/current/bin/python -I -OO -X pycache_prefix=/opt/pos-agent/current/bytecode -m "
    places = [*(tmp_path / "usr/lib/systemd/system").glob("*.service"), *(tmp_path / RELEASE / "bin").glob("pos*")]
    assert len(places) >= 5
    for place in places:
        assert re.findall(r"^(?:ExecStart=|exec )(.*-m )", place.read_text(), re.MULTILINE) == [started], place.name


@on_debian
def test_the_same_commit_gives_the_same_bytes_whatever_the_builders_umask_is(tmp_path: Path) -> None:
    first = pack(tmp_path / "a", WANTED, [])
    before = os.umask(0o077)
    try:
        second = pack(tmp_path / "b", WANTED, [])
    finally:
        os.umask(before)
    assert first.read_bytes() == second.read_bytes()
    assert first.name == "pos-agent_0.2.0_amd64.deb"
    files = listed(first)
    assert {(file[1], file[3], file[4]) for file in files} == {("root/root", "2025-11-25", "20:09")}
    assert {file[0] for file in files} <= {"drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x", "lrwxrwxrwx"}
    assert list((tmp_path / "a").iterdir()) == [first]


@on_debian
def test_models_are_the_operators_to_change_and_scripts_know_their_version(tmp_path: Path) -> None:
    deb = pack(tmp_path, WANTED, [])
    subprocess.run(["dpkg-deb", "--control", deb, tmp_path / "control"], check=True)
    names = (tmp_path / "control/conffiles").read_text().split()
    assert names == [f"/etc/pos-agent/models/{one.name}" for one in sorted((ROOT / "config/models").glob("*.toml"))]
    for name in SCRIPTS:
        script = tmp_path / "control" / name
        assert os.access(script, os.X_OK)
        assert "@" not in script.read_text().replace("pos-agent-keypad@*", "")
        subprocess.run(["sh", "-n", script], check=True)
    assert "version=0.2.0\n" in (tmp_path / "control/postinst").read_text()


def test_no_script_removes_the_journal() -> None:
    for name in SCRIPTS:
        text = (ROOT / "package/maintainer" / name).read_text()
        removed = [word for line in re.findall(r"^\s*rm (.*)", text, re.MULTILINE) for word in line.split()]
        assert not [word for word in removed if "$state" in word or word.rstrip("/") == "/var/lib/pos-agent"]


def test_the_time_of_the_files_can_be_said_and_must_be_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1764101360")
    assert source_epoch_s() == 1764101360
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(CannotBuild, match="SOURCE_DATE_EPOCH"):
        source_epoch_s()
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    monkeypatch.setattr(package.build_deb, "ROOT", tmp_path)  # no checkout
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(CannotBuild, match="no git checkout"):
        source_epoch_s()
