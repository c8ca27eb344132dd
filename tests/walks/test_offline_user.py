"""Verbs that root gives on a resting terminal are done by the daemon's own user: the files they leave are its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import backup_folder as kit
from tests.kit.agent_process import ROOT, AgentProcess
from tests.kit.backup_folder import BackupFolder

USER = 47_110  # nobody's


@pytest.fixture
def agent() -> Iterator[AgentProcess]:
    folder = Path(tempfile.mkdtemp(prefix="pos-agent-offline-"))
    folder.chmod(0o755)  # pytest's own folders are for their owner alone
    made = AgentProcess(folder)
    made.state.mkdir(mode=0o700)
    yield made
    made.close()
    shutil.rmtree(folder)


def run(agent: AgentProcess, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agent", words[0], "--config", agent.config_file, *words[1:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_becomes_the_owner_of_the_state_folder(agent: AgentProcess, tmp_path: Path) -> None:
    os.chown(agent.state, USER, USER)
    recipient = run(agent, "keys").stdout.strip()
    medium = BackupFolder(agent.folder / "medium", kit.fill_journal(tmp_path / "old", 10), [recipient])
    path = medium.snapshot(10)
    path.chmod(0o644)
    done = run(agent, "restore", "--from", medium.place)
    assert done.returncode == 0, done.stderr
    owners = {
        one.name: (one.stat().st_uid, one.stat().st_gid, one.stat().st_mode & 0o777) for one in agent.state.iterdir()
    }
    assert owners == dict.fromkeys(("agent.db", "restore-key", "lock"), (USER, USER, 384))
    # What only root may read is not read: the verb is the daemon's user, whoever gave it.
    (agent.state / "agent.db").unlink()
    path.chmod(0o600)
    done = run(agent, "restore", "--from", medium.place)
    assert (done.returncode, "Permission denied" in done.stderr) == (1, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take rights away from itself")
def test_a_user_who_is_not_the_daemons_is_refused(agent: AgentProcess) -> None:
    os.chown(agent.state, USER, USER)
    command = [sys.executable, "-m", "agent", "keys", "--config", str(agent.config_file)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        user=USER + 1,
        group=USER + 1,
        extra_groups=[],
    )
    assert (done.returncode, "as the agent's user" in " ".join(done.stderr.split())) == (4, True)
    assert "Traceback" not in done.stderr
    assert list(agent.state.iterdir()) == []
