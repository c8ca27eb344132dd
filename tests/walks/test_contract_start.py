"""Start, configuration, sockets and stop by the contract's words: the program from outside, by exit codes and files."""

from __future__ import annotations

import grp
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tests.kit.agent_process import ROOT, AgentProcess, call
from tests.kit.contract_peer import Peer, eventually, is_root, sale, text_of

SOCKETS = {"payment.sock": "pos-payment", "control.sock": "pos-support"}
WITHOUT_GROUPS = 0o600
WITH_GROUPS = 0o660
TAKEN_OVER = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-m", "agent", "run", "--config", sys.argv[1]])
"""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    one = AgentProcess(tmp_path)
    yield one
    one.close()


def _program(*arguments: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`pos-agent` with arguments, to its end."""
    command = [sys.executable, "-m", "agent", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
    )


def _ends_with_2(agent: AgentProcess) -> str:
    """Both `run` and `check-config` end with 2; what `check-config` said."""
    checked = _program("check-config", "--config", agent.config_file)
    started = _program("run", "--config", agent.config_file)
    assert (checked.returncode, started.returncode) == (2, 2), checked.stdout + checked.stderr + started.stderr
    for said in (checked.stdout + checked.stderr, started.stdout + started.stderr):
        assert "Traceback" not in said
    assert not (agent.run / "payment.sock").exists()
    return checked.stdout + checked.stderr


BAD: dict[str, dict[str, Any]] = {
    "mode": {"mode": "fast"},
    "terminal.site": {"terminal": {"site": 5}},
    "terminal.terminal": {"terminal": {"terminal": "-x"}},
    "terminal.serial": {"terminal": {"serial": "S" * 65}},
    "terminal.colour": {"terminal": {"colour": "blue"}},
    "turbo": {"turbo": True},
    "paths.logs": {"paths": {"logs": "/tmp/x"}},
    "clock.trust": {"clock": {"trust": "yes"}},
    "health.interval_s": {"health": {"interval_s": "10 s"}},
    "health.interval": {"health": {"interval": 10}},
    "uplink.tls": {"uplink": {"host": "127.0.0.1", "port": 1883, "tls": "no"}},
    "uplink.port": {"uplink": {"host": "127.0.0.1", "port": 70000, "tls": False}},
    "uplink.protocol": {"uplink": {"host": "127.0.0.1", "port": 1883, "tls": False, "protocol": 5}},
    "tid": {"binding": [{"provider": "acquirer-a", "mid": "104110058120001", "tid": "000100010"}]},
    "mid": {"binding": [{"provider": "acquirer-a", "mid": "1" * 16, "tid": "00010001"}]},
    "provider": {"binding": [{"mid": "104110058120001", "tid": "00010001"}]},
}


@pytest.mark.parametrize(("key", "changes"), BAD.items(), ids=BAD)
def test_a_bad_value_is_exit_2_and_named_with_its_file(agent: AgentProcess, key: str, changes: dict[str, Any]) -> None:
    agent.write_config(changes)
    said = _ends_with_2(agent)
    assert key in said
    assert str(agent.config_file) in said


@pytest.mark.parametrize("key", ["mode", "terminal.site", "terminal.terminal", "terminal.serial"])
def test_required_keys(agent: AgentProcess, key: str) -> None:
    table: dict[str, Any] = {
        "mode": "development",
        "terminal": {"site": "shop-1", "terminal": "T-0001", "serial": "SN123"},
        "paths": {"state": str(agent.state), "run": str(agent.run)},
    }
    holder = table["terminal"] if "." in key else table
    del holder[key.rpartition(".")[2]]
    agent.config_file.write_text(tomli_w.dumps(table))
    assert key in _ends_with_2(agent)


def test_every_problem_is_listed_at_once(agent: AgentProcess) -> None:
    merged: dict[str, Any] = {}
    keys = ["mode", "terminal.colour", "turbo", "health.interval_s", "uplink.port"]
    for key in keys:
        merged.update(BAD[key])
    agent.write_config(merged)
    said = _ends_with_2(agent)
    assert [key for key in keys if key not in said] == []


UNREADABLE: dict[str, bytes | None] = {
    "missing": None,
    "bad TOML": b"mode = [\n",
    "a key twice": b'mode = "development"\nmode = "development"\n',
    "not UTF-8": b'mode = "\xff"\n',
    "empty": b"",
    "rubbish": bytes(range(256)),
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_cannot_be_read_is_exit_2(agent: AgentProcess, content: bytes | None) -> None:
    agent.config_file.unlink()
    if content is not None:
        agent.config_file.write_bytes(content)
    assert str(agent.config_file) in _ends_with_2(agent)


def test_a_folder_or_a_forbidden_file_is_exit_2(agent: AgentProcess) -> None:
    if not is_root():
        agent.config_file.chmod(0)
        _ends_with_2(agent)
    agent.config_file.unlink()
    agent.config_file.mkdir()
    _ends_with_2(agent)


def test_a_model_that_is_missing_or_bad_is_exit_2(agent: AgentProcess) -> None:
    agent.write_config({"terminal": {"model": "no-such-model"}})
    assert "no-such-model" in _ends_with_2(agent)
    models = agent.config_file.parent / "models"
    models.mkdir()
    (models / "no-such-model.toml").write_text("colour = 1\n")
    assert "colour" in _ends_with_2(agent)


def test_an_assumed_clock_is_for_development_only(agent: AgentProcess) -> None:
    agent.write_config({"mode": "production"})
    assert "clock.trust" in _ends_with_2(agent)
    agent.write_config({"mode": "production", "clock": {"trust": "kernel"}})
    assert _program("check-config", "--config", agent.config_file).returncode == 0
    agent.start()
    assert agent.stop() == 0


def test_check_config_of_a_good_file_is_exit_0_and_starts_nothing(agent: AgentProcess) -> None:
    assert _program("check-config", "--config", agent.config_file).returncode == 0
    assert not agent.state.exists()
    assert not agent.run.exists()


@pytest.mark.parametrize("arguments", [["run", "--no-such-option"], ["no-such-verb"], ["check-config", "a", "b"]])
def test_wrong_use_is_exit_2(arguments: list[str]) -> None:
    assert _program(*arguments).returncode == 2


def test_version_and_help_are_exit_0() -> None:
    assert _program("version").stdout.strip()
    for arguments in (["version"], ["--help"], ["run", "--help"]):
        assert _program(*arguments).returncode == 0


def test_files_beside_are_laid_over_in_name_order(agent: AgentProcess) -> None:
    beside = agent.config_file.parent / "agent.d"
    beside.mkdir()
    for name, serial in (("20-b.toml", "SN-LAST"), ("10-a.toml", "SN-FIRST"), ("99-not.txt", "SN-NEVER")):
        (beside / name).write_text(f'[terminal]\nserial = "{serial}"\n')
    agent.start()
    assert "SN-LAST" in text_of(call(agent.run / "control.sock", "agent.info"))
    assert agent.stop() == 0
    (beside / "30-c.toml").write_text("[terminal]\ncolour = 1\n")
    checked = _program("check-config", "--config", agent.config_file)
    assert checked.returncode == 2
    assert "30-c.toml" in checked.stdout + checked.stderr


BROKEN: dict[str, Mapping[str, Any]] = {"turbo": {"turbo": 1}, "terminal.serial": {"terminal": {"serial": 5}}}


@pytest.mark.parametrize("changes", BROKEN.values(), ids=BROKEN)
def test_the_last_good_copy_runs_with_a_fault_until_the_file_is_mended(
    agent: AgentProcess, changes: dict[str, Any]
) -> None:
    agent.start()
    record = sale()
    assert call(agent.run / "payment.sock", "transaction.record", record)["result"]["sequence"] == 1
    assert agent.stop() == 0
    good = agent.state / "agent.toml.good"
    kept = good.read_bytes()
    agent.write_config(changes)
    assert _program("check-config", "--config", agent.config_file).returncode == 2
    agent.start()
    control = agent.run / "control.sock"
    eventually(lambda: "SW-AGT-002" in text_of(call(control, "health.get")), "SW-AGT-002")
    assert "SN123" in text_of(call(control, "agent.info"))
    assert call(agent.run / "payment.sock", "transaction.record", record)["result"] == {
        "sequence": 1,
        "duplicate": True,
    }
    assert agent.stop() == 0
    assert good.read_bytes() == kept
    agent.write_config({"terminal": {"serial": "SN999"}})
    agent.start()
    assert "SW-AGT-002" not in text_of(call(control, "health.get"))
    assert "SN999" in text_of(call(control, "agent.info"))
    assert agent.stop() == 0
    assert good.read_bytes() != kept


def test_everything_that_belongs_to_the_configuration_has_its_good_copy(agent: AgentProcess) -> None:
    """Files laid over it and the model's file too; the fault names what is wrong now, not what was before."""
    beside, models = agent.config_file.parent / "agent.d", agent.config_file.parent / "models"
    beside.mkdir()
    models.mkdir()
    (beside / "10-serial.toml").write_text('[terminal]\nserial = "SN-BESIDE"\n')
    (models / "counter.toml").write_text('schema = 1\ntitle = "Counter"\n')
    agent.write_config({"terminal": {"model": "counter"}})
    agent.start()
    assert agent.stop() == 0
    for file, content in (
        (beside / "20-more.toml", "turbo = 1\n"),
        (beside / "20-more.toml", "mode = [\n"),
        (beside / "20-more.toml", ""),
        (models / "counter.toml", "colour = 1\n"),
    ):
        file.write_text(content)
        agent.start()
        faults = call(agent.run / "control.sock", "health.get")["result"]["faults"]
        details = [fault["detail"] for fault in faults if fault["code"] == "SW-AGT-002"]
        assert len(details) == (1 if content else 0)
        for detail in details:
            assert str(file) in detail
            assert ("turbo" in detail) is ("turbo" in content)
        assert "SN-BESIDE" in text_of(call(agent.run / "control.sock", "agent.info"))
        assert agent.stop() == 0


def test_a_file_that_does_not_parse_knows_no_state_folder_of_its_own(agent: AgentProcess) -> None:
    if Path("/var/lib/pos-agent/agent.toml.good").exists():
        pytest.skip("an agent is installed on this machine; its good copy would be taken")
    agent.start()
    assert agent.stop() == 0
    assert (agent.state / "agent.toml.good").exists()
    agent.config_file.write_text("mode = [\n")
    assert _program("run", "--config", agent.config_file).returncode == 2


def test_a_bad_good_copy_is_no_way_out(agent: AgentProcess) -> None:
    agent.state.mkdir()
    (agent.state / "agent.toml.good").write_bytes(b"\xff rubbish")
    agent.write_config({"turbo": 1})
    assert "turbo" in _ends_with_2(agent)


def test_a_second_agent_on_one_state_folder_ends_and_disturbs_nobody(agent: AgentProcess, tmp_path: Path) -> None:
    agent.start()
    other = AgentProcess(tmp_path / "other", {"paths": {"state": str(agent.state)}})
    for config in (agent.config_file, other.config_file):
        second = _program("run", "--config", config)
        assert second.returncode not in {0, -signal.SIGKILL}
        assert "Traceback" not in second.stderr
        assert str(agent.state) in second.stdout + second.stderr
    assert call(agent.run / "payment.sock", "transaction.record", sale())["result"]["sequence"] == 1
    assert call(agent.run / "control.sock", "journal.verify")["result"]["intact"] is True
    assert agent.stop() == 0


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_socket_modes_whatever_the_umask(agent: AgentProcess, umask: int) -> None:
    before = os.umask(umask)
    try:
        agent.start()
    finally:
        os.umask(before)
    for name, group in SOCKETS.items():
        status = (agent.run / name).stat()
        assert stat.S_ISSOCK(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == (WITH_GROUPS if _group_exists(group) else WITHOUT_GROUPS)
        assert status.st_uid == os.geteuid()
    assert agent.stop() == 0


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_an_orderly_stop_is_exit_0_and_keeps_what_was_acknowledged(agent: AgentProcess, by: signal.Signals) -> None:
    agent.start()
    assert agent.process is not None
    with Peer(agent.run / "payment.sock") as peer, Peer(agent.run / "control.sock") as idle:
        idle.send(b'{"half":')
        acknowledged = [peer.record(sale())["sequence"] for _ in range(20)]
        agent.process.send_signal(by)
        assert agent.stop(10.0) == 0
    agent.start()
    verified = call(agent.run / "control.sock", "journal.verify")["result"]
    assert verified == {"intact": True, "upto_sequence": acknowledged[-1], "missing": []}
    assert agent.stop() == 0


def test_stopping_is_announced(agent: AgentProcess) -> None:
    agent.start()
    assert agent.process is not None
    agent.process.send_signal(signal.SIGTERM)
    agent.wait_notified("STOPPING=1")
    assert agent.stop() == 0


def test_sockets_left_by_a_killed_agent_are_no_hindrance(agent: AgentProcess) -> None:
    agent.start()
    agent.kill()
    agent.start()
    assert "result" in call(agent.run / "control.sock", "agent.info")
    assert agent.stop() == 0


def test_without_uplink_there_is_no_fault_of_the_uplink(agent: AgentProcess) -> None:
    agent.start()
    assert "NET-MQT" not in text_of(call(agent.run / "control.sock", "health.get"))
    assert agent.stop() == 0


def test_an_uplink_taken_out_of_the_configuration_leaves_no_fault_behind(agent: AgentProcess) -> None:
    away = {"host": "127.0.0.1", "port": 1, "tls": False, "down_fault_after_s": 0.1}
    agent.write_config({"uplink": away})
    agent.start()
    eventually(lambda: "NET-MQT-001" in text_of(call(agent.run / "control.sock", "health.get")), "NET-MQT-001")
    assert agent.stop() == 0
    agent.write_config({})
    agent.start()
    assert "NET-MQT" not in text_of(call(agent.run / "control.sock", "health.get"))
    assert agent.stop() == 0


def test_systemds_sockets_are_taken_by_name_and_never_unlinked(agent: AgentProcess) -> None:
    agent.run.mkdir()
    paths = [agent.folder / "c.sock", agent.folder / "p.sock"]
    listening = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in paths]
    for sock, path in zip(listening, paths, strict=True):
        sock.bind(str(path))
        sock.listen(64)
    hold = [os.dup(sock.fileno()) for sock in listening]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "control:payment"}

    def descriptors() -> None:
        high = [os.dup2(fd, 100 + number) for number, fd in enumerate(hold)]
        for number, fd in enumerate(high):
            os.dup2(fd, 3 + number)

    with agent.log_file.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", TAKEN_OVER, str(agent.config_file)],
            env=environment,
            stdout=log,
            stderr=log,
            pass_fds=(3, 4),
            preexec_fn=descriptors,  # noqa: PLW1509 - no threads here, and the numbers must be 3 and 4
        )
    try:
        assert "result" in call(paths[0], "agent.info", timeout_s=20.0), agent.log()
        assert call(paths[1], "transaction.record", sale())["result"]["sequence"] == 1
        assert not (agent.run / "payment.sock").exists()
        process.terminate()
        assert process.wait(20.0) == 0
    finally:
        process.kill()
        process.wait(20.0)
        for sock, fd in zip(listening, hold, strict=True):
            sock.close()
            os.close(fd)
    assert all(path.exists() for path in paths)
