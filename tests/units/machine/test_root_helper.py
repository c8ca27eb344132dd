"""Root's helper with a stand-in for systemctl: hostile requests, root's own list, and once an order.

Under a real systemd it is tried in ``tests/lab/test_machine.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.machine.root_helper import Places, RootHelper
from tests.kit.helper_host import ASK, Host, request


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_restart_is_one_restart_however_often_it_is_asked(host: Host) -> None:
    first = host.ask("cmd-1", "restart", "payment.service")
    assert first["end"] == "done"
    assert first["state"] == {"unit": "payment.service", "active": "active", "main_pid": 4711, "invocation": ASK}
    assert host.ask("cmd-1", "restart", "payment.service") == first
    assert host.asked() == ["reset-failed -- payment.service", "restart -- payment.service"]


def test_reinitialise_stops_cleans_and_starts(host: Host) -> None:
    assert host.ask("cmd-1", "reinitialise", "payment.service")["end"] == "done"
    assert host.asked()[1:] == [
        "stop -- payment.service",
        "clean --what=cache -- payment.service",
        "start -- payment.service",
    ]


def test_a_unit_without_cache_is_only_stopped_and_started(host: Host) -> None:
    (host.tools / "cache").write_text("\n")
    assert host.ask("cmd-1", "reinitialise", "payment.service")["end"] == "done"
    assert host.asked()[1:] == ["stop -- payment.service", "start -- payment.service"]


@pytest.mark.parametrize("failing", ["stop", "clean"])
def test_the_application_is_started_whatever_failed_before(host: Host, failing: str) -> None:
    (host.tools / f"fails-{failing}").touch()
    outcome = host.ask("cmd-1", "reinitialise", "payment.service")
    assert (outcome["end"], outcome["reason"]) == ("failed", "STEP_FAILED")
    assert f"{failing} did not work" in outcome["text"]
    assert host.asked()[-1] == "start -- payment.service"


def test_a_unit_that_is_not_active_afterwards_is_a_failure_and_not_repeated(host: Host) -> None:
    (host.tools / "active").write_text("failed\n")
    first = host.ask("cmd-1", "restart", "payment.service")
    assert (first["end"], first["text"]) == ("failed", "the unit is failed")
    assert host.ask("cmd-1", "restart", "payment.service") == first
    assert host.asked().count("restart -- payment.service") == 1


@pytest.mark.parametrize(
    ("verb", "unit"),
    [
        ("restart", "ssh.service"),
        ("reinitialise", "ssh.service"),
        ("reinitialise", "pos-agent.service"),  # its cache is nobody's business; it may be restarted
    ],
)
def test_what_is_not_on_roots_list_is_refused(host: Host, verb: str, unit: str) -> None:
    outcome = host.ask("cmd-1", verb, unit)
    assert (outcome["end"], outcome["reason"]) == ("refused", "INVALID_ARGUMENTS")
    assert host.asked() == []


def test_the_agents_own_unit_may_always_be_restarted(host: Host) -> None:
    host.listed.unlink()
    assert host.ask("cmd-1", "restart", "pos-agent.service")["end"] == "done"
    assert host.ask("cmd-2", "restart", "payment.service")["end"] == "refused"


@pytest.mark.parametrize(
    "text", ["units = 3", "units = [", 'units = ["payment.service"]\nmore = 1', 'units = ["../x.service"]', "\xff"]
)
def test_a_list_that_cannot_be_read_allows_nothing(host: Host, text: str) -> None:
    host.listed.write_bytes(text.encode("latin-1"))
    for unit in ("payment.service", "pos-agent.service"):
        assert host.ask("cmd-1", "restart", unit)["end"] == "refused"
    assert host.ask("cmd-2", "reboot")["end"] == "refused"
    assert host.asked() == []


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_a_list_that_others_may_write_allows_nothing(host: Host, mode: int) -> None:
    host.listed.chmod(mode)
    assert host.ask("cmd-1", "restart", "payment.service")["end"] == "refused"
    assert host.asked() == []


def test_a_reboot_is_ordered_once_and_not_again_within_ten_minutes(host: Host) -> None:
    assert host.ask("cmd-1", "reboot")["end"] == "done"
    assert host.ask("cmd-1", "reboot")["end"] == "done"
    host.new_boot()
    assert host.ask("cmd-1", "reboot")["end"] == "done"
    again = host.ask("cmd-2", "reboot")
    assert (again["end"], again["reason"]) == ("refused", "TOO_MANY_TRIES")
    assert host.asked() == ["--no-wall --no-block reboot"]


def test_a_reboot_that_roots_list_forbids_is_refused(host: Host) -> None:
    host.list_units("reboot = false\n")
    assert host.ask("cmd-1", "reboot")["reason"] == "NOT_AUTHORISED"
    assert host.asked() == []


def test_what_was_begun_and_not_ended_is_not_repeated(host: Host) -> None:
    host.ask("cmd-1", "restart", "payment.service")
    ledger = host.places.state / "acts.json"
    book = json.loads(ledger.read_text())
    book["entries"][0]["outcome"] = None
    ledger.write_text(json.dumps(book))
    asked = host.asked()
    assert host.ask("cmd-1", "restart", "payment.service")["end"] == "interrupted"
    assert host.asked() == asked


def test_a_damaged_record_of_acts_allows_nothing(host: Host) -> None:
    (host.places.state / "acts.json").write_text("{")
    assert host.ask("cmd-1", "restart", "payment.service")["end"] == "refused"
    assert host.asked() == []


# ── hostile requests ───────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\xfe",
        b"null",
        request("cmd-1", "poweroff", "payment.service").encode(),
        request("cmd-1", "restart").encode(),
        request("cmd-1", "reboot", "payment.service").encode(),
        request("cmd-1", "restart", "payment").encode(),
        request("cmd-1", "restart", "--force.service").encode(),
        request("cmd-1", "restart", "../payment.service").encode(),
        request("cmd-1", "restart", "payment.service\n").encode(),
        request("cmd-1", "restart", "a b.service").encode(),
        request("cmd-2", "restart", "payment.service").encode(),  # not the name of the file
        request("cmd-1", "restart", "payment.service").replace(ASK, "../../etc/x").encode(),
        request("cmd-1", "restart", "payment.service").replace("}}", '},"more":1}').encode(),
        request("cmd-1", "restart", "payment.service").encode() + b" " * 5000,
    ],
)
def test_a_request_of_wrong_form_is_removed_and_nothing_else(host: Host, content: bytes) -> None:
    host.put("cmd-1.json", content)
    assert host.helper_runs() == 0
    assert list(host.requests.iterdir()) == []
    assert list(host.answers.iterdir()) == []
    assert host.asked() == []


def test_only_plain_files_of_the_agents_own_are_read(host: Host, tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    real.write_text(request("cmd-1", "restart", "payment.service"))
    (host.requests / "cmd-1.json").symlink_to(real)
    os.mkfifo(host.requests / "cmd-2.json")
    (host.requests / "cmd-3.json").mkdir()
    os.link(real, host.requests / "cmd-4.json")
    assert host.helper_runs() == 0
    assert list(host.requests.iterdir()) == []
    assert real.exists()
    assert host.asked() == []


def test_another_users_request_is_refused(host: Host) -> None:
    host.put("cmd-1.json", request("cmd-1", "restart", "payment.service"))
    with pytest.raises(PermissionError):
        host.helper_runs(agent_uid=os.getuid() + 1)
    assert host.asked() == []


@pytest.mark.parametrize("replaced", ["machine", "machine/requests"])
def test_a_folder_behind_a_link_is_not_entered(host: Host, tmp_path: Path, replaced: str) -> None:
    real = host.run / replaced
    host.put("cmd-1.json", request("cmd-1", "restart", "payment.service"))
    real.rename(tmp_path / "elsewhere")
    real.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"Not a directory|Too many"):
        host.helper_runs()
    assert host.asked() == []


def test_a_folder_that_cannot_be_removed_stops_nobody_else(host: Host) -> None:
    (host.requests / "aaa" / "inside").mkdir(parents=True)
    assert host.ask("cmd-1", "restart", "payment.service")["end"] == "done"
    assert (host.requests / "aaa").is_dir()


def test_without_a_folder_of_requests_there_is_nothing_to_do(tmp_path: Path) -> None:
    places = Places(run=tmp_path / "none", state=tmp_path, procfs=tmp_path)
    assert RootHelper(places, os.getuid(), lambda: datetime.now(UTC)).answer_all() == 0


def test_the_program_takes_no_orders_from_its_command_line_or_environment(tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "__init__.py").write_text("raise SystemExit('hijacked')")
    done = subprocess.run(
        [sys.executable, "-I", "-OO", "-m", "agent.machine.root_helper", "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert "hijacked" not in done.stderr
    assert done.returncode in {0, 1}  # 1 where this machine has no user pos-agent


def test_old_answers_do_not_pile_up(host: Host) -> None:
    for number in range(70):
        host.ask(f"cmd-{number}", "restart", "ssh.service")
    assert len(list(host.answers.iterdir())) == 64
