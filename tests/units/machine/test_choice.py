"""Which make of the machine a configuration asks for, and which it may not ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomli_w

from agent.boot.machine import build_machine
from agent.config import load
from agent.errors import ConfigInvalid
from agent.machine.machine import Machine
from agent.machine.supervised import SupervisedMachine
from agent.machine.systemd import SystemdMachine
from agent.runtime.clock import SystemClock


def _file(folder: Path, machine: dict[str, Any] | None, mode: str = "development") -> Path:
    table: dict[str, Any] = {
        "mode": mode,
        "terminal": {"site": "shop-1", "terminal": "T-0001", "serial": "SN1"},
        "application": [{"name": "payment", "unit": "payment.service"}],
        "paths": {"state": str(folder / "state"), "run": str(folder / "run")},
    }
    if machine is not None:
        table["machine"] = machine
    file = folder / "agent.toml"
    file.write_text(tomli_w.dumps(table))
    return file


def _built(file: Path) -> Machine | None:
    return build_machine(load(file).settings, SystemClock())


def test_applications_and_listed_units_may_be_touched(tmp_path: Path) -> None:
    machine = _built(_file(tmp_path, {"kind": "systemd", "units": ["shop.service"], "own_unit": "agent-2.service"}))
    assert isinstance(machine, SystemdMachine)
    assert machine.units == {"payment.service", "shop.service"}
    assert (machine.kind, machine.own_unit) == ("systemd", "agent-2.service")


def test_a_development_machine_may_have_a_supervisor(tmp_path: Path) -> None:
    machine = _built(_file(tmp_path, {"kind": "supervisor", "socket": str(tmp_path / "machine.sock")}))
    assert isinstance(machine, SupervisedMachine)
    assert (machine.kind, machine.own_unit) == ("supervisor", "pos-agent.service")


def test_none_is_nobody(tmp_path: Path) -> None:
    assert _built(_file(tmp_path, {"kind": "none"})) is None


def test_without_a_word_it_is_systemd_where_that_runs(tmp_path: Path) -> None:
    machine = _built(_file(tmp_path, None))
    if Path("/run/systemd/system").is_dir():
        assert isinstance(machine, SystemdMachine)
    else:
        assert machine is None


@pytest.mark.parametrize(
    ("machine", "mode", "key"),
    [
        ({"kind": "supervisor", "socket": "/x"}, "production", "machine.kind"),
        ({"kind": "supervisor"}, "development", "machine.socket"),
        ({"kind": "systemd", "socket": "/x"}, "development", "machine.socket"),
        ({"socket": "/x"}, "development", "machine.socket"),
        ({"kind": "openrc"}, "development", "machine.kind"),
        ({"units": ["ssh"]}, "development", "machine.units"),
        ({"units": ["../ssh.service"]}, "development", "machine.units"),
        ({"units": ["-f.service"]}, "development", "machine.units"),
        ({"own_unit": "pos agent.service"}, "development", "machine.own_unit"),
        ({"socket": "x"}, "development", "machine.socket"),
    ],
)
def test_a_wrong_choice_names_its_key(tmp_path: Path, machine: dict[str, Any], mode: str, key: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load(_file(tmp_path, machine, mode))
    assert any(key in problem for problem in caught.value.problems), caught.value.problems
