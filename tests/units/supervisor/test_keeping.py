"""What the supervisor does without being asked, and what it refuses to be configured for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w

from agent.errors import ConfigInvalid, Refused
from agent.supervisor.folders import empty, write
from agent.supervisor.settings import read_settings, start_order
from tests.kit.broker import eventually
from tests.kit.supervisor import ROOT, SupervisorProcess, application, is_running

SILENT = """
import os, signal, socket
with open("hung.starts", "a") as starts:
    starts.write(f"{os.getpid()}\\n")
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"READY=1", "\\0" + os.environ["NOTIFY_SOCKET"][1:])
os.kill(os.getpid(), signal.SIGSTOP)
"""
WITH_A_CHILD = """
import os, subprocess, sys, signal
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
with open("parent.starts", "a") as starts:
    starts.write(f"{child.pid}\\n")
signal.pause()
"""


async def test_a_unit_that_hangs_is_ended_by_its_watchdog_and_started_again(tmp_path: Path) -> None:
    hung = {
        "name": "hung.service",
        "argv": [sys.executable, "-c", SILENT],
        "kind": "notify",
        "watchdog_s": 0.5,
        "restart_first_s": 0.05,
    }
    with SupervisorProcess(tmp_path, [hung]) as supervisor:
        await eventually(lambda: len(supervisor.starts("hung")) >= 3)
        assert supervisor.ask(verb="counters")["counters"]["units"][0]["watchdog"] >= 2
        await eventually(lambda: not is_running(supervisor.starts("hung")[0]))


async def test_a_unit_that_never_gets_ready_does_not_keep_the_others_from_starting(tmp_path: Path) -> None:
    never = {"name": "never.service", "argv": ["/bin/sleep", "600"], "kind": "notify", "start_s": 0.3}
    with SupervisorProcess(tmp_path, [never, application("shop", after=["never.service"])]) as supervisor:
        assert supervisor.ask(verb="state", unit="shop.service")["state"]["active"] == "active"
        assert supervisor.ask(verb="state", unit="never.service")["state"]["active"] == "activating"


async def test_a_program_that_does_not_exist_is_tried_again_and_hurts_nobody(tmp_path: Path) -> None:
    gone = {"name": "gone.service", "argv": ["/no/such/program"], "start_s": 0.2}
    with SupervisorProcess(tmp_path, [gone, application("shop")]) as supervisor:
        assert supervisor.ask(verb="state", unit="shop.service")["state"]["active"] == "active"
        answer = supervisor.ask(verb="restart", unit="gone.service", order_id="cmd-1")
        assert (answer["outcome"]["end"], answer["outcome"]["reason"]) == ("failed", "STEP_FAILED")


async def test_what_a_process_started_goes_with_it(tmp_path: Path) -> None:
    parent = {"name": "parent.service", "argv": [sys.executable, "-c", WITH_A_CHILD]}
    with SupervisorProcess(tmp_path, [parent]) as supervisor:
        await eventually(lambda: len(supervisor.starts("parent")) == 1)
        supervisor.ask(verb="restart", unit="parent.service", order_id="cmd-1")
        await eventually(lambda: not is_running(supervisor.starts("parent")[0]))


async def test_a_process_is_told_no_more_than_its_own(tmp_path: Path) -> None:
    show = (
        "import json, os; open('environment', 'w').write(json.dumps(dict(os.environ))); import signal; signal.pause()"
    )
    unit = {"name": "show.service", "argv": [sys.executable, "-c", show], "environment": {"SHOP": "1"}}
    with SupervisorProcess(tmp_path, [unit]):
        file = tmp_path / "environment"
        await eventually(lambda: file.exists() and file.read_text().endswith("}"))
    text = file.read_text()
    assert '"SHOP": "1"' in text
    assert "pos-agent-test-supervisor" not in text  # the supervisor's own NOTIFY_SOCKET
    assert "WATCHDOG_USEC" not in text


def _settings(below: Path, /, **changes: object) -> Path:
    file = below / "supervisor.toml"
    unit = {"name": "a.service", "argv": ["/bin/true"]}
    file.write_text(tomli_w.dumps({"folder": str(below), "unit": [unit], **changes}))
    return file


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"folder": "here"}, "folder"),
        ({"socket": "/run/machine.sock"}, "socket"),
        ({"socket": "../machine.sock"}, "leaves the folder"),
        ({"ledger": "a/../../b.json"}, "leaves the folder"),
        ({"boot_id": "/proc/sys/kernel/random/boot_id"}, "boot_id"),
        ({"unit": []}, "unit"),
        ({"unit": [{"name": "a", "argv": ["/bin/true"]}]}, "name"),
        ({"unit": [{"name": "a.service", "argv": []}]}, "argv"),
        ({"unit": [{"name": "a.service", "argv": ["/bin/true"], "cache": ["/etc"]}]}, "cache"),
        ({"unit": [{"name": "a.service", "argv": ["/bin/true"], "cache": ["../x"]}]}, "leaves the folder"),
        ({"unit": [{"name": "a.service", "argv": ["/bin/true"], "cache": ["state"]}]}, "supervisor itself needs"),
        ({"unit": [{"name": "a.service", "argv": ["/bin/true"], "cache": ["."]}]}, "supervisor itself needs"),
        ({"unit": [{"name": "a.service", "argv": ["/bin/true"], "after": ["b.service"]}]}, "which is no unit"),
        ({"unit": [{"name": "a.service", "argv": ["/bin/true"], "after": ["a.service"]}]}, "wait for each other"),
        ({"unit": [{"name": "a.service", "argv": ["/bin/true"]}] * 2}, "stands twice"),
        ({"unit": [{"name": "a.service", "argv": ["/bin/true"], "watchdog_s": 3}]}, "watchdog_s"),
        ({"more": 1}, "more"),
    ],
)
def test_a_wrong_configuration_names_what_is_wrong(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        read_settings(_settings(tmp_path, **changes))
    assert says in str(caught.value)


def test_the_program_refuses_a_wrong_configuration_with_exit_code_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent.supervisor", "--config", str(_settings(tmp_path, socket="../x"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "leaves the folder" in done.stderr


def test_units_are_started_after_those_they_need(tmp_path: Path) -> None:
    units = [
        {"name": "shop.service", "argv": ["/bin/true"], "after": ["agent.service"]},
        {"name": "agent.service", "argv": ["/bin/true"], "after": ["broker.service"]},
        {"name": "broker.service", "argv": ["/bin/true"]},
    ]
    ordered = start_order(read_settings(_settings(tmp_path, unit=units)).unit)
    assert [unit.name for unit in ordered] == ["broker.service", "agent.service", "shop.service"]


@pytest.mark.parametrize("path", ["..", "../x", "a/../../x", "/etc", "", "."])
def test_no_path_outside_the_folder_is_emptied_or_written(tmp_path: Path, path: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "kept").touch()
    with pytest.raises(Refused):
        empty(inside, path)
    with pytest.raises(Refused):
        write(inside, path, b"x")
    assert (tmp_path / "x" / "kept").exists()


@pytest.mark.parametrize("link", ["a", "a/b"])
def test_no_link_on_the_way_is_followed(tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    (outside / "b" / "kept").touch()
    inside = tmp_path / "inside"
    (inside / link).parent.mkdir(parents=True)
    (inside / link).symlink_to(outside if link == "a" else outside / "b")
    with pytest.raises(Refused):
        empty(inside, "a/b")
    with pytest.raises(Refused):
        write(inside, "a/b/kept", b"x")
    assert (outside / "b" / "kept").read_bytes() == b""


def test_emptying_removes_links_and_not_what_they_point_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    cache = tmp_path / "cache"
    (cache / "deep" / "er").mkdir(parents=True)
    (cache / "link").symlink_to(tmp_path / "kept")
    (cache / "deep" / "link").symlink_to(tmp_path / "kept")
    assert empty(tmp_path, "cache") == 2
    assert (tmp_path / "kept" / "file").exists()
    assert os.listdir(cache) == []
    assert empty(tmp_path, "not-there") == 0
