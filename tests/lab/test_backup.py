"""Backups under the unit's confinement: to a medium that comes after the agent, is pulled out, and comes back."""

from __future__ import annotations

import time
from typing import Any

import pytest
import tomli_w

from agent.backup import age
from tests.lab.release import ROOT
from tests.lab.terminal import Terminal
from tests.lab.test_service import UNIT, main_pid, pay

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

POINT = "/media/backup"
DEVICE = "/dev/backup-medium"
KEY = age.present().generate()
CONFIGURATION = {
    "backup": {
        "recipients": [KEY.public],
        "segment_after_s": 1.0,
        "folder": [{"name": "card", "path": POINT, "device": DEVICE}],
    }
}


@pytest.fixture(name="shop", scope="module")
def _shop(terminal: Terminal) -> Terminal:
    """The terminal with an empty mount point and the drop-in of the package, the medium not there yet."""
    terminal.run("mkdir", "-p", POINT, "/etc/pos-agent/agent.d")
    terminal.run("tee", "/etc/pos-agent/agent.d/backup.toml", stdin=tomli_w.dumps(CONFIGURATION))
    drop_in = (ROOT / "systemd/pos-agent.service.d/backup-medium.conf").read_text()
    terminal.run("mkdir", "-p", f"/etc/systemd/system/{UNIT}.d")
    terminal.run("tee", f"/etc/systemd/system/{UNIT}.d/backup-medium.conf", stdin=drop_in)
    terminal.run("systemctl", "daemon-reload")
    terminal.run("systemctl", "restart", UNIT)
    main_pid(terminal)
    return terminal


def _mount(terminal: Terminal) -> None:
    terminal.run("touch", DEVICE)
    terminal.run("mount", "-t", "tmpfs", "-o", "size=4m,mode=0700,uid=pos-agent,gid=pos-agent", DEVICE, POINT)


def _ask(terminal: Terminal, method: str, **params: Any) -> dict[str, Any]:
    answer = terminal.call(method, params, user="owner", groups=["pos-support"])
    return dict(answer["result"])


def _order(terminal: Terminal, kind: str) -> dict[str, Any]:
    state = _ask(terminal, "backup.run", kind=kind)
    deadline = time.monotonic() + 60
    while state["state"] in ("accepted", "waiting", "running"):
        assert time.monotonic() < deadline, state
        state = _ask(terminal, "command.get", command_id=state["command_id"])
    return state


def _is_told(terminal: Terminal) -> bool:
    return "TXN-BKP-002" in {one["code"] for one in _ask(terminal, "health.get")["faults"]}


def test_nothing_is_written_before_the_medium_is_there_and_everything_once_it_is(shop: Terminal) -> None:
    pay(shop, 1)
    shop.wait(lambda: _is_told(shop), what="that the medium is not there is told")
    assert shop.run("ls", POINT) == ""
    _mount(shop)
    made = _order(shop, "snapshot")
    assert made["state"] == "succeeded", made
    (file,) = made["result"]["files"]
    assert int(shop.run("stat", "-c", "%s", f"{POINT}/{file['file']}")) == file["size_bytes"]
    shop.wait(lambda: not _is_told(shop), what="the fault is over")


def test_a_medium_that_is_pulled_out_can_be_pulled_out_and_is_used_again(shop: Terminal) -> None:
    shop.run("umount", POINT)  # nothing of the agent's holds it
    shop.run("rm", DEVICE)
    pay(shop, 2)
    shop.wait(lambda: _is_told(shop), what="that it is gone is told")
    assert shop.run("ls", POINT) == ""
    _mount(shop)
    assert _order(shop, "snapshot")["state"] == "succeeded"


def test_children_one_after_the_other_are_nothing_that_ends_the_agent(shop: Terminal) -> None:
    pid = main_pid(shop)
    for number in range(10, 14):
        pay(shop, number)
        assert _order(shop, "snapshot")["state"] == "succeeded"
    assert main_pid(shop) == pid
